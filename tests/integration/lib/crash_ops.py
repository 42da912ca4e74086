"""A program that changes a tree in every way there is and keeps books (lib/crash_model.py) until the mount is gone.

usage: crash_ops.py FOLDER MANIFEST SEED HOST:PORT BUCKET PREFIX    PREFIX is FOLDER's key in the bucket. Ends with 0 when the
file system was taken away from under it, with 3 on any error that the file system had no reason for.
"""
import errno
import os
import random
import sys
import time
import traceback

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from lib.crash_model import Manifest, blob, bytes_of  # noqa: E402

GONE = {errno.ENOTCONN, errno.ECONNABORTED, errno.ENODEV}
SMALL = [0, 1, 100, 5000, 70_000, 300_000]
LARGE = [5_500_000, 11_700_000]  # two parts; parts that go up while it is written
MOST_FILES, MOST_LARGE = 10, 2


class Writer:
    def __init__(self, folder, manifest, seed, server, bucket, prefix):
        self.folder, self.book, self.rng = folder, Manifest(manifest), random.Random(seed)
        self.server, self.bucket, self.prefix = server, bucket, prefix
        self.serial = self.book.steps * 10  # a step takes fewer

    def path(self, name):
        return os.path.join(self.folder, name)

    def files(self, large=None):
        return [p for p, n in self.book.tree.items()
                if n.data is not None and (large is None or large == (len(n.data) > 1_000_000))]

    def folders(self):
        return [p for p, n in self.book.tree.items() if n.data is None]

    def name(self, kind):
        self.serial += 1
        where = self.rng.choice([""] + [f + "/" for f in self.folders()])
        return f"{where}{kind}-{self.serial}"

    def tag(self):
        self.serial += 1
        return f"{self.prefix}/{self.serial}"

    def write_all(self, fd, data):
        at = 0
        while at < len(data):
            at += os.write(fd, data[at:at + 1_000_000])

    # Each: the book says what begins, the file system does it, the book says that it answered.

    def create(self, size=None):
        size = self.rng.choice(SMALL) if size is None else size
        op = {"op": "create", "path": self.name("file"), "tag": self.tag(), "size": size}
        self.book.begin(**op)
        fd = os.open(self.path(op["path"]), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            self.write_all(fd, bytes_of(op))
            if self.rng.random() < 0.3:
                os.fsync(fd)
        finally:
            os.close(fd)
        self.book.done()

    def large(self):
        if len(self.files(large=True)) < MOST_LARGE:
            self.create(self.rng.choice(LARGE))

    def change_bytes(self, op, flags, work):
        self.book.begin(**op)
        fd = os.open(self.path(op["path"]), flags)
        try:
            work(fd)
            if self.rng.random() < 0.7:
                os.fsync(fd)
                self.book.done()
        finally:
            os.close(fd)
        if self.book.open:
            self.book.done()

    def append(self):
        for path in self.rng.sample(self.files(), min(1, len(self.files()))):
            op = {"op": "append", "path": path, "tag": self.tag(), "size": self.rng.choice([7, 74, 3000, 20_000])}
            data = bytes_of(op)
            cut = self.rng.randint(0, len(data))

            def work(fd):
                self.write_all(fd, data[:cut])
                self.write_all(fd, data[cut:])
            self.change_bytes(op, os.O_WRONLY | os.O_APPEND, work)

    def places(self, path):
        length = len(self.book.tree[path].data)
        size = self.rng.choice([10, 4096])
        if length < 3 * size:
            return None
        offsets = self.rng.sample(range(0, length // size), min(3, length // size))
        shift = self.rng.choice([0, 3])  # whole pages, or across their ends
        return {"size": size, "offsets": [o * size + shift for o in offsets if (o + 1) * size + shift <= length]}

    def edit(self):
        files = self.files(large=True) if self.rng.random() < 0.3 else self.files()
        for path in self.rng.sample(files, min(1, len(files))):
            where = self.places(path)
            if where is None:
                continue
            op = {"op": "edit", "path": path, "tag": self.tag(), **where}
            if self.rng.random() < 0.3:
                with open(self.path(path), "rb") as f:
                    f.read()  # cached as a whole: changed in place

            def work(fd):
                for i, offset in enumerate(op["offsets"]):
                    os.pwrite(fd, blob(f"{op['tag']}/{i}", op["size"]), offset)
            self.change_bytes(op, os.O_RDWR, work)

    def rewrite(self):
        for path in self.rng.sample(self.files(large=False), min(1, len(self.files(large=False)))):
            op = {"op": "rewrite", "path": path, "tag": self.tag(), "size": self.rng.choice(SMALL)}
            self.change_bytes(op, os.O_WRONLY | os.O_TRUNC, lambda fd: self.write_all(fd, bytes_of(op)))

    def truncate(self):
        for path in self.rng.sample(self.files(), min(1, len(self.files()))):
            length = len(self.book.tree[path].data)
            op = {"op": "truncate", "path": path, "size": self.rng.choice([0, length // 2, length + 5000])}
            self.book.begin(**op)
            os.truncate(self.path(path), op["size"])
            self.book.done()

    def unlink(self, path=None):
        for path in [path] if path else self.rng.sample(self.files(), min(1, len(self.files()))):
            self.book.begin(op="unlink", path=path)
            os.unlink(self.path(path))
            self.book.done()

    def mkdir(self):
        if len(self.folders()) < 3:
            op = {"op": "mkdir", "path": f"dir-{self.serial}"}
            self.serial += 1
            self.book.begin(**op)
            os.mkdir(self.path(op["path"]), 0o755)
            self.book.done()

    def rmdir(self):
        empty = [f for f in self.folders() if not any(p.startswith(f + "/") for p in self.book.tree)]
        for path in empty[:1]:
            self.book.begin(op="rmdir", path=path)
            os.rmdir(self.path(path))
            self.book.done()

    def rename(self):
        files = self.files()
        for path in self.rng.sample(files, min(1, len(files))):
            others = [f for f in files if f != path]
            to = self.rng.choice(others) if others and self.rng.random() < 0.3 else self.name("moved")
            self.book.begin(op="rename", path=path, to=to)
            os.rename(self.path(path), self.path(to))
            self.book.done()

    def rename_unsaved(self):
        """A file that S3 never had: renamed while it is open and written."""
        made = {"op": "create", "path": self.name("file"), "tag": self.tag(), "size": 5000}
        to = self.name("moved")
        # One step of the book: neither name, or either with what was written so far, is nobody's promise.
        fd = os.open(self.path(made["path"]), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            self.book.begin(**{**made, "path": to, "from": made["path"]})
            self.write_all(fd, bytes_of(made))
            os.rename(self.path(made["path"]), self.path(to))
        finally:
            os.close(fd)
        self.book.done()

    def rename_folder(self):
        for path in self.rng.sample(self.folders(), min(1, len(self.folders()))):
            op = {"op": "rename", "path": path, "to": f"dir-{self.serial}"}
            self.serial += 1
            self.book.begin(**op)
            os.rename(self.path(path), self.path(op["to"]))
            self.book.done()

    def attributes(self):
        names = list(self.book.tree)
        for path in self.rng.sample(names, min(1, len(names))):
            bits = [0o755, 0o750] if self.book.tree[path].data is None else [0o644, 0o600, 0o640]
            op = {"op": "chmod", "path": path, "mode": self.rng.choice(bits)}
            self.book.begin(**op)
            os.chmod(self.path(path), op["mode"])
            self.book.done()
        for path in self.rng.sample(self.files(), min(1, len(self.files()))):
            op = {"op": "utime", "path": path, "mtime": 1_600_000_000 + self.serial}
            self.book.begin(**op)
            os.utime(self.path(path), (op["mtime"], op["mtime"]))
            self.book.done()

    def attributes_at_once(self):
        """As cp -p: set on the open file, before its first upload."""
        op = {"op": "create", "path": self.name("file"), "tag": self.tag(), "size": 3000}
        self.book.begin(**op)
        fd = os.open(self.path(op["path"]), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            self.write_all(fd, bytes_of(op))
            os.fsync(fd)
            self.book.done()
            self.book.begin(op="chmod", path=op["path"], mode=0o600)
            os.fchmod(fd, 0o600)
        finally:
            os.close(fd)
        self.book.done()

    def replaced(self):
        """Somebody else replaces the object under a writer: the writer's bytes are to be set aside."""
        from lib.s3client import S3Client
        from lib.s3server import KEY_ID, SECRET
        paths = [p for p in self.files() if len(self.book.tree[p].data) >= 300]
        if not paths or len(self.book.replaced) >= 4:
            return
        path = self.rng.choice(paths)
        mine = {"tag": self.tag(), "size": 100, "offsets": [50]}
        op = {"op": "replace", "path": path, "tag": self.tag(), "size": 400, "edit": mine}
        fd = os.open(self.path(path), os.O_RDWR)
        closed = False
        try:
            os.pread(fd, 1, 0)
            self.book.begin(**op)
            os.pwrite(fd, blob(f"{mine['tag']}/0", 100), 50)
            host, port = self.server.split(":")
            S3Client(host, int(port), KEY_ID, SECRET).put(self.bucket, f"{self.prefix}/{path}", bytes_of(op))
            try:
                os.fsync(fd)
                self.book.bytes_acknowledged()  # with writeback
            except OSError as e:
                if e.errno != errno.ESTALE:
                    raise
            closed = True
            try:
                os.close(fd)
            except OSError as e:
                if e.errno != errno.ESTALE:
                    raise
        finally:
            if not closed:
                os.close(fd)
        want, end = bytes_of(op), time.monotonic() + 20
        while self.read(path) != want:
            if time.monotonic() > end:
                raise AssertionError(f"{path} does not show the version that replaced it")
            time.sleep(0.01)
        self.book.done()

    def read(self, path):
        try:
            with open(self.path(path), "rb") as f:
                return f.read()
        except OSError as e:
            if e.errno != errno.ESTALE:
                raise
            return None

    def mount_is_gone(self):
        """A page on its way when the daemon dies is EIO."""
        try:
            os.statvfs(self.folder)
        except OSError as e:
            return e.errno in GONE
        return False

    def step(self):
        self.rng.choice([self.create, self.create, self.large, self.append, self.append, self.edit, self.edit, self.rewrite,
                         self.truncate, self.unlink, self.mkdir, self.rmdir, self.rename, self.rename, self.rename_unsaved,
                         self.rename_folder, self.attributes, self.attributes_at_once, self.replaced])()
        while len(self.files()) > MOST_FILES:
            self.unlink(self.rng.choice(self.files()))


def main():
    writer = Writer(*sys.argv[1:])
    while True:
        try:
            writer.step()
        except OSError as e:
            if e.errno in GONE or writer.mount_is_gone():
                return 0
            raise


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Exception as e:
        traceback.print_exc()
        raise SystemExit(3) from e
