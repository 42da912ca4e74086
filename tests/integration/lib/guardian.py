"""Guardian: a child process that cleans up whatever happens to the tests.

It learns pids, mountpoints and folders over a pipe. When the pipe closes (the tests ended or were killed) it kills, unmounts
lazily and removes them; when an armed deadline passes it kills the daemons, which aborts their mounts: a thread that hangs in
the kernel comes back with an error. It is a process because a page fault on a hung mapping holds Python's lock.
"""
import os
import select
import shutil
import signal
import subprocess
import sys
import time


def mounts_under(prefix):
    with open("/proc/self/mountinfo") as f:
        points = [line.split()[4].encode().decode("unicode_escape") for line in f]
    return [p for p in points if p == prefix or p.startswith(prefix + "/")]


def lazy_unmount(path):
    for command in (["fusermount3", "-uz", path], ["umount", "-l", path]):
        if subprocess.run(command, stderr=subprocess.DEVNULL).returncode == 0:
            return


def alive_as(pid, start):
    """The pid still is the process it was: /proc's start time guards against a reused number."""
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[19] == start
    except OSError:
        return False


def kill_all(pids):
    for pid, start in pids.items():
        if alive_as(pid, start):
            os.kill(pid, signal.SIGKILL)


def serve():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    daemons, services, folders, deadline, buffer = {}, {}, [], None, b""
    while True:
        timeout = None if deadline is None else max(0.0, deadline - time.monotonic())
        if not select.select([0], [], [], timeout)[0]:
            deadline = None
            kill_all(daemons)
            continue
        data = os.read(0, 65536)
        if not data:
            break
        buffer += data
        while b"\n" in buffer:
            line, buffer = buffer.split(b"\n", 1)
            word, _, rest = line.decode().partition(" ")
            if word in ("daemon", "service"):
                pid, start = rest.split()
                (daemons if word == "daemon" else services)[int(pid)] = start
            elif word == "folder":
                folders.append(rest)
            elif word == "arm":
                deadline = time.monotonic() + float(rest)
            elif word == "disarm":
                deadline = None
    kill_all(daemons)
    kill_all(services)
    for folder in folders:
        for point in reversed(mounts_under(folder)):
            lazy_unmount(point)
        if not mounts_under(folder):
            shutil.rmtree(folder, ignore_errors=True)


class Guardian:
    def __init__(self):
        self.process = subprocess.Popen([sys.executable, os.path.abspath(__file__)], stdin=subprocess.PIPE,
                                        start_new_session=True)

    def _say(self, text):
        self.process.stdin.write(text.encode() + b"\n")
        self.process.stdin.flush()

    def watch_pid(self, pid, kind="service"):
        """A "daemon" is killed at a deadline; a "service" (the server, a proxy) only at the end."""
        with open(f"/proc/{pid}/stat") as f:
            self._say(f"{kind} {pid} {f.read().rsplit(')', 1)[1].split()[19]}")

    def watch_folder(self, path):
        self._say(f"folder {path}")

    def arm(self, seconds):
        self._say(f"arm {seconds}")

    def disarm(self):
        self._say("disarm")

    def close(self):
        self.process.stdin.close()
        self.process.wait()


if __name__ == "__main__":
    serve()
