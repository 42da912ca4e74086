"""Writing: what each change costs in requests, how fast bytes go up, and what is left of one edited byte."""
import concurrent.futures
import os
import random
import statistics

from harness import MIB, OLD, Figure, paired, row, timed
from lib.changes import CHANGES, count, excess, settle


def settled_run(b, change, peer=False):
    """(counts, keys sent again, seconds) of one change on a cold mount of an own bucket."""
    bucket = b.server.create_bucket(b.new_name("change"))
    outside = b.fresh("outside")
    os.makedirs(outside)
    change.prepare(bucket, outside)
    m = (b.s3fs if peer else b.mount)(bucket)
    bucket.mark()
    seconds = timed(change.run, m.path, outside)
    if not peer:
        settle(m.path)
    change.proof(bucket, outside)
    counts, again = count(bucket)
    b.clean()
    bucket.remove()
    return counts, again, seconds


@row("write_requests")
def write_requests(b):
    for change in CHANGES:
        counts, again, seconds = settled_run(b, change)
        theirs, _, slow = settled_run(b, change, peer=True)
        yield Figure(f"{change.name}: requests", counts.total(), sum(change.most.values()), False, "",
                     ours=f"{counts}; {seconds:.2f} s", reference=f"s3fs {theirs}; {slow:.2f} s",
                     note=excess(change, counts, again))
        yield Figure("  more than it may be of a kind, or sent again", float(bool(excess(change, counts, again))), 0, False, "")


def blocks(size, count=8):
    """The bytes of a file, over and over the same few MiB, none of which compresses."""
    some = [os.urandom(MIB) for _ in range(count)]
    return [some[i % count] for i in range(size // MIB)]


def write_blocks(path, data):
    """Writes and fsyncs a new file."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    for block in data:
        os.write(fd, block)
    os.fsync(fd)
    os.close(fd)


@row("write_seq")
def write_seq(b):
    size, mem_limit = (256 if b.quick else 1024) * MIB, 256 * MIB
    data = blocks(size)
    source = b.fresh("upload")
    write_blocks(source, data)
    bucket = b.server.create_bucket(b.new_name("seq"))
    m = b.mount(bucket, mem_limit=mem_limit)
    cpus, peaks = [], []

    def ours():
        path, before = m.join("ours"), m.meter.cpu()
        m.meter.start()
        seconds = timed(write_blocks, path, data)
        peaks.append(m.meter.stop())
        cpus.append(m.meter.cpu() - before)
        b.same(bucket.path("ours"), source)
        os.unlink(path)
        settle(m.path)
        return size / seconds

    def theirs():
        seconds = b.upload(source, bucket, "theirs")
        b.same(bucket.path("theirs"), source)
        os.unlink(bucket.path("theirs"))
        return size / seconds
    theirs()  # the server's and the tool's first time is nobody's figure
    ratio, a, t = paired(b.pairs, ours, theirs)
    yield Figure("sequential write + fsync / upload tool", ratio, 0.85, ours=f"{a / 1e6:.0f} MB/s", reference=f"{t / 1e6:.0f} MB/s",
                 note=f"CPU {statistics.median(cpus):.2f} s")
    yield Figure("  RssAnon", max(peaks) / MIB, mem_limit / MIB + 128, False, "MiB")
    peer = b.s3fs(bucket)
    seconds = timed(write_blocks, peer.join("theirs"), data)
    yield Figure("sequential write + fsync / s3fs", a / (size / seconds), 1.0, reference=f"{size / seconds / 1e6:.0f} MB/s")
    bucket.remove()


def write_small(folder, names, data, writers):
    os.makedirs(folder)

    def write(name):
        fd = os.open(os.path.join(folder, name), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        os.write(fd, data)
        os.close(fd)
    with concurrent.futures.ThreadPoolExecutor(writers) as pool:
        list(pool.map(write, names))


@row("write_small")
def write_small_files(b):
    n, data = 1000, os.urandom(10_000)
    names = [f"f{i:04d}" for i in range(n)]
    source = b.fresh("upload")
    write_small(source, names, data, 1)
    bucket = b.server.create_bucket(b.new_name("small"))
    m = b.mount(bucket)
    serial, cpus = [0], []

    def folder():
        serial[0] += 1
        return f"d{serial[0]}"

    def ours():
        name, before = folder(), m.meter.cpu()
        seconds = timed(write_small, m.join(name), names, data, 8)
        cpus.append((m.meter.cpu() - before) / n)
        assert len(os.listdir(bucket.path(name))) == n
        return n / seconds

    def theirs(transfers):
        name = folder()
        seconds = b.upload(source, bucket, name, transfers)
        assert len(os.listdir(bucket.path(name))) == n
        return n / seconds
    rates = {k: theirs(k) for k in (8, 16, 32, 64)}
    best = max(rates, key=rates.get)
    ratio, a, t = paired(b.pairs, ours, lambda: theirs(best))
    yield Figure("1,000 new files of 10 KB, 8 writers / upload tool", ratio, 0.8, ours=f"{a:.0f} files/s", reference=f"{t:.0f} files/s",
                 note=f"--transfers {best}; CPU {statistics.median(cpus) * 1e6:.0f} us a file")
    peer = b.s3fs(bucket)
    seconds = timed(write_small, peer.join(folder()), names[:200], data, 8)
    yield Figure("  / s3fs", a / (200 / seconds), 1.0, reference=f"{200 / seconds:.0f} files/s")
    bucket.remove()


@row("write_edit")
def write_edit(b):
    """One byte changed in a large object, by a mount that has nothing of it in its cache."""
    size = (256 if b.quick else 1024) * MIB
    bucket = b.server.create_bucket(b.new_name("edit"))
    bucket.place("big", size=size, mtime=OLD)
    at = random.Random(7).randrange(size)
    m = b.mount(bucket)
    bucket.mark()

    def edit():
        fd = os.open(m.join("big"), os.O_WRONLY)
        os.pwrite(fd, b"!", at)
        os.fsync(fd)
        os.close(fd)
    seconds = timed(edit)
    c = bucket.counts()
    yield Figure("one byte changed in a large object: parts sent", c.UploadPart, 2, False, "", ours=f"{seconds:.2f} s",
                 note=str(c))
    yield Figure("  PUTs of the whole", c.PUT, 0, False, "")
    with open(bucket.path("big"), "rb") as f:
        f.seek(at)
        yield Figure("  the byte is there, the size is right", float(f.read(1) == b"!" and os.fstat(f.fileno()).st_size == size), 1, unit="")
    bucket.remove()
