"""A server that fails or lies while it is written to: the right errno from write, fsync or close, a log that says why, and
nothing that was acknowledged is lost."""
import errno
import os
import time

import pytest
from lib.lying_proxy import LOST, RESET, Answer, LyingProxy
from lib.s3server import wait_for

pytestmark = pytest.mark.deadline(90)
MIB = 1 << 20
FAST = {"retries": 2, "connect_timeout": 3, "readwrite_timeout": 10, "multipart_size": 5}


@pytest.fixture
def liar(server):
    p = LyingProxy(server.port)
    yield p
    p.close()


@pytest.fixture(params=["default", "writeback"])
def mode(request):
    return request.param


@pytest.fixture
def lied_to(bucket, mount, liar, mode):
    """A mount behind the liar, in both modes."""
    bucket.place("base", size=16 * MIB, mtime=time.time() - 3600)
    bucket.put("locked", b"as it was")
    bucket.put("other", b"to be deleted")
    m = mount(bucket, url=liar.url, writeback=mode == "writeback", unmount_timeout=20, **FAST)
    os.listdir(m.path)
    yield m
    assert m.alive(), f"the daemon died with {m.process.returncode}"


def attempt(path, data, flags=os.O_WRONLY | os.O_CREAT | os.O_TRUNC, offset=0):
    """Writes, fsyncs and closes: None, or the errno of the first that failed."""
    try:
        fd = os.open(path, flags, 0o644)
    except OSError as e:
        return e.errno
    code = None
    for step in (lambda: os.pwrite(fd, data, offset), lambda: os.fsync(fd), lambda: os.close(fd)):
        try:
            step()
        except OSError as e:
            code = code or e.errno
    return code


def arrives(bucket, key, want, seconds=40):
    def there():
        try:
            return bucket.bytes(key) == want
        except FileNotFoundError:
            return False
    wait_for(there, seconds, f"{key} to be right on the server", 0.05)


def nothing_left(bucket):
    wait_for(lambda: bucket.server.client.list_uploads(bucket.name) == [], 20, "no unfinished upload", 0.05)


def read(path):
    with open(path, "rb") as f:
        return f.read()


def sees(mode, code, *expected):
    """In the default mode the caller gets one of the errnos; with writeback his bytes are safe here, and he gets none."""
    assert code in (expected if mode == "default" else (None,)), (mode, code and errno.errorcode[code])


@pytest.mark.parametrize("size", [100, 12 * MIB], ids=["small", "parts"])
@pytest.mark.parametrize("status,code,expected", [(403, "AccessDenied", errno.EACCES), (503, "SlowDown", errno.EIO),
                                                  (500, "InternalError", errno.EIO), (507, "InsufficientStorage", errno.ENOSPC),
                                                  (400, "EntityTooLarge", errno.EFBIG)])
def test_refused_then_accepted(bucket, lied_to, liar, mode, size, status, code, expected):
    """Refused: the caller hears of it, the bytes stay readable, and go up when the server takes them (503 for a minute, cut short)."""
    for kind in ("PUT", "CREATE", "PART", "COMPLETE"):
        liar.rule(kind, lambda r: Answer(status, code))
    data = os.urandom(size)
    sees(mode, attempt(lied_to.join("f"), data), expected)
    assert read(lied_to.join("f")) == data
    wait_for(lambda: code in lied_to.log() or str(status) in lied_to.log(), 10, "the reason in the log", 0.05)
    liar.clear()
    arrives(bucket, "f", data)
    nothing_left(bucket)
    lied_to.remount()
    assert read(lied_to.join("f")) == data


@pytest.mark.parametrize("kind", ["PUT", "PART", "CREATE", "COMPLETE"])
@pytest.mark.parametrize("fault", [RESET, LOST])
def test_broken_connection(bucket, lied_to, liar, kind, fault):
    """In the middle of a body, or after it was taken: tried again, and once is enough for the object."""
    liar.rule(kind, lambda r: fault, times=1)
    data = os.urandom(100_000 if kind == "PUT" else 12 * MIB)
    assert attempt(lied_to.join("f"), data) is None
    arrives(bucket, "f", data)
    assert any(times == 0 for _, _, _, times in liar.rules), "the fault did not happen"
    lied_to.remount()
    assert read(lied_to.join("f")) == data
    if kind != "CREATE" or fault == RESET:  # a lost CREATE leaves an upload whose id nobody knows
        nothing_left(bucket)


@pytest.mark.parametrize("kind", ["COMPLETE", "COPY", "PARTCOPY"])
def test_200_with_an_error(bucket, lied_to, liar, mode, kind):
    base = bucket.bytes("base")
    liar.rule(kind, lambda r: Answer(200, "InternalError"))
    if kind == "COMPLETE":
        data = os.urandom(12 * MIB)
        sees(mode, attempt(lied_to.join("f"), data), errno.EIO)
    elif kind == "PARTCOPY":
        data = b"x" + base[1:]
        sees(mode, attempt(lied_to.join("base"), b"x", os.O_WRONLY), errno.EIO)
    else:
        with pytest.raises(OSError) as caught:
            os.rename(lied_to.join("base"), lied_to.join("moved"))
        assert caught.value.errno == errno.EIO
        assert "base" in os.listdir(lied_to.path) and "moved" not in os.listdir(lied_to.path)
        assert not os.path.exists(bucket.path("moved"))
        assert read(lied_to.join("base")) == base
    liar.clear()
    if kind == "COPY":
        os.rename(lied_to.join("base"), lied_to.join("moved"))
        arrives(bucket, "moved", base)
        wait_for(lambda: not os.path.exists(bucket.path("base")), 20, "the old name to go")
    else:
        arrives(bucket, "f" if kind == "COMPLETE" else "base", data)
    nothing_left(bucket)


@pytest.mark.parametrize("kind", ["PART", "COMPLETE"])
def test_upload_that_the_server_forgot(bucket, lied_to, liar, mode, kind):
    """A lifecycle rule aborted it, or another client: all of it goes again."""
    forgotten = []

    def forget_the_first(r):
        if not forgotten:
            forgotten.append(r.query["uploadId"])
        return Answer(404, "NoSuchUpload") if r.query["uploadId"] == forgotten[0] else None
    liar.rule(kind, forget_the_first)
    data = os.urandom(12 * MIB)
    assert attempt(lied_to.join("f"), data) is None
    arrives(bucket, "f", data)
    assert "NoSuchUpload" in lied_to.log()
    nothing_left(bucket)


def test_object_that_may_not_be_replaced(bucket, lied_to, liar, mode):
    """A bucket with object lock: writing and deleting is refused, what is there stays, and stays readable."""
    for kind in ("PUT", "DELETE", "DELETES", "COPY"):
        liar.rule(kind, lambda r: Answer(403, "AccessDenied", b"<Error><Code>AccessDenied</Code><Message>Access Denied because object "
                                         b"protected by object lock.</Message></Error>"))
    assert read(lied_to.join("locked")) == b"as it was"
    sees(mode, attempt(lied_to.join("locked"), b"new"), errno.EACCES)
    wait_for(lambda: "object lock" in lied_to.log(), 10, "the reason in the log", 0.05)
    assert bucket.bytes("locked") == b"as it was"
    os.unlink(lied_to.join("other"))  # the intent is durable; the server's refusal brings the name back
    wait_for(lambda: "other" in os.listdir(lied_to.path), 20, "the name to come back", 0.05)
    assert read(lied_to.join("other")) == b"to be deleted" == bucket.bytes("other")
    liar.clear()
    arrives(bucket, "locked", b"new")


def test_clock_an_hour_off(bucket, lied_to, liar):
    """The server's clock is an hour ahead: it refuses what is signed with ours, until its own time is used."""
    skewed = {"Date": time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 3600))}

    def judge(r):
        stamp = time.mktime(time.strptime(r.headers["x-amz-date"], "%Y%m%dT%H%M%SZ")) - time.timezone
        if abs(stamp - time.time() - 3600) > 900:
            return Answer(403, "RequestTimeTooSkewed", headers=skewed)
        # The real server's clock is right; it need not see this one.
        return Answer(200, body=b"", headers={**skewed, "ETag": '"00000000000000000000000000000000"'})
    liar.rule("PUT", judge)
    assert attempt(lied_to.join("f"), b"late") is None
    wait_for(lambda: liar.count("PUT") >= 2, 10, "a second attempt, signed with the server's time")


@pytest.mark.parametrize("size", [0, 1, 5 * MIB, 5 * MIB + 1], ids=["empty", "one byte", "one part", "one byte more"])
def test_sizes_at_the_edges(bucket, lied_to, size):
    data = os.urandom(size)
    assert attempt(lied_to.join("f"), data) is None
    arrives(bucket, "f", data)
    nothing_left(bucket)
    assert attempt(lied_to.join("f"), b"") is None
    arrives(bucket, "f", b"")
