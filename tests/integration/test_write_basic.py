"""Writing, the everyday cases: every system call against what the server then holds, and what each costs in requests."""
import errno
import fcntl
import mmap
import os
import random
import stat
import subprocess
import sys
import time

import pytest
from lib.s3server import wait_for

OLD = time.time() - 3600


def raises(code, call, *args, **named):
    with pytest.raises(OSError) as caught:
        call(*args, **named)
    assert caught.value.errno == code, caught.value


@pytest.fixture
def writable(bucket, mount):
    """A mount that takes changes: its tests are skipped where the program mounts read-only whatever is asked."""
    def start(**options):
        m = mount(bucket, **options)
        if os.statvfs(m.path).f_flag & os.ST_RDONLY:
            pytest.skip("this version mounts read-only")
        return m
    return start


def write(path, data, flags=os.O_WRONLY | os.O_CREAT | os.O_TRUNC, offset=None):
    fd = os.open(path, flags, 0o644)
    try:
        assert (os.pwrite(fd, data, offset) if offset is not None else os.write(fd, data)) == len(data)
    finally:
        os.close(fd)


def read(path):
    with open(path, "rb") as f:
        return f.read()


def meta(bucket, key):
    """The object's headers, by lower-case name."""
    return {k.lower(): v for k, v in dict(bucket.server.client.head(bucket.name, key)).items()}


def test_new_file_is_one_put(bucket, writable):
    m = writable()
    os.listdir(m.path)
    bucket.mark()
    data = os.urandom(70_000)
    write(m.join("f"), data)
    c = bucket.counts()
    assert c.PUT == 1 and c.HEAD == c.GET == c.COPY == 0 and c.LIST <= 1, c
    assert bucket.bytes("f") == data
    bucket.mark()
    assert read(m.join("f")) == data
    st = os.stat(m.join("f"))
    assert st.st_size == len(data) and stat.S_IMODE(st.st_mode) == 0o644 and abs(st.st_mtime - time.time()) < 60
    assert bucket.counts().total() == 0, bucket.counts()
    m.remount()
    assert read(m.join("f")) == data and os.stat(m.join("f")).st_ino == st.st_ino


def test_shell_redirection_is_one_put(bucket, writable):
    """dup2 and close flush the file while it is still empty."""
    m = writable()
    os.listdir(m.path)
    bucket.mark()
    for i in range(10):
        subprocess.run(["sh", "-c", f"echo {i} > f{i}"], cwd=m.path, check=True)
    c = bucket.counts()
    assert c.PUT == 10 and c.HEAD == 0, c
    assert [bucket.bytes(f"f{i}") for i in range(10)] == [b"%d\n" % i for i in range(10)]
    open(m.join("empty"), "w").close()
    wait_for(lambda: os.path.exists(bucket.path("empty")), what="the empty object")
    assert bucket.bytes("empty") == b""


@pytest.mark.parametrize("passthrough", [True, False])
@pytest.mark.parametrize("cached", ["whole", "part", "none"])
def test_overwrite_append_truncate(bucket, writable, cached, passthrough):
    size = (3 << 20) + 123
    bucket.place("f", size=size, mtime=OLD)
    model = bytearray(bucket.bytes("f"))
    m = writable(nopassthrough=not passthrough)
    path = m.join("f")
    if cached == "whole":
        assert read(path) == model
    elif cached == "part":
        with open(path, "rb") as f:
            assert os.pread(f.fileno(), 5000, 1 << 20) == model[1 << 20:(1 << 20) + 5000]

    def check():
        assert bucket.bytes("f") == model
        assert read(path) == model
        assert os.stat(path).st_size == len(model)
    write(path, b"middle", os.O_WRONLY, 1_234_567)
    model[1_234_567:1_234_573] = b"middle"
    check()
    write(path, b"appended", os.O_WRONLY | os.O_APPEND)
    model += b"appended"
    check()
    os.truncate(path, 2_000_001)
    del model[2_000_001:]
    check()
    os.truncate(path, 2_500_000)
    model += bytes(499_999)
    check()
    write(path, b"hole before", os.O_RDWR, 3_000_000)
    model += bytes(500_000) + b"hole before"
    check()
    write(path, b"all new")
    model = b"all new"
    check()
    m.remount()
    check()


def test_random_edits_over_one_handle(bucket, writable):
    seed = random.randrange(1 << 32)
    print("seed", seed)
    rng = random.Random(seed)
    bucket.place("f", size=500_000, mtime=OLD)
    model = bytearray(bucket.bytes("f"))
    m = writable()
    fd = os.open(m.join("f"), os.O_RDWR)
    try:
        for step in range(300):
            at, n = rng.randrange(600_000), rng.choice([1, 100, 4096, 70_000])
            what = rng.random()
            if what < 0.5:
                data = rng.randbytes(n)
                assert os.pwrite(fd, data, at) == n
                model += bytes(max(0, at - len(model)))
                model[at:at + n] = data
            elif what < 0.6:
                os.ftruncate(fd, at)
                del model[at:]
                model += bytes(at - len(model))
            elif what < 0.65:
                os.fsync(fd)
                assert bucket.bytes("f") == model, (seed, step)
            else:
                assert os.pread(fd, n, at) == model[at:at + n], (seed, step)
    finally:
        os.close(fd)
    assert bucket.bytes("f") == model, seed


def test_passthrough_reader_while_a_writer_works(bucket, writable):
    bucket.place("f", size=300_000, mtime=OLD)
    model = bytearray(bucket.bytes("f"))
    m = writable()
    assert read(m.join("f")) == model
    with open(m.join("f"), "rb") as reader, mmap.mmap(reader.fileno(), 0, prot=mmap.PROT_READ) as view:
        assert view[:] == model
        for i in range(20):
            write(m.join("f"), b"<%d>" % i, os.O_WRONLY, 10_000 * i)
            model[10_000 * i:10_000 * i + len(b"<%d>" % i)] = b"<%d>" % i
            assert os.pread(reader.fileno(), 400_000, 0) == model
            assert view[:] == model
            assert read(m.join("f")) == model
        write(m.join("f"), b"longer", os.O_WRONLY | os.O_APPEND)
        model += b"longer"
        assert os.pread(reader.fileno(), 400_000, 0) == model
        wait_for(lambda: os.fstat(reader.fileno()).st_size == len(model), what="the new size")
    assert bucket.bytes("f") == model


def test_mmap_stores(bucket, writable):
    bucket.place("f", size=200_000, mtime=OLD)
    model = bytearray(bucket.bytes("f"))
    m = writable()
    with open(m.join("f"), "r+b") as f, mmap.mmap(f.fileno(), 0) as view:
        view[7] = 1
        view[199_999] = 2
        view.flush()
        os.fsync(f.fileno())
        model[7], model[199_999] = 1, 2
        assert bucket.bytes("f") == model
        view[100_000:100_005] = b"store"
        model[100_000:100_005] = b"store"
    wait_for(lambda: bucket.bytes("f") == model, what="the mapping's last stores")
    assert read(m.join("f")) == model


def test_appends_of_four_processes(bucket, writable):
    m = writable()
    script = ("import os,sys\nfd=os.open(sys.argv[1],os.O_WRONLY|os.O_APPEND|os.O_CREAT,0o644)\n"
              "for i in range(200): os.write(fd,b'%s %04d\\n'%(sys.argv[2].encode(),i))\nos.close(fd)")
    children = [subprocess.Popen([sys.executable, "-c", script, m.join("log"), str(n)]) for n in range(4)]
    assert [c.wait() for c in children] == [0] * 4
    lines = bucket.bytes("log").split(b"\n")
    assert lines.pop() == b"" and len(lines) == 800
    for n in range(4):
        assert [x for x in lines if x.startswith(b"%d " % n)] == [b"%d %04d" % (n, i) for i in range(200)]


def test_names(bucket, writable):
    m = writable()
    os.mkdir(m.join("d"), 0o750)
    assert os.path.isdir(bucket.path("d"))
    assert stat.S_IMODE(os.stat(m.join("d")).st_mode) == 0o750
    write(m.join("d/f"), b"one")
    os.symlink("f", m.join("d/link"))
    assert os.readlink(m.join("d/link")) == "f" and read(m.join("d/link")) == b"one"
    assert bucket.bytes("d/link") == b"f" and int(meta(bucket, "d/link")["x-amz-meta-mode"]) == stat.S_IFLNK | 0o777
    os.mkfifo(m.join("d/fifo"), 0o600)
    assert stat.S_ISFIFO(os.stat(m.join("d/fifo")).st_mode)
    assert sorted(os.listdir(m.join("d"))) == ["f", "fifo", "link"]
    raises(errno.EEXIST, os.mkdir, m.join("d"))
    raises(errno.ENOTEMPTY, os.rmdir, m.join("d"))
    raises(errno.ENOENT, os.unlink, m.join("d/none"))
    raises(errno.EOPNOTSUPP, os.link, m.join("d/f"), m.join("d/hard"))
    raises(errno.ENAMETOOLONG, os.mkdir, m.join("d/" + "x" * 256))
    raises(errno.EEXIST, os.open, m.join("d/f"), os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    os.rename(m.join("d/f"), m.join("moved"))
    assert read(m.join("moved")) == b"one" and bucket.bytes("moved") == b"one"
    for name in ("d/link", "d/fifo"):
        os.unlink(m.join(name))
    os.rmdir(m.join("d"))
    os.unlink(m.join("moved"))
    assert os.listdir(m.path) == []
    wait_for(lambda: [x for x in os.listdir(bucket.dir) if x != ".sgwtmp"] == [], what="the deletes")


def test_rename(bucket, writable):
    for key in ("a", "b", "d/x", "d/sub/y", "target/old"):
        bucket.place(key, key.encode(), mtime=OLD)
    m = writable()
    ino = os.stat(m.join("a")).st_ino
    os.rename(m.join("a"), m.join("b"))
    assert bucket.bytes("b") == b"a" and os.stat(m.join("b")).st_ino == ino
    wait_for(lambda: not os.path.exists(bucket.path("a")), what="the old key's delete")
    raises(errno.ENOENT, os.stat, m.join("a"))
    os.rename(m.join("d"), m.join("e"))
    assert read(m.join("e/x")) == b"d/x" and read(m.join("e/sub/y")) == b"d/sub/y"
    assert bucket.bytes("e/x") == b"d/x" and bucket.bytes("e/sub/y") == b"d/sub/y"
    raises(errno.ENOTEMPTY, os.rename, m.join("e"), m.join("target"))
    raises(errno.ENOENT, os.rename, m.join("none"), m.join("x"))
    # The usual way to replace a file: its content goes up once, under its last name or by a copy.
    write(m.join("b.tmp"), b"new")
    os.rename(m.join("b.tmp"), m.join("b"))
    assert read(m.join("b")) == b"new" and bucket.bytes("b") == b"new"


def test_unlinked_open_file(bucket, writable):
    m = writable()
    with open(m.join("f"), "w+b") as f:
        f.write(b"abc")
        f.flush()
        os.unlink(m.join("f"))
        f.write(b"def")
        f.flush()
        assert os.pread(f.fileno(), 10, 0) == b"abcdef"
        assert os.fstat(f.fileno()).st_nlink == 0
        assert os.listdir(m.path) == []
    assert not os.path.exists(bucket.path("f"))


def test_attributes(bucket, writable):
    bucket.place("f", b"text", mtime=OLD)
    m = writable()
    path = m.join("f")
    os.chmod(path, 0o741)
    os.utime(path, ns=(1_000_000_001, 2_000_000_002))
    os.chown(path, 12, 34)
    for again in (False, True):
        st = os.stat(path)
        assert (stat.S_IMODE(st.st_mode), st.st_uid, st.st_gid, st.st_mtime_ns) == (0o741, 12, 34, 2_000_000_002)
        headers = meta(bucket, "f")
        assert int(headers["x-amz-meta-mode"]) == stat.S_IFREG | 0o741
        assert headers["x-amz-meta-uid"] == "12" and headers["x-amz-meta-gid"] == "34"
        assert float(headers["x-amz-meta-mtime"]) == pytest.approx(2.0)
        assert read(path) == b"text"
        if not again:
            m.remount()


def test_xattrs(bucket, writable):
    bucket.place("f", b"text", mtime=OLD)
    m = writable(use_xattr=True)
    path = m.join("f")
    os.setxattr(path, "user.color", b"red")
    assert os.getxattr(path, "user.color") == b"red" and "user.color" in os.listxattr(path)
    raises(errno.EEXIST, os.setxattr, path, "user.color", b"x", os.XATTR_CREATE)
    raises(errno.ENODATA, os.setxattr, path, "user.none", b"x", os.XATTR_REPLACE)
    assert "x-amz-meta-xattr" in meta(bucket, "f")
    m.remount()
    assert os.getxattr(path, "user.color") == b"red" and read(path) == b"text"
    os.removexattr(path, "user.color")
    raises(errno.ENODATA, os.getxattr, path, "user.color")


def test_holes(bucket, writable):
    bucket.place("f", b"a" * 50_000, mtime=OLD)
    m = writable()
    model = bytearray(b"a" * 50_000)
    with open(m.join("f"), "r+b") as f:
        subprocess.run(["fallocate", "-p", "-o", "4000", "-l", "9000", m.join("f")], check=True)
        model[4000:13_000] = bytes(9000)
        assert os.pread(f.fileno(), 60_000, 0) == model
        os.posix_fallocate(f.fileno(), 0, 60_000)
        model += bytes(10_000)
        assert os.fstat(f.fileno()).st_size == 60_000
    assert bucket.bytes("f") == model and read(m.join("f")) == model


def test_copy_file_range(bucket, writable):
    bucket.place("from", size=300_000, mtime=OLD)
    want = bucket.bytes("from")
    m = writable()
    with open(m.join("from"), "rb") as source, open(m.join("to"), "w+b") as target:
        done = 0
        while done < 300_000:
            done += os.copy_file_range(source.fileno(), target.fileno(), 300_000 - done)
    assert bucket.bytes("to") == want and read(m.join("to")) == want


def test_locks_between_processes(bucket, writable):
    bucket.place("f", b"text", mtime=OLD)
    m = writable()
    assert read(m.join("f")) == b"text"
    script = ("import fcntl,sys\nf=open(sys.argv[1],'r+b')\n"
              "try: fcntl.lockf(f,fcntl.LOCK_EX|fcntl.LOCK_NB)\nexcept BlockingIOError: sys.exit(1)")

    def other():
        return subprocess.run([sys.executable, "-c", script, m.join("f")]).returncode
    with open(m.join("f"), "rb") as reader:  # passthrough; the other process has another nodeid
        fcntl.lockf(reader, fcntl.LOCK_SH)
        assert other() == 1
        fcntl.lockf(reader, fcntl.LOCK_UN)
        assert other() == 0


def test_ro_refuses(bucket, mount):
    bucket.place("f", b"text", mtime=OLD)
    m = mount(bucket, ro=True)
    assert os.statvfs(m.path).f_flag & os.ST_RDONLY
    raises(errno.EROFS, os.open, m.join("f"), os.O_WRONLY)
    raises(errno.EROFS, os.mkdir, m.join("d"))
    raises(errno.EROFS, os.unlink, m.join("f"))
