"""Random operations for tree_run.py: drawn from a seed and from what the reference shows, which is the same in every run."""
import os

from .tree_ops import CALM, EXCHANGE, NOREPLACE

# They sort around '/', hide behind each other's prefixes and need escaping in a URL.
NAMES = ["a", "a-", "a.txt", "a0", "b", "d", "d-1", "d.x", "s p", "\u00e9", "%41", "z+&"]
TOP = "r"
SLOTS = 4
SIZES = [0, 1, 100, 4095, 4096, 5000, 20_000, 70_000]


class Program:
    """next_op() until it is None. mode: "plain", "crash", "behind"."""

    def __init__(self, rng, length, mode, big):
        self.rng, self.left, self.mode, self.big = rng, length, mode, big
        self.weights = dict(WEIGHTS)
        if mode == "behind":
            self.weights.update({Program.put: 12, Program.delete: 5, Program.close_soon: 0, Program.fsync_soon: 0})
        if mode == "crash":  # what it may do to attributes set in the same second as the version: tree_run.DIFFERENT
            self.weights.update({Program.attr: 0, Program.xattr: 0, Program.slot_attr: 0})
        self.crashes = {rng.randrange(3, length) for _ in range(2)} if mode == "crash" else set()

    # --- before the mount looks

    def initial(self):
        """What other clients left: [kind, path, ...] for tree_run.populate()."""
        rng, made, dirs = self.rng, [["dir", TOP, 0o755]], [TOP]
        for _ in range(rng.choice([0, 3, 8, 12])):
            where = rng.choice(dirs)
            path = os.path.join(where, rng.choice(NAMES))
            if any(path == m[1] for m in made):
                continue
            if rng.random() < 0.35 and where.count("/") < 2:
                made.append(["dir", path, rng.choice([0o755, 0o700, 0o711])])
                dirs.append(path)
            else:
                made.append(["file", path, self.data(), rng.choice([0o644, 0o600]), self.time()])
        return made

    # --- choices

    def next_op(self, ref, slots):
        self.left -= 1
        if self.left < 0:
            return None
        self.ref, self.slots = ref, slots
        if self.left in self.crashes:
            self.crashes.remove(self.left)
            return ["crash", self.rng.choice([None, 0, 0.5, 1, 2, 4, 8, 15])]
        self.files, self.dirs, self.rest = [], [TOP], []
        for where, dirs, names in os.walk(os.path.join(ref.root, TOP)):
            at = os.path.relpath(where, ref.root)
            for name in sorted(dirs):
                full = os.path.join(at, name)
                (self.rest if os.path.islink(ref.at(full)) else self.dirs).append(full)
            for name in sorted(names):
                full = os.path.join(at, name)
                (self.rest if os.path.islink(ref.at(full)) else self.files).append(full)
        for kind in (self.files, self.dirs, self.rest):
            kind.sort()
        choices, weights = zip(*self.weights.items())
        return self.rng.choices(choices, weights)[0](self)

    def data(self):
        size = self.rng.choice(SIZES)
        if self.big and self.rng.random() < 0.03:
            size = (6 << 20) + self.rng.randrange(5000)
        return [self.rng.randrange(1 << 30), size]

    def time(self):
        return self.rng.randrange(CALM - 400_000_000, CALM) * 1_000_000_000 + self.rng.randrange(1_000_000_000)

    def new(self):
        where = self.rng.choice(self.dirs)
        if where.count("/") > 2:
            where = TOP
        return os.path.join(where, self.rng.choice(NAMES))

    def file(self):
        return self.rng.choice(self.files) if self.files and self.rng.random() < 0.85 else self.any()

    def directory(self):
        return self.rng.choice(self.dirs) if self.rng.random() < 0.9 else self.any()

    def any(self):
        everything = self.files + self.rest + [d for d in self.dirs if d != TOP]
        if everything and self.rng.random() < 0.75:
            path = self.rng.choice(everything)
            if path in self.rest and self.rng.random() < 0.2:
                return os.path.join(path, self.rng.choice(NAMES))  # through a symlink, if it leads anywhere
            return path
        return self.new()

    def slot(self):
        return self.rng.choice(sorted(self.slots)) if self.slots and self.rng.random() < 0.97 else self.rng.randrange(SLOTS)

    def offset(self):
        return self.rng.choice([0, 0, 1, 100, 4096, 5000, self.rng.randrange(90_000)])

    # --- operations

    def open(self):
        rng = self.rng
        free = [n for n in range(SLOTS) if n not in self.slots]
        if not free:
            return self.close()
        flags = rng.choice([os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_RDWR])
        if rng.random() < 0.65:
            flags |= os.O_CREAT
            if rng.random() < 0.25:
                flags |= os.O_EXCL
        if rng.random() < 0.2 and flags & os.O_ACCMODE:
            flags |= os.O_TRUNC
        if rng.random() < 0.15 and flags & os.O_ACCMODE:
            flags |= os.O_APPEND
        path = self.file() if rng.random() < 0.5 else self.new()
        return ["open", free[0], path, flags, rng.choice([0o644, 0o600, 0o755])]

    def close(self):
        return ["close", self.slot()]

    def close_soon(self):
        return ["close_soon", self.slot()]

    def fsync_soon(self):
        return ["fsync_soon", self.slot()]

    def join(self):
        return ["join"]

    def pwrite(self):
        return ["pwrite", self.slot(), self.offset(), self.data()]

    def append(self):
        return ["append", self.slot(), self.data()]

    def pread(self):
        return ["pread", self.slot(), self.offset(), self.rng.choice([1, 4096, 100_000])]

    def ftruncate(self):
        return ["ftruncate", self.slot(), self.offset()]

    def slot_attr(self):
        r = self.rng.random()
        if r < 0.3:
            return ["fchmod", self.slot(), self.rng.choice([0o600, 0o640, 0o755])]
        return ["futimens", self.slot(), self.time()] if r < 0.6 else ["fstat", self.slot()]

    def fsync(self):
        return ["fsync", self.slot()]

    def look(self):
        return [self.rng.choice(["stat", "lstat", "listxattr"]), self.any()]

    def ls(self):
        return ["ls", self.directory()]

    def read(self):
        return ["read", self.file()]

    def truncate(self):
        return ["truncate", self.file(), self.offset()]

    def mkdir(self):
        return ["mkdir", self.new(), self.rng.choice([0o755, 0o700, 0o1777])]

    def rmdir(self):
        return ["rmdir", self.directory()]

    def unlink(self):
        return ["unlink", self.file()]

    def rename(self):
        rng = self.rng
        flags = rng.choice([0] * 12 + [NOREPLACE] * 3 + [EXCHANGE])
        old = self.file() if rng.random() < 0.6 else self.directory()
        if old == TOP:
            old = self.any()
        r = rng.random()
        new = self.file() if r < 0.3 else self.directory() if r < 0.4 else self.new()
        if r > 0.95:
            new = os.path.join(old, rng.choice(NAMES))  # into itself
        return ["rename", old, new if new != TOP else self.new(), flags]

    def symlink(self):
        target = self.rng.choice(NAMES) if self.rng.random() < 0.7 else "../" + self.rng.choice(NAMES)
        return ["symlink", target, self.new()]

    def readlink(self):
        return ["readlink", self.rng.choice(self.rest) if self.rest else self.any()]

    def mkfifo(self):
        return ["mkfifo", self.new(), 0o644]

    def link(self):
        return ["link", self.file(), self.new()]

    def attr(self):
        rng, path = self.rng, self.any() if self.rng.random() < 0.4 else self.file()
        r = rng.random()
        if r < 0.3:
            return ["chmod", path, rng.choice([0o600, 0o644, 0o751, 0o4755])]
        if r < 0.7:
            return ["utimens", path, self.time()]
        return ["chown", path, rng.choice([0, 1234]), rng.choice([0, 55])]

    def xattr(self):
        rng, path = self.rng, self.any() if self.rng.random() < 0.4 else self.file()
        name = rng.choice(["user.one", "user.Two", "user.\u00e9 x"])
        r = rng.random()
        if r < 0.55:
            return ["setxattr", path, name, [rng.randrange(1 << 30), rng.choice([0, 1, 30, 200])], rng.choice([0, 0, 0, 1, 2])]
        return ["getxattr" if r < 0.8 else "removexattr", path, name]

    def fsyncdir(self):
        return ["fsyncdir", self.directory()]

    def walk(self):
        return ["walk"]

    # --- behind the mount's back

    def put(self):
        path = self.file() if self.rng.random() < 0.7 else self.new()
        return ["put", path, self.data(), self.rng.choice([0o644, 0o600]), self.time()]

    def delete(self):
        return ["delete", self.file()]


WEIGHTS = {Program.open: 13, Program.close: 7, Program.close_soon: 3, Program.fsync_soon: 2, Program.join: 2,
           Program.pwrite: 10, Program.append: 5, Program.pread: 6, Program.ftruncate: 3, Program.slot_attr: 4,
           Program.fsync: 3, Program.look: 6, Program.ls: 3, Program.read: 5, Program.truncate: 3, Program.mkdir: 5,
           Program.rmdir: 3, Program.unlink: 6, Program.rename: 12, Program.symlink: 2, Program.readlink: 1,
           Program.mkfifo: 0.5, Program.link: 0.5, Program.attr: 5, Program.xattr: 4, Program.fsyncdir: 0.5, Program.walk: 1}
