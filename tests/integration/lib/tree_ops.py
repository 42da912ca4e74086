"""The operations of random_tree.py on one side: a folder on the mount, or on a plain file system beside it.

An operation is a list of plain values, so that a program of them can be printed, cut down and run again. Each answers
something that can be compared: a value, or the name of the errno. Files are opened in slots, which both sides number alike.
"""
import ctypes
import errno
import os
import random
import stat
import threading

libc = ctypes.CDLL(None, use_errno=True)
NOREPLACE, EXCHANGE = 1, 2
CALM = 1_300_000_000  # times that utimens sets lie before it; a later one is "now", whatever it is exactly
NO_ZEROS = bytes(max(1, i) for i in range(256))


def content(spec):
    """(seed, length) -> bytes, none of them zero: what was never written is told from what was."""
    seed, length = spec
    block = random.Random(seed).randbytes(min(length, 4093)).translate(NO_ZEROS)
    return (block * (length // max(1, len(block)) + 1))[:length]


def when(st):
    return st.st_mtime_ns if st.st_mtime < CALM else "now"


def kind(mode):
    return {stat.S_IFREG: "file", stat.S_IFDIR: "dir", stat.S_IFLNK: "link", stat.S_IFIFO: "fifo"}.get(stat.S_IFMT(mode), oct(mode))


def shown(st):
    """What two file systems must agree on. A directory's mtime: random_tree.DIFFERENT."""
    what = kind(st.st_mode)
    return [what, oct(stat.S_IMODE(st.st_mode)) if what != "link" else "-", [st.st_uid, st.st_gid],
            "-" if what == "dir" else when(st), st.st_size if what == "file" else "-"]


def xattrs(path):
    return {n: os.getxattr(path, n, follow_symlinks=False).hex()
            for n in sorted(os.listxattr(path, follow_symlinks=False)) if not n.startswith("user.s3cache.")}


def whole(fd):
    out, offset = [], 0
    while True:
        piece = os.pread(fd, 1 << 20, offset)
        if not piece:
            return b"".join(out)
        out.append(piece)
        offset += len(piece)


def read_file(path):
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        return whole(fd)
    finally:
        os.close(fd)


def look(path, with_xattrs=True):
    """Everything one name shows, its bytes included; the size is theirs."""
    st = os.lstat(path)
    what = {"attr": shown(st)[:4]}
    if stat.S_ISREG(st.st_mode):
        what["bytes"] = read_file(path)
        if len(what["bytes"]) != st.st_size:
            what["stat size"] = st.st_size
    if stat.S_ISLNK(st.st_mode):
        what["target"] = os.readlink(path)
    elif with_xattrs and stat.S_ISREG(st.st_mode) or stat.S_ISDIR(st.st_mode):
        what["xattrs"] = xattrs(path)
    return what


def tree(root):
    """{path below root: look()}, the root itself left out."""
    found, todo = {}, [""]
    while todo:
        where = todo.pop()
        for name in sorted(os.listdir(os.path.join(root, where))):
            path = os.path.join(where, name)
            found[path] = look(os.path.join(root, path))
            if found[path]["attr"][0] == "dir":
                todo.append(path)
    return found


def brief(value):
    if isinstance(value, (bytes, bytearray)):
        return f"<{len(value)} bytes {bytes(value[:8]).hex()}..{bytes(value[-4:]).hex()}>"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}: {brief(v)}" for k, v in value.items()) + "}"
    return str(value)[:200]


class Side:
    def __init__(self, root):
        self.root, self.fds, self.waiting = root, {}, []

    def at(self, path):
        return os.path.join(self.root, path)

    def do(self, op):
        try:
            return getattr(self, "op_" + op[0])(*op[1:])
        except OSError as e:
            return errno.errorcode.get(e.errno, e.errno)

    def drop_all(self):
        """After a kill: the descriptors lead nowhere."""
        self.op_join()
        for slot in list(self.fds):
            self.do(["close", slot])

    # --- open files

    def slot(self, slot):
        if slot not in self.fds:
            raise OSError(errno.EBADF, "no such slot")
        return self.fds[slot]

    def op_open(self, slot, path, flags, mode):
        if slot in self.fds:
            return "slot in use"
        self.fds[slot] = os.open(self.at(path), flags | os.O_NONBLOCK, mode)
        return "open"

    def op_close(self, slot):
        fd = self.slot(slot)
        del self.fds[slot]
        os.close(fd)
        return "closed"

    def op_close_soon(self, slot):
        """A close under way while the next operations run; `join` answers with what became of it."""
        fd = self.slot(slot)
        del self.fds[slot]
        self._spawn(lambda: os.close(fd))
        return "closing"

    def op_fsync_soon(self, slot):
        fd = os.dup(self.slot(slot))

        def run():
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
        self._spawn(run)
        return "syncing"

    def _spawn(self, call):
        result = []

        def run():
            try:
                call()
                result.append("ok")
            except OSError as e:
                result.append(errno.errorcode.get(e.errno, e.errno))
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        self.waiting.append((thread, result))

    def op_join(self):
        results = []
        for thread, result in self.waiting:
            thread.join(60)
            results += result or ["still running after 60 s"]
        self.waiting = []
        return results

    def op_pwrite(self, slot, offset, spec):
        return os.pwrite(self.slot(slot), content(spec), offset)

    def op_append(self, slot, spec):
        fd = self.slot(slot)
        os.lseek(fd, 0, os.SEEK_END)
        return os.write(fd, content(spec))

    def op_pread(self, slot, offset, length):
        return os.pread(self.slot(slot), length, offset)

    def op_ftruncate(self, slot, size):
        return os.ftruncate(self.slot(slot), size)

    def op_fstat(self, slot):
        return shown(os.fstat(self.slot(slot)))

    def op_fchmod(self, slot, mode):
        return os.fchmod(self.slot(slot), mode)

    def op_futimens(self, slot, ns):
        return os.utime(self.slot(slot), ns=(ns, ns))

    def op_fsync(self, slot):
        return os.fsync(self.slot(slot))

    # --- names

    def op_read(self, path):
        fd = os.open(self.at(path), os.O_RDONLY | os.O_NONBLOCK)
        try:
            return whole(fd)
        finally:
            os.close(fd)

    def op_truncate(self, path, size):
        return os.truncate(self.at(path), size)

    def op_stat(self, path):
        return shown(os.stat(self.at(path)))

    def op_lstat(self, path):
        return shown(os.lstat(self.at(path)))

    def op_ls(self, path):
        with os.scandir(self.at(path)) as found:
            return sorted((e.name, kind(e.stat(follow_symlinks=False).st_mode)) for e in found)

    def op_mkdir(self, path, mode):
        return os.mkdir(self.at(path), mode)

    def op_rmdir(self, path):
        return os.rmdir(self.at(path))

    def op_unlink(self, path):
        return os.unlink(self.at(path))

    def op_rename(self, old, new, flags):
        if libc.renameat2(-100, self.at(old).encode(), -100, self.at(new).encode(), flags) != 0:
            raise OSError(ctypes.get_errno(), "renameat2")
        return "renamed"

    def op_symlink(self, target, path):
        return os.symlink(target, self.at(path))

    def op_readlink(self, path):
        return os.readlink(self.at(path))

    def op_mkfifo(self, path, mode):
        return os.mkfifo(self.at(path), mode)

    def op_link(self, old, new):
        return os.link(self.at(old), self.at(new), follow_symlinks=False)

    def op_chmod(self, path, mode):
        return os.chmod(self.at(path), mode)

    def op_chown(self, path, uid, gid):
        return os.chown(self.at(path), uid, gid, follow_symlinks=False)

    def op_utimens(self, path, ns):
        return os.utime(self.at(path), ns=(ns, ns))

    def op_setxattr(self, path, name, spec, flags):
        return os.setxattr(self.at(path), name, content(spec), flags)

    def op_getxattr(self, path, name):
        return os.getxattr(self.at(path), name)

    def op_removexattr(self, path, name):
        return os.removexattr(self.at(path), name)

    def op_listxattr(self, path):
        return xattrs(self.at(path))

    def op_fsyncdir(self, path):
        fd = os.open(self.at(path), os.O_RDONLY | os.O_DIRECTORY)
        try:
            return os.fsync(fd)
        finally:
            os.close(fd)

    def op_walk(self):
        """All of the tree: what was cold is warm then."""
        return {path: {k: v for k, v in seen.items()} for path, seen in tree(self.root).items()}
