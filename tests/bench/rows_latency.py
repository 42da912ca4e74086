"""Changes with 20 ms between the mount and the server: what counts is how many round trips wait for each other."""
import concurrent.futures
import os
import statistics

from harness import Figure, drop_caches, row, timed
from lib.changes import settle, shell
from lib.s3server import wait_for

FILES = 100


def one_after_another(folder):
    os.mkdir(folder)
    return timed(lambda: [write(folder, i) for i in range(FILES)])


def side_by_side(folder):
    os.mkdir(folder)
    with concurrent.futures.ThreadPoolExecutor(FILES) as pool:
        return timed(lambda: list(pool.map(lambda i: write(folder, i), range(FILES))))


def write(folder, i, data=b"x" * 100):
    fd = os.open(os.path.join(folder, f"f{i}"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.write(fd, data)
    os.close(fd)


def directory(b, path, n):
    """A directory of n files that the mount itself has made."""
    shell(f"mkdir {path} && for i in $(seq {n}); do echo $i > {path}/f$i & done; wait", b.dir)


def flush_ms(b):
    """What a durable commit waits for twice: the disk's own time for one flush, right now."""
    fd, times = os.open(b.fresh("flush"), os.O_WRONLY | os.O_CREAT, 0o600), []
    for _ in range(50):
        os.pwrite(fd, os.urandom(4096), 0)
        times.append(timed(os.fdatasync, fd))
    os.close(fd)
    return statistics.median(times) * 1000


def changes(b, m):
    """(name, seconds) of each, in the anchors' order."""
    yield f"{FILES} new files, one after another", one_after_another(m.join("serial")), 2.8
    yield f"{FILES} new files, side by side", side_by_side(m.join("parallel")), 0.5
    directory(b, m.join("d"), 200)
    yield "mv of a directory of 200", timed(os.rename, m.join("d"), m.join("e")), 1.5
    yield "rm -rf of 200", timed(shell, "rm -rf e", m.path), 0.5


@row("write_20ms")
def write_20ms(b):
    bucket = b.server.create_bucket(b.new_name("latency"))
    proxy = b.proxy(20)
    drop_caches()  # each unlink waits for two flushes of the disk: not behind what other rows have left to write
    ours = list(changes(b, b.mount(bucket, url=proxy.url)))
    flush = flush_ms(b)
    b.clean()
    other = b.server.create_bucket(b.new_name("latency"))
    theirs = list(changes(b, b.s3fs(other, url=proxy.url)))
    for (name, seconds, limit), (_, slow, _) in zip(ours, theirs):
        yield Figure(f"20 ms: {name}", seconds, limit, False, "s", reference=f"s3fs {slow:.1f} s", note=f"a flush of the disk: {flush:.1f} ms")
    proxy.remove()
    bucket.remove()
    other.remove()


@row("writeback_20ms")
def writeback_20ms(b):
    """The bytes are on the local disk before a close returns: the daemon is killed right after the last one."""
    bucket = b.server.create_bucket(b.new_name("writeback"))
    outside = b.fresh("outside")
    os.makedirs(os.path.join(outside, "source"))
    names = [f"f{i:03d}" for i in range(300)]
    for name in names:
        with open(os.path.join(outside, "source", name), "wb") as f:
            f.write(os.urandom(2000))
    shell("tar -C source -cf a.tar $(ls source)", outside)
    proxy = b.proxy(20)
    drop_caches()
    m = b.mount(bucket, url=proxy.url, writeback=True)
    seconds = one_after_another(m.join("serial"))
    yield Figure(f"20 ms, writeback: {FILES} new files, one after another", seconds, 0.5, False, "s")
    settle(m.path)
    os.mkdir(m.join("t"))
    seconds = timed(shell, f"tar -xf {outside}/a.tar", m.join("t"))
    m.kill9()
    yield Figure("  untar of 300", seconds, 1.5, False, "s")
    on_server = len(os.listdir(bucket.path("t"))) if os.path.isdir(bucket.path("t")) else 0
    m.start()
    wait_for(lambda: len(os.listdir(bucket.path("t"))) == len(names), 60, "the uploads after a kill", 0.05)
    m.unmount()
    same = sum(b.equal(bucket.path("t/" + name), os.path.join(outside, "source", name)) for name in names)
    yield Figure("  killed after it: files on the server in the end", same, len(names), unit="", note=f"{on_server} at the kill")
    proxy.remove()
    bucket.remove()
