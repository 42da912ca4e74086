"""The commands: s3cache sync, status and recover, against mounts that run, that cannot reach S3, and that are dead."""
import glob
import http.server
import json
import os
import pty
import select
import shutil
import signal
import subprocess
import tempfile
import threading
import time

import pytest
from lib.mount import PROGRAM
from lib.s3server import wait_for

OLD = time.time() - 3600
MIB = 1 << 20


def run(*words, cwd=None):
    return subprocess.run([PROGRAM, *words], capture_output=True, text=True, timeout=60, cwd=cwd)


def ok(*words, **named):
    done = run(*words, **named)
    assert done.returncode == 0, done
    return done.stdout


def refused(text, *words, code=1, **named):
    done = run(*words, **named)
    assert done.returncode == code and text in done.stderr and done.stderr.count("\n") == 1, done
    return done.stderr


def status(path, **named):
    return json.loads(ok("status", path, "--json", **named))


def put(path, data):
    with open(path, "wb") as f:
        f.write(data)


def start(*words, **named):
    return subprocess.Popen([PROGRAM, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **named)


@pytest.fixture
def mount(mount):
    """A mount in the foreground answers the kernel a moment before it answers commands."""
    def begin(*args, **options):
        m = mount(*args, **options)
        wait_for(lambda: run("status", m.path).returncode == 0, what="the control socket")
        if not options.get("ro"):
            os.listdir(m.path)  # known names: what follows may be without a server
        return m
    return begin


def volume(m):
    """The mount's cache folder."""
    return status(m.path)["cache"]["folder"]


def test_status_from_any_path(bucket, mount, work):
    bucket.place("d/sub/f", size=300_000, mtime=OLD)
    m = mount(bucket)
    with open(m.join("d/sub/f"), "rb") as f:
        f.read()
    s = status(m.path)
    assert s["pid"] == m.pid and s["mount_point"] == m.path and s["bucket"] == bucket.name and s["mode"] == "rw"
    assert s["cache"]["files"] == 1 and s["cache"]["bytes"] > 300_000 and s["requests"]["get"] == 1
    assert s["unsaved"] == {"files": 0, "bytes": 0, "uploads": 0, "changes": 0, "last_error": None}
    assert s["passthrough"]["on"] or s["passthrough"]["why_not"]
    os.symlink(m.path, os.path.join(work, "link"))
    for path in ("d/sub/f", "d", "d/../not there", "."):
        assert status(m.join(path))["pid"] == m.pid
    assert status(os.path.join(work, "link", "d"))["pid"] == m.pid
    assert status("sub", cwd=m.join("d"))["pid"] == m.pid
    assert status(s["cache"]["folder"])["pid"] == m.pid
    text = ok("status", m.path)
    assert f"bucket       {bucket.name} on http" in text and "not on S3    nothing\n" in text and "get 1" in text


def test_every_mount_is_found_by_its_own_path(bucket, mount, work):
    os.makedirs(work + "/tmp")
    mounts = [mount(bucket), mount(bucket), mount(bucket, use_cache=None, tmpdir=work + "/tmp"),
              mount(bucket, ro=True, nopassthrough=True)]
    for m in mounts:
        assert status(m.path)["pid"] == m.pid
    assert status(mounts[3].path)["mode"] == "ro"
    assert status(mounts[3].path)["passthrough"] == {"on": False, "why_not": "switched off"}
    first = mounts.pop(0)
    first.unmount()
    refused("is not on an s3cache mount", "status", first.path)
    for m in mounts:
        assert status(m.path)["pid"] == m.pid


def test_what_is_no_mount_says_so(work):
    refused(work + " is not on an s3cache mount", "sync", work)
    refused("No such file or directory", "status", work + "/none")
    refused("neither on an s3cache mount nor a cache folder", "recover", "list", work)
    refused("PATH is required", "sync", code=2)
    refused("NAME is required", "recover", "drop", work, code=2)
    refused("--timeout", "sync", work, "--timeout", "soon", code=2)


def test_a_dead_daemon_says_so(bucket, mount):
    m = mount(bucket)
    m.process.kill()
    m.process.wait()
    for command in ("sync", "status"):
        refused(f"{m.path}: its daemon is gone: fusermount3 -u {m.path}", command, m.join("d/f"))
    assert ok("recover", "list", m.path) == "nothing is set aside\n"
    # Its cache folder serves another mount by now: that one is not asked in its place.
    other = mount(bucket)
    refused("its daemon is gone", "status", m.path)
    assert status(other.path)["pid"] == other.pid


def test_another_user_is_refused(bucket, mount):
    """In a folder of its own: the others of a test are closed to other users, program included."""
    if os.geteuid():
        pytest.skip("may not become another user")
    with tempfile.TemporaryDirectory(dir="/tmp") as open_to_all:
        os.chmod(open_to_all, 0o755)
        m = mount(bucket, allow_other=True, path=os.path.join(open_to_all, "mnt"))
        program = shutil.copy(PROGRAM, os.path.join(open_to_all, "s3cache"))
        done = subprocess.run([program, "status", m.path], capture_output=True, text=True, timeout=60, user=65534,
                              group=65534, extra_groups=[], cwd="/")
        m.unmount()
    assert done.returncode == 1 and "was mounted by user 0: ask as that user, or as root" in done.stderr, done


def test_sync_waits_for_an_unreachable_server(bucket, mount, proxy):
    m = mount(bucket, url=proxy.url, writeback=True, retries=1)
    proxy.enable(False)
    data = os.urandom(12 * MIB)
    put(m.join("big"), data)
    put(m.join("small"), b"small")
    os.mkdir(m.join("dir"))
    line = refused("not done within 1 s; not on S3: ", "sync", m.path, "--timeout", "1")
    assert "12 MiB" in line
    s = wait_for(lambda: (lambda s: s if s["unsaved"]["last_error"] else None)(status(m.path)), what="an upload that failed")
    assert s["unsaved"]["files"] == 2 and s["unsaved"]["bytes"] == len(data) + 5 and s["unsaved"]["changes"] >= 1
    assert s["unsaved"]["last_error"]["key"] in ("big", "small", "dir/"), s["unsaved"]
    out = json.loads(run("sync", m.path, "--timeout", "0.2", "--json").stdout)
    assert out["saved"] is False and out["unsaved"]["files"] == 2

    waiting = start("sync", m.path)
    time.sleep(0.5)  # a sync that has nothing to wait for would be over
    assert waiting.poll() is None
    waiting.send_signal(signal.SIGINT)
    assert waiting.wait(10) == 1
    assert "stopped waiting; the uploads go on; not on S3: 2 files, 12 MiB" in waiting.stderr.read()

    waiting = start("sync", m.path, "--json")
    time.sleep(0.5)
    proxy.enable(True)
    # Well before the back-off of uploads that failed several times.
    assert waiting.wait(15) == 0 and json.loads(waiting.stdout.read())["saved"] is True
    assert bucket.bytes("big") == data and bucket.bytes("small") == b"small" and os.path.isdir(bucket.path("dir"))
    assert status(m.path)["unsaved"] == {"files": 0, "bytes": 0, "uploads": 0, "changes": 0, "last_error": None}


def test_sync_shows_its_progress_on_a_terminal(bucket, mount, proxy):
    m = mount(bucket, url=proxy.url, writeback=True, multipart_size=5)
    proxy.toxic("bandwidth", stream="upstream", rate=8 * 1024)  # KB/s: the upload takes three seconds
    put(m.join("big"), bytes(24 * MIB))
    ours, theirs = pty.openpty()
    waiting = subprocess.Popen([PROGRAM, "sync", m.path], stderr=theirs)
    os.close(theirs)
    shown = b""
    while select.select([ours], [], [], 30)[0]:
        try:
            piece = os.read(ours, 4096)
        except OSError:  # the other end is closed
            break
        shown += piece
        if not piece:
            break
    os.close(ours)
    assert waiting.wait(30) == 0
    assert b"] 1 file, " in shown and b" MiB left, " in shown and b"B/s" in shown, shown
    assert shown.endswith(b"\r\x1b[K"), "it goes at the end"


@pytest.fixture
def refusing():
    """The url of a server with an empty bucket that nobody may write to."""
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self, code, body=b""):
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self):
            self.answer(200, b"<ListBucketResult><KeyCount>0</KeyCount><IsTruncated>false</IsTruncated></ListBucketResult>")

        def do_HEAD(self):
            self.answer(404)

        def do_POST(self):
            self.do_PUT()

        def do_PUT(self):
            self.answer(403, b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>")

        def log_message(self, *_):
            pass
    s = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=s.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{s.server_address[1]}"
    s.shutdown()
    s.server_close()


def test_sync_gives_up_on_what_no_repetition_cures(server, mount, refusing):
    m = mount("locked", url=refusing, passwd_file=server.passwd_file, writeback=True)
    put(m.join("f"), b"bytes")
    line = refused("f: ", "sync", m.path)
    assert "1 file, 5 B" in line


def test_unmount_waits_and_says_what_is_left(bucket, mount, proxy):
    m = mount(bucket, url=proxy.url, writeback=True, retries=1, unmount_timeout=2)
    proxy.enable(False)
    put(m.join("f"), b"kept")
    os.mkdir(m.join("dir"))
    folder = volume(m)
    began = time.monotonic()
    subprocess.run(["fusermount3", "-u", m.path], check=True)
    s = wait_for(lambda: (lambda s: s if s["unmounting"] else None)(status(folder)), what="the unmount")
    assert s["unsaved"]["files"] == 1
    assert m.process.wait(20) == 0 and time.monotonic() - began >= 2
    log = m.log()
    assert "uploads did not end within 2 s (unmount_timeout); not on S3: 1 files with 4 bytes, 1 changes" in log, log
    assert "last error: " in log
    proxy.enable(True)
    m.start()
    ok("sync", m.path)
    assert bucket.bytes("f") == b"kept" and os.path.isdir(bucket.path("dir"))


def test_unmount_ends_as_soon_as_the_server_is_back(bucket, mount, proxy):
    m = mount(bucket, url=proxy.url, writeback=True, retries=1, unmount_timeout=60)
    proxy.enable(False)
    put(m.join("f"), b"kept")
    subprocess.run(["fusermount3", "-u", m.path], check=True)
    time.sleep(0.5)
    assert m.alive()
    proxy.enable(True)
    assert m.process.wait(20) == 0
    assert bucket.bytes("f") == b"kept"


@pytest.fixture
def set_aside(bucket, mount):
    """A mount in which an edit of `dir/f` lost against a new version. -> (mount, the bytes the edit would have made)"""
    old = os.urandom(3 * MIB)
    bucket.put("dir/f", old)

    def lose(whole):
        m = mount(bucket)
        path = m.join("dir/f")
        if whole:
            with open(path, "rb") as f:
                assert f.read() == old
        fd = os.open(path, os.O_RDWR)
        os.pwrite(fd, b"edited", 1_000_000)
        bucket.put("dir/f", b"somebody else's")
        with pytest.raises(OSError):
            os.fsync(fd)
        os.close(fd)
        return m, old[:1_000_000] + b"edited" + old[1_000_006:]
    return lose


def kept_files(path):
    return json.loads(ok("recover", "list", path, "--json"))["files"]


def test_recover_a_whole_file(bucket, set_aside, work):
    m, edited = set_aside(whole=True)
    assert status(m.path)["quarantined"] == 1
    kept, = kept_files(m.path)
    assert kept["key"] == "dir/f" and kept["complete"] and kept["size"] == len(edited)
    assert kept["changed_ranges"] == [[1_000_000, 6]] and kept["base_etag"]
    text = ok("recover", "list", m.path)
    assert kept["name"] in text and "dir/f\n" in text and "6 B" in text

    local = os.path.join(work, "restored")
    assert f"restored to {local}" in ok("recover", "restore", m.path, kept["name"], "--to", local)
    assert open(local, "rb").read() == edited
    refused("exists: give --to FILE, or --force", "recover", "restore", m.path, kept["name"], "--to", local)
    refused(f"{m.join('dir/f')} exists", "recover", "restore", m.path, kept["name"])
    assert bucket.bytes("dir/f") == b"somebody else's"
    ok("recover", "restore", m.path, kept["name"], "--force")
    assert bucket.bytes("dir/f") == edited
    assert os.listdir(m.join("dir")) == ["f"]
    with open(m.join("dir/f"), "rb") as f:
        assert f.read() == edited
    refused("nothing called nonsense is kept there", "recover", "drop", m.path, "nonsense")
    ok("recover", "drop", m.path, kept["name"])
    assert kept_files(m.path) == [] and status(m.path)["quarantined"] == 0
    assert not glob.glob(os.path.join(volume(m), "recover", "*"))


def test_recover_without_a_mount(bucket, set_aside, cache_dir, work):
    m, _ = set_aside(whole=False)
    folder = volume(m)
    m.unmount()
    for path in (folder, cache_dir):
        kept, = kept_files(path)
        assert kept["key"] == "dir/f" and not kept["complete"]
    refused("6 B of its 3.0 MiB were kept", "recover", "restore", folder, kept["name"], "--to", work + "/restored")
    refused("is not mounted: give --to FILE", "recover", "restore", folder, kept["name"], "--partial")
    ok("recover", "restore", folder, kept["name"], "--to", work + "/restored", "--partial")
    data = open(work + "/restored", "rb").read()
    assert len(data) == 3 * MIB and data[1_000_000:1_000_006] == b"edited"
    ok("recover", "drop", cache_dir, kept["name"])
    assert ok("recover", "list", cache_dir) == "nothing is set aside\n"


def test_buckets_called_like_commands(server, mount):
    bucket = server.create_bucket("status")
    bucket.put("f", b"content")
    try:
        for name in ("status", "status:/"):
            m = mount(name, url=server.url, passwd_file=server.passwd_file)
            with open(m.join("f"), "rb") as f:
                assert f.read() == b"content"
            m.unmount()
    finally:
        bucket.remove()
