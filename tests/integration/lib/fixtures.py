"""The fixtures of integration and fault tests: server, bucket, toxi, proxy, wire, mount, cache_dir, work.

Every test has a deadline (`@pytest.mark.deadline(seconds)`, 60 by default); past it its daemons are killed, so a test
fails instead of hanging. On failure the tail of every daemon's log is part of the report.
"""
import os
import re
import shutil
import tempfile

import pytest

from .guardian import Guardian
from .mount import Mount, PROGRAM
from .s3server import S3Server
from .toxi import Toxiproxy
from .wire import Wire

LONG = os.environ.get("S3CACHE_LONG") == "1"
DEADLINE = 60


@pytest.fixture(scope="session")
def guardian():
    g = Guardian()
    yield g
    g.close()


@pytest.fixture(scope="session")
def session_dir(guardian):
    """On a disk: O_DIRECT, sparse files and passthrough are wanted, and tmpfs lacks some of them."""
    path = tempfile.mkdtemp(prefix="s3cache-it-", dir=os.environ.get("S3CACHE_TMP", "/var/tmp"))
    guardian.watch_folder(path)
    yield path


@pytest.fixture(scope="session")
def server(session_dir, guardian):
    s = S3Server(base=os.path.join(session_dir, "server"))
    guardian.watch_pid(s.process.pid)
    yield s
    s.close()


@pytest.fixture(scope="session")
def toxi(guardian):
    t = Toxiproxy()
    guardian.watch_pid(t.process.pid)
    yield t
    t.close()


@pytest.fixture
def proxy(toxi, server):
    p = toxi.proxy(server.port)
    yield p
    p.remove()


@pytest.fixture
def wire(server):
    w = Wire(server.port)
    yield w
    w.close()


@pytest.fixture
def work(session_dir, request):
    name = re.sub(r"\W+", "-", request.node.name)[:60]
    path = tempfile.mkdtemp(prefix=name + "-", dir=session_dir)
    yield path
    shutil.rmtree(path, ignore_errors=True)


_bucket_serial = 0


@pytest.fixture
def bucket(server):
    global _bucket_serial
    _bucket_serial += 1
    b = server.create_bucket(f"bucket-{os.getpid()}-{_bucket_serial}")
    yield b
    b.remove()


@pytest.fixture
def cache_dir(work):
    return os.path.join(work, "cache")


@pytest.fixture
def mount(request, work, cache_dir, guardian):
    """mount(bucket, **options) -> Mount. `bucket` is a Bucket or 'name[:/prefix]' with url=; options are those of -o."""
    if not os.path.exists(PROGRAM) and os.sep in PROGRAM:
        pytest.fail(f"{PROGRAM} is not built")
    made = []

    def start(bucket=None, prefix="", path=None, nofile=None, program=None, env=None, wait_seconds=20, **options):
        what = (bucket if isinstance(bucket, str) else bucket.name) + (":" + prefix if prefix else "")
        server = getattr(bucket, "server", None)
        base = {"url": server.url if server else None, "use_path_request_style": True,
                "passwd_file": server.passwd_file if server else None, "use_cache": cache_dir, "dbglevel": "info"}
        base.update(options)
        n = len(made)
        m = Mount(what, path or os.path.join(work, f"mnt{n}"), base, os.path.join(work, f"daemon{n}.log"),
                  program=program, nofile=nofile, guardian=guardian, env=env, wait_seconds=wait_seconds)
        made.append(m)
        return m

    request.node.daemon_logs = lambda: [(m.log_path, m.log()) for m in made]
    yield start
    for m in made:
        m.destroy()


def pytest_configure(config):
    config.addinivalue_line("markers", "deadline(seconds): time after which the test's daemons are killed")


@pytest.fixture(autouse=True)
def deadline(request, guardian):
    mark = request.node.get_closest_marker("deadline")
    guardian.arm((mark.args[0] if mark else DEADLINE) * (10 if LONG else 1))
    yield
    guardian.disarm()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.when == "call" and report.failed and hasattr(item, "daemon_logs"):
        for path, text in item.daemon_logs():
            report.sections.append((os.path.basename(path), text[-4000:]))
