"""What each thing costs in requests, as the server's own log counts them."""
import concurrent.futures
import os
import random
import subprocess
import time

import pytest
from lib.fixtures import LONG
from lib.load import epoch, read_whole
from lib.s3server import wait_for

MANY = 10_000
OLD = time.time() - 3600  # older than the two seconds inside which a HEAD is not trusted for good


def test_ls_of_many_is_lists_only(bucket, mount):
    bucket.place_many("d/", MANY, 8, mtime=OLD)
    m = mount(bucket)
    bucket.mark()
    assert len(os.listdir(m.join("d"))) == MANY
    c = bucket.counts()
    # 10 pages, and at most one to find that `d` is a directory.
    assert c.HEAD == c.GET == 0 and c.LIST <= 11, c
    bucket.mark()
    assert len(os.listdir(m.join("d"))) == MANY
    assert bucket.counts().total() == 0, bucket.counts()
    m.remount()
    bucket.mark()
    assert len(os.listdir(m.join("d"))) == MANY
    assert bucket.counts().total() == 0, bucket.counts()


def test_names_come_as_pages_arrive(bucket, mount, proxy):
    """The first names are out long before the last page of the listing is in."""
    bucket.place_many("d/", MANY, 8, mtime=OLD)
    m = mount(bucket, url=proxy.url)
    os.stat(m.join("d"))
    proxy.latency(100)
    with os.scandir(m.join("d")) as it:
        began = time.monotonic()
        next(it)
        first = time.monotonic() - began
        rest = sum(1 for _ in it)
    total = time.monotonic() - began
    assert rest == MANY - 1
    assert first < total / 2, (first, total)


@pytest.mark.deadline(120)
def test_cold_small_file_epoch(bucket, mount, wire):
    n = 10_000 if LONG else 2_500
    keys = bucket.place_many("train/", n, 100_000, mtime=OLD)
    m = mount(bucket, url=wire.url)
    bucket.mark()
    before = wire.received()
    seconds, total = epoch(m.path, keys, check=lambda key, data: int.from_bytes(data[:8], "big") == int(key[-6:]))
    c = bucket.counts()
    got = wire.received() - before
    print(f"{n / seconds:.0f} files/s, {c}, S3 bytes / app bytes {got / total:.3f}")
    assert c.GET == n and c.HEAD == 0 and c.LIST <= 25, c
    assert got / total <= 1.05
    bucket.mark()
    epoch(m.path, keys)
    assert bucket.counts().total() == 0, bucket.counts()
    m.remount()
    bucket.mark()
    epoch(m.path, keys, check=lambda key, data: int.from_bytes(data[:8], "big") == int(key[-6:]))
    assert bucket.counts().total() == 0, bucket.counts()


def stat_all(path):
    """As `ls -l`: names, then a stat of each."""
    return {e.name: e.stat() for e in os.scandir(path)}


def test_ls_l_heads_once(bucket, mount):
    n = 1500
    bucket.place_many("d/", n - 1, 100, mtime=OLD)
    bucket.put("d/with-mode", b"x", mode=0o100751)
    # PUT dates the object now; a HEAD within two seconds of that is asked once more later, so wait the two seconds out.
    made = time.time()
    wait_for(lambda: time.time() > made + 3, 5, "three seconds", 0.05)
    m = mount(bucket)
    bucket.mark()
    names = stat_all(m.join("d"))
    c = bucket.counts()
    # Each object's attributes are paid for once: by its HEAD, or by a GET while the directory is not yet known to be stat'ed.
    assert len(names) == n and names["with-mode"].st_mode & 0o777 == 0o751
    assert c.HEAD + c.GET == n and c.GET <= 8, c
    bucket.mark()
    stat_all(m.join("d"))
    assert bucket.counts().total() == 0, bucket.counts()
    m.remount()
    bucket.mark()
    assert stat_all(m.join("d"))["with-mode"].st_mode & 0o777 == 0o751
    assert bucket.counts().total() == 0, bucket.counts()


def test_heads_survive_an_expired_listing(bucket, mount):
    """Past the TTL a listing says that nothing changed: attributes stay, no HEAD is sent again."""
    n = 300
    bucket.place_many("d/", n, 100, mtime=OLD)
    m = mount(bucket, stat_cache_expire=1)
    stat_all(m.join("d"))
    expired = time.monotonic() + 1.5
    wait_for(lambda: time.monotonic() > expired, 5, "the TTL", 0.05)
    bucket.mark()
    stat_all(m.join("d"))
    c = bucket.counts()
    assert c.HEAD == c.GET == 0 and 1 <= c.LIST <= 3, c


def test_attr_list_never_heads(bucket, mount):
    n = 1500
    bucket.place_many("d/", n, 100, mtime=OLD)
    m = mount(bucket, attr="list")
    bucket.mark()
    assert len(stat_all(m.join("d"))) == n
    c = bucket.counts()
    assert c.HEAD == c.GET == 0 and c.LIST <= 3, c
    m.remount()
    bucket.mark()
    stat_all(m.join("d"))
    assert bucket.counts().total() == 0, bucket.counts()


def test_walk_over_larger_files_sends_no_head(bucket, mount):
    for d in range(10):
        bucket.place_many(f"w/{d}/", 100, 5000, mtime=OLD)
    m = mount(bucket)
    bucket.mark()
    assert sum(len(files) for _, _, files in os.walk(m.join("w"))) == 1000
    c = bucket.counts()
    assert c.HEAD == c.GET == 0, c


def tree(bucket, top, dirs, files):
    """Keys of dirs x files, among them names that sort between a directory's name and its '/'."""
    keys = []
    for d in range(dirs):
        keys += bucket.place_many(f"{top}d{d:03}/", files, 5000, mtime=OLD)
        if d % 10 == 0:
            keys += bucket.place_many(f"{top}d{d:03}", 1, 5000, name=".txt", mtime=OLD)
    return sorted(keys)


def test_walk_over_a_tree_is_a_flat_listing(bucket, mount):
    keys = tree(bucket, "t/", 200, 20)
    m = mount(bucket)
    bucket.mark()
    found = subprocess.run(["find", m.join("t"), "-type", "f", "-printf", "t/%P\n"], capture_output=True, text=True, check=True)
    assert sorted(found.stdout.split()) == keys
    c = bucket.counts()
    print(c)
    assert c.HEAD == c.GET == 0 and c.LIST <= 15, c
    bucket.mark()
    assert sum(len(files) for _, _, files in os.walk(m.join("t"))) == len(keys)
    assert bucket.counts().total() == 0, bucket.counts()
    m.remount()
    bucket.mark()
    assert sum(len(files) for _, _, files in os.walk(m.join("t"))) == len(keys)
    assert bucket.counts().total() == 0, bucket.counts()


def test_absent_name_is_one_request_then_none(bucket, mount):
    bucket.place("d/here", b"x")
    m = mount(bucket)
    os.stat(m.join("d"))
    bucket.mark()
    for _ in range(5):
        assert not os.path.exists(m.join("d/nothing"))
    assert bucket.counts().total() <= 1, bucket.counts()
    m.remount()
    bucket.mark()
    assert not os.path.exists(m.join("d/nothing"))
    assert bucket.counts().total() == 0, bucket.counts()


def test_absent_name_beside_many_that_begin_the_same(bucket, mount):
    # "name-..." and "name..." sort before "name/", so one page of 1,000 cannot say whether the directory exists.
    bucket.place_many("d/name-", 1500, 4, mtime=OLD)
    bucket.place("d/other/x", b"x")
    m = mount(bucket)
    os.stat(m.join("d"))
    bucket.mark()
    assert not os.path.exists(m.join("d/name"))
    assert bucket.counts().total() <= 2, bucket.counts()
    assert not os.path.exists(m.join("d/name"))
    assert bucket.counts().total() <= 2, bucket.counts()


def test_names_in_a_listed_directory_are_absent_for_free(bucket, mount):
    bucket.place_many("d/", 50, 4, mtime=OLD)
    m = mount(bucket)
    os.listdir(m.join("d"))
    bucket.mark()
    for i in range(20):
        assert not os.path.exists(m.join(f"d/absent{i}"))
    assert bucket.counts().total() == 0, bucket.counts()


def test_sequential_bytes(bucket, mount, wire):
    size = (1 << 30) if LONG else (96 << 20)
    bucket.place("big", size=size, mtime=OLD)
    m = mount(bucket, url=wire.url)
    before = wire.received()
    assert read_whole(m.join("big")) == size
    assert (wire.received() - before) / size <= 1.05
    bucket.mark()
    assert read_whole(m.join("big")) == size
    assert bucket.counts().total() == 0, bucket.counts()
    m.remount()
    bucket.mark()
    assert read_whole(m.join("big")) == size
    assert bucket.counts().total() == 0, bucket.counts()


def test_random_128k_bytes(bucket, mount, wire):
    size = 512 << 20
    bucket.place("big", size=size, mtime=OLD)
    m = mount(bucket, url=wire.url)
    seed = random.randrange(1 << 32)
    offsets = random.Random(seed).sample(range(0, size, 128 << 10), 300)
    before = wire.received()
    fd = os.open(m.join("big"), os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)  # the kernel's own readahead is not what is measured
    total = sum(len(os.pread(fd, 128 << 10, o)) for o in offsets)
    os.close(fd)
    ratio = (wire.received() - before) / total
    print(f"seed {seed}: S3 bytes / app bytes {ratio:.3f}")
    assert ratio <= 1.10


def test_concurrent_readers_fetch_once(bucket, mount, wire):
    size = 32 << 20
    bucket.place("big", size=size, mtime=OLD)
    want = bucket.bytes("big")
    m = mount(bucket, url=wire.url)
    before = wire.received()

    def read(_):
        with open(m.join("big"), "rb") as f:
            return f.read() == want
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(8)))
    assert (wire.received() - before) / size <= 1.05
