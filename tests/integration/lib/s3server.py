"""S3Server: a versitygw on a free loopback port, its access log as the witness of requests.

Buckets are folders under `root`; objects are plain files with their ETag in an xattr, so a test may compare with them or put
thousands of them there without a request. Many tests share one server: each takes a bucket of its own, and counts are
kept by bucket. Threads: any. Owns the process and, unless `keep` is set, its folder.
"""
import atexit
import collections
import hashlib
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import urllib.parse
import urllib.request

from .s3client import S3Client, S3Error

PROJECT = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))
TOOLS = os.path.join(PROJECT, ".tools", "bin")
KEY_ID, SECRET = "S3CACHETESTKEY", "secret/of+the=tests"

Request = collections.namedtuple("Request", "bucket op key uri status")
LOG_LINE = re.compile(r"^\S+ (\S+) \[[^\]]*\] \S+ \S+ \S+ s3_(\w+) (.*?) (/\S*) (\d{3}) ")


def ensure_tools(*names):
    subprocess.run([os.path.join(PROJECT, "scripts", "tools"), *names], check=True)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def die_with_parent():
    """For preexec_fn: the child gets SIGKILL when this process is gone, however it went."""
    import ctypes
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def wait_for(condition, seconds=20.0, what="condition", poll=0.005):
    """Polls until condition() is true and answers its value; fails after `seconds`."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"timed out after {seconds} s waiting for {what}")
        time.sleep(poll)


class Counts(dict):
    """Requests by kind: 'LIST', 'HEAD', 'GET', 'PUT', 'DELETE', 'COPY', 'BUCKET' and others by versitygw's name."""

    def __getattr__(self, name):
        return self.get(name, 0)

    def total(self):
        return sum(self.values())

    def __str__(self):
        return " + ".join(f"{v} {k}" for k, v in sorted(self.items())) or "none"


KINDS = {"ListObjectsV2": "LIST", "ListObjects": "LIST", "HeadObject": "HEAD", "GetObject": "GET", "PutObject": "PUT",
         "DeleteObject": "DELETE", "DeleteObjects": "DELETES", "CopyObject": "COPY", "HeadBucket": "BUCKET",
         "GetBucketLocation": "BUCKET"}


class S3Server:
    def __init__(self, base=None, keep=False, die_with_us=True, env_root=None, tls=None):
        """tls: (certificate, key), files; the name in `url` is then localhost, and `client` is of no use."""
        ensure_tools("versitygw")
        self.base = base or tempfile.mkdtemp(prefix="s3cache-server-", dir=env_root)
        self.keep = keep
        self.root = os.path.join(self.base, "buckets")
        self.log_path = os.path.join(self.base, "access.log")
        self.passwd_file = os.path.join(self.base, "passwd")
        self.staging = os.path.join(self.base, "staging")
        os.makedirs(self.root, exist_ok=True)
        os.makedirs(self.staging, exist_ok=True)
        with open(os.open(self.passwd_file, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as f:
            f.write(f"{KEY_ID}:{SECRET}\n")
        self.port = free_port()
        self.tls = tls
        self.url = f"https://localhost:{self.port}" if tls else f"http://127.0.0.1:{self.port}"
        self.client = S3Client("127.0.0.1", self.port, KEY_ID, SECRET)
        self.process = None
        self.die_with_us = die_with_us
        self._lock = threading.Lock()
        self._requests = []
        self._log_offset = 0
        self.start()
        atexit.register(self.close)

    def start(self):
        self.output_path = os.path.join(self.base, "server.out")
        with open(self.output_path, "ab") as out:
            self.process = subprocess.Popen(
                [os.path.join(TOOLS, "versitygw"), "--keep-alive", "--quiet", "--health", "/health", "--access-log",
                 self.log_path, "-p", f"127.0.0.1:{self.port}", "-a", KEY_ID, "-s", SECRET,
                 *(["--cert", self.tls[0], "--key", self.tls[1]] if self.tls else []), "posix", self.root],
                stdout=out, stderr=out, stdin=subprocess.DEVNULL, start_new_session=True,
                preexec_fn=die_with_parent if self.die_with_us else None)

        def up():
            if self.process.poll() is not None:
                raise RuntimeError("versitygw ended: " + open(self.output_path).read()[-2000:])
            try:
                context = ssl._create_unverified_context() if self.tls else None
                return urllib.request.urlopen(self.url + "/health", timeout=2, context=context).status == 200
            except OSError:
                return False
        wait_for(up, 20, "versitygw", 0.02)

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def close(self):
        self.stop()
        if not self.keep:
            shutil.rmtree(self.base, ignore_errors=True)

    # Objects -----------------------------------------------------------------------------------------------------
    def create_bucket(self, name):
        self.client.create_bucket(name)
        return Bucket(self, name)

    # Requests ----------------------------------------------------------------------------------------------------
    def _read_log(self):
        with open(self.log_path, "rb") as f:
            f.seek(self._log_offset)
            data = f.read()
        end = data.rfind(b"\n") + 1
        self._log_offset += end
        for line in data[:end].decode("utf-8", "replace").splitlines():
            m = LOG_LINE.match(line)
            if m:
                self._requests.append(Request(m[1], m[2], urllib.parse.unquote(m[3]), m[4], int(m[5])))

    def mark(self):
        """A point in the log. A request's line is written right after its answer; settle before trusting zero."""
        with self._lock:
            self._read_log()
            return len(self._requests)

    def requests(self, since=0, bucket=None):
        with self._lock:
            self._read_log()
            return [r for r in self._requests[since:] if bucket in (None, r.bucket)]

    def settle(self):
        """Returns when the log holds every request answered before the call: its own request comes last."""
        before = self.mark()
        try:
            self.client.request("HEAD", "settle-probe-bucket")
        except S3Error:
            pass  # there is no such bucket: that is the point
        wait_for(lambda: any(r.bucket == "settle-probe-bucket" for r in self.requests(before)), 10, "access log")


class Bucket:
    """One bucket of a server: put, count, compare."""

    def __init__(self, server, name):
        self.server, self.name = server, name
        self.dir = os.path.join(server.root, name)
        self._mark = 0

    def put(self, key, body=b"", **meta):
        return self.server.client.put(self.name, key, body, **meta)

    def place(self, key, body=None, size=None, etag=None, mtime=None):
        """Puts an object without a request: a file and its ETag. size without body: a file of random bytes."""
        path = os.path.join(self.dir, key)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        stage = os.path.join(self.server.staging, f"{os.getpid()}-{threading.get_ident()}")
        with open(stage, "wb") as f:
            if body is not None:
                f.write(body)
            else:
                left = size
                while left > 0:
                    n = min(left, 8 << 20)
                    f.write(os.urandom(n))
                    left -= n
        if etag is None:
            etag = hashlib.md5(body).hexdigest() if body is not None else hashlib.md5(os.urandom(16)).hexdigest()
        os.setxattr(stage, "user.etag", f'"{etag}"'.encode())
        os.setxattr(stage, "user.content-type", b"binary/octet-stream")
        if mtime is not None:
            os.utime(stage, (mtime, mtime))
        os.rename(stage, path)
        return path

    def place_many(self, prefix, count, size, name="{:06d}", mtime=None):
        """`count` objects of `size` random bytes each; answers their keys. Names differ in their content's first bytes."""
        keys = []
        block = os.urandom(size + 4096)
        for i in range(count):
            key = prefix + name.format(i)
            start = i % 4096
            self.place(key, (i.to_bytes(8, "big") + block[start:start + size])[:size], etag=f"{i:032x}", mtime=mtime)
            keys.append(key)
        return keys

    def path(self, key):
        return os.path.join(self.dir, key)

    def bytes(self, key):
        with open(self.path(key), "rb") as f:
            return f.read()

    def mark(self):
        self.server.settle()
        self._mark = self.server.mark()

    def requests(self):
        self.server.settle()
        return self.server.requests(self._mark, self.name)

    def counts(self):
        c = Counts()
        for r in self.requests():
            kind = KINDS.get(r.op, r.op)
            c[kind] = c.get(kind, 0) + 1
        return c

    def remove(self):
        shutil.rmtree(self.dir, ignore_errors=True)
