"""One large object: sequential and random, cold and warm, with passthrough and without."""
import json
import os
import random
import statistics
import subprocess

from harness import MIB, Figure, drop_caches, paired, row, timed
from lib.load import read_whole
from lib.wire import Wire


def rate(path, size):
    return size / timed(read_whole, path)


def fio_iops(path, size, seconds):
    out = subprocess.run(
        ["fio", "--name=r", f"--filename={path}", "--rw=randread", "--bs=4k", "--ioengine=psync", "--numjobs=2", "--thread",
         f"--size={size}", "--readonly", "--time_based", f"--runtime={seconds}", "--group_reporting", "--output-format=json",
         "--invalidate=0", "--norandommap", "--randrepeat=0"], capture_output=True, text=True, check=True).stdout
    return json.loads(out[out.index("{"):])["jobs"][0]["read"]["iops"]


def sealed(b, **options):
    """A mount with the big object whole in its cache, read by a handle that was opened afterwards."""
    bucket, key, size = b.big()
    m = b.mount(bucket, **options)
    assert read_whole(m.join(key)) == size
    read_whole(m.join(key))
    return m, m.join(key), size


def plain(b):
    bucket, key, size = b.big()
    path = os.path.join(b.plain_copy(bucket, [key]), key)
    read_whole(path)
    return path


@row("seq_warm")
def seq_warm(b):
    reference = plain(b)
    m, path, size = sealed(b)
    cpu = m.meter.cpu()
    ratio, ours, theirs = paired(b.pairs, lambda: rate(path, size), lambda: rate(reference, size))
    cpu = m.meter.cpu() - cpu
    yield Figure("sequential warm / plain file", ratio, 0.95, ours=f"{ours / 1e6:.0f} MB/s", reference=f"{theirs / 1e6:.0f} MB/s")
    yield Figure("  daemon CPU", cpu, 0.011, False, "s", note="one clock tick is 0.01 s")


@row("rand_warm")
def rand_warm(b):
    reference, seconds = plain(b), 1 if b.quick else 3
    m, path, size = sealed(b)
    cpu = m.meter.cpu()
    ratio, ours, theirs = paired(b.pairs, lambda: fio_iops(path, size, seconds), lambda: fio_iops(reference, size, seconds))
    cpu = m.meter.cpu() - cpu
    yield Figure("random 4 KiB warm / plain file", ratio, 0.88, ours=f"{ours / 1e3:.0f}k IOPS", reference=f"{theirs / 1e3:.0f}k IOPS")
    yield Figure("  daemon CPU", cpu, 0.011, False, "s")


def drop_pages(path):
    """The pages of one file leave the page cache. Of a FUSE file: its daemon has to read again, out of its own cache file,
    which stays in memory."""
    fd = os.open(path, os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)


@row("nopassthrough")
def nopassthrough(b):
    bucket, key, size = b.big()
    m, path, size = sealed(b, nopassthrough=True)
    peer = b.s3fs(bucket)
    other = peer.join(key)
    for p in (path, other, other):  # what was read once is in both page caches: the mount's and the cache file's
        read_whole(p)

    def after(prepare, p):
        prepare(p)
        return rate(p, size)

    def pair(label, limit, prepare, note=""):
        cpu = m.meter.cpu()
        ratio, ours, theirs = paired(b.pairs, lambda: after(prepare, path), lambda: after(prepare, other))
        cpu = (m.meter.cpu() - cpu) / b.pairs
        return Figure(label, ratio, limit, ours=f"{ours / 1e6:.0f} MB/s", reference=f"{theirs / 1e6:.0f} MB/s",
                      note=f"{note}; CPU {cpu:.2f} s")
    yield pair("sequential, no passthrough / s3fs", 1.3, drop_pages, "cache files in memory, the mounts' pages dropped")
    yield pair("  the same, read again", 1.3, lambda p: None, "nothing dropped")
    yield pair("  the same from the disk", 0.9, lambda p: drop_caches(1), "page cache dropped")
    read_whole(path)
    read_whole(path)
    iops = statistics.median(fio_iops(path, size, 1 if b.quick else 3) for _ in range(3))
    yield Figure("random 4 KiB, no passthrough", iops / 1e3, 25, unit="k IOPS", note="warm")


@row("seq_cold")
def seq_cold(b):
    bucket, key, size = b.big()
    seen, cpus, peaks = [], [], []

    def ours():
        m = b.mount(bucket)
        m.meter.start()
        drop_caches()
        bucket.mark()
        value = rate(m.join(key), size)
        seen.append(bucket.counts())
        cpus.append(m.meter.cpu())
        peaks.append(m.meter.stop())
        m.unmount()
        b.clean()
        return value
    ratio, a, t = paired(b.pairs, ours, lambda: size / b.download(bucket, key))
    yield Figure("sequential cold / download tool", ratio, 0.85, ours=f"{a / 1e6:.0f} MB/s", reference=f"{t / 1e6:.0f} MB/s",
                 note=f"{seen[-1]}; CPU {statistics.median(cpus):.2f} s; RSS {max(peaks) / MIB:.0f} MiB")
    peer = b.s3fs(bucket)
    drop_caches()
    yield Figure("sequential cold / s3fs", a / rate(peer.join(key), size), 1.0)


@row("bytes")
def bytes_ratio(b):
    bucket, key, size = b.big()
    wire = Wire(b.server.port)
    m = b.mount(bucket, url=wire.url)
    read_whole(m.join(key))
    yield Figure("S3 bytes / app bytes, sequential", wire.received() / size, 1.05, False)
    m.unmount()
    m = b.mount(bucket, url=wire.url)
    offsets = random.Random(5).sample(range(0, size, 128 << 10), 800 if not b.quick else 200)
    fd, before = os.open(m.join(key), os.O_RDONLY), wire.received()
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
    total = sum(len(os.pread(fd, 128 << 10, o)) for o in offsets)
    os.close(fd)
    yield Figure("S3 bytes / app bytes, random 128 KiB", (wire.received() - before) / total, 1.10, False,
                 note="POSIX_FADV_RANDOM")
    fd, before = os.open(m.join(key), os.O_RDONLY), wire.received()
    more = random.Random(6).sample(range(0, size, 128 << 10), 800 if not b.quick else 200)
    more = [o for o in more if o not in set(offsets)]
    total = sum(len(os.pread(fd, 128 << 10, o)) for o in more)
    os.close(fd)
    yield Figure("  the same without fadvise", (wire.received() - before) / total, 1.10, False)
    m.unmount()
    small, keys, each = b.small()
    m, before = b.mount(small, url=wire.url), wire.received()
    for k in keys[:1000]:
        read_whole(m.join(k))
    yield Figure("S3 bytes / app bytes, whole small files", (wire.received() - before) / (1000 * each), 1.05, False)
    wire.close()
