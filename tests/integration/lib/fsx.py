"""One file under random operations, compared with an array of bytes after each of them. In the spirit of fsx, own code.

usage: fsx.py FILE MODEL SEED OPS MAXLEN [--big]    MODEL holds what FILE must be, before and after (it may be missing).

Several handles at once: read-only ones (which the kernel may read by passthrough), write-only, read-write, O_APPEND, and
mappings that are stored to. What follows from SEED is the same in every run, whatever the file system answers, so a seed
repeats a failure. Exit 1 and the last operations on stdout at the first difference.

A read through a handle opened before the first writer may lag (s3cache(7), "Writers and readers of one mount"): it has
LAG seconds to become right. Everything else has to be right at once.
"""
import collections
import ctypes
import mmap
import os
import random
import sys
import time

PAGE = 4096
LAG = 5.0
MAX_HANDLES = 5
libc = ctypes.CDLL(None, use_errno=True)
PUNCH, KEEP, ZERO = 2, 1, 16


class Difference(Exception):
    pass


def fallocate(fd, mode, offset, length):
    if libc.fallocate(fd, mode, ctypes.c_int64(offset), ctypes.c_int64(length)) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


class Handle:
    def __init__(self, fd, flags):
        self.fd, self.flags = fd, flags
        self.map = None          # of the whole pages the file had then
        self.unsynced = False    # stored to through the mapping
        self.low = None          # the shortest the file has been since the mapping was made

        self.reads = flags & os.O_ACCMODE != os.O_WRONLY
        self.writes = flags & os.O_ACCMODE != os.O_RDONLY

    def sync_map(self):
        if self.unsynced:
            self.map.flush()
            self.unsynced = False


class Fsx:
    def __init__(self, path, model, seed, maxlen, big):
        self.path, self.rng, self.maxlen, self.big = path, random.Random(seed), maxlen, big
        self.data = bytearray(model)
        self.handles = []
        self.log = collections.deque(maxlen=60)
        self.number = 0

    # --- what is right

    def say(self, text):
        self.log.append(f"{self.number}: {text}")

    def compare(self, what, offset, got, want):
        if got == want:
            return
        if len(got) != len(want):
            raise Difference(f"{what} at {offset}: {len(got)} bytes, not {len(want)}; the file has {len(self.data)}")
        bad = [i for i in range(len(got)) if got[i] != want[i]]
        raise Difference(f"{what} at {offset}+{len(got)}: {len(bad)} bytes differ, {offset + bad[0]} (page {(offset + bad[0]) // PAGE})"
                         f" to {offset + bad[-1]}; first {got[bad[0]]} instead of {want[bad[0]]}"
                         f"{', zeros' if not any(got[i] for i in bad) else ''}")

    def eventually(self, lags, check):
        end = time.monotonic() + (LAG if lags else 0)
        while True:
            try:
                return check()
            except Difference:
                if time.monotonic() >= end:
                    raise
                time.sleep(0.002)

    def grow(self, size):
        self.data.extend(bytes(max(0, size - len(self.data))))

    def resized(self):
        for h in self.handles:
            if h.map is not None:
                h.low = min(h.low, len(self.data))

    def put(self, offset, data):
        self.grow(offset)
        self.data[offset:offset + len(data)] = data

    # --- choices, all of them drawn from the seed and the model alone

    def some(self, offset_limit):
        """An offset and a length, often at the borders of pages and parts."""
        rng = self.rng
        kind = rng.random()
        offset = rng.randrange(max(1, offset_limit))
        if kind < 0.2:
            offset = offset // PAGE * PAGE
        elif kind < 0.3:
            offset = offset // (1 << 20) * (1 << 20)
        elif kind < 0.4:
            offset = max(0, len(self.data) - rng.randrange(3 * PAGE))
        top = rng.choice([1, 100, PAGE, 3 * PAGE, 20 * PAGE, (4 << 20) if self.big else 40 * PAGE])
        return offset, max(1, min(rng.randint(1, top), self.maxlen - offset))

    def bytes(self, n):
        """Never a zero byte, so that a lost write is told from a hole."""
        block = bytes(self.rng.randrange(1, 256) for _ in range(61))
        return (block * (n // 61 + 1))[:n]

    def pick(self, wanted):
        found = [h for h in self.handles if wanted(h)]
        return self.rng.choice(found) if found else None

    def writer(self):
        h = self.pick(lambda h: h.writes)
        return h or self.open_as(self.rng.choice([os.O_WRONLY, os.O_RDWR]))

    # --- operations

    def open_as(self, flags):
        if len(self.handles) >= MAX_HANDLES:
            self.do_close()
        self.say(f"open {flags:o}")
        if flags & os.O_TRUNC:
            self.sync_maps()
            del self.data[:]
            self.resized()
        h = Handle(os.open(self.path, flags | os.O_CREAT, 0o644), flags)
        self.handles.append(h)
        return h

    def do_open(self):
        r = self.rng
        flags = r.choice([os.O_RDONLY, os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_RDWR])
        if flags != os.O_RDONLY:
            if r.random() < 0.15:
                flags |= os.O_APPEND
            if r.random() < 0.1:
                flags |= os.O_TRUNC
        self.open_as(flags)

    def do_close(self):
        h = self.pick(lambda h: True)
        if h is None:
            return
        self.say(f"close {h.flags:o}")
        self.handles.remove(h)
        if h.map is not None:
            if self.rng.random() < 0.5:
                h.sync_map()
            h.map.close()
        os.close(h.fd)

    def do_close_all(self):
        while self.handles:
            self.do_close()

    def sync_maps(self):
        for h in self.handles:
            h.sync_map()

    def do_read(self):
        h = self.pick(lambda h: h.reads) or self.open_as(os.O_RDONLY)
        offset, length = self.some(len(self.data) + PAGE)
        self.say(f"read {h.flags:o} {offset}+{length}")
        if not h.writes:
            self.sync_maps()  # stores are seen by other nodeids once they are written back

        self.eventually(not h.writes, lambda: self.compare("read", offset, os.pread(h.fd, length, offset),
                                                           bytes(self.data[offset:offset + length])))

    def do_read_all(self):
        self.sync_maps()
        self.say("read all through a new handle")
        with open(self.path, "rb") as f:
            self.compare("new handle", 0, f.read(), bytes(self.data))

    def do_write(self):
        h = self.writer()
        offset, length = self.some(min(self.maxlen - 1, len(self.data) + 5 * PAGE))
        data = self.bytes(length)
        if h.flags & os.O_APPEND:
            offset = len(self.data)
            if offset + length > self.maxlen:
                return
            self.say(f"append {length}, at {offset}")
            n = os.write(h.fd, data)
        else:
            self.say(f"write {h.flags:o} {offset}+{length}")
            n = os.pwrite(h.fd, data, offset)
        if n != length:
            raise Difference(f"a write of {length} took {n}")
        self.put(offset, data)

    def do_truncate(self):
        size = self.rng.choice([0, self.rng.randrange(self.maxlen), self.rng.randrange(len(self.data) + 1),
                                min(self.maxlen, len(self.data) + self.rng.randrange(3 * PAGE)),
                                len(self.data) // PAGE * PAGE])
        by_path = self.rng.random() < 0.4
        h = None if by_path else self.writer()
        self.say(f"truncate {'path' if by_path else oct(h.flags)} {len(self.data)} to {size}")
        self.sync_maps()
        if by_path:
            os.truncate(self.path, size)
        else:
            os.ftruncate(h.fd, size)
        del self.data[size:]
        self.grow(size)
        self.resized()

    def do_fallocate(self):
        h = self.writer()
        offset, length = self.some(self.maxlen - 1)
        mode = self.rng.choice([0, KEEP, PUNCH | KEEP, PUNCH | KEEP, ZERO, ZERO | KEEP])
        self.say(f"fallocate {mode} {offset}+{length}, size {len(self.data)}")
        fallocate(h.fd, mode, offset, length)
        end = offset + length
        if not mode & KEEP:
            self.grow(end)
        if mode & (PUNCH | ZERO):
            stop = min(end, len(self.data))
            self.data[offset:max(stop, offset)] = bytes(max(0, stop - offset))

    def do_map(self):
        if not self.data:
            return
        h = self.pick(lambda h: h.reads and h.map is None and not h.flags & os.O_APPEND)
        if h is None:
            return
        self.say(f"map {h.flags:o} {len(self.data)}")
        self.eventually(not h.writes, lambda: self.lagging_size(h, len(self.data)))
        h.map = mmap.mmap(h.fd, len(self.data), prot=mmap.PROT_READ | (mmap.PROT_WRITE if h.writes else 0))
        h.low = len(self.data)

    def mapped(self, h):
        offset, length = self.some(h.low)
        offset = min(offset, h.low - 1)
        return offset, min(length, h.low - offset)

    def do_map_store(self):
        h = self.pick(lambda h: h.map is not None and h.writes and h.low > 0)
        if h is None:
            return self.do_map()
        offset, length = self.mapped(h)
        data = self.bytes(length)
        sync = self.rng.random() < 0.6
        self.say(f"store {offset}+{length}{', msync' if sync else ''}")
        h.map[offset:offset + length] = data
        h.unsynced = True
        self.put(offset, data)
        if sync:
            h.sync_map()

    def do_map_read(self):
        h = self.pick(lambda h: h.map is not None and h.low > 0)
        if h is None:
            return self.do_map()
        offset, length = self.mapped(h)
        self.say(f"read map {h.flags:o} {offset}+{length}")
        if not h.writes:
            self.sync_maps()
        # A page past the end the kernel knows is SIGBUS; a lagging handle may know an older one.
        self.eventually(not h.writes, lambda: self.lagging_size(h, offset + length))
        self.eventually(not h.writes, lambda: self.compare("map", offset, h.map[offset:offset + length],
                                                           bytes(self.data[offset:offset + length])))

    def lagging_size(self, h, need):
        if os.fstat(h.fd).st_size < need:
            raise Difference(f"fstat says {os.fstat(h.fd).st_size}, the file has {len(self.data)}")

    def do_sync(self):
        h = self.pick(lambda h: True)
        if h is None:
            return
        self.sync_maps()
        self.say(f"fsync {h.flags:o}")
        (os.fsync if self.rng.random() < 0.5 else os.fdatasync)(h.fd)

    def do_stat(self):
        self.say("stat")
        self.sync_maps()
        size = os.stat(self.path).st_size
        if size != len(self.data):
            raise Difference(f"stat says {size}, the file has {len(self.data)}")
        for h in self.handles:
            self.eventually(not h.writes, lambda: self.same_size(h))

    def same_size(self, h):
        size = os.fstat(h.fd).st_size
        if size != len(self.data):
            raise Difference(f"fstat {h.flags:o} says {size}, the file has {len(self.data)}")

    def do_copy(self):
        """copy_file_range within the file."""
        if len(self.data) < 2:
            return
        to = self.writer()
        source = self.pick(lambda h: h.flags & os.O_ACCMODE == os.O_RDWR) or self.open_as(os.O_RDWR)
        if to not in self.handles or to.flags & os.O_APPEND:
            return
        offset, length = self.some(len(self.data))
        offset = min(offset, len(self.data) - 1)
        length = min(length, len(self.data) - offset)
        target = self.rng.randrange(self.maxlen)
        length = min(length, self.maxlen - target)
        if abs(target - offset) < length or length == 0:
            return
        self.say(f"copy {offset}+{length} to {target}")
        done = 0
        while done < length:
            n = os.copy_file_range(source.fd, to.fd, length - done, offset + done, target + done)
            if n == 0:
                raise Difference(f"copy_file_range gave 0 after {done} of {length}")
            done += n
        self.put(target, bytes(self.data[offset:offset + length]))

    def do_drop(self):
        """The kernel's clean pages of this file go."""
        h = self.pick(lambda h: True)
        if h is not None:
            self.say("drop pages")
            self.sync_maps()
            os.posix_fadvise(h.fd, 0, 0, os.POSIX_FADV_DONTNEED)

    def do_rename(self):
        old, self.path = self.path, self.path + ".other"
        self.say("rename")
        os.rename(old, self.path)
        if self.rng.random() < 0.5:
            self.do_write()
        self.say("rename back")
        os.rename(self.path, old)
        self.path = old

    def do_chmod(self):
        h = self.pick(lambda h: True)
        if h is not None:
            self.say("chmod")
            mode = self.rng.choice([0o600, 0o640, 0o644])
            os.fchmod(h.fd, mode)
            if os.stat(self.path).st_mode & 0o777 != mode:
                raise Difference("mode after chmod")

    def do_replace(self):
        """A new file under the old name; handles of the old one keep it, and go."""
        self.say("replace")
        self.do_close_all()
        data = self.bytes(self.rng.randrange(1, max(2, self.maxlen // 4)))
        with open(self.path + ".new", "wb") as f:
            f.write(data)
        os.rename(self.path + ".new", self.path)
        self.data = bytearray(data)

    WEIGHTS = {do_open: 8, do_close: 7, do_close_all: 1, do_read: 22, do_read_all: 2, do_write: 20, do_truncate: 6,
               do_fallocate: 3, do_map: 3, do_map_store: 6, do_map_read: 5, do_sync: 3, do_stat: 3, do_copy: 2,
               do_drop: 2, do_rename: 1, do_chmod: 1, do_replace: 0.3}

    def run(self, ops):
        names, weights = zip(*self.WEIGHTS.items())
        if os.path.exists(self.path):
            self.do_read_all()
        else:
            self.open_as(os.O_RDWR)
        for self.number in range(1, ops + 1):
            self.rng.choices(names, weights)[0](self)
        self.number = ops + 1
        self.do_stat()
        self.do_close_all()
        self.do_read_all()


def main():
    path, model, seed, ops, maxlen = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5])
    data = open(model, "rb").read() if os.path.exists(model) else b""
    fsx = Fsx(path, data, seed, maxlen, "--big" in sys.argv)
    try:
        fsx.run(ops)
    except (Difference, OSError, ValueError) as e:
        print(f"seed {seed}, operation {fsx.number}: {type(e).__name__} {e}")
        print("\n".join(fsx.log), flush=True)
        print(f"sizes now: path {os.stat(fsx.path).st_size}, "
              + ", ".join(f"handle {h.flags:o} {os.fstat(h.fd).st_size}" for h in fsx.handles), flush=True)
        os._exit(1)
    with open(model, "wb") as f:
        f.write(fsx.data)


if __name__ == "__main__":
    main()
