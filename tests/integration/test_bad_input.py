"""What a person may get wrong: a non-zero exit, one line that names the thing, nothing mounted, nothing left behind."""
import os
import re
import signal
import subprocess
import time

import pytest
from lib.guardian import lazy_unmount, mounts_under
from lib.mount import PROGRAM, option_string
from lib.s3server import SECRET, free_port, wait_for


class Try:
    """One start of the program as a person does it: in the background, with the options given."""

    def __init__(self, server, bucket, work):
        self.bucket, self.mnt, self.cache = bucket.name, os.path.join(work, "mnt"), os.path.join(work, "cache")
        os.makedirs(self.mnt)
        self.work, self.prefix, self.extra = work, "", []
        self.options = {"url": server.url, "use_path_request_style": True, "passwd_file": server.passwd_file,
                        "use_cache": self.cache, "connect_timeout": 3, "retries": 1}

    def passwd(self, text, mode=0o600):
        path = os.path.join(self.work, "passwd")
        with open(os.open(path, os.O_CREAT | os.O_WRONLY, mode), "w") as f:
            f.write(text)
        os.chmod(path, mode)
        self.options["passwd_file"] = path
        return path

    def run(self):
        what = self.bucket + (":" + self.prefix if self.prefix else "")
        return subprocess.run([PROGRAM, what, self.mnt, "-o", option_string(self.options), *self.extra],
                              capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=40)

    def processes(self):
        out = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as f:
                    words = f.read().split(b"\0")
            except OSError:
                continue
            if self.mnt.encode() in words:
                out.append(int(pid))
        return out

    def clean_up(self):
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)
        if mounts_under(self.mnt):
            lazy_unmount(self.mnt)


@pytest.fixture
def attempt(server, bucket, work):
    t = Try(server, bucket, work)
    yield t
    t.clean_up()


def check_refused(t, *words):
    """Refused with one line that holds each of the words (regular expressions, in any case)."""
    r = t.run()
    assert r.returncode != 0, "it started"
    lines = r.stderr.strip().splitlines()
    assert len(lines) == 1, f"{len(lines)} lines:\n{r.stderr}\nstdout: {r.stdout}"
    for word in words:
        assert re.search(word, lines[0], re.I), f"no {word!r} in: {lines[0]}"
    assert SECRET not in r.stderr + r.stdout
    assert not mounts_under(t.mnt), "something is mounted"
    wait_for(lambda: not t.processes(), 5, "no process left")
    return lines[0]


def test_control_it_starts_and_stops(attempt, bucket):
    bucket.place("f", b"x")
    r = attempt.run()
    assert r.returncode == 0 and r.stderr == "", r.stderr
    assert open(os.path.join(attempt.mnt, "f"), "rb").read() == b"x", "served when the command returns"
    assert len(attempt.processes()) == 1
    subprocess.run(["fusermount3", "-u", attempt.mnt], check=True)
    wait_for(lambda: not attempt.processes(), 10, "the daemon's end")


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals(attempt, bucket, sig):
    assert attempt.run().returncode == 0
    [pid] = attempt.processes()
    os.kill(pid, sig)
    if sig == signal.SIGHUP:  # opens its log again and goes on
        assert os.listdir(attempt.mnt) == []
        os.kill(pid, signal.SIGTERM)
    wait_for(lambda: not attempt.processes() and not mounts_under(attempt.mnt), 10, "a clean end")


def test_bucket_missing(attempt):
    attempt.bucket = "no-such-bucket-here"
    check_refused(attempt, "no-such-bucket-here", "bucket")


def test_key_unknown(attempt):
    attempt.passwd("NOSUCHKEYID:abc\n")
    check_refused(attempt, "key")


def test_secret_wrong(attempt):
    attempt.passwd("S3CACHETESTKEY:wrongwrongwrong\n")
    line = check_refused(attempt, "secret|signature|key")
    assert "wrongwrongwrong" not in line


def test_region_wrong(attempt):
    attempt.options["endpoint"] = "eu-wrong-7"
    check_refused(attempt, "region|endpoint")


def test_prefix_missing(attempt):
    attempt.prefix = "/no/such/prefix"
    check_refused(attempt, "no/such/prefix")


def test_endpoint_unreachable(attempt):
    port = free_port()
    attempt.options["url"] = f"http://127.0.0.1:{port}"
    began = time.monotonic()
    check_refused(attempt, str(port))
    assert time.monotonic() - began < 20


def test_endpoint_host_unknown(attempt):
    attempt.options["url"] = "http://nowhere.invalid"
    check_refused(attempt, "nowhere.invalid")


def test_url_malformed(attempt):
    attempt.options["url"] = "ftp://127.0.0.1"
    check_refused(attempt, "url|ftp")


def test_passwd_file_missing(attempt):
    attempt.options["passwd_file"] = os.path.join(attempt.work, "not-there")
    check_refused(attempt, "not-there")


def test_passwd_file_unreadable(attempt):
    attempt.options["passwd_file"] = attempt.work  # a directory: root may read any file
    check_refused(attempt, re.escape(attempt.work))


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620])
def test_passwd_file_loose(attempt, mode):
    path = attempt.passwd(f"S3CACHETESTKEY:{SECRET}\n", mode)
    check_refused(attempt, re.escape(path), "permission|chmod|0?600")


def test_passwd_file_malformed(attempt):
    path = attempt.passwd("no colon in here\n")
    check_refused(attempt, re.escape(path))


@pytest.mark.parametrize("option", ["no_such_option", "no_such_option=3", "cache-size=3"])
def test_unknown_option(attempt, option):
    attempt.extra = ["-o", option]
    check_refused(attempt, option.split("=")[0])


@pytest.mark.parametrize("option", ["cache_size=abc", "cache_size=", "cache_size=-1", "mem_limit=12Q",
                                    "stat_cache_expire=1x", "stat_cache_expire=99999999999999999999", "small_file=1..5",
                                    "attr=maybe", "parallel_count=0", "retries=x", "umask=999", "min_fetch=0x"])
def test_malformed_value(attempt, option):
    name, _, value = option.partition("=")
    attempt.options.pop(name, None)
    attempt.extra = ["-o", option]
    check_refused(attempt, name)


def test_mountpoint_missing(attempt):
    os.rmdir(attempt.mnt)
    check_refused(attempt, re.escape(attempt.mnt))
    assert not os.path.exists(attempt.mnt)


def test_mountpoint_is_a_file(attempt):
    os.rmdir(attempt.mnt)
    open(attempt.mnt, "w").close()
    check_refused(attempt, re.escape(attempt.mnt))


def test_mountpoint_not_empty(attempt):
    """A folder with files in it would hide them: as in s3fs, only with `nonempty`."""
    open(os.path.join(attempt.mnt, "mine"), "w").close()
    check_refused(attempt, re.escape(attempt.mnt), "empty")
    attempt.options["nonempty"] = True
    assert attempt.run().returncode == 0


def test_mountpoint_busy(attempt, mount, bucket):
    attempt.clean_up()
    mount(bucket, path=attempt.mnt, use_cache=attempt.cache + "-first")
    r = attempt.run()
    lines = r.stderr.strip().splitlines()
    assert r.returncode != 0 and len(lines) == 1 and attempt.mnt in lines[0], r.stderr
    assert len(mounts_under(attempt.mnt)) == 1, "the first mount stays"


def test_mountpoint_stale(attempt):
    assert attempt.run().returncode == 0
    for pid in attempt.processes():
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not attempt.processes(), 5, "its end")
    assert mounts_under(attempt.mnt)
    r = attempt.run()
    if r.returncode == 0:  # it may also clear the dead mount itself
        assert os.listdir(attempt.mnt) == []
    else:
        lines = r.stderr.strip().splitlines()
        assert len(lines) == 1 and attempt.mnt in lines[0] and "fusermount" in lines[0], r.stderr


def test_arguments_missing(attempt):
    r = subprocess.run([PROGRAM], capture_output=True, text=True, timeout=20)
    assert r.returncode != 0 and len(r.stderr.strip().splitlines()) == 1, r.stderr
    r = subprocess.run([PROGRAM, attempt.bucket], capture_output=True, text=True, timeout=20)
    assert r.returncode != 0 and len(r.stderr.strip().splitlines()) == 1, r.stderr


def test_help_and_version():
    for word in ("--help", "-h", "--version"):
        r = subprocess.run([PROGRAM, word], capture_output=True, text=True, timeout=20)
        assert r.returncode == 0 and r.stdout and not r.stderr, word


def test_cache_is_a_file(attempt):
    open(attempt.cache, "w").close()
    check_refused(attempt, re.escape(attempt.cache))


def test_cache_missing_and_must_exist(attempt):
    attempt.options["check_cache_dir_exist"] = True
    check_refused(attempt, re.escape(attempt.cache))
    assert not os.path.exists(attempt.cache)


@pytest.fixture
def small_disk(work):
    """tmpfs(size, flags) mounted on a folder; gone afterwards."""
    disk = os.path.join(work, "disk")

    def make(options):
        os.makedirs(disk)
        if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", disk]).returncode:
            pytest.skip("may not mount a tmpfs")
        return disk
    yield make
    subprocess.run(["umount", "-l", disk], stderr=subprocess.DEVNULL)


def test_cache_not_writable(attempt, small_disk):
    attempt.options["use_cache"] = disk = small_disk("ro,size=1m")
    check_refused(attempt, re.escape(disk), "read-only|writ|permission|denied")


def test_cache_full(attempt, small_disk):
    attempt.options["use_cache"] = disk = small_disk("size=256k")
    with open(os.path.join(disk, "hog"), "wb", buffering=0) as f:
        try:
            while True:
                f.write(bytes(4096))
        except OSError:
            pass
    check_refused(attempt, re.escape(disk), "space|full")


def test_cache_of_a_newer_format(attempt, bucket):
    assert attempt.run().returncode == 0
    subprocess.run(["fusermount3", "-u", attempt.mnt], check=True)
    wait_for(lambda: not attempt.processes(), 10, "its end")
    [volume] = [os.path.join(attempt.cache, d) for d in os.listdir(attempt.cache)]
    path = os.path.join(volume, "version")
    text = open(path).read()
    with open(path, "w") as f:
        f.write(text.replace("s3cache 1", "s3cache 2", 1))
    check_refused(attempt, re.escape(attempt.cache), "newer")
    assert open(path).read().startswith("s3cache 2"), "left as it was"


def test_cache_in_use_by_something_else(attempt, bucket):
    """A folder of the same name that is no cache: nothing in it is deleted."""
    assert attempt.run().returncode == 0
    subprocess.run(["fusermount3", "-u", attempt.mnt], check=True)
    wait_for(lambda: not attempt.processes(), 10, "its end")
    [volume] = [os.path.join(attempt.cache, d) for d in os.listdir(attempt.cache)]
    mine = os.path.join(volume, "my-own-file")
    with open(mine, "w") as f:
        f.write("keep")
    with open(os.path.join(volume, "version"), "w") as f:
        f.write("s3cache 0\n")
    attempt.run()
    assert open(mine).read() == "keep"


def test_header_rules(attempt, tmp_path):
    attempt.options["ahbe_conf"] = str(tmp_path / "rules")
    check_refused(attempt, "rules: No such file")
    (tmp_path / "rules").write_text(".gz Content-Encoding gzip\nbroken\n")
    check_refused(attempt, "rules, line 2: a header's name is missing.*SUFFIX HEADER VALUE")
