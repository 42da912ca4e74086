"""What s3fs promises of each call, cold and warm, in both modes, where other tests do not ask it already (test_write_basic.py,
test_s3fs_beside.py). DIFFERENT is the table of what is so on purpose, with the reason; s3cache(7) has it for users."""
import errno
import os
import stat
import subprocess
import sys
import time

import pytest
from lib.s3server import wait_for
from lib.trees import USER_33, write

OLD = time.time() - 3600
DIFFERENT = {
    "O_RDONLY|O_TRUNC": "empties the file, as every Linux file system does; s3fs answers EACCES",
    "Cache-Control and the like": "stay over chmod, rename and a rewrite; s3fs drops them",
    "Content-Type": "one that says more than the name stays; s3fs recomputes it at every change",
    "unlink of an open file": "no .fuse_hidden object appears in the bucket",
    "empty > redirection": "one PUT; s3fs sends the empty file first",
    "XATTR_CREATE, XATTR_REPLACE": "judge the attribute named; s3fs judges whether there is any",
    "rename(RENAME_NOREPLACE)": "works; s3fs answers EINVAL",
    "fallocate, SEEK_HOLE": "fallocate works",
}


@pytest.fixture(params=["default", "writeback"])
def m(request, bucket, mount):
    """Objects as other tools leave them, and a mount in one of the modes."""
    bucket.put("web", b"<p>page</p>", content_type="text/html", cache_control="max-age=60", content_encoding="identity",
               tool="kept")
    bucket.place("big", size=12 << 20, mtime=OLD)
    bucket.place("dir/a", b"aaa", mtime=OLD)
    bucket.place("dir/b", b"bbb", mtime=OLD)
    return mount(bucket, writeback=request.param == "writeback", use_xattr=True, multipart_size=5)


@pytest.fixture(params=["cold", "warm"])
def at(request, m):
    """The path of a name; warm: it was looked at and read before."""
    def path(*names):
        p = m.join(*names)
        if request.param == "warm" and os.path.isfile(p):
            with open(p, "rb") as f:
                f.read()
        return p
    return path


def on_s3(m):
    m.remount()


def head(bucket, key):
    return bucket.server.client.head(bucket.name, key)


def raises(code, call, *args, **named):
    with pytest.raises(OSError) as caught:
        call(*args, **named)
    assert caught.value.errno == code, caught.value


def test_headers_stay_over_every_change(bucket, m, at):
    def check(key, body):
        on_s3(m)
        h = head(bucket, key)
        assert (h["content-type"], h["cache-control"], h["x-amz-meta-tool"]) == ("text/html", "max-age=60", "kept"), h
        assert bucket.bytes(key) == body
    before = os.stat(at("web"))
    os.chmod(at("web"), 0o604)
    assert os.stat(m.join("web")).st_mtime_ns == before.st_mtime_ns, "chmod moves no mtime"
    check("web", b"<p>page</p>")
    assert os.stat(m.join("web")).st_mtime_ns == before.st_mtime_ns
    os.rename(m.join("web"), m.join("moved"))
    check("moved", b"<p>page</p>")
    with open(m.join("moved"), "ab") as f:
        f.write(b"more")
    check("moved", b"<p>page</p>more")
    os.setxattr(m.join("moved"), "user.x", b"1")
    check("moved", b"<p>page</p>more")
    assert stat.S_IMODE(os.stat(m.join("moved")).st_mode) == 0o604


def test_create_sends_nothing_before_its_close(bucket, m):
    os.listdir(m.path)
    bucket.mark()
    fd = os.open(m.join("new"), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    os.write(fd, b"x")
    assert bucket.counts().PUT == 0 and os.listdir(m.path).count("new") == 1
    raises(errno.EEXIST, os.open, m.join("new"), os.O_CREAT | os.O_EXCL)
    os.close(fd)
    on_s3(m)
    assert bucket.bytes("new") == b"x" and bucket.counts().PUT == 1


def test_truncating_opens(bucket, m, at):
    os.close(os.open(at("dir", "a"), os.O_WRONLY | os.O_TRUNC))
    os.close(os.open(at("dir", "b"), os.O_RDONLY | os.O_TRUNC))
    os.truncate(at("big"), 5)
    os.truncate(at("web"), 5000)
    assert [os.path.getsize(m.join(n)) for n in ("dir/a", "dir/b", "big", "web")] == [0, 0, 5, 5000]
    on_s3(m)
    big = bucket.bytes("big")
    assert bucket.bytes("dir/a") == b"" == bucket.bytes("dir/b") and len(big) == 5
    assert bucket.bytes("web") == b"<p>page</p>" + bytes(4989)


def test_times(m, at):
    path = at("dir", "a")
    before = os.stat(path)
    with open(path, "rb") as f:
        f.read()
    assert os.stat(path).st_atime_ns == before.st_atime_ns, "a read moves no atime"
    os.utime(path, ns=(1_000_000_001, 2_000_000_002))
    st = os.stat(path)
    assert (st.st_atime_ns, st.st_mtime_ns) == (1_000_000_001, 2_000_000_002) and st.st_ctime > before.st_ctime
    with open(path, "ab") as f:
        f.write(b"x")
    assert abs(os.stat(path).st_mtime - time.time()) < 30
    os.utime(path, ns=(-5_000_000_001, 1 << 33))  # before 1970
    on_s3(m)
    st = os.stat(path)
    assert (st.st_atime_ns, st.st_mtime_ns) == (-5_000_000_001, 1 << 33)


def test_directories(bucket, m):
    """Implicit ones get their object when they are changed; parents keep their times."""
    parent = os.stat(m.path).st_mtime_ns
    raises(errno.ENOTEMPTY, os.rmdir, m.join("dir"))
    os.chmod(m.join("dir"), 0o711)
    os.mkdir(m.join("dir", "sub"), 0o700)
    os.unlink(m.join("dir", "a"))
    os.unlink(m.join("dir", "b"))
    assert os.stat(m.path).st_mtime_ns == parent
    on_s3(m)
    assert int(head(bucket, "dir/")["x-amz-meta-mode"]) & 0o7777 == 0o711
    assert os.listdir(m.join("dir")) == ["sub"] and stat.S_IMODE(os.stat(m.join("dir", "sub")).st_mode) == 0o700
    os.rmdir(m.join("dir", "sub"))
    os.rmdir(m.join("dir"))
    on_s3(m)
    assert not os.path.exists(bucket.path("dir"))


def test_renames(bucket, m, at):
    write(m.join("target"), b"old")
    os.rename(at("dir", "a"), m.join("target"))
    os.mkdir(m.join("empty"))
    os.rename(m.join("dir"), m.join("empty"))
    raises(errno.EISDIR, os.rename, m.join("target"), m.join("empty"))
    raises(errno.ENOTDIR, os.rename, m.join("empty"), m.join("target"))
    raises(errno.EINVAL, os.rename, m.join("empty"), m.join("empty", "inside"))
    on_s3(m)
    assert bucket.bytes("target") == b"aaa" and bucket.bytes("empty/b") == b"bbb" and not os.path.exists(bucket.path("dir"))


def test_xattrs(bucket, m, at):
    path = at("dir", "a")
    os.setxattr(path, "user.a", b"")
    os.setxattr(path, "user.b", bytes(range(256)), os.XATTR_CREATE)
    raises(errno.ENODATA, os.setxattr, path, "user.c", b"", os.XATTR_REPLACE)
    raises(errno.EEXIST, os.setxattr, path, "user.a", b"", os.XATTR_CREATE)
    os.setxattr(path, "system.posix_acl_access", USER_33)
    raises(errno.ENOSPC, os.setxattr, path, "user.large", bytes(3000))
    on_s3(m)
    assert os.getxattr(path, "user.a") == b"" and os.getxattr(path, "user.b") == bytes(range(256))
    assert os.getxattr(path, "system.posix_acl_access") == USER_33
    for name in ("user.a", "user.b", "system.posix_acl_access"):
        os.removexattr(path, name)
    raises(errno.ENODATA, os.removexattr, path, "user.a")
    on_s3(m)
    assert "x-amz-meta-xattr" not in head(bucket, "dir/a"), "removed when it is empty"


def test_without_use_xattr(bucket, mount):
    bucket.put("f", b"x", xattr="%7B%22user.a%22%3A%22YQ%3D%3D%22%7D")
    m = mount(bucket)
    raises(errno.EOPNOTSUPP, os.getxattr, m.join("f"), "user.a")
    raises(errno.EOPNOTSUPP, os.setxattr, m.join("f"), "user.a", b"1")
    with open(m.join("f"), "ab") as f:
        f.write(b"y")
    assert head(bucket, "f")["x-amz-meta-xattr"], "kept all the same"


def test_what_there_is_not(m):
    raises(errno.EOPNOTSUPP, os.link, m.join("dir/a"), m.join("hard"))
    st = os.statvfs(m.path)
    assert st.f_blocks * st.f_frsize >= 1 << 50 and st.f_bavail > 0
    assert os.stat(m.join("dir")).st_nlink >= 1 and os.stat(m.join("dir")).st_size == 4096


def test_bad_names(bucket, m):
    for name in ("line\nbreak", "carriage\rreturn", os.fsdecode(b"not utf-8 \xff\xfe"), "back\\slash", "tab\t", " lead", "trail ", "per%20cent", "plus+", "é\u0301", "*?[]{}"):
        write(m.join(name), os.fsencode(name))
        os.rename(m.join(name), m.join("x" + name))
        write(m.join(name), os.fsencode(name))
    for call in (os.mkdir, os.mkfifo, os.unlink, os.stat):
        raises(errno.ENAMETOOLONG, call, m.join("n" * 256))
    write(m.join("n" * 255), b"longest")
    raises(errno.ENOTDIR, os.stat, m.join("web", "below"))
    raises(errno.ENOTDIR, os.mkdir, m.join("web", "below"))
    raises(errno.EISDIR, os.open, m.join("dir"), os.O_WRONLY)
    assert os.path.exists(m.path + "//dir///a")
    on_s3(m)
    assert bucket.bytes("carriage\rreturn") == b"carriage\rreturn"
    with open(m.join(os.fsdecode(b"xnot utf-8 \xff\xfe")), "rb") as f:
        assert f.read() == b"not utf-8 \xff\xfe"
    assert bucket.bytes("n" * 255) == b"longest" and bucket.bytes("line\nbreak") == b"line\nbreak" == bucket.bytes("xline\nbreak")
    deep = m.path
    with pytest.raises(OSError) as caught:
        for _ in range(8):
            deep = os.path.join(deep, "d" * 200)
            os.mkdir(deep)
    assert caught.value.errno == errno.ENAMETOOLONG, "keys end at 1,024 bytes"


AS_USER = """
import os, sys
os.setgroups([1500]); os.setgid(1001); os.setuid(1001)
path, call = sys.argv[1:3]
try:
    exec(call)
except OSError as e:
    sys.exit(e.errno)
"""


def test_permissions(bucket, mount):
    """Checked by the kernel, for every user but root; supplementary groups count."""
    m = mount(bucket, allow_other=True, mp_umask="000")
    write(m.join("f"), b"x")
    os.chown(m.join("f"), 2000, 1500)
    parent = os.path.dirname(m.path)
    while parent != "/":  # the tests' own folders are closed to others
        os.chmod(parent, os.stat(parent).st_mode | 0o001)
        parent = os.path.dirname(parent)

    def as_user(mode, call):
        os.chmod(m.join("f"), mode)
        return subprocess.run([sys.executable, "-c", AS_USER, m.join("f"), call]).returncode
    assert as_user(0o640, "open(path).read()") == 0, "by a supplementary group"
    assert as_user(0o600, "open(path).read()") == errno.EACCES
    assert as_user(0o640, "open(path, 'a')") == errno.EACCES
    assert as_user(0o660, "open(path, 'a').close()") == 0
    assert as_user(0o666, "os.chmod(path, 0)") == errno.EPERM
    assert as_user(0o666, "os.chown(path, 1001, -1)") == errno.EPERM
    assert as_user(0o666, "os.utime(path)") == 0
    assert as_user(0o644, "os.utime(path)") == errno.EACCES


def test_others_changes_are_seen_past_the_ttl(bucket, mount):
    bucket.put("f", b"one")
    m = mount(bucket, stat_cache_expire=1)
    assert open(m.join("f")).read() == "one" and not os.path.exists(m.join("g"))
    bucket.put("f", b"two!", mode="33152")
    bucket.put("g", b"new")
    wait_for(lambda: open(m.join("f")).read() == "two!" and os.path.exists(m.join("g")), 15, "the new objects", 0.05)
    assert stat.S_IMODE(os.stat(m.join("f")).st_mode) == 0o600
    bucket.server.client.delete(bucket.name, "g")
    wait_for(lambda: not os.path.exists(m.join("g")), 15, "the name to go", 0.05)
