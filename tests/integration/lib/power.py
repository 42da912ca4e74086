"""A disk whose power can be cut: XFS on a loop device, whose image is a file on a reflink file system (XFS on a loop again).

A clone of the mounted image (FICLONE, what `cp --reflink=always` does) holds what the file system above had sent to its
disk at one moment, and nothing of its page cache. Mounting the clone in its place is the boot after the cut.
"""
import fcntl
import os
import shutil
import subprocess

from .guardian import lazy_unmount, mounts_under
from .s3server import wait_for

FICLONE = 0x40049409


class Unavailable(Exception):
    """This machine cannot have such a disk; the text says why."""


def run(*command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        raise Unavailable(f"{' '.join(command)}: {done.stderr.strip()}")


def make_image(path, size):
    with open(path, "wb") as f:
        f.truncate(size)  # sparse: the room is taken as it is written
    run("mkfs.xfs", "-q", "-m", "reflink=1", path)


def unmount(path):
    """For good: killed daemons let go of their files a moment after their end. The loop device goes with the mount."""
    wait_for(lambda: subprocess.run(["umount", path], stderr=subprocess.DEVNULL).returncode == 0, 10, f"umount {path}", 0.01)


class PowerDisk:
    """The disk is at `path`; the session's guardian unmounts what lies below `work`, should the test be killed."""

    def __init__(self, work):
        if os.geteuid() != 0:
            raise Unavailable("loop mounts need root")
        if not shutil.which("mkfs.xfs"):
            raise Unavailable("there is no mkfs.xfs")
        self.path, self.store = os.path.join(work, "disk"), os.path.join(work, "images")
        self.cuts = 0
        os.mkdir(self.path)
        os.mkdir(self.store)
        try:
            make_image(os.path.join(work, "store.img"), 2 << 30)
            run("mount", "-o", "loop", os.path.join(work, "store.img"), self.store)
            make_image(self._image(), 512 << 20)  # mkfs.xfs wants 300 MB
            self._mount()
        except BaseException:
            self.close()
            raise

    def _image(self):
        return os.path.join(self.store, f"{self.cuts}.img")

    def _mount(self):
        run("mount", "-o", "loop", self._image(), self.path)

    def cut(self):
        """This moment is what reboot() finds. Whoever uses the disk goes on, to no avail."""
        with open(self._image(), "rb") as image:
            self.cuts += 1
            with open(self._image(), "wb") as clone:
                fcntl.ioctl(clone, FICLONE, image.fileno())

    def reboot(self):
        unmount(self.path)
        os.unlink(os.path.join(self.store, f"{self.cuts - 1}.img"))
        self._mount()

    def close(self):
        for path in (self.path, self.store):
            if mounts_under(path):
                lazy_unmount(path)
