"""Mount: one run of the program (or of a peer) in the foreground, with its log, meters and a sure end."""
import os
import re
import resource
import signal
import subprocess
import threading
import time

from .guardian import lazy_unmount, mounts_under
from .s3server import PROJECT, die_with_parent, wait_for

PROGRAM = os.environ.get("S3CACHE_PROGRAM", os.path.join(PROJECT, "build", "s3cache"))
# What s3fs does not know, so that the same tests and benchmarks can run against it.
ONLY_OURS = {"cache_size", "attr", "nopassthrough", "mem_limit", "min_fetch", "small_file", "logfile"}
TICKS = os.sysconf("SC_CLK_TCK")


def option_string(options):
    """None leaves an option out, True writes its bare name."""
    words = []
    for name, value in options.items():
        if value is True:
            words.append(name)
        elif value is not None and value is not False:
            words.append(f"{name}={value}")
    return ",".join(words)


class Meter:
    """CPU seconds and RssAnon of one process; the peak is sampled every 10 ms between start() and stop()."""

    def __init__(self, pid):
        self.pid, self.peak, self._stop = pid, 0, threading.Event()

    def cpu(self):
        with open(f"/proc/{self.pid}/stat") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def rss_anon(self):
        with open(f"/proc/{self.pid}/status") as f:
            return int(re.search(r"RssAnon:\s+(\d+) kB", f.read())[1]) * 1024

    def _sample(self):
        while not self._stop.wait(0.01):
            try:
                self.peak = max(self.peak, self.rss_anon())
            except (OSError, TypeError):
                return

    def start(self):
        self.peak = self.rss_anon()
        self._stop.clear()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()
        return self

    def stop(self):
        self._stop.set()
        self._thread.join()
        return self.peak


class Mount:
    def __init__(self, what, path, options, log_path, program=None, nofile=None, guardian=None, env=None,
                 wait_seconds=20):
        self.what, self.path, self.options, self.log_path = what, path, dict(options), log_path
        self.program, self.nofile, self.guardian, self.env = program or PROGRAM, nofile, guardian, env
        self.process = None
        self.start(wait_seconds)

    def command(self):
        options = self.options
        if os.path.basename(self.program) == "s3fs":
            options = {k: v for k, v in options.items() if k not in ONLY_OURS}
        return [self.program, self.what, self.path, "-o", option_string(options), "-f"]

    def start(self, wait_seconds=20):
        os.makedirs(self.path, exist_ok=True)

        def child():
            die_with_parent()
            if self.nofile:
                resource.setrlimit(resource.RLIMIT_NOFILE, (self.nofile, self.nofile))
        began = time.monotonic()
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            preexec_fn=child, env={**os.environ, **(self.env or {})})
        if self.guardian:
            self.guardian.watch_pid(self.process.pid, "daemon")

        def mounted():
            if self.process.poll() is not None:
                raise AssertionError(f"exit {self.process.returncode} instead of a mount\n{self.log()}")
            return self.is_mounted()
        wait_for(mounted, wait_seconds, "the mount", 0.002)
        os.statvfs(self.path)  # answered only once the daemon serves
        self.mount_seconds = time.monotonic() - began
        self.meter = Meter(self.process.pid)
        return self

    def is_mounted(self):
        return bool([p for p in mounts_under(self.path) if p == self.path])

    @property
    def pid(self):
        return self.process.pid

    def alive(self):
        return self.process.poll() is None

    def log(self, tail=20000):
        try:
            with open(self.log_path, "rb") as f:
                return f.read()[-tail:].decode("utf-8", "replace")
        except OSError:
            return ""

    def join(self, *parts):
        return os.path.join(self.path, *parts)

    def unmount(self, seconds=20):
        """A clean unmount: the program must end by itself with 0."""
        def gone():
            return not self.is_mounted() or subprocess.run(["fusermount3", "-u", self.path],
                                                           stderr=subprocess.DEVNULL).returncode == 0
        wait_for(gone, seconds, "fusermount3 -u", 0.02)
        code = self.process.wait(seconds)
        assert code == 0, f"exit {code} after a clean unmount\n{self.log()}"

    def kill9(self):
        self.process.kill()
        self.process.wait()
        lazy_unmount(self.path)

    def remount(self, **changed):
        self.options.update(changed)
        if self.alive():
            self.unmount()
        return self.start()

    def destroy(self):
        """Whatever state it is in: no process and no mount afterwards."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(3)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.is_mounted():
            lazy_unmount(self.path)
