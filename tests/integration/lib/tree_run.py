"""Runs programs of operations on a mount and on a plain folder beside it, and compares each answer and the trees.

One mount serves many programs, each in a folder of its own. What differs on purpose is in DIFFERENT and nowhere else.
"""
import errno
import os
import shutil
import subprocess
import threading
import time

from . import tree_ops
from .mount import PROGRAM
from .tree_model import TreeModel, allows
from .tree_ops import EXCHANGE, Side, brief

DIFFERENT = {
    "link": "there are no hard links on S3: EOPNOTSUPP",
    "exchange": "two names cannot change places on S3: RENAME_EXCHANGE is EOPNOTSUPP",
    "directories": "their mtime is what it was set to (no update_parent_dir_stat), their size and link count are constants",
    "replaced": "a handle of a version that somebody else replaced reads it or answers ESTALE, never anything else",
    "kills": "attributes set in the last 50 ms before a kill may be shown as before until the TTL has passed, where ETag and "
             "LastModified (in seconds) do not tell the two apart; S3 has them. Not done here",
    "overwritten": "a rename over an open file whose bytes were not fetched yet takes them: ESTALE",
    "fifo": "fstat of an open fifo whose name is gone: ESTALE, as the file system never hears of the open",
    "emptied": "a file cut to nothing stays as this mount left it until what read it before is closed. Not done here",
    "conflict": "who writes to a version that somebody else replaced gets ESTALE, his bytes go to recover/ (test_versions.py): not done here",
}


class Difference(Exception):
    pass


def errors(answer):
    return isinstance(answer, str) and answer in errno.errorcode.values()


def same_trees(what, ours, theirs):
    wrong = [f"{path}: {brief(ours.get(path))}, not {brief(theirs.get(path))}"
             for path in sorted(set(ours) | set(theirs)) if ours.get(path) != theirs.get(path)]
    if wrong:
        raise Difference(f"{what}: " + "; ".join(wrong[:8]))


def plain_file(path, data, mode, mtime_ns):
    """Whole, at once, under a new inode: as a client of the bucket replaces an object."""
    with open(path + "~", "wb") as f:
        f.write(data)
    os.chmod(path + "~", mode)
    os.utime(path + "~", ns=(mtime_ns, mtime_ns))
    os.rename(path + "~", path)


def put(bucket, key, data, mode, ns):
    bucket.put(key, data, mode=mode, uid=0, gid=0, mtime=f"{ns // 10**9}.{ns % 10**9:09d}")


def populate(bucket, name, ref_root, initial):
    """The same objects in the bucket and in the reference. Not through the mount, which has to find them."""
    os.makedirs(ref_root)
    for path in ["", *[i[1] for i in initial if i[0] == "dir"]]:
        mode = next((i[2] for i in initial if i[1] == path), 0o755)
        if path:
            os.mkdir(os.path.join(ref_root, path))
            os.chmod(os.path.join(ref_root, path), mode)
        put(bucket, os.path.join(name, path).rstrip("/") + "/", b"", 0o040000 | mode, 10**18)
    for kind, path, *rest in initial:
        if kind == "file":
            spec, mode, ns = rest
            put(bucket, os.path.join(name, path), tree_ops.content(spec), 0o100000 | mode, ns)
            plain_file(os.path.join(ref_root, path), tree_ops.content(spec), mode, ns)


class Run:
    def __init__(self, mount, bucket, name, ref_root, sync):
        self.mount, self.bucket, self.name, self.sync = mount, bucket, name, sync
        self.ours, self.ref = Side(mount.join(name)), Side(ref_root)
        self.model = TreeModel(self.ref)
        self.replaced = set()  # slots that hold a version which is no more
        self.overwritten = set()  # slots of files that lost their name to a rename
        self.log = []
        self.kill_after = None

    def run(self, next_op):
        """next_op(ref, slots) -> operation or None. Raises Difference. Everything is closed afterwards."""
        try:
            while (op := next_op(self.ref, set(self.ref.fds))) is not None:
                self.log.append(op)
                self._step(op)
            for op in [["join"], *[["close", slot] for slot in sorted(self.ref.fds)]]:
                self._step(op)
            self.compare()
        finally:
            self.ours.drop_all()
            self.ref.drop_all()

    def compare(self):
        same_trees("the trees", tree_ops.tree(self.ours.root), tree_ops.tree(self.ref.root))

    def _step(self, op):
        if op[0] == "crash":
            self.kill_after = op[1]
            if op[1] is None:
                self._crash(lambda: None)
        elif op[0] in ("put", "delete"):
            self._behind(op)
        elif len(op) > 1 and op[1] in self.replaced and op[0] not in ("open", "pread", "close"):
            pass  # its inode has another version at the mount and none in the reference
        elif op[0] == "link" or op[0] == "rename" and op[3] == EXCHANGE:
            same = op[0] == "rename" and os.path.realpath(self.ref.at(op[1])) == os.path.realpath(self.ref.at(op[2]))
            if not errors(answer := self.ours.do(op)) and not same:
                raise Difference(f"{op}: {answer}")
        else:
            self._both(op)

    def _both(self, op):
        if self.kill_after is not None and op[0] not in ("join", "close_soon", "fsync_soon"):
            before = self.model.expected()
            self._reference(op)
            return self._crash(lambda: self.ours.do(op), before)
        gone = self.model._ino(op[2], False) if op[0] == "rename" else None
        ours, theirs = self.ours.do(op), self._reference(op)
        if gone and theirs == "renamed":
            self.overwritten |= {s for s, (i, _) in self.model.slots.items() if i == gone}
        if op[0] == "open" and theirs == "open":
            self.overwritten.discard(op[1])
        stale = op[0] in ("pread", "close") and op[1] in self.replaced
        stale |= op[0] == "pread" and op[1] in self.overwritten
        stale |= op[0] == "fstat" and isinstance(theirs, list) and theirs[0] == "fifo"
        if op[0] in ("close", "close_soon"):
            self.replaced.discard(op[1])
        if ours != theirs and not (stale and ours == "ESTALE"):
            raise Difference(f"{op}: {brief(ours)}, not {brief(theirs)}")

    def _reference(self, op):
        self.model.remember(op)
        known = self.model.before(op)
        answer = self.ref.do(op)
        self.model.after(op, known, answer)
        return answer

    # --- behind the mount's back

    def _behind(self, op):
        path = op[1]
        full = self.ref.at(path)
        parent = os.path.dirname(full)
        if os.path.realpath(parent) != os.path.abspath(parent) or not os.path.isdir(parent):
            return
        if os.path.lexists(full) and (os.path.islink(full) or not os.path.isfile(full)) or op[0] == "delete" and not os.path.lexists(full):
            return
        self.sync()
        ino = self.model._ino(path, False)
        unsaved = ino in self.model.files and not self.model.files[ino].saved
        if unsaved or any(i == ino and writes for i, writes in self.model.slots.values()):
            return  # a conflict: DIFFERENT
        if os.path.lexists(full) and os.path.getsize(full) == 0:
            return  # "emptied": DIFFERENT
        self.replaced |= {s for s, (i, _) in self.model.slots.items() if i == ino}
        if op[0] == "put":
            put(self.bucket, os.path.join(self.name, path), tree_ops.content(op[2]), 0o100000 | op[3], op[4])
            plain_file(full, tree_ops.content(op[2]), op[3], op[4])
        else:
            self.bucket.server.client.delete(self.bucket.name, os.path.join(self.name, path))
            os.unlink(full)

    # --- kills

    def _crash(self, call, before=None):
        expected = [self.model.expected()] + ([before] if before is not None else [])
        delay, self.kill_after = self.kill_after, None
        thread = threading.Thread(target=call, daemon=True)
        thread.start()
        time.sleep((delay or 0) / 1000)
        self.mount.kill9()
        thread.join(20)
        self.ours.drop_all()
        self.ref.drop_all()
        self.replaced = set()
        self.mount.start()
        self.sync()
        seen = tree_ops.tree(self.ours.root)
        wrong = [allows(e, seen) for e in expected]
        if all(wrong):
            raise Difference("after the kill: " + "; ".join(wrong[0][:8])
                             + ("" if len(wrong) == 1 else " | or, had it not begun: " + "; ".join(wrong[1][:8])))
        self._adopt(seen)

    def _adopt(self, seen):
        """The reference takes what the crash left; all of it is promised now."""
        shutil.rmtree(self.ref.root)
        os.mkdir(self.ref.root)
        for path, look in sorted(seen.items()):
            at = self.ref.at(path)
            what, mode, owner, mtime = look["attr"]
            if what == "dir":
                os.mkdir(at)
            elif what == "link":
                os.symlink(look["target"], at)
            elif what == "fifo":
                os.mkfifo(at)
            else:
                with open(at, "wb") as f:
                    f.write(look["bytes"])
            os.chown(at, *owner, follow_symlinks=False)
            if what != "link":
                os.chmod(at, int(mode, 8))
            for name, value in look.get("xattrs", {}).items():
                os.setxattr(at, name, bytes.fromhex(value))
            if isinstance(mtime, int):
                os.utime(at, ns=(mtime, mtime), follow_symlinks=False)
        self.model.forget()


def sync_command(mount):
    """Everything that was closed, and every change of names, is on S3 then."""
    def sync():
        if not mount.options.get("writeback"):
            fd = os.open(mount.path, os.O_RDONLY | os.O_DIRECTORY)
            os.fsync(fd)  # `s3cache sync` takes a quarter of a second
            os.close(fd)
            return
        subprocess.run([PROGRAM, "sync", mount.path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60)
    return sync


def minimise(ops, fails, seconds):
    """Fewer operations for which fails(ops) is still true, found within the time."""
    end, size = time.monotonic() + seconds, max(1, len(ops) // 2)
    while True:
        n, shorter = 0, False
        while n < len(ops):
            if time.monotonic() > end:
                return ops
            fewer = ops[:n] + ops[n + size:]
            if fails(fewer):
                ops, shorter = fewer, True
            else:
                n += size
        if size == 1 and not shorter:
            return ops
        size = max(1, size // 2)
