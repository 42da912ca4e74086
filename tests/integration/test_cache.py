"""The cache on disk: kept, limited, damaged, shared."""
import glob
import hashlib
import os
import random
import shutil
import subprocess
import threading
import time

import pytest
from lib.fixtures import LONG
from lib.load import drop_caches, du, epoch, read_whole
from lib.s3server import wait_for
from lib.wire import Wire

OLD = time.time() - 3600
MIB = 1 << 20


def is_right(bucket, m, key):
    with open(m.join(key), "rb") as f:
        return hashlib.sha256(f.read()).digest() == hashlib.sha256(bucket.bytes(key)).digest()


def volume(cache_dir):
    """The one folder of a bucket below use_cache."""
    folders = [d for d in glob.glob(os.path.join(cache_dir, "*")) if os.path.isdir(d)]
    assert len(folders) == 1, folders
    return folders[0]


def data_files(cache_dir):
    return [f for f in glob.glob(os.path.join(cache_dir, "*", "data", "*", "*")) if os.path.isfile(f)]


@pytest.mark.parametrize("passthrough", [True, False])
def test_kill_in_the_middle_of_a_cold_read(bucket, mount, proxy, passthrough):
    wire = Wire(proxy.port)
    size = 64 * MIB
    bucket.place("big", size=size, mtime=OLD)
    m = mount(bucket, url=wire.url, nopassthrough=None if passthrough else True)
    proxy.toxic("bandwidth", rate=32 * 1024)  # KB/s: the read takes two seconds
    reader = threading.Thread(target=lambda: pytest.raises(OSError, read_whole, m.join("big")))
    reader.start()
    data = os.path.join(volume(m.options["use_cache"]), "data")
    wait_for(lambda: du(data) > size // 2, 20, "half of the file in the cache")
    had = du(data)
    m.kill9()
    reader.join()
    proxy.clear("bandwidth_downstream")
    before = wire.received()
    m.start()
    assert m.mount_seconds < 1.0
    assert is_right(bucket, m, "big")
    # What was on the disk when it died is not fetched again; some may have been under way to be recorded.
    assert wire.received() - before < size - had + 16 * MIB, f"{had / MIB:.0f} MiB were on the disk"


def test_kill_9_again_and_again(bucket, mount):
    keys = bucket.place_many("d/", 200, 50_000, mtime=OLD)
    bucket.place("big", size=24 * MIB, mtime=OLD)
    m = mount(bucket)
    rng = random.Random(1)
    for _ in range(6):
        some = rng.sample(keys, 60)
        stop = threading.Event()

        def hammer():
            try:
                for key in some:
                    read_whole(m.join(key))
                read_whole(m.join("big"))
            except OSError:
                pass
            stop.set()
        t = threading.Thread(target=hammer)
        t.start()
        stop.wait(rng.random() * 0.3)  # the moment of the kill is what is random here
        m.kill9()
        t.join()
        m.start()
    assert all(is_right(bucket, m, key) for key in keys + ["big"])
    bucket.mark()
    assert all(is_right(bucket, m, key) for key in keys + ["big"])
    assert bucket.counts().total() == 0


class Watch:
    """The most that a file system of its own ever held: the limit must hold at every moment.

    One statvfs is one moment; a walk that adds up files would count one evicted and one made while it runs twice.
    """

    def __init__(self, disk):
        self.disk, self.peak, self.over = disk, 0, threading.Event()
        self.empty = self.used()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def used(self):
        s = os.statvfs(self.disk)
        return (s.f_blocks - s.f_bfree) * s.f_frsize

    def run(self):
        while not self.over.is_set():
            self.peak = max(self.peak, self.used() - self.empty)
            self.over.wait(0.001)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


@pytest.fixture
def cache_disk(cache_dir):
    """The cache folder as a file system of its own. Ask for it before `mount`, so that it outlives the daemons."""
    os.makedirs(cache_dir)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1g", "tmpfs", cache_dir]).returncode:
        pytest.skip("may not mount a tmpfs")
    yield cache_dir
    subprocess.run(["umount", "-l", cache_dir], check=True)


@pytest.mark.deadline(120)
def test_random_epochs_over_twice_the_cache(bucket, cache_disk, mount):
    """Hit ratios of random epochs with a cache of half the data set; the limit is never passed. LRU would reach 0.15."""
    n, size, limit = (2560, 100_000, 128 * MIB) if not LONG else (10_240, 100_000, 512 * MIB)
    first = bucket.place_many("one/", n, size, mtime=OLD)
    second = bucket.place_many("two/", n, size, mtime=OLD)
    m = mount(bucket, cache_size=limit)
    ratios = []
    with Watch(cache_disk) as watch:
        for keys, epochs in ((first, 4), (second, 3)):
            for e in range(epochs):
                bucket.mark()
                epoch(m.path, keys, seed=e, check=lambda key, data: int.from_bytes(data[:8], "big") == int(key[-6:]))
                ratios.append(1 - bucket.counts().GET / n)
    print("hit ratios", [f"{r:.2f}" for r in ratios], f"peak of the cache {watch.peak / MIB:.0f} of {limit / MIB:.0f} MiB")
    assert watch.peak <= limit
    # Store, ballast and folders leave 0.47 to be had of so small a cache; 0.44 is the least that six runs gave.
    assert min(ratios[1:4]) >= 0.42 and min(ratios[5:]) >= 0.42, ratios


def test_file_four_times_the_cache(bucket, cache_disk, mount):
    limit = 64 * MIB
    bucket.place("big", size=4 * limit, mtime=OLD)
    m = mount(bucket, cache_size=limit)
    with Watch(cache_disk) as watch:
        assert is_right(bucket, m, "big")
        assert is_right(bucket, m, "big")
    assert watch.peak <= limit, watch.peak / MIB


def damage_truncate(path):
    os.truncate(path, os.path.getsize(path) // 2)


def damage_garbage(path):
    with open(path, "r+b") as f:
        f.write(os.urandom(8192))


def damage_middle(path):
    size = os.path.getsize(path)
    with open(path, "r+b") as f:
        f.seek(size // 2 & ~4095)
        f.write(os.urandom(min(65536, size - f.tell())))


def damage_empty(path):
    os.truncate(path, 0)


def damage_remove(path):
    os.unlink(path)


@pytest.mark.parametrize("damage", [damage_truncate, damage_garbage, damage_middle, damage_empty, damage_remove])
def test_damaged_store_is_rebuilt(bucket, mount, cache_dir, damage):
    keys = bucket.place_many("d/", 300, 20_000, mtime=OLD)
    m = mount(bucket)
    epoch(m.path, keys)
    m.unmount()
    damage(os.path.join(volume(cache_dir), "meta.mdb"))
    m.start()
    assert all(is_right(bucket, m, key) for key in keys), "right bytes over a damaged store"
    assert m.alive()


@pytest.mark.parametrize("damage", [damage_truncate, damage_empty])
def test_store_damaged_under_a_mount(bucket, mount, cache_dir, damage):
    """What was known is lost, the mount and its answers are not; the next mount starts afresh."""
    keys = bucket.place_many("d/", 300, 20_000, mtime=OLD)
    m = mount(bucket)
    epoch(m.path, keys)
    m.remount()
    damage(os.path.join(volume(cache_dir), "meta.mdb"))
    drop_caches(2)

    def right(key):
        try:
            return is_right(bucket, m, key)
        except OSError:  # a call that was in the damaged store when it was found
            return False
    for key in keys:
        wait_for(lambda key=key: right(key), 5, key)
    assert all(is_right(bucket, m, key) for key in keys)
    assert sorted(os.listdir(m.join("d"))) == sorted(key[2:] for key in keys)
    m.remount()
    assert all(is_right(bucket, m, key) for key in keys)
    assert m.alive()


@pytest.mark.parametrize("damage", [damage_truncate, damage_empty, damage_remove])
@pytest.mark.parametrize("passthrough", [True, False])
def test_damaged_data_files_sizes(bucket, mount, cache_dir, damage, passthrough):
    keys = bucket.place_many("d/", 20, 300_000, mtime=OLD) + ["big"]
    bucket.place("big", size=20 * MIB, mtime=OLD)
    m = mount(bucket, nopassthrough=None if passthrough else True)
    epoch(m.path, keys)
    m.unmount()
    files = data_files(cache_dir)
    assert len(files) == len(keys)
    for f in files:
        damage(f)
    m.start()
    assert all(is_right(bucket, m, key) for key in keys)


@pytest.mark.parametrize("damage", [damage_garbage, damage_middle])
def test_damaged_bytes_are_found_by_checksum(bucket, mount, cache_dir, damage):
    """Daemon reads verify. (Passthrough reads are the kernel's own; the scrub looks after those.)"""
    keys = bucket.place_many("d/", 20, 300_000, mtime=OLD) + ["big"]
    bucket.place("big", size=20 * MIB, mtime=OLD)
    m = mount(bucket, nopassthrough=True)
    epoch(m.path, keys)
    m.unmount()
    for f in data_files(cache_dir):
        damage(f)
    drop_caches(1)
    m.start()
    assert all(is_right(bucket, m, key) for key in keys)
    m.remount()
    assert all(is_right(bucket, m, key) for key in keys)


def test_older_format_is_rebuilt(bucket, mount, cache_dir):
    bucket.place("f", b"content")
    m = mount(bucket)
    assert is_right(bucket, m, "f")
    m.unmount()
    path = os.path.join(volume(cache_dir), "version")
    text = open(path).read()
    assert text.startswith("s3cache 1\n"), text
    with open(path, "w") as f:
        f.write(text.replace("s3cache 1", "s3cache 0", 1))
    m.start()
    assert is_right(bucket, m, "f")


def test_second_mount_of_the_same_bucket(bucket, mount, cache_dir):
    bucket.place("f", b"content")
    one, two = mount(bucket), mount(bucket)
    assert is_right(bucket, one, "f") and is_right(bucket, two, "f")
    assert len([d for d in os.listdir(cache_dir) if os.path.isdir(os.path.join(cache_dir, d))]) == 2


def test_without_use_cache_nothing_stays(bucket, mount, work):
    bucket.place("f", size=5 * MIB)
    os.makedirs(work + "/tmp")
    m = mount(bucket, use_cache=None, tmpdir=work + "/tmp")
    assert is_right(bucket, m, "f")
    m.unmount()
    assert os.listdir(work + "/tmp") == []


def test_without_use_cache_a_kill_loses_no_removal(bucket, mount, work):
    """Deletions go out together, moments after they were promised: the private cache that has them is found again."""
    tmp = work + "/tmp"
    os.mkdir(tmp)
    bucket.place_many("d/", 20, 100, mtime=OLD)
    m = mount(bucket, use_cache=None, tmpdir=tmp)
    for name in os.listdir(m.join("d")):
        os.unlink(m.join("d/" + name))
    m.kill9()
    assert len(os.listdir(tmp)) == 1
    m.start()
    assert os.listdir(m.join("d")) == []
    subprocess.run([m.program, "sync", m.path], check=True)
    assert os.listdir(bucket.path("d")) == []
    m.unmount()
    assert os.listdir(tmp) == []


def test_without_use_cache_what_is_not_on_s3_stays(bucket, mount, work, proxy):
    tmp = work + "/tmp"
    os.mkdir(tmp)
    m = mount(bucket, url=proxy.url, use_cache=None, tmpdir=tmp, retries=1, unmount_timeout=1)
    os.listdir(m.path)
    fd = os.open(m.join("f"), os.O_WRONLY | os.O_CREAT, 0o644)
    os.write(fd, b"kept")
    proxy.enable(False)
    with pytest.raises(OSError):
        os.close(fd)
    m.unmount()
    assert len(os.listdir(tmp)) == 1 and "stays: it holds changes that are not on S3" in m.log(), m.log()
    proxy.enable(True)
    m.start()
    subprocess.run([m.program, "sync", m.path], check=True)
    assert bucket.bytes("f") == b"kept"
    m.unmount()
    assert os.listdir(tmp) == []


def test_cache_disk_full_degrades(bucket, mount, work):
    """The file system of the cache fills up under a running mount: reads go on, and are right."""
    disk = os.path.join(work, "small")
    os.makedirs(disk)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", disk]).returncode:
        pytest.skip("may not mount a tmpfs")
    try:
        bucket.place("big", size=64 * MIB, mtime=OLD)
        keys = bucket.place_many("d/", 100, 100_000, mtime=OLD)
        m = mount(bucket, use_cache=disk, ensure_diskfree=0)
        with open(os.path.join(disk, "hog"), "wb") as hog:
            try:
                while True:
                    hog.write(bytes(MIB))
                    hog.flush()
            except OSError:
                pass
        assert is_right(bucket, m, "big")
        assert all(is_right(bucket, m, key) for key in keys)
        assert m.alive()
        m.unmount()
    finally:
        subprocess.run(["umount", "-l", disk])


def test_cache_folder_removed_under_a_mount(bucket, mount, cache_dir):
    keys = bucket.place_many("d/", 50, 100_000, mtime=OLD)
    m = mount(bucket)
    epoch(m.path, keys[:25])
    shutil.rmtree(os.path.join(volume(cache_dir), "data"))
    assert all(is_right(bucket, m, key) for key in keys)
    assert m.alive()
