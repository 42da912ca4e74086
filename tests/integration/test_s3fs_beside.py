"""Beside Debian's s3fs on one bucket, in both directions: what either writes, the other shows the same.

ON_PURPOSE is the whole list of what may differ; s3cache(7), "Beside s3fs", has it for users.
"""
import os
import random
import shutil
import stat
import time

import pytest
from lib.s3server import wait_for
from lib.trees import MTIME, build, differences, snapshot, write

pytestmark = pytest.mark.deadline(120)
BIG = random.Random(7).randbytes((11 << 20) + 12345)

# field -> why it differs: (what s3fs shows, what s3cache shows) follow from it.
ON_PURPOSE = {
    "device": "s3fs keeps no device number and shows 0,0; s3cache keeps it in x-amz-meta-rdev",
}
# Headers of the objects that the same operations leave. Times differ by nature and are checked apart.
HEADERS_ON_PURPOSE = {
    "x-amz-meta-rdev": "a device's number, which s3fs does not keep",
    "x-amz-meta-atime": "time",
    "x-amz-meta-mtime": "time",
    "x-amz-meta-ctime": "time",
}


@pytest.fixture
def s3fs(mount):
    """s3fs on a bucket, with everything on that s3cache has by default (multi-part from 5 MiB, no negative cache)."""
    if not shutil.which("s3fs"):
        pytest.skip("no s3fs here: scripts/deps --test installs it")

    def start(bucket, **options):
        return mount(bucket, program="s3fs", use_cache=None, use_xattr=True, multipart_size=5, dbglevel="warn", **options)
    return start


@pytest.fixture(params=["default", "writeback"])
def ours(request, mount):
    def start(bucket, **options):
        return mount(bucket, use_xattr=True, multipart_size=5, writeback=request.param == "writeback", **options)
    return start


def unexpected(found):
    return [d for d in found if d[1] not in ON_PURPOSE]


def headers_of(bucket):
    """Key -> the headers that an object of its own has, for every key."""
    keys = []
    for where, dirs, files in os.walk(bucket.dir):
        if ".sgwtmp" in dirs:
            dirs.remove(".sgwtmp")
        keys += [os.path.relpath(os.path.join(where, d), bucket.dir) + "/" for d in dirs]
        keys += [os.path.relpath(os.path.join(where, f), bucket.dir) for f in files]
    out = {}
    for key in keys:
        head = bucket.server.client.head(bucket.name, key)
        out[key] = {k: v for k, v in head.items() if k.startswith("x-amz-meta-") or k in ("content-type", "content-length")}
        if key.endswith("/"):  # mkdir writes no type bits, s3fs's chmod and rename do; both read both
            out[key]["x-amz-meta-mode"] = int(out[key]["x-amz-meta-mode"]) & 0o7777
    return out


def test_what_s3fs_writes_we_show(bucket, s3fs, ours):
    theirs = s3fs(bucket)
    build(theirs.path, BIG)
    theirs.remount()  # what it shows from the bucket, not from its memory
    want = snapshot(theirs.path)
    m = ours(bucket)
    assert unexpected(differences(want, snapshot(m.path))) == []
    assert os.stat(m.join("dir/file")).st_mtime_ns == MTIME
    assert unexpected(differences(want, snapshot(m.path))) == [], "from the warm cache"
    m.remount()
    assert unexpected(differences(want, snapshot(m.path))) == [], "after a remount"


def test_what_we_write_s3fs_shows(bucket, s3fs, ours):
    m = ours(bucket)
    build(m.path, BIG)
    want = snapshot(m.path)
    m.unmount()
    theirs = s3fs(bucket)
    shown = snapshot(theirs.path)
    found = differences(shown, want)
    assert unexpected(found) == []
    assert {(name, left) for name, _, left, _ in found} == {("null", "(0, 0)"), ("disk", "(0, 0)")}
    assert shown["dir/file"]["mtime"] == MTIME
    m.start()
    assert differences(snapshot(m.path), want) == [], "and so do we, after a remount"
    m.remount(del_cache=True)
    assert differences(snapshot(m.path), want) == [], "and with an empty cache"


def test_the_same_operations_leave_the_same_objects(bucket, server, s3fs, ours):
    other = server.create_bucket(bucket.name + "-s3fs")
    try:
        m, theirs = ours(bucket), s3fs(other)
        build(m.path, BIG)
        build(theirs.path, BIG)
        m.unmount()
        theirs.unmount()
        mine, s3fss = headers_of(bucket), headers_of(other)
        assert sorted(mine) == sorted(s3fss)
        for key, headers in mine.items():
            if key.endswith("/") or not os.path.isfile(bucket.path(key)):
                continue
            assert bucket.bytes(key) == other.bytes(key), key
        found = [d for d in differences(s3fss, mine) if d[1] not in HEADERS_ON_PURPOSE]
        assert found == []
        for key, headers in mine.items():
            for name in ("atime", "mtime", "ctime"):
                whole, _, fraction = headers["x-amz-meta-" + name].partition(".")
                assert whole.isdigit() and len(fraction) == 9 and fraction.isdigit(), (key, headers)
        assert mine["dir/file"]["x-amz-meta-mtime"] == s3fss["dir/file"]["x-amz-meta-mtime"]
    finally:
        other.remove()


def change_everything(root):
    """Changes to a tree of build(): each kind once, on objects that the other program made."""
    def at(*names):
        return os.path.join(root, *names)
    with open(at("dir", "file"), "ab") as f:
        f.write(b"appended")
    with open(at("big"), "r+b") as f:
        f.seek(3_000_000)
        f.write(b"in the middle")
    os.truncate(at("page.html"), 3)
    os.truncate(at("no_extension"), 100)
    os.chmod(at("archive.tar.gz"), 0o600)
    os.chown(at("dir", "sub", "deep"), 5, 6)
    os.setxattr(at("UPPER.JPG"), "user.new", b"n")
    os.removexattr(at("dir", "file"), "user.text")
    os.utime(at("dir", "moved to.html"), ns=(1, 2_000_000_003))
    os.rename(at("link"), at("dir", "link"))
    os.rename(at("new dir"), at("dir", "newer dir"))
    os.rename(at("empty"), at("sp ace+%41&<>'\"é\u4e2d"))
    os.unlink(at("fifo"))
    os.rmdir(at("empty dir"))
    os.chmod(at("dir", "sub"), 0o700)
    write(at("dir", "sub", "new"), b"new")
    os.rename(at("null"), at("nothing"))
    os.symlink("x" * 300, at("dir", "long link"))


@pytest.mark.parametrize("writer", ["s3fs", "s3cache"])
def test_changes_to_the_others_objects(bucket, s3fs, ours, writer):
    theirs, m = s3fs(bucket), ours(bucket)
    first, second = (m, theirs) if writer == "s3fs" else (theirs, m)
    build(first.path, BIG)
    first.unmount()
    second.remount()
    change_everything(second.path)
    want = snapshot(second.path)
    assert want["big"]["bytes"][3_000_000:3_000_013] == b"in the middle" and len(want["big"]["bytes"]) == len(BIG)
    assert want["dir/file"]["bytes"].endswith(b"text\nappended")
    second.unmount()
    first.remount(del_cache=True)  # what it knew is good for stat_cache_expire
    found = unexpected(differences(want, snapshot(first.path)))
    assert found == [], found
    second.start()
    assert unexpected(differences(want, snapshot(second.path))) == [], "the writer, after a remount"


def test_both_at_once(bucket, s3fs, ours):
    """Each sees the other's changes once what it knew is older than stat_cache_expire."""
    m, theirs = ours(bucket, stat_cache_expire=1), s3fs(bucket, stat_cache_expire=1)
    pairs = [(m, theirs), (theirs, m)]
    for n, (writer, reader) in enumerate(pairs):
        assert not os.path.exists(reader.join(f"f{n}"))
        for text in (b"first", b"second, longer"):
            write(writer.join(f"f{n}"), text)

            def seen():
                try:
                    with open(reader.join(f"f{n}"), "rb") as f:
                        return f.read() == text
                except FileNotFoundError:
                    return False
            wait_for(seen, 15, "the other's bytes", 0.05)
            # s3fs takes the same second and size for the same object.
            time.sleep(1.1 if reader is theirs else 0)
        os.chmod(writer.join(f"f{n}"), 0o611)
        wait_for(lambda: stat.S_IMODE(os.stat(reader.join(f"f{n}")).st_mode) == 0o611, 15, "the other's mode", 0.05)
        os.rename(writer.join(f"f{n}"), writer.join(f"g{n}"))
        wait_for(lambda: f"g{n}" in os.listdir(reader.path) and f"f{n}" not in os.listdir(reader.path), 15, "the new name",
                 0.05)
        os.unlink(writer.join(f"g{n}"))
        wait_for(lambda: not os.path.exists(reader.join(f"g{n}")), 15, "the name to go", 0.05)


# Objects as other tools leave them: key -> (body, headers). s3fs and s3cache show all of them alike but for READ_ON_PURPOSE.
FOREIGN = {
    "plain": (b"no headers", {}),
    "slash/": (b"", {}),
    "typed slash/": (b"", {"content-type": "application/x-directory"}),
    "implicit/child/x": (b"x", {}),
    "s3sync": (b"x", {"x-amz-meta-permissions": "33152", "x-amz-meta-owner": "11", "x-amz-meta-group": "12"}),
    "goog": (b"x", {"x-amz-meta-goog-reserved-posix-mode": "100600", "x-amz-meta-goog-reserved-posix-uid": "21",
                    "x-amz-meta-goog-reserved-posix-gid": "22", "x-amz-meta-goog-reserved-file-mtime": "1400000000"}),
    "both": (b"x", {"x-amz-meta-mode": "33184", "x-amz-meta-permissions": "33152", "x-amz-meta-uid": "1",
                    "x-amz-meta-owner": "2"}),
    "untyped mode": (b"x", {"x-amz-meta-mode": "416"}),
    "mode zero": (b"x", {"x-amz-meta-mode": "32768"}),
    "dir by bits/": (b"", {"x-amz-meta-mode": "16877", "x-amz-meta-uid": "7", "x-amz-meta-gid": "8"}),
    "dir without bits/": (b"", {"x-amz-meta-mode": "493"}),
    "hex owner": (b"x", {"x-amz-meta-uid": "0x10", "x-amz-meta-gid": "010"}),
    "seconds": (b"x", {"x-amz-meta-mtime": "1400000001"}),
    "nanoseconds": (b"x", {"x-amz-meta-mtime": "1400000001.000000007"}),
    "xattr": (b"x", {"x-amz-meta-xattr": "%7B%22user.a%22%3A%22YQ%3D%3D%22%2C%22user.b%22%3A%22Yg%3D%3D%22%7D"}),
    "web.html": (b"<p>", {"content-type": "text/css", "cache-control": "max-age=60", "x-amz-meta-other": "kept"}),
}
READ_ON_PURPOSE = {
    ("implicit", "mtime"): "a directory without an object is of 1970-01-01 00:00:00; Debian's s3fs shows a second less",
    ("implicit/child", "mtime"): "the same",
    ("mode zero", "mode"): "0400, as s3fs shows it since 1.91; Debian's shows 0",
}


def place_foreign(bucket):
    for key, (body, headers) in FOREIGN.items():
        bucket.server.client.request("PUT", bucket.name, key, headers=headers, body=body)


def test_objects_of_other_tools(bucket, s3fs, ours):
    place_foreign(bucket)
    theirs, m = s3fs(bucket), ours(bucket)
    want = snapshot(theirs.path)
    assert {k.rstrip("/") for k in FOREIGN} <= set(want)
    for state in ("cold", "warm", "remounted"):
        if state == "remounted":
            m.remount()
        found = [d for d in differences(want, snapshot(m.path)) if d[:2] not in READ_ON_PURPOSE]
        assert found == [], (state, found)


def test_headers_by_rules(server, bucket, s3fs, ours, work):
    """ahbe_conf: the same file, the same headers."""
    rules = os.path.join(work, "rules")
    write(rules, b"# of both\n Cache-Control no-cache\n.gz Content-Encoding gzip\n"
                 b"reg:^/d/.*\\.(js|css)$ Cache-Control max-age=60\n")
    seen = []
    for start in (s3fs, ours):
        of_one = server.create_bucket(f"{bucket.name}-{len(seen)}")
        m = start(of_one, ahbe_conf=rules)
        os.mkdir(m.join("d"))
        for name in ("a.gz", "d/page.css", "plain"):
            write(m.join(name), b"text")
        write(m.join("d/big.js"), BIG)
        os.chmod(m.join("plain"), 0o600)
        m.unmount()
        seen.append({key: {h: head.get(h) for h in ("cache-control", "content-encoding")}
                     for key in ("a.gz", "d/page.css", "d/big.js", "plain")
                     for head in [server.client.head(of_one.name, key)]})
    assert seen[0] == seen[1]
    assert seen[1]["a.gz"]["content-encoding"] == "gzip" and seen[1]["d/big.js"]["cache-control"] == "max-age=60"
