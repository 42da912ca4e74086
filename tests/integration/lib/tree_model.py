"""What a crash may leave of a tree: a small model of s3cache's promises, beside a plain file system that has every change.

The plain side (the reference) says how the tree is now. The model knows, for each of its inodes, what of it is promised:
the states it went through since the last one that a close or fsync answered for. Names are promised when their call
returns, except those of files that were never saved.

After a kill each file is the promised state or, in places, a later one: every byte is one that the file had there since.
"""
import errno
import os

from . import tree_ops
from .tree_ops import brief

DATA_OPS = {"pwrite", "append", "ftruncate"}
SLOT_ATTR_OPS = {"fchmod", "futimens"}
PATH_ATTR_OPS = {"chmod", "utimens", "setxattr", "removexattr", "chown"}


class Promise:
    """One file. states: (bytes, attributes) since the promised one, which is the first; `base` numbers the first."""

    def __init__(self, state, saved):
        self.states, self.base, self.saved = [state], 0, saved
        self.displaced = []  # what lay at the name that an unsaved file took

    def last(self):
        return self.base + len(self.states) - 1

    def keep(self, number):
        """The state of that number is promised, and so is none before it."""
        drop = max(0, number - self.base)
        del self.states[:drop]
        self.base += drop
        self.saved, self.displaced = True, []


class TreeModel:
    def __init__(self, ref):
        self.ref = ref
        self.forget()

    def forget(self):
        """All that is there is promised: so it is at the start, and after a crash with what was seen."""
        self.files = {}   # inode of the reference -> Promise
        self.slots = {}   # slot -> (inode, can write)
        self.closing = []  # (inode, number of the state) of closes and fsyncs under way

    # --- following the reference

    def before(self, op):
        """What has to be known of the tree before the reference carries the operation out."""
        name = op[0]
        if name == "open":
            return {"existed": self._ino(op[2], True) is not None}
        if name in ("unlink", "rename"):
            target = op[-2] if name == "rename" else op[1]
            gone = self._ino(target, False)
            return {"gone": gone, "moved": self._ino(op[1], False), "was": self._expected(target) if gone else None}
        if name in ("close", "close_soon", "fsync_soon") and op[1] in self.slots:
            return {"slot": self.slots[op[1]]}
        return {}

    def after(self, op, known, answer):
        """The reference has done it."""
        name = op[0]
        if isinstance(answer, str) and answer in errno.errorcode.values() or answer == "slot in use":
            return
        if name == "open":
            self._opened(op, known)
        elif name in DATA_OPS or name in SLOT_ATTR_OPS:
            self._changed(self.slots[op[1]][0], f"/proc/self/fd/{self.ref.fds[op[1]]}", name in SLOT_ATTR_OPS)
        elif name == "truncate":
            ino = self._ino(op[1], True)
            self._changed(ino, self._path(op), False)
            if not self._written_to(ino):
                self._keep(ino)
        elif name in PATH_ATTR_OPS:
            ino = self._ino(op[1], name != "chown")
            if ino is not None:
                self._changed(ino, self._path(op), True)
        elif name == "fsync":
            self._keep(self.slots[op[1]][0])
        elif name in ("close", "close_soon", "fsync_soon"):
            self._closed(name, op[1], known["slot"])
        elif name == "join":
            for ino, number in self.closing:
                if ino in self.files:
                    self.files[ino].keep(number)
            self.closing = []
        elif name == "rename" and known["moved"] is not None:
            self._renamed(known)
        elif name == "unlink":
            self._forget_unlinked(known["gone"])

    def _path(self, op):
        """The file that a path means; chown is of the link itself."""
        return self.ref.at(op[1]) if op[0] == "chown" else os.path.realpath(self.ref.at(op[1]))

    def _ino(self, path, follow):
        try:
            return os.stat(self.ref.at(path), follow_symlinks=follow).st_ino
        except OSError:
            return None

    def _opened(self, op, known):
        slot, flags = op[1], op[3]
        fd = self.ref.fds[slot]
        ino = os.fstat(fd).st_ino
        self.slots[slot] = (ino, flags & os.O_ACCMODE != os.O_RDONLY)
        if not known["existed"]:
            self.files[ino] = Promise(self._state(f"/proc/self/fd/{fd}"), saved=False)
        elif flags & os.O_TRUNC:
            self._changed(ino, f"/proc/self/fd/{fd}", False)

    @staticmethod
    def _state(path):
        """Of a file of the reference; /proc/self/fd/N leads to one without a name, too."""
        if not path.startswith("/proc/") and os.path.islink(path):
            return None
        st = os.stat(path)
        if tree_ops.kind(st.st_mode) != "file":
            return None
        fd = os.open(path, os.O_RDONLY)
        try:
            names = {n: os.getxattr(path, n).hex() for n in sorted(os.listxattr(path))}
            return tree_ops.whole(fd), (tree_ops.shown(st)[:4], names)
        finally:
            os.close(fd)

    def _changed(self, ino, path, attributes_only):
        state = self._state(path)
        if state is None:
            return
        promise = self.files.get(ino)
        if promise is None:  # before this its state was promised, but the reference has it no more
            promise = self.files[ino] = Promise(self.known_before.get(ino, state), saved=True)
        clean = promise.saved and len(promise.states) == 1
        promise.states.append(state)
        if attributes_only and clean and not self._written_to(ino):
            promise.keep(promise.last())

    def remember(self, op):
        """States of files that were not changed since the last promise, before they are."""
        self.known_before = {}
        try:
            if op[0] in DATA_OPS | SLOT_ATTR_OPS and op[1] in self.slots:
                ino, path = self.slots[op[1]][0], f"/proc/self/fd/{self.ref.fds[op[1]]}"
            elif op[0] in PATH_ATTR_OPS | {"truncate"}:
                ino, path = self._ino(op[1], op[0] != "chown"), self._path(op)
            elif op[0] == "open" and op[3] & os.O_TRUNC:
                ino, path = self._ino(op[2], True), os.path.realpath(self.ref.at(op[2]))
            else:
                return
            if ino is not None and ino not in self.files:
                state = self._state(path)
                if state:
                    self.known_before[ino] = state
        except OSError:
            pass

    def _written_to(self, ino):
        return any(i == ino and writes for i, writes in self.slots.values()) or any(i == ino for i, _ in self.closing)

    def _keep(self, ino):
        if ino in self.files:
            self.files[ino].keep(self.files[ino].last())

    def _closed(self, name, slot, known):
        ino, writes = known
        if name != "fsync_soon":
            del self.slots[slot]
        if ino in self.files and (writes or name == "fsync_soon"):
            promise = self.files[ino]
            empty_and_new = not promise.saved and not any(data for data, _ in promise.states)
            if name == "close" and not (empty_and_new and self._written_to(ino)):  # its last close brings it to S3
                promise.keep(promise.last())
            elif name != "close":
                self.closing.append((ino, promise.last()))
        self._forget_unlinked(ino)

    def _renamed(self, known):
        promise = self.files.get(known["moved"])
        if promise is not None and not promise.saved and known["was"] and known["gone"] != known["moved"]:
            promise.displaced.append(known["was"])
        if known["gone"] != known["moved"]:
            self._forget_unlinked(known["gone"])

    def _forget_unlinked(self, ino):
        """A number that the reference may give to a new file."""
        if ino is not None and not any(i == ino for i, _ in self.slots.values()):
            for where, dirs, names in os.walk(self.ref.root):
                for name in names:
                    if os.lstat(os.path.join(where, name)).st_ino == ino:
                        return
            self.files.pop(ino, None)
            self.closing = [c for c in self.closing if c[0] != ino]

    # --- a crash

    def _expected(self, path):
        """(what the name shows, its Promise or None)."""
        seen = tree_ops.look(self.ref.at(path))
        promise = self.files.get(os.lstat(self.ref.at(path)).st_ino) if seen["attr"][0] == "file" else None
        if promise is None:
            return seen, None
        frozen = Promise(promise.states[0], promise.saved)
        frozen.states, frozen.displaced = list(promise.states), list(promise.displaced)
        return seen, frozen

    def expected(self):
        """What a crash now may leave, to be compared with allows()."""
        found = {}
        for where, dirs, names in os.walk(self.ref.root):
            for name in dirs + names:
                path = os.path.relpath(os.path.join(where, name), self.ref.root)
                found[path] = self._expected(path)
        return found


def allows(expected, seen):
    """[] or what is wrong with `seen`, a tree() after a crash."""
    wrong = []
    for path, (now, promise) in expected.items():
        if path not in seen:
            if promise is None or promise.saved or promise.displaced:
                wrong.append(f"{path} is gone: {brief(now)}")
            continue
        why = [_file_allows(now, promise, seen[path])]
        if promise is not None and why[0]:
            why += [_file_allows(*was, seen[path]) for was in promise.displaced]
        if all(why):
            wrong.append(f"{path}: {why[0]}")
    return wrong + [f"{path} is there again: {brief(seen[path])}" for path in seen if path not in expected]


def _file_allows(now, promise, seen):
    if promise is None:
        return "" if now == seen else f"{brief(seen)}, not {brief(now)}"
    if seen["attr"][0] != "file":
        return f"a {seen['attr'][0]}"
    if not any(seen["attr"] == attr and seen["xattrs"] == names for _, (attr, names) in promise.states):
        return f"{seen['attr']} {brief(seen['xattrs'])}, not one of {[a for _, a in promise.states]}"
    data, images = seen["bytes"], [image for image, _ in promise.states]
    if data in images:
        return ""
    if len(data) not in {len(i) for i in images}:
        return f"{len(data)} bytes, not one of {[len(i) for i in images]}"
    longest = [i for i in images]
    bad = [n for n in range(len(data)) if not any(len(i) > n and i[n] == data[n] for i in longest)]
    return f"{len(bad)} bytes from {bad[0]} on that it never had, {set(data[n] for n in bad[:9])}" if bad else ""
