"""A cache disk that fails at each step of a write: the caller hears of it, the log says why, nothing acknowledged is lost."""
import errno
import mmap
import os
import shutil
import struct
import subprocess

import pytest
from lib.fixtures import LONG
from lib.s3server import wait_for

pytestmark = pytest.mark.deadline(90)
WRITE, SYNC, LENGTH = 1, 2, 4
DATA, STORE = 1, 2
# How many calls pass before the one that fails: every step of the scenario in the long run.
STEPS = range(0, 40) if LONG else (0, 1, 3, 8)
KINDS = {"write data": (WRITE, DATA), "sync data": (SYNC, DATA), "length data": (LENGTH, DATA), "write store": (WRITE, STORE),
         "sync store": (SYNC, STORE)}


@pytest.fixture(scope="module")
def shim(session_dir):
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang-14")
    if not compiler:
        pytest.skip("no C compiler")
    library = os.path.join(session_dir, "failing_disk.so")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library,
                    os.path.join(os.path.dirname(__file__), "failing_disk.c"), "-ldl"], check=True)
    return library


class Disk:
    def __init__(self, path):
        with open(path, "wb") as f:
            f.write(bytes(16))
        self.path, self.file = path, open(path, "r+b")
        self.map = mmap.mmap(self.file.fileno(), 16)

    def fail(self, calls, code, after, files):
        self.map[:] = struct.pack("iiii", calls, 0, after, files)
        self.map[4:8] = struct.pack("i", code)

    def heal(self):
        self.map[4:8] = struct.pack("i", 0)

    def hit(self):
        return struct.unpack("i", self.map[8:12])[0] < 0


def put(path, data, flags=os.O_WRONLY | os.O_CREAT | os.O_TRUNC, offset=0):
    """True: write, fsync and close were all acknowledged. Else the errno."""
    try:
        fd = os.open(path, flags, 0o644)
    except OSError as e:
        return e.errno
    code = True

    def write_all():
        done = 0
        while done < len(data):  # a short write is no error, and the next one says why
            done += os.pwrite(fd, data[done:], offset + done)
    for step in (write_all, lambda: os.fsync(fd), lambda: os.close(fd)):
        try:
            step()
        except OSError as e:
            code = e.errno if code is True else code
    return code


def same_as(want):
    return lambda got: got == want


def between(old, new):
    """Each byte is the old or the new one."""
    return lambda got: got is not None and len(got) == len(old) and all(g in (a, b) for g, a, b in zip(got, old, new))


@pytest.mark.parametrize("writeback", [False, True], ids=["default", "writeback"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO], ids=["ENOSPC", "EIO"])
@pytest.mark.parametrize("kind", KINDS)
def test_disk_fails(bucket, mount, work, shim, kind, code, writeback):
    disk = Disk(os.path.join(work, "disk"))
    m = mount(bucket, writeback=writeback, multipart_size=5, stat_cache_expire=1,
              env={"LD_PRELOAD": shim, "FAILING_DISK": disk.path})
    acknowledged, hits = {}, 0
    calls, files = KINDS[kind]
    for after in STEPS:
        name = f"f{after}"
        first, second = os.urandom(70_000), os.urandom(5000)
        assert put(m.join(name), first) is True
        if after % 2:
            with open(m.join(name), "rb") as f:
                f.read()
        disk.fail(calls, code, after, files)
        edited = put(m.join(name), second, os.O_WRONLY, 1000)
        new = put(m.join(name + "new"), first)
        hit = disk.hit()
        hits += hit
        disk.heal()
        if hit and writeback and kind == "sync data":  # the bytes would survive a kill, not a power cut
            assert edited is not True or new is not True, "acknowledged, and not synced"
        changed = first[:1000] + second + first[6000:]
        # A refused change may be there, in part or not at all (and may come later); an acknowledged one must be.
        acknowledged[name] = same_as(changed) if edited is True else between(first, changed)
        if new is True:
            acknowledged[name + "new"] = same_as(first)
        for answer in (edited, new):
            assert answer is True or answer in (errno.ENOSPC, errno.EIO), errno.errorcode.get(answer, answer)
        assert m.alive(), f"the daemon died with {m.process.returncode}"
    assert put(m.join("after"), b"the disk is well again") is True
    acknowledged["after"] = same_as(b"the disk is well again")
    if code == errno.EIO and hits and not writeback:
        assert "nput/output error" in m.log() or "I/O error" in m.log() or "EIO" in m.log(), m.log()

    def right(path):
        try:
            with open(path, "rb") as f:
                return f.read()
        except OSError:
            return None
    m.kill9()
    m.start()
    for name, wanted in acknowledged.items():
        wait_for(lambda: wanted(right(m.join(name))), 15, f"{name} on the mount", 0.05)
    m.unmount()
    for name, wanted in acknowledged.items():
        assert wanted(right(bucket.path(name))), f"{name} in the bucket"


def test_an_fsync_that_does_not_reach_the_disk_fails(bucket, mount, work, shim, proxy):
    """Also of a file whose earlier bytes were promised already: S3 is away, so the disk is all there is."""
    disk = Disk(os.path.join(work, "disk"))
    m = mount(bucket, url=proxy.url, writeback=True, retries=1, env={"LD_PRELOAD": shim, "FAILING_DISK": disk.path})
    fd = os.open(m.join("f"), os.O_WRONLY | os.O_CREAT, 0o644)
    proxy.enable(False)
    os.write(fd, b"promised")
    os.fsync(fd)
    disk.fail(SYNC, errno.EIO, 0, DATA)
    os.pwrite(fd, b"P", 0)
    with pytest.raises(OSError) as refused:
        os.fsync(fd)
    assert refused.value.errno == errno.EIO
    disk.heal()
    os.fsync(fd)
    os.close(fd)
    proxy.enable(True)
    m.unmount()
    assert bucket.bytes("f") == b"Promised"
