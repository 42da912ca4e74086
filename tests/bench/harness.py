"""What the rows of the benchmark share: data sets, mounts of s3cache and its peers, pairs, and the table.

A row is a function marked with @row(name); it takes a Bench and yields Figures. Each row mounts, measures and unmounts by
itself. Peers run in the same minute, in pairs with ours where the ratio counts: the machine's mood is the same for both.
"""
import dataclasses
import filecmp
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "integration"))
from lib.guardian import Guardian  # noqa: E402
from lib.load import drop_caches  # noqa: E402
from lib.mount import Mount, PROGRAM  # noqa: E402
from lib.s3server import KEY_ID, PROJECT, SECRET, S3Server  # noqa: E402
from lib.toxi import Toxiproxy  # noqa: E402

MIB = 1 << 20
OLD = time.time() - 3600
ROWS = {}


def row(name):
    def add(function):
        ROWS[name] = function
        return function
    return add


@dataclasses.dataclass
class Figure:
    """One line of the table. `value` is judged against `limit`: at least it if `at_least`, else at most it."""
    name: str
    value: float
    limit: float
    at_least: bool = True
    unit: str = "x"
    ours: str = ""       # what we measured
    reference: str = ""  # what it was measured against
    note: str = ""

    @property
    def ok(self):
        return self.value >= self.limit if self.at_least else self.value <= self.limit


class Bench:
    def __init__(self, quick, pairs):
        self.quick, self.pairs = quick, pairs
        self.guardian = Guardian()
        self.dir = tempfile.mkdtemp(prefix="s3cache-bench-", dir=os.environ.get("S3CACHE_TMP", "/var/tmp"))
        self.guardian.watch_folder(self.dir)
        self.server = S3Server(base=os.path.join(self.dir, "server"))
        self.guardian.watch_pid(self.server.process.pid)
        self._toxi, self._serial, self._mounts, self._data, self._bare = None, 0, [], {}, None

    # Data sets: made once, shared by rows ----------------------------------------------------------------------------
    def big(self):
        """(bucket, key, size): one object of 1 GiB."""
        if "big" not in self._data:
            b = self.server.create_bucket("big-object")
            size = (256 if self.quick else 1024) * MIB
            b.place("big.bin", size=size, mtime=OLD)
            self._data["big"] = (b, "big.bin", size)
        return self._data["big"]

    def small(self):
        """(bucket, keys, size): 10,000 objects of 100 KB."""
        if "small" not in self._data:
            b = self.server.create_bucket("small-objects")
            n = 2_000 if self.quick else 10_000
            self._data["small"] = (b, b.place_many("train/", n, 100_000, mtime=OLD), 100_000)
        return self._data["small"]

    def names(self, n, size=100):
        key = f"names-{n}-{size}"
        if key not in self._data:
            b = self.server.create_bucket(f"bucket-{key}")
            b.place_many("d/", n, size, mtime=OLD)
            self._data[key] = b
        return self._data[key]

    def plain_copy(self, bucket, keys):
        """The same files on the cache's file system, as plain files."""
        root = os.path.join(self.dir, "plain-" + bucket.name)
        if not os.path.exists(root):
            for key in keys:
                target = os.path.join(root, key)
                os.makedirs(os.path.dirname(target), exist_ok=True)
                shutil.copyfile(bucket.path(key), target)
        return root

    # Mounts ----------------------------------------------------------------------------------------------------------
    def fresh(self, name):
        self._serial += 1
        return os.path.join(self.dir, f"{name}-{self._serial}")

    def new_name(self, name):
        """For a bucket."""
        self._serial += 1
        return f"{name}-{self._serial}"

    def mount(self, bucket, program=None, cache=None, url=None, **options):
        base = {"url": url or self.server.url, "use_path_request_style": True, "passwd_file": self.server.passwd_file,
                "use_cache": cache or self.fresh("cache"), **options}
        path = self.fresh("mnt")
        m = Mount(bucket.name, path, base, path + ".log", program=program, guardian=self.guardian)
        self._mounts.append(m)
        return m

    def s3fs(self, bucket, **options):
        return self.mount(bucket, program=shutil.which("s3fs"), **options)

    def clean(self):
        """After each row: nothing mounted, caches gone."""
        for m in self._mounts:
            m.destroy()
            if m.options.get("use_cache"):
                shutil.rmtree(m.options["use_cache"], ignore_errors=True)
        self._mounts = []

    def proxy(self, ms):
        if self._toxi is None:
            self._toxi = Toxiproxy()
            self.guardian.watch_pid(self._toxi.process.pid)
        p = self._toxi.proxy(self.server.port)
        p.latency(ms)
        return p

    # Peers that are not file systems ---------------------------------------------------------------------------------
    def rclone(self):
        """rclone's program: a newer one from .tools/bin if it was built (scripts/tools rclone), else Debian's."""
        ours = os.path.join(PROJECT, ".tools", "bin", "rclone")
        return ours if os.path.exists(ours) else shutil.which("rclone")

    def _rclone(self, *words):
        config = os.path.join(self.dir, "rclone.conf")
        with open(config, "w") as f:
            f.write(f"[s]\ntype=s3\nprovider=Other\naccess_key_id={KEY_ID}\nsecret_access_key={SECRET}\n"
                    f"endpoint={self.server.url}\nregion=us-east-1\n")
        began = time.monotonic()
        subprocess.run([self.rclone(), "--config", config, *words], check=True)
        return time.monotonic() - began

    def download(self, bucket, key):
        """Seconds of the fastest whole-object download we know, to the cache's file system."""
        target = self.fresh("download")
        drop_caches()
        seconds = self._rclone("copyto", "--multi-thread-streams", "16", "--multi-thread-cutoff", "1M", "--ignore-checksum",
                               f"s:{bucket.name}/{key}", target)
        os.unlink(target)
        return seconds

    def upload(self, source, bucket, key, transfers=None):
        """Seconds of the fastest upload we know: of a file whose pages are in memory, or of a folder with so many
        transfers. No checksum of the whole, no look at what is there or at what has arrived."""
        lean = ["--s3-disable-checksum", "--s3-no-check-bucket", "--s3-no-head", "--ignore-checksum", "--no-check-dest"]
        if transfers:
            return self._rclone("copy", "--transfers", str(transfers), "--no-traverse", *lean, source, f"s:{bucket.name}/{key}")
        return self._rclone("copyto", "--s3-upload-concurrency", "8", "--s3-chunk-size", "16M", *lean, source, f"s:{bucket.name}/{key}")

    @staticmethod
    def equal(path, other):
        return filecmp.cmp(path, other, shallow=False)

    def same(self, path, other):
        assert self.equal(path, other), f"{path} differs"

    def bare(self, method, connections, client, bucket, keys):
        """Seconds that a bare client takes for one request a key."""
        if self._bare is None:
            self._bare = os.path.join(self.dir, "bare")
            subprocess.run(["g++", "-O2", "-std=c++20", "-o", self._bare,
                            os.path.join(PROJECT, "tests", "bench", "bare.cc"), "-lcurl"], check=True)
        urls = "\n".join(client.presigned(method, bucket.name, key) for key in keys)
        out = subprocess.run([self._bare, method, str(connections)], input=urls, capture_output=True, text=True, check=True)
        return float(out.stdout.split()[0])

    def close(self):
        self.clean()
        self.server.close()
        if self._toxi:
            self._toxi.close()
        self.guardian.close()


def paired(n, ours, theirs):
    """n interleaved pairs of two rates; answers (median ratio, median ours, median theirs). Every other pair swaps its order."""
    ratios, a, b = [], [], []
    for i in range(n):
        if i % 2:
            y, x = theirs(), ours()
        else:
            x, y = ours(), theirs()
        ratios.append(x / y)
        a.append(x)
        b.append(y)
    return statistics.median(ratios), statistics.median(a), statistics.median(b)


def timed(function, *args, **kw):
    began = time.monotonic()
    function(*args, **kw)
    return time.monotonic() - began


def show(figures):
    head = ("figure", "value", "target", "", "s3cache", "reference", "note")
    lines = [(f.name, f"{f.value:.3g} {f.unit}", ("≥ " if f.at_least else "≤ ") + f"{f.limit:g}", "ok" if f.ok else "MISS",
              f.ours, f.reference, f.note) for f in figures]
    widths = [max(len(r[i]) for r in [head, *lines]) for i in range(len(head))]
    for r in [head, tuple("-" * w for w in widths), *lines]:
        print("  ".join(c.ljust(w) for c, w in zip(r, widths)).rstrip())


def run(names, quick, pairs, json_path):
    if not os.path.exists(PROGRAM):
        sys.exit(f"bench: {PROGRAM} is not built (make)")
    bench, figures, errors = Bench(quick, pairs), [], {}
    try:
        for name in names:
            began = time.monotonic()
            print(f"bench: {name} ...", end="", file=sys.stderr, flush=True)
            try:
                figures += list(ROWS[name](bench))
            except Exception as e:  # one row that fails does not cost the others
                errors[name] = f"{type(e).__name__}: {e}"
            bench.clean()
            print(f" {errors.get(name, 'done')} ({time.monotonic() - began:.0f} s)", file=sys.stderr)
    finally:
        bench.close()
    show(figures)
    for name, error in errors.items():
        print(f"{name}: did not finish: {error.splitlines()[0]}")
    record = {"machine": {"cores": os.cpu_count(), "kernel": os.uname().release}, "quick": quick, "pairs": pairs,
              "figures": [{**dataclasses.asdict(f), "ok": f.ok} for f in figures], "errors": errors}
    with open(json_path, "w") as f:
        json.dump(record, f, indent=1)
    print(f"\n{sum(f.ok for f in figures)} of {len(figures)} targets met; {json_path}")
    return 0 if not errors and all(f.ok for f in figures) else 1
