"""An object replaced, evicted or removed while it is open: a handle never shows a mix of two versions.

Every pair of (old handle, new handle) in read, mmap, O_DIRECT, for each event, with and without passthrough.
"""
import os
import threading
import time

import pytest
from lib.load import read_whole
from lib.reader import KINDS, Reader
from lib.s3server import wait_for

OLD = time.time() - 3600
MIB = 1 << 20
PAGE = 4096


def version(tag, size):
    """Bytes in which every 4 KiB page names its version and its place."""
    pages = (b"%-16s%016d" % (tag, i) + bytes([tag[0]]) * (PAGE - 32) for i in range(-(-size // PAGE)))
    return b"".join(pages)[:size]


def place_fillers(bucket, limit):
    """Two and a half caches of data; read, they push out what was there."""
    body = os.urandom(MIB)
    for i in range(5 * limit // (2 * MIB)):
        bucket.place(f"filler/{i}", body, mtime=OLD, etag=f"{i:032x}")


def evict(m):
    for name in os.listdir(m.join("filler")):
        read_whole(m.join("filler", name))


@pytest.mark.parametrize("passthrough", [True, False], ids=["passthrough", "daemon"])
@pytest.mark.parametrize("event", ["replaced", "grown", "shrunk", "evicted", "unlinked"])
@pytest.mark.parametrize("new_kind", KINDS)
@pytest.mark.parametrize("old_kind", KINDS)
def test_open_handle(bucket, mount, old_kind, new_kind, event, passthrough):
    limit = 64 * MIB  # the least there is
    old = version(b"old", MIB + 123)
    new = version(b"new", {"grown": MIB + 70_000, "shrunk": MIB - 70_000}.get(event, len(old)))
    bucket.place("dir/f", old, mtime=OLD)
    if event == "evicted":
        place_fillers(bucket, limit)
    m = mount(bucket, stat_cache_expire=1, cache_size=limit, nopassthrough=None if passthrough else True)
    path = m.join("dir/f")
    with Reader(old_kind, path) as handle:
        assert handle.read() == old
        after = None  # what a fresh open must come to show
        if event == "evicted":
            evict(m)
            after = old
        elif event == "unlinked":
            os.unlink(bucket.path("dir/f"))
        else:
            bucket.place("dir/f", new)
            after = new
        assert handle.read() == old, "the old handle"
        seen = []

        def look():
            with Reader(new_kind, path) as fresh:
                seen.append(fresh.error or fresh.read())
            assert seen[-1] in (old, new, "errno 2") or str(seen[-1]) == "errno 116", "a mix or a strange error"
            return seen[-1] == (after or "errno 2")
        if new_kind == "direct" and event in ("replaced", "grown", "shrunk"):
            assert look(), "O_DIRECT sees the new version at once"
        else:
            wait_for(look, 10, "the new state behind the TTL", 0.1)
        assert handle.read() == old, "the old handle, after a new one"
        with Reader(new_kind, path) as fresh:
            assert (fresh.error or fresh.read()) == (after or "errno 2")
    assert m.alive()


@pytest.mark.parametrize("passthrough", [True, False], ids=["passthrough", "daemon"])
def test_replaced_under_a_handle_that_read_a_part(bucket, mount, passthrough):
    size = 24 * MIB
    old, new = version(b"old", size), version(b"new", size)
    bucket.place("f", old, mtime=OLD)
    m = mount(bucket, stat_cache_expire=1, nopassthrough=None if passthrough else True)
    fd = os.open(m.join("f"), os.O_RDONLY)
    assert os.pread(fd, 64 * 1024, 0) == old[:64 * 1024]
    bucket.place("f", new)
    errors = 0
    for offset in range(0, size, MIB):
        try:
            assert os.pread(fd, MIB, offset) == old[offset:offset + MIB], "a new byte in an old handle"
        except OSError:
            errors += 1
    print(f"{errors} of {size // MIB} reads were refused")
    with Reader("direct", m.join("f")) as fresh:
        assert fresh.read() == new
    os.close(fd)


def test_replaced_in_the_middle_of_a_read(bucket, mount, proxy):
    size = 24 * MIB
    old, new = version(b"old", size), version(b"new", size)
    bucket.place("f", old, mtime=OLD)
    m = mount(bucket, url=proxy.url, stat_cache_expire=1)
    proxy.toxic("bandwidth", rate=24 * 1024)
    result = []

    def read():
        try:
            with open(m.join("f"), "rb", buffering=0) as f:
                got = b""
                while chunk := f.read(256 * 1024):
                    got += chunk
            result.append(got)
        except OSError as e:
            result.append(e)
    t = threading.Thread(target=read)
    t.start()
    wait_for(lambda: any(r.op == "GetObject" for r in bucket.requests()), 10, "the read to begin")
    bucket.place("f", new)
    t.join()
    assert isinstance(result[0], OSError) or result[0] == old or result[0] == new, "a mix of two versions"
    with Reader("direct", m.join("f")) as fresh:
        assert fresh.read() == new


def test_many_versions_in_a_row(bucket, mount):
    """A reader by name never sees a mix, and sees every last version within the TTL."""
    m = mount(bucket, stat_cache_expire=1)
    for i in range(6):
        body = version(b"v%d" % i, 700_000 + i * 5000)
        bucket.place("f", body, mtime=OLD + i)

        def current():
            with open(m.join("f"), "rb") as f:
                got = f.read()
            tags = {got[o:o + 2] for o in range(0, len(got), PAGE)}
            assert len(tags) == 1, f"a mix: {tags}"
            return got == body
        wait_for(current, 10, f"version {i}", 0.05)


def test_metadata_only_change(bucket, mount):
    """Same bytes, new LastModified and mode: attributes change, the cached bytes stay."""
    bucket.put("f", b"x" * 100_000, mode=0o100600)
    m = mount(bucket, stat_cache_expire=1)
    assert read_whole(m.join("f")) == 100_000
    made = time.time()
    wait_for(lambda: time.time() > made + 2.1, 5, "another second of LastModified", 0.05)
    bucket.put("f", b"x" * 100_000, mode=0o100640)
    wait_for(lambda: os.stat(m.join("f")).st_mode & 0o777 == 0o640, 10, "the new mode", 0.1)
    bucket.mark()
    assert read_whole(m.join("f")) == 100_000
    assert bucket.counts().GET == 0, bucket.counts()


def test_file_becomes_directory_and_back(bucket, mount):
    bucket.place("x", b"file")
    m = mount(bucket, stat_cache_expire=1)
    assert open(m.join("x"), "rb").read() == b"file"
    os.unlink(bucket.path("x"))
    bucket.place("x/inner", b"inner")

    def is_dir():
        try:
            return open(m.join("x/inner"), "rb").read() == b"inner"
        except OSError:
            return False
    wait_for(is_dir, 10, "the directory", 0.1)
    os.unlink(bucket.path("x/inner"))
    os.rmdir(bucket.path("x"))
    bucket.place("x", b"again")

    def is_file():
        try:
            return open(m.join("x"), "rb").read() == b"again"
        except OSError:
            return False
    wait_for(is_file, 10, "the file again", 0.1)
