"""Memory with many readers, and a kill in the middle of a cold read."""
import concurrent.futures
import os
import threading

from harness import MIB, OLD, Figure, row
from lib.load import du, read_whole
from lib.s3server import wait_for


@row("readers64")
def readers64(b):
    size, mem_limit = (64 if not b.quick else 16) * MIB, 256 * MIB
    bucket = b.server.create_bucket("readers-64")
    for i in range(64):
        bucket.place(f"f{i:02d}", size=size, mtime=OLD)
    for half_way in (False, True):
        m = b.mount(bucket, mem_limit=mem_limit)
        stop_at = size // 2 if half_way else size
        fds = [os.open(m.join(f"f{i:02d}"), os.O_RDONLY) for i in range(64)]

        def read(fd):
            total, buffer = 0, [bytearray(256 << 10)]
            while total < stop_at:
                n = os.readv(fd, buffer)
                assert n > 0, "the file ended early"
                total += n
            return total
        m.meter.start()
        with concurrent.futures.ThreadPoolExecutor(64) as pool:
            list(pool.map(read, fds))
        peak = m.meter.stop()
        for fd in fds:
            os.close(fd)
        yield Figure("64 readers" + (" that stop half-way" if half_way else "") + ": RssAnon", peak / MIB, mem_limit / MIB + 128, False, "MiB")
        b.clean()
    bucket.remove()


@row("kill9")
def kill9(b):
    bucket, key, size = b.big()
    m = b.mount(bucket)

    def read():
        try:
            read_whole(m.join(key))
        except OSError:
            pass
    t = threading.Thread(target=read)
    t.start()
    wait_for(lambda: du(m.options["use_cache"]) > size // 4, 30, "a quarter of the object", 0.002)
    had = du(m.options["use_cache"])
    m.kill9()
    t.join()
    m.start()
    with open(m.join(key), "rb") as ours, open(bucket.path(key), "rb") as theirs:
        same = all(x == y for x, y in zip(iter(lambda: ours.read(MIB), b""), iter(lambda: theirs.read(MIB), b"")))
    yield Figure("kill -9 in a cold read: mounted again after", m.mount_seconds, 1.0, False, "s", note=f"{had / MIB:.0f} MiB were cached")
    yield Figure("  bytes right", float(same), 1.0, True, "")
