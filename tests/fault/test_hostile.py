"""A server that lies: never a crash, a hang, memory without bound, or wrong bytes, now or from the cache later."""
import os
import threading
import time

import pytest
from hostile import HostileS3, Reply

MIB = 1 << 20
FAST = {"readwrite_timeout": 3, "connect_timeout": 3, "retries": 1}


@pytest.fixture
def hostile():
    s = HostileS3()
    yield s
    s.close()


@pytest.fixture
def attack(hostile, mount, work):
    """attack(**options): mounts the hostile server, with memory watched."""
    passwd = os.path.join(work, "passwd")
    with open(os.open(passwd, os.O_CREAT | os.O_WRONLY, 0o600), "w") as f:
        f.write("ANYKEY:anysecret\n")
    made = []

    def start(**options):
        m = mount("hostile", url=hostile.url, passwd_file=passwd, **{**FAST, **options})
        made.append((m, m.meter.start()))
        return m
    yield start
    for m, meter in made:
        assert m.alive(), f"the daemon died with {m.process.returncode}"
        assert meter.stop() < 400 * MIB, "memory"


def attempt(path):
    """The bytes, or the OSError."""
    try:
        with open(path, "rb") as f:
            return f.read()
    except OSError as e:
        return e


def then_honest(hostile, m, key, want):
    """After the fault is gone the right bytes come, and nothing wrong was kept."""
    hostile.hook = None
    for _ in range(2):
        end = time.monotonic() + 20
        while True:
            got = attempt(m.join(key))
            if got == want:
                break
            assert isinstance(got, OSError), f"wrong bytes for {key}"
            assert time.monotonic() < end, got
            time.sleep(0.05)
        m.remount()


def bad_body(kind, plain):
    """A GET's answer damaged in one way."""
    body, headers = plain.body, dict(plain.headers)
    if kind == "short":
        return Reply(plain.status, headers, body[:len(body) // 2], content_length=len(body))
    if kind == "short but honest length":
        return Reply(plain.status, headers, body[:len(body) // 2])
    if kind == "long":
        return Reply(plain.status, headers, body + b"EXTRA" * 5000)
    if kind == "endless":
        return Reply(plain.status, headers, body, endless=b"E" * 65536)
    if kind == "empty":
        return Reply(plain.status, headers, b"")
    if kind == "wrong content-range" and "Content-Range" in headers:
        headers["Content-Range"] = "bytes 7-99/1234567"
    if kind == "shifted content-range" and "Content-Range" in headers:
        span, _, size = headers["Content-Range"].removeprefix("bytes ").partition("/")
        begin, end = map(int, span.split("-"))
        headers["Content-Range"] = f"bytes {begin + 4096}-{end + 4096}/{size}"
    if kind == "garbage content-range":
        headers["Content-Range"] = "bytes 18446744073709551615-0/-5"
    if kind == "other size in content-range" and "Content-Range" in headers:
        headers["Content-Range"] = headers["Content-Range"].split("/")[0] + "/99"
    if kind == "200 with an error body":
        return Reply(200, {"Content-Type": "application/xml"}, b"<Error><Code>SlowDown</Code><Message>x</Message></Error>")
    if kind == "html":
        return Reply(200, {"Content-Type": "text/html"}, b"<html>proxy says no</html>" * 10)
    if kind == "other etag":
        headers["ETag"] = '"00000000000000000000000000000000"'
    return Reply(plain.status, headers, body)


BODIES = ["short", "short but honest length", "long", "endless", "empty", "wrong content-range", "shifted content-range",
          "garbage content-range", "other size in content-range", "200 with an error body", "html", "other etag"]


@pytest.mark.parametrize("size", [50_000, 5 * MIB + 77], ids=["small", "large"])
@pytest.mark.parametrize("kind", BODIES)
def test_bad_get(hostile, attack, kind, size):
    want = os.urandom(size)
    hostile.put("d/f", want)
    m = attack()
    hostile.hook = lambda r: bad_body(kind, hostile.plain(r)) if r.op == "GET" else None
    got = attempt(m.join("d/f"))
    assert isinstance(got, OSError) or got == want, f"wrong bytes ({len(got)} of {size})"
    then_honest(hostile, m, "d/f", want)


def test_range_ignored(hostile, attack):
    """200 with the whole object instead of 206: slow, but right."""
    want = os.urandom(3 * MIB)
    hostile.put("f", want)
    m = attack()
    hostile.hook = lambda r: Reply(200, {"ETag": f'"{hostile.objects["f"].etag}"'}, want) if r.op == "GET" else None
    got = attempt(m.join("f"))
    assert isinstance(got, OSError) or got == want
    then_honest(hostile, m, "f", want)


def test_etag_changes_on_every_request(hostile, attack):
    size = 3 * MIB
    hostile.put("f", os.urandom(size))
    want = hostile.objects["f"].body
    serial = [0]

    def change(r):
        serial[0] += 1
        hostile.put("f", bytes([serial[0] % 256]) * size, modified=int(time.time()), etag=f"{serial[0]:032x}")
    m = attack(stat_cache_expire=0)
    hostile.hook = change
    for _ in range(5):
        got = attempt(m.join("f"))
        assert isinstance(got, OSError) or len(set(got)) == 1, "a mix of versions"
    hostile.hook = None
    hostile.put("f", want, modified=int(time.time()))
    then_honest(hostile, m, "f", want)


@pytest.mark.parametrize("cut", [0, 1, 40, 300, 700, -1])
def test_truncated_listing(hostile, attack, cut):
    for i in range(5):
        hostile.put(f"d/f{i}", b"x" * 5000)
    m = attack()

    def hook(r):
        if r.op == "LIST" and r.query.get("prefix", "").startswith("d"):
            return Reply(200, {"Content-Type": "application/xml"}, hostile.listing(r.query)[:cut])
    hostile.hook = hook
    try:
        names = os.listdir(m.join("d"))
        assert sorted(names) == [f"f{i}" for i in range(5)], "a part of a listing passed for the whole"
    except OSError:
        pass
    hostile.hook = None
    end = time.monotonic() + 20
    while True:
        try:
            assert sorted(os.listdir(m.join("d"))) == [f"f{i}" for i in range(5)]
            break
        except OSError:
            assert time.monotonic() < end
            time.sleep(0.05)


@pytest.mark.parametrize("filler", [b"<Contents>", b"<Contents><Key>a</Key></Contents>", b"A" * 65536, b"&amp;" * 1000],
                         ids=["open tags", "entries", "text", "entities"])
def test_endless_listing(hostile, attack, filler):
    hostile.put("d/f", b"x")
    m = attack()
    head = b'<?xml version="1.0"?><ListBucketResult><IsTruncated>false</IsTruncated>'
    hostile.hook = lambda r: Reply(200, {}, head, endless=filler * (65536 // len(filler) + 1)) if r.op == "LIST" else None
    with pytest.raises(OSError):
        os.listdir(m.join("d"))


def test_entity_bomb(hostile, attack):
    hostile.put("d/f", b"x")
    m = attack()
    levels = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 10))
    bomb = f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY l0 "lol">{levels}]><ListBucketResult><Prefix>&l9;</Prefix></ListBucketResult>'
    hostile.hook = lambda r: Reply(200, {}, bomb.encode()) if r.op == "LIST" else None
    try:
        os.listdir(m.join("d"))
    except OSError:
        pass


def test_listing_pages_without_end(hostile, attack):
    """IsTruncated with the same token for ever: an error, not a loop."""
    for i in range(3):
        hostile.put(f"d/f{i}", b"x" * 5000)
    m = attack()

    def hook(r):
        if r.op == "LIST" and r.query.get("delimiter") and r.query.get("prefix") == "d/":
            return Reply(200, {}, hostile.listing_xml([(f"d/f{i}", True) for i in range(3)], True, r.query, token="same"))
    hostile.hook = hook
    before = hostile.count("LIST")
    try:
        os.listdir(m.join("d"))
    except OSError:
        pass
    assert hostile.count("LIST") - before < 50


ODD = ["d/..", "d/.", "d/../up", "d//double", "d/./x", "../outside", "/lead", "d/nul\0nul", "d/" + "k" * 1022, "d/" + "n" * 256,
       "d/sub/" + "q" * 300 + "/x", "d/slash//", "d/..."]


def test_keys_that_posix_cannot_name(hostile, attack):
    hostile.put("d/ok", b"fine")
    for key in ODD:
        hostile.put(key, b"odd" * 2000)
    m = attack(attr="list")
    names = os.listdir(m.join("d"))
    assert "ok" in names and "..." in names and "sub" in names
    assert all(n not in (".", "..", "") and "/" not in n and "\0" not in n and len(n.encode()) <= 255 for n in names)
    assert len(names) == len(set(names))
    assert attempt(m.join("d/ok")) == b"fine"
    assert sorted(os.listdir(m.path))  # the root lists too, with "../outside" and "/lead" around
    for where, dirs, files in os.walk(m.path):
        for f in files:
            attempt(os.path.join(where, f))


def test_control_characters_in_names(hostile, attack):
    """XML 1.0 cannot carry them: they come because the listing is asked for in URL encoding."""
    for name in ("\x01one", "tab\t", "esc\x1b[0m", "\x7f"):
        hostile.put("d/" + name, name.encode() * 2000)
    m = attack()
    assert attempt(m.join("d/\x01one")) == b"\x01one" * 2000
    assert sorted(os.listdir(m.join("d"))) == sorted(["\x01one", "tab\t", "esc\x1b[0m", "\x7f"])


def test_keys_of_1024_bytes(hostile, attack):
    key = "/".join(["p" * 203] * 5) + "/end"
    assert len(key) == 1023
    hostile.put(key, b"deep")
    m = attack()
    assert attempt(m.join(key)) == b"deep"


def test_file_beside_directory_of_the_same_name(hostile, attack):
    hostile.put("x", b"the file")
    hostile.put("x/inside", b"inside")
    hostile.put("y", b"y")
    m = attack()
    names = os.listdir(m.path)
    assert len(names) == len(set(names)) and {"x", "y"} <= set(names)
    assert attempt(m.join("x/inside")) == b"inside" or attempt(m.join("x")) == b"the file"


def test_all_forms_of_directory_objects(hostile, attack):
    hostile.put("slash/", b"")
    hostile.put("content/", b"not empty")
    hostile.put("old_$folder$", b"")
    hostile.put("typed", b"", Content_Type="application/x-directory")
    hostile.put("implicit/child", b"c")
    hostile.put("deep/er/still/child", b"c")
    m = attack()
    assert {"slash", "content", "implicit", "deep"} <= set(os.listdir(m.path))
    for d in ("slash", "content", "implicit", "deep", "deep/er", "deep/er/still"):
        assert os.path.isdir(m.join(d)), d
    assert os.listdir(m.join("slash")) == []


def test_listing_out_of_order(hostile, attack):
    keys = [f"d/f{i:03d}" for i in range(50)]
    for k in keys:
        hostile.put(k, b"x" * 5000)
    m = attack(attr="list")

    def hook(r):
        if r.op == "LIST" and r.query.get("prefix") == "d/":
            return Reply(200, {}, hostile.listing_xml([(k, True) for k in keys[::-1]], False, r.query))
    hostile.hook = hook
    names = os.listdir(m.join("d"))
    assert sorted(names) == [k[2:] for k in keys]
    assert attempt(m.join("d/f001")) == b"x" * 5000


def test_stalled_body_ends(hostile, attack):
    want = os.urandom(2 * MIB)
    hostile.put("f", want)
    m = attack()

    def hook(r):
        if r.op == "GET":
            plain = hostile.plain(r)
            return Reply(plain.status, plain.headers, plain.body[:1000], content_length=len(plain.body), stall=True)
    hostile.hook = hook
    began = time.monotonic()
    got = attempt(m.join("f"))
    assert isinstance(got, OSError) and time.monotonic() - began < 45
    then_honest(hostile, m, "f", want)


@pytest.mark.parametrize("status,code", [(500, "InternalError"), (503, "SlowDown"), (429, "TooManyRequests")])
def test_retries_what_may_pass(hostile, attack, status, code):
    want = os.urandom(500_000)
    hostile.put("f", want)
    failed = threading.Event()

    def hook(r):
        if r.op in ("GET", "LIST", "HEAD") and not failed.is_set():
            failed.set()
            return Reply(status, {}, f"<Error><Code>{code}</Code></Error>".encode())
    m = attack(retries=5)
    hostile.hook = hook
    assert attempt(m.join("f")) == want
    assert failed.is_set()


@pytest.mark.parametrize("body", [b"", b"<Error>", b"x" * (8 * MIB), b"<Error><Code>" + b"c" * 100_000 + b"</Code></Error>"],
                         ids=["empty", "cut", "huge", "long code"])
def test_odd_error_bodies(hostile, attack, body):
    hostile.put("f", b"x" * 5000)
    m = attack()
    hostile.hook = lambda r: Reply(403, {}, body) if r.op in ("GET", "HEAD") else None
    assert isinstance(attempt(m.join("f")), PermissionError)
    assert len(m.log(1 << 20)) < 200_000, "an error body must not flood the log"


@pytest.mark.parametrize("header,value", [("Last-Modified", "yesterday"), ("Last-Modified", ""), ("ETag", ""), ("ETag", "W/\"x\""),
                                          ("ETag", "\"" + "e" * 1500 + "\""), ("Content-Type", "\xff\xfe"), ("x-amz-meta-mode", "rwx"),
                                          ("x-amz-meta-mtime", "99999999999999999999.9"), ("x-amz-meta-uid", "-5"),
                                          ("x-amz-meta-xattr", "{\"a\":"), ("Date", "never")])
def test_odd_headers(hostile, attack, header, value):
    hostile.put("f", b"x" * 3000)

    def hook(r):
        if r.op in ("GET", "HEAD"):
            plain = hostile.plain(r)
            plain.headers[header] = value
            return plain
    m = attack()
    hostile.hook = hook
    try:
        os.stat(m.join("f"))
        os.listxattr(m.join("f"))
    except OSError:
        pass
    got = attempt(m.join("f"))
    assert isinstance(got, OSError) or got == b"x" * 3000
