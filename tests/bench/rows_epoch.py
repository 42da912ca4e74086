"""Many small files: epochs of a data loader in random order by 4 readers."""
import statistics

from harness import Figure, drop_caches, paired, row
from lib.load import du, epoch
from lib.s3client import S3Client
from lib.s3server import KEY_ID, SECRET


def files_per_second(root, keys, seed):
    return len(keys) / epoch(root, keys, seed=seed)[0]


@row("epoch_cold")
def epoch_cold(b):
    bucket, keys, _ = b.small()
    seen, cpu = [], []

    def ours():
        m = b.mount(bucket)
        drop_caches()
        bucket.mark()
        value = files_per_second(m.path, keys, 1)
        seen.append(bucket.counts())
        cpu.append(m.meter.cpu() / len(keys))
        b.clean()
        return value

    def theirs():
        m = b.s3fs(bucket)
        drop_caches()
        value = files_per_second(m.path, keys, 1)
        b.clean()
        return value
    # One pair of the whole set takes most of a minute, for s3fs: three pairs are what the patience of a reader allows.
    ratio, a, t = paired(min(b.pairs, 3), ours, theirs)
    c = seen[-1]
    yield Figure("epoch cold / s3fs", ratio, 3.0, ours=f"{a:.0f} files/s", reference=f"{t:.0f} files/s",
                 note=f"{c}; CPU {statistics.median(cpu) * 1e6:.0f} us a file")
    yield Figure("  requests: GET a file", c.GET / len(keys), 1.0, False)
    yield Figure("  requests: HEAD", c.HEAD, 0, False, "")
    yield Figure("  requests: LIST", c.LIST, 25, False, "")


def remounted(b, bucket, keys, **options):
    """A mount over a cache that another mount filled."""
    m = b.mount(bucket, **options)
    epoch(m.path, keys)
    return m.remount()


def warm_figures(b, m, bucket, keys, label):
    plain = b.plain_copy(bucket, keys)
    bucket.mark()
    seed, cpu = [0], []

    def ours(drop):
        seed[0] += 1
        if drop:
            drop_caches()
        before = m.meter.cpu()
        value = files_per_second(m.path, keys, seed[0])
        cpu.append((m.meter.cpu() - before) / len(keys))
        return value

    def theirs(drop):
        if drop:
            drop_caches()
        return files_per_second(plain, keys, seed[0])
    ratio, a, t = paired(b.pairs, lambda: ours(True), lambda: theirs(True))
    yield Figure(f"epoch after remount{label} / plain, caches dropped", ratio, 0.7, ours=f"{a:.0f} files/s", reference=f"{t:.0f} files/s")
    yield Figure("  daemon CPU a file", statistics.median(cpu) * 1e6, 70, False, "us")
    ours(False), theirs(False)
    cpu.clear()
    ratio, a, t = paired(b.pairs, lambda: ours(False), lambda: theirs(False))
    yield Figure(f"epoch after remount{label} / plain, both warm", ratio, 0.35, ours=f"{a:.0f} files/s", reference=f"{t:.0f} files/s")
    yield Figure("  daemon CPU a file", statistics.median(cpu) * 1e6, 70, False, "us")
    yield Figure("  requests", bucket.counts().total(), 0, False, "")


@row("epoch_warm")
def epoch_warm(b):
    bucket, keys, _ = b.small()
    yield from warm_figures(b, remounted(b, bucket, keys), bucket, keys, "")


@row("epoch_20ms")
def epoch_20ms(b):
    bucket, keys, _ = b.small()
    proxy = b.proxy(20)
    client = S3Client("127.0.0.1", proxy.port, KEY_ID, SECRET)
    some = keys[:1000] if not b.quick else keys[:400]

    def ours():
        m = b.mount(bucket, url=proxy.url)
        drop_caches()
        value = files_per_second(m.path, some, 1)
        b.clean()
        return value
    ratio, a, t = paired(b.pairs, ours, lambda: len(some) / b.bare("GET", 4, client, bucket, some))
    yield Figure("20 ms: epoch cold / bare client, 4 connections", ratio, 0.85, ours=f"{a:.0f} files/s", reference=f"{t:.0f} files/s",
                 note=f"{len(some)} files")
    proxy.clear("latency_downstream")  # filled fast, read slowly
    m = remounted(b, bucket, keys, url=proxy.url)
    proxy.latency(20)
    yield from warm_figures(b, m, bucket, keys, " at 20 ms")
    proxy.remove()


@row("hit_ratio")
def hit_ratio(b):
    bucket, keys, size = b.small()
    limit = len(keys) * size // 2
    # Both data sets lie in one bucket, as one mount sees them.
    other = bucket.place_many("second/", len(keys), size, mtime=1_600_000_000)
    m = b.mount(bucket, cache_size=limit)
    ratios, peak = [], 0
    for data, epochs in ((keys, 4), (other, 3)):
        for e in range(epochs):
            bucket.mark()
            epoch(m.path, data, seed=e)
            ratios.append(1 - bucket.counts().GET / len(data))
            peak = max(peak, du(m.options["use_cache"]))
    text = " ".join(f"{r:.2f}" for r in ratios)
    yield Figure("hit ratio, epochs 2-4, cache = half", min(ratios[1:4]), 0.42, unit="", note=text)
    yield Figure("hit ratio, second data set from its 2nd epoch", min(ratios[5:]), 0.42, unit="")
    yield Figure("  cache on disk / its limit", peak / limit, 1.0, False, note="sampled between epochs; the tests sample all the time")
