"""Many of everything: open files, stalled operations, readers, entries that come and go."""
import concurrent.futures
import ctypes
import os
import random
import resource
import threading
import time

import pytest
from lib.fixtures import LONG
from lib.load import read_whole
from lib.s3server import wait_for

OLD = time.time() - 3600
MIB = 1 << 20


@pytest.mark.deadline(120)
@pytest.mark.parametrize("passthrough", [True, False], ids=["passthrough", "daemon"])
def test_many_open_files_with_few_descriptors(bucket, mount, passthrough):
    n = 10_000 if LONG else 2_000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < n + 500:
        pytest.skip(f"this process may open only {hard} files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (n + 500, hard))
    fds = []
    try:
        keys = bucket.place_many("d/", n, 5000, mtime=OLD)
        m = mount(bucket, nofile=256, nopassthrough=None if passthrough else True)
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            fds = list(pool.map(lambda key: os.open(m.join(key), os.O_RDONLY), keys))
            for key, head in zip(keys, pool.map(lambda fd: os.pread(fd, 5000, 0), fds)):
                assert int.from_bytes(head[:8], "big") == int(key[-6:]) and len(head) == 5000, key
        assert len(os.listdir(f"/proc/{m.pid}/fd")) <= 256
        assert read_whole(m.join(keys[0])) == 5000
    finally:
        for fd in fds:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Dirent(ctypes.Structure):
    _fields_ = [("ino", ctypes.c_uint64), ("off", ctypes.c_int64), ("reclen", ctypes.c_uint16),
                ("type", ctypes.c_uint8), ("name", ctypes.c_char * 256)]


libc = ctypes.CDLL(None, use_errno=True)
libc.opendir.restype = ctypes.c_void_p
libc.opendir.argtypes = [ctypes.c_char_p]
libc.readdir.restype = ctypes.POINTER(Dirent)
for fn in (libc.readdir, libc.telldir, libc.closedir, libc.rewinddir):
    fn.argtypes = [ctypes.c_void_p]
libc.telldir.restype = ctypes.c_long
libc.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]


class Dir:
    """readdir(3) with its positions."""

    def __init__(self, path):
        self.d = libc.opendir(os.fsencode(path))
        assert self.d, os.strerror(ctypes.get_errno())

    def next(self):
        entry = libc.readdir(self.d)
        return entry.contents.name.decode() if entry else None

    def rest(self):
        return list(iter(self.next, None))

    def tell(self):
        return libc.telldir(self.d)

    def seek(self, position):
        libc.seekdir(self.d, position)

    def rewind(self):
        libc.rewinddir(self.d)

    def close(self):
        libc.closedir(self.d)


def test_telldir_and_seekdir(bucket, mount):
    bucket.place_many("d/", 2200, 5, mtime=OLD)
    bucket.place("d/sub-dir/x", b"x")
    m = mount(bucket)
    d = Dir(m.join("d"))
    names, positions = [], []
    while True:
        positions.append(d.tell())
        name = d.next()
        if name is None:
            break
        names.append(name)
    assert len(names) == len(set(names)) == 2203  # with . and ..
    for i in random.Random(3).sample(range(len(names)), 60) + [0, 1, 2, len(names) - 1]:
        d.seek(positions[i])
        assert d.next() == names[i], i
    d.seek(positions[1000])
    assert d.rest() == names[1000:]
    d.rewind()
    assert d.rest() == names
    d.close()


@pytest.mark.parametrize("expire", [0, 900])
def test_readdir_while_entries_come_and_go(bucket, mount, expire):
    """A name that is there from begin to end is seen exactly once; one that comes or goes at most once."""
    stay = {k[2:] for k in bucket.place_many("d/", 1500, 5, name="s{:05d}", mtime=OLD)}
    bucket.place_many("d/", 500, 5, name="t{:05d}", mtime=OLD)
    m = mount(bucket, stat_cache_expire=expire)
    done = threading.Event()

    def churn():
        rng = random.Random(4)
        while not done.is_set():
            i = rng.randrange(1000)
            path = bucket.path(f"d/t{i:05d}")
            if os.path.exists(path):
                os.unlink(path)
            else:
                bucket.place(f"d/t{i:05d}", b"12345")
    t = threading.Thread(target=churn)
    t.start()
    try:
        for _ in range(15):
            names = os.listdir(m.join("d"))
            assert len(names) == len(set(names)), "a name twice"
            assert stay <= set(names), f"missing: {sorted(stay - set(names))[:5]}"
            assert all(n[0] in "st" for n in names)
    finally:
        done.set()
        t.join()


def test_stalled_operations_do_not_delay_hits(bucket, mount, proxy):
    cached = bucket.place_many("hit/", 50, 100_000, mtime=OLD)
    cold = bucket.place_many("cold/", 64, 100_000, mtime=OLD)
    bucket.place("big", size=8 * MIB, mtime=OLD)
    m = mount(bucket, url=proxy.url, nopassthrough=True)  # every read goes through the daemon
    for key in cached:
        read_whole(m.join(key))
    os.listdir(m.join("hit"))
    toxic = proxy.stall()
    with concurrent.futures.ThreadPoolExecutor(64) as pool:
        waiting = [pool.submit(read_whole, m.join(key)) for key in cold]
        for f in ("absent1", "absent2"):
            pool.submit(os.path.exists, m.join(f))
        try:
            done, _ = concurrent.futures.wait(waiting, timeout=0.5)
            assert not done, "the proxy does not stall"
            slowest = 0.0
            for key in cached * 4:
                began = time.monotonic()
                with open(m.join(key), "rb") as f:
                    os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                    assert len(f.read()) == 100_000
                os.stat(m.join(key))
                slowest = max(slowest, time.monotonic() - began)
            began = time.monotonic()
            assert len(os.listdir(m.join("hit"))) == 50
            slowest = max(slowest, time.monotonic() - began)
            print(f"slowest hit {slowest * 1000:.1f} ms")
            assert slowest < 0.25
        finally:
            proxy.clear(toxic)
            proxy.enable(False)  # ends the stalled connections: the next try gets through
            proxy.enable(True)
        assert [f.result() for f in waiting] == [100_000] * 64


@pytest.mark.parametrize("half_way", [False, True], ids=["to-the-end", "half-way"])
@pytest.mark.parametrize("disk_cache", [True, False], ids=["cache", "no-cache"])
def test_memory_of_64_sequential_readers(bucket, mount, half_way, disk_cache):
    n, size, mem_limit = (64, 64 * MIB, 256 * MIB) if LONG else (64, 10 * MIB, 64 * MIB)
    for i in range(n):
        bucket.place(f"f{i}", size=size, mtime=OLD)
    bucket.place("other", size=size, mtime=OLD)
    m = mount(bucket, mem_limit=mem_limit, cache_size=None if disk_cache else 64 * MIB)
    stop_at = size // 2 if half_way else size
    barrier = threading.Barrier(n)
    fds = []

    def read(i):
        fd = os.open(m.join(f"f{i}"), os.O_RDONLY)
        fds.append(fd)
        barrier.wait()
        total = 0
        while total < stop_at:
            got = len(os.read(fd, 256 * 1024))
            assert got > 0
            total += got
        return total
    m.meter.start()
    with concurrent.futures.ThreadPoolExecutor(n) as pool:
        totals = list(pool.map(read, range(n)))
    if half_way:  # the handles stay open: what was read ahead for them must not pin memory for others
        assert read_whole(m.join("other")) == size
    peak = m.meter.stop()
    for fd in fds:
        os.close(fd)
    print(f"peak RssAnon {peak / MIB:.0f} MiB with mem_limit {mem_limit / MIB:.0f} MiB")
    assert min(totals) >= stop_at
    assert peak < mem_limit + 128 * MIB


def test_big_directory_does_not_take_memory(bucket, mount):
    n = 40_000 if LONG else 10_000
    bucket.place_many("d/", n, 1, mtime=OLD)
    m = mount(bucket, attr="list")
    m.meter.start()
    assert len([e.stat() for e in os.scandir(m.join("d"))]) == n
    assert m.meter.stop() < 100 * MIB


def test_interrupted_reader_frees_its_request(bucket, mount, proxy):
    """A process killed while it waits for the server ends at once, and the mount goes on."""
    import subprocess
    bucket.place("cold", size=2 * MIB, mtime=OLD)
    bucket.place("hit", b"hit")
    m = mount(bucket, url=proxy.url)
    read_whole(m.join("hit"))
    os.stat(m.join("cold"))
    toxic = proxy.stall()
    child = subprocess.Popen(["cat", m.join("cold")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: b"request_wait_answer" in open(f"/proc/{child.pid}/wchan", "rb").read() or
             open(f"/proc/{child.pid}/stat").read().rsplit(")", 1)[1].split()[0] in "SD", 5, "cat to wait")
    child.kill()
    child.wait(5)
    assert read_whole(m.join("hit")) == 3
    proxy.clear(toxic)
    proxy.enable(False)
    proxy.enable(True)
    assert read_whole(m.join("cold")) == 2 * MIB
