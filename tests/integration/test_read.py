"""Reading: names, sizes, bytes, attributes, against the server's own files."""
import hashlib
import mmap
import os
import random
import stat
import unicodedata

import pytest
from lib.s3server import wait_for


def tree(root):
    """{relative path: size or None for a directory} of a whole tree."""
    out = {}
    for where, dirs, files in os.walk(root):
        dirs[:] = [d for d in dirs if d != ".sgwtmp"]
        for name in dirs:
            out[os.path.relpath(os.path.join(where, name), root)] = None
        for name in files:
            path = os.path.join(where, name)
            out[os.path.relpath(path, root)] = os.stat(path).st_size
    return out


def test_tree_matches_the_server(bucket, mount):
    for key, size in {"a": 1, "dir/b": 4096, "dir/sub/c": 4097, "dir/sub/d": 0, "z/deep/er/e": 1 << 20}.items():
        bucket.place(key, size=size)
    m = mount(bucket)
    assert tree(m.path) == tree(bucket.dir)
    for key in ("a", "dir/b", "dir/sub/c", "dir/sub/d", "z/deep/er/e"):
        with open(m.join(key), "rb") as f:
            assert f.read() == bucket.bytes(key), key
    with pytest.raises(FileNotFoundError):
        os.stat(m.join("dir/nothing"))
    with pytest.raises(NotADirectoryError):
        os.stat(m.join("a/b"))
    with pytest.raises(IsADirectoryError):
        open(m.join("dir"), "rb")


def test_stat_of_file_and_directory(bucket, mount):
    bucket.place("dir/f", size=12345, mtime=1_600_000_000)
    m = mount(bucket)
    st = os.stat(m.join("dir/f"))
    assert stat.S_ISREG(st.st_mode) and st.st_size == 12345 and int(st.st_mtime) == 1_600_000_000
    assert st.st_blocks * 512 >= 12345
    assert stat.S_ISDIR(os.stat(m.join("dir")).st_mode)
    assert os.stat(m.join("dir/f")).st_ino == st.st_ino != os.stat(m.join("dir")).st_ino
    assert os.statvfs(m.path).f_bavail > 0


def test_big_file_sequential_and_random(bucket, mount):
    size = (64 << 20) + 12345
    bucket.place("big", size=size)
    want = bucket.bytes("big")
    m = mount(bucket)
    with open(m.join("big"), "rb") as f:
        assert hashlib.sha256(f.read()).digest() == hashlib.sha256(want).digest()
    m.unmount()
    seed = random.randrange(1 << 32)
    print("seed", seed)
    rng = random.Random(seed)
    m.remount(use_cache=m.options["use_cache"] + "-second")
    fd = os.open(m.join("big"), os.O_RDONLY)
    try:
        for _ in range(400):
            length = rng.choice([1, 100, 4096, 5000, 131072, 1 << 20])
            offset = rng.choice([rng.randrange(size), rng.randrange(size) & ~4095, max(0, size - rng.randrange(10000))])
            assert os.pread(fd, length, offset) == want[offset:offset + length], (seed, offset, length)
        assert os.pread(fd, 10, size) == b"" and os.pread(fd, 10, size - 3) == want[-3:]
    finally:
        os.close(fd)


@pytest.mark.parametrize("passthrough", [True, False])
def test_mmap(bucket, mount, passthrough):
    size = (8 << 20) + 777
    bucket.place("m", size=size)
    want = bucket.bytes("m")
    m = mount(bucket, nopassthrough=None if passthrough else True)
    for _ in range(2):  # cold, then over a sealed cache file
        with open(m.join("m"), "rb") as f, mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ) as view:
            for offset in (size - 10, 0, 4 << 20, 12345):
                assert view[offset:offset + 5000] == want[offset:offset + 5000]
            assert view[:] == want


def test_attributes_from_s3fs_headers(bucket, mount):
    bucket.put("f", b"x", mode=0o100640, uid=1234, gid=2345, mtime="1600000000.123456789", ctime="1600000001.5",
               atime="1600000002.25")
    bucket.put("exec", b"#!/bin/sh\n", mode=0o100755)
    bucket.put("d/", b"", mode=0o040711, uid=7, gid=8, mtime="1500000000")
    bucket.put("fifo", b"", mode=0o010644)
    m = mount(bucket)
    st = os.stat(m.join("f"))
    assert (oct(st.st_mode), st.st_uid, st.st_gid, st.st_size) == (oct(0o100640), 1234, 2345, 1)
    assert st.st_mtime_ns == 1_600_000_000_123_456_789
    assert os.stat(m.join("exec")).st_mode & 0o777 == 0o755
    d = os.stat(m.join("d"))
    assert (oct(d.st_mode), d.st_uid, d.st_gid, int(d.st_mtime)) == (oct(0o040711), 7, 8, 1_500_000_000)
    assert stat.S_ISFIFO(os.stat(m.join("fifo")).st_mode)


def test_symlinks(bucket, mount):
    bucket.put("link", b"target/file", mode=0o120777)
    bucket.place("target/file", b"through the link")
    bucket.put("dangling", b"nowhere", mode=0o120777)
    m = mount(bucket)
    assert os.readlink(m.join("link")) == "target/file"
    assert open(m.join("link"), "rb").read() == b"through the link"
    assert os.path.islink(m.join("dangling")) and not os.path.exists(m.join("dangling"))
    os.listdir(m.path)
    assert {e.name for e in os.scandir(m.path) if e.is_symlink()} == {"link", "dangling"}


@pytest.mark.parametrize("name", [
    "with space", "plus+sign", "per%cent %41", "ünïcödé", unicodedata.normalize("NFD", "é"), "日本語", "new\nline",
    "tab\there", "quote'\"`", "back\\slash", "a&b<c>d", "hash#?query=1", "-dash", "~tilde", "x" * 255,
    "ä" * 127, ".hidden", "semi;colon:", "[brackets]{}|^", "trailing ", "..dots..", "$dollar"])
def test_odd_names(bucket, mount, name):
    body = name.encode() * 3
    bucket.place("plain/" + name, body)
    bucket.place(name + "-dir/" + "inside" if len(name.encode()) < 240 else "other/inside", b"in")
    m = mount(bucket)
    assert open(m.join("plain", name), "rb").read() == body      # before it was ever listed
    assert os.listdir(m.join("plain")) == [name]
    assert set(os.listdir(m.path)) == set(os.listdir(bucket.dir)) - {".sgwtmp"}
    assert os.stat(m.join("plain", name)).st_size == len(body)


def test_prefix_mount(bucket, mount):
    bucket.place("top/inner/f", b"inner")
    bucket.place("top/other", b"other")
    bucket.place("topping", b"no")
    m = mount(bucket, prefix="/top")
    assert sorted(os.listdir(m.path)) == ["inner", "other"]
    assert open(m.join("inner/f"), "rb").read() == b"inner"


def test_directory_objects(bucket, mount):
    bucket.put("made/", b"")
    bucket.place("made/child", b"c")
    bucket.place("implicit/child", b"c")
    bucket.put("empty/", b"")
    m = mount(bucket)
    assert sorted(os.listdir(m.path)) == ["empty", "implicit", "made"]
    assert os.listdir(m.join("empty")) == []
    assert os.listdir(m.join("made")) == ["child"] and os.listdir(m.join("implicit")) == ["child"]


def test_ro_refuses_every_change(bucket, mount):
    bucket.place("f", b"x")
    bucket.place("d/g", b"y")
    m = mount(bucket, ro=True)
    import errno
    for attempt in (lambda: open(m.join("f"), "wb"), lambda: open(m.join("new"), "wb"), lambda: os.unlink(m.join("f")),
                    lambda: os.mkdir(m.join("n")), lambda: os.rmdir(m.join("d")), lambda: os.rename(m.join("f"), m.join("g")),
                    lambda: os.symlink("a", m.join("l")), lambda: os.chmod(m.join("f"), 0o600),
                    lambda: os.truncate(m.join("f"), 0), lambda: os.link(m.join("f"), m.join("h"))):
        with pytest.raises(OSError) as e:
            attempt()
        assert e.value.errno in (errno.EROFS, errno.EPERM, errno.EOPNOTSUPP), e.value
    assert open(m.join("f"), "rb").read() == b"x"


def test_xattrs_of_the_cache(bucket, mount):
    etag = bucket.put("f", b"z" * 10000)
    m = mount(bucket, use_xattr=True)
    open(m.join("f"), "rb").read()
    assert os.getxattr(m.join("f"), "user.s3cache.etag").decode().strip('"') == etag
    wait_for(lambda: os.getxattr(m.join("f"), "user.s3cache.cached_bytes") == b"10000", 5, "the bytes on the disk")


def test_readdir_twice_and_concurrently(bucket, mount):
    import concurrent.futures
    keys = bucket.place_many("d/", 2500, 10)
    m = mount(bucket)
    want = sorted(k[2:] for k in keys)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for names in pool.map(lambda _: os.listdir(m.join("d")), range(16)):
            assert sorted(names) == want and len(set(names)) == len(names)
