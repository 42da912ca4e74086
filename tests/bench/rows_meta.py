"""Names and attributes: ls, ls -l, absent names, a million entries."""
import os
import statistics
import time

from harness import Figure, drop_caches, row, timed
from lib.s3client import S3Client
from lib.s3server import KEY_ID, SECRET
from synthetic import SyntheticS3


def ls_l(path):
    return sum(1 for e in os.scandir(path) if e.stat().st_size >= 0)


@row("ls")
def ls(b):
    bucket = b.names(10_000)
    m = b.mount(bucket)
    bucket.mark()
    began = time.monotonic()
    with os.scandir(m.join("d")) as it:
        next(it)
        first = time.monotonic() - began
        n = 1 + sum(1 for _ in it)
    total = time.monotonic() - began
    c = bucket.counts()
    yield Figure("ls of 10,000: LISTs", c.LIST, 11, False, "", ours=f"{total:.2f} s", note=f"{n} names; one LIST finds the directory itself")
    yield Figure("  HEADs and GETs", c.HEAD + c.GET, 0, False, "")
    yield Figure("  first name / whole listing", first / total, 0.5, False, "x", ours=f"{first * 1000:.0f} ms")
    m.unmount()


@row("ls_l")
def ls_l_local(b):
    n = 5_000
    bucket = b.names(n)
    m = b.mount(bucket)
    bucket.mark()
    cold = timed(ls_l, m.join("d"))
    c = bucket.counts()
    yield Figure("ls -l of 5,000 cold: HEADs an object", (c.HEAD + c.GET) / n, 1.0, False, "x", ours=f"{cold:.2f} s", note=str(c))
    bucket.mark()
    again = timed(ls_l, m.join("d"))
    requests = bucket.counts().total()
    m.remount()
    drop_caches(2)
    bucket.mark()  # the one LIST of the start, which checks the bucket, is not what is counted
    after = timed(ls_l, m.join("d"))
    yield Figure("ls -l again", again, 0.15, False, "s")
    yield Figure("ls -l after a remount", after, 0.15, False, "s")
    yield Figure("  requests of both", requests + bucket.counts().total(), 0, False, "")


@row("ls_l_20ms")
def ls_l_20ms(b):
    n = 5_000
    bucket = b.names(n)
    keys = [f"d/{i:06d}" for i in range(n)]
    proxy = b.proxy(20)
    client = S3Client("127.0.0.1", proxy.port, KEY_ID, SECRET)
    ratios, ours, bare, mount = [], [], [], None
    for _ in range(max(3, b.pairs)):
        b.clean()
        mount = b.mount(bucket, url=proxy.url)
        drop_caches(2)
        ours.append(timed(ls_l, mount.join("d")))
        bare.append(b.bare("HEAD", 64, client, bucket, keys))
        ratios.append(ours[-1] / bare[-1])
    yield Figure("20 ms: ls -l of 5,000 / bare HEADs, 64 connections", statistics.median(ratios), 1.5, False,
                 ours=f"{statistics.median(ours):.2f} s", reference=f"{statistics.median(bare):.2f} s")
    mount.remount()
    drop_caches(2)
    bucket.mark()
    yield Figure("  after a remount", timed(ls_l, mount.join("d")), 0.15, False, "s", note=f"requests: {bucket.counts()}")
    times = []
    for _ in range(3):
        b.clean()
        m = b.mount(bucket, url=proxy.url, attr="list")
        times.append(timed(ls_l, m.join("d")))
    yield Figure("  attr=list", statistics.median(times), 0.6, False, "s")
    proxy.remove()


@row("absent")
def absent(b):
    bucket = b.names(5_000)
    m = b.mount(bucket)
    os.stat(m.join("d"))
    bucket.mark()
    for _ in range(3):
        os.path.exists(m.join("d/nothing"))
    yield Figure("absent name, three times: requests", bucket.counts().total(), 1, False, "")
    other = b.names(1_500, 4)
    other.place("d/000001-dir/x", b"x")
    m = b.mount(other)
    os.stat(m.join("d"))
    other.mark()
    for _ in range(3):
        os.path.exists(m.join("d/00"))
    yield Figure("  where 1,000 siblings begin the same", other.counts().total(), 2, False, "")


@row("million")
def million(b):
    dirs, files = (1000, 1000) if not b.quick else (100, 1000)
    synthetic = SyntheticS3(dirs, files)
    m = b.mount(synthetic, url=synthetic.url, attr="list", max_stat_cache_size=None, stat_cache_expire=86400)

    def ls_lr():
        n = 0
        for d in os.scandir(m.path):
            n += 1 + ls_l(d.path)
        return n
    cold = timed(ls_lr)
    m.unmount()
    drop_caches()
    m.start()
    m.meter.start()
    requests = synthetic.requests
    began = time.monotonic()
    n = ls_lr()
    seconds = time.monotonic() - began
    yield Figure(f"{n:,} known entries: mount", m.mount_seconds, 1.0, False, "s", note=f"listed cold in {cold:.0f} s")
    yield Figure("  ls -lR", n / seconds, 60_000, True, "entries/s", note=f"{synthetic.requests - requests} requests")
    yield Figure("  RssAnon", m.meter.stop() / (1 << 20), 100, False, "MiB")
    m.unmount()
    synthetic.close()
