"""Writing more than the cache holds: it goes up meanwhile, the limit holds, and only what nothing can help is ENOSPC."""
import concurrent.futures
import errno
import hashlib
import os
import random
import subprocess
import threading
import time

import pytest
from lib.mount import PROGRAM
from lib.s3server import wait_for
from test_cache import MIB, OLD, Watch, cache_disk  # noqa: F401
from test_ctl import refusing  # noqa: F401

LIMIT = 64 * MIB


def pattern(n, seed):
    return random.Random(seed).randbytes(n)


def digest(data):
    return hashlib.sha256(data).hexdigest()


def digest_of(path):
    h = hashlib.sha256()
    with open(path, "rb") as f:
        while piece := f.read(MIB):
            h.update(piece)
    return h.hexdigest()


def sync(m):
    subprocess.run([PROGRAM, "sync", m.path, "--timeout", "50"], check=True)


@pytest.mark.parametrize("writeback", [False, True])
def test_file_larger_than_the_cache(bucket, cache_disk, mount, writeback):  # noqa: F811
    m = mount(bucket, cache_size=LIMIT, writeback=writeback)
    expect = hashlib.sha256()
    with Watch(cache_disk) as watch:
        with open(m.join("big"), "wb", buffering=0) as f:
            for i in range(300):
                piece = pattern(MIB, i)
                assert f.write(piece) == MIB
                expect.update(piece)
        if writeback:
            sync(m)
        assert digest(bucket.bytes("big")) == expect.hexdigest()
        assert digest_of(m.join("big")) == expect.hexdigest()
    assert watch.peak <= LIMIT, watch.peak / MIB
    m.remount()
    assert digest_of(m.join("big")) == expect.hexdigest()
    assert bucket.server.client.list_uploads(bucket.name) == []


def test_appending_to_a_large_file_that_this_mount_wrote(bucket, mount):
    """versitygw answers a copied part of such an object with the checksum of the whole object."""
    m = mount(bucket)
    data = pattern(30 * MIB, 1)
    with open(m.join("big"), "wb") as f:
        f.write(data)
    with open(m.join("big"), "ab") as f:
        f.write(data[:12 * MIB])
    with open(m.join("big"), "r+b") as f:
        f.seek(25 * MIB)
        f.write(b"edited")
    data += data[:12 * MIB]
    assert digest(bucket.bytes("big")) == digest(data[:25 * MIB] + b"edited" + data[25 * MIB + 6:])


@pytest.mark.parametrize("writeback", [False, True])
def test_many_small_writers_wait_for_uploads(bucket, cache_disk, mount, proxy, writeback):  # noqa: F811
    m = mount(bucket, url=proxy.url, cache_size=LIMIT, writeback=writeback)
    proxy.toxic("bandwidth", stream="upstream", rate=64 * 1024)  # KB/s a connection
    files, size = 400, 400_000  # 2.5 times the cache

    def write(i):
        with open(m.join(f"f{i}"), "wb", buffering=0) as f:
            assert f.write(pattern(size // 2, i)) + f.write(pattern(size - size // 2, -i)) == size
    with Watch(cache_disk) as watch:
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            list(pool.map(write, range(files)))
        sync(m)
    assert watch.peak <= LIMIT, watch.peak / MIB
    for i in range(files):
        assert bucket.bytes(f"f{i}") == pattern(size // 2, i) + pattern(size - size // 2, -i), i


def test_writers_outlast_an_unreachable_server(bucket, cache_disk, mount, proxy):  # noqa: F811
    m = mount(bucket, url=proxy.url, cache_size=LIMIT, writeback=True, retries=1)
    os.listdir(m.path)
    proxy.enable(False)
    written = []

    def write():
        for i in range(20):
            with open(m.join(f"f{i}"), "wb", buffering=0) as f:
                for k in range(5):
                    f.write(pattern(MIB, 100 * i + k))
            written.append(i)
    writer = threading.Thread(target=write)
    writer.start()
    wait_for(lambda: len(written) >= 7, what="a cache full of unsaved files")
    time.sleep(2)  # long enough for another file, if there were room
    assert writer.is_alive() and len(written) < 15, written
    assert os.path.getsize(m.join("f0")) == 5 * MIB, "others are served meanwhile"
    proxy.enable(True)
    writer.join(50)
    assert not writer.is_alive()
    sync(m)
    for i in range(20):
        assert bucket.bytes(f"f{i}") == b"".join(pattern(MIB, 100 * i + k) for k in range(5))


def test_many_changes_all_over_a_file_larger_than_the_cache(bucket, cache_disk, mount):  # noqa: F811
    bucket.place("big", size=200 * MIB, mtime=OLD)
    model = bytearray(bucket.bytes("big"))
    m = mount(bucket, cache_size=LIMIT)
    rng = random.Random(7)
    with Watch(cache_disk) as watch:
        fd = os.open(m.join("big"), os.O_RDWR)
        for _ in range(3):
            for _ in range(30):
                at, data = rng.randrange(len(model) - 10_000), rng.randbytes(rng.randrange(1, 10_000))
                assert os.pwrite(fd, data, at) == len(data)
                model[at:at + len(data)] = data
            os.fsync(fd)
            assert digest(bucket.bytes("big")) == digest(bytes(model))
            for _ in range(20):
                at = rng.randrange(len(model) - 100_000)
                assert os.pread(fd, 100_000, at) == model[at:at + 100_000]
        os.close(fd)
    assert watch.peak <= LIMIT, watch.peak / MIB
    assert digest_of(m.join("big")) == digest(bytes(model))


def test_a_reader_that_holds_the_cache_leaves_room_for_writers(bucket, cache_disk, mount):  # noqa: F811
    bucket.place("held", size=100 * MIB, mtime=OLD)
    m = mount(bucket, cache_size=LIMIT, nopassthrough=True)
    with open(m.join("held"), "rb") as reader, Watch(cache_disk) as watch:
        while reader.read(MIB):
            pass
        data = pattern(40 * MIB, 1)
        with open(m.join("new"), "wb") as f:
            f.write(data)
    assert bucket.bytes("new") == data
    assert watch.peak <= LIMIT, watch.peak / MIB


def test_a_cache_disk_that_others_fill(bucket, mount, work):
    disk = os.path.join(work, "small")
    os.makedirs(disk)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", disk]).returncode:
        pytest.skip("may not mount a tmpfs")
    try:
        bucket.place("old", size=30 * MIB, mtime=OLD)
        m = mount(bucket, use_cache=disk)
        digest_of(m.join("old"))  # cached: it goes when the disk is full
        with open(os.path.join(disk, "hog"), "wb") as hog:
            os.posix_fallocate(hog.fileno(), 0, 24 * MIB)
        data = pattern(150 * MIB, 3)
        with open(m.join("big"), "wb", buffering=0) as f:
            for at in range(0, len(data), MIB):
                assert f.write(data[at:at + MIB]) == MIB
        assert digest(bucket.bytes("big")) == digest(data)
        assert digest_of(m.join("big")) == digest(data)
        m.unmount()
    finally:
        subprocess.run(["umount", "-l", disk])


def no_space(path, unlink=False):
    began = time.monotonic()
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        if unlink:
            os.unlink(path)
        with pytest.raises(OSError) as caught:
            for i in range(200):
                os.write(fd, bytes(MIB))
        assert caught.value.errno == errno.ENOSPC and i > 20
    finally:
        try:
            os.close(fd)
        except OSError:
            assert not unlink
    assert time.monotonic() - began < 30


def test_what_nothing_can_help_is_enospc(bucket, server, mount, refusing, work):  # noqa: F811
    """A removed file that never reaches S3; a server that lets nobody write. And the mount goes on."""
    m = mount(bucket, cache_size=LIMIT)
    no_space(m.join("removed"), unlink=True)
    with open(m.join("after"), "wb") as f:
        f.write(pattern(20 * MIB, 5))
    assert bucket.bytes("after") == pattern(20 * MIB, 5)
    locked = mount("locked", url=refusing, passwd_file=server.passwd_file, cache_size=LIMIT, use_cache=work + "/cache2")
    no_space(locked.join("f"))
