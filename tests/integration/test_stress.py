"""Random operations on one file (lib/fsx.py), over unmounts and kills of the kernel's pages, against an array of bytes.

The seed is printed; S3CACHE_SEED repeats it. S3CACHE_LONG=1 runs 40 times as long.
"""
import hashlib
import os
import random
import subprocess
import sys

import pytest
from lib import fsx
from lib.fixtures import LONG

SEED = int(os.environ.get("S3CACHE_SEED", random.randrange(1 << 24)))
ROUNDS = 120 if LONG else 3
SMALL, LARGE = 300_000, 24 << 20


def run_fsx(m, model, seed, ops, big):
    """In a process of its own: a page fault that hangs holds Python's lock."""
    done = subprocess.run([sys.executable, fsx.__file__, m.join("f"), model, str(seed), str(ops),
                           str(LARGE if big else SMALL), *(["--big"] if big else [])], capture_output=True, text=True)
    assert done.returncode == 0, f"S3CACHE_SEED={SEED}\n{done.stdout[-6000:]}{done.stderr[-2000:]}"


@pytest.mark.deadline(240)
@pytest.mark.parametrize("passthrough", ["passthrough", "nopassthrough"])
@pytest.mark.parametrize("mode", ["default", "writeback"])
@pytest.mark.parametrize("size", ["small", "large"])
def test_one_file(bucket, mount, work, size, mode, passthrough):
    print(f"S3CACHE_SEED={SEED}")
    rng = random.Random(f"{SEED} {size} {mode} {passthrough}")
    big = size == "large"
    m = mount(bucket, writeback=mode == "writeback", nopassthrough=passthrough == "nopassthrough", multipart_size=5,
              cache_size="64M")
    model = os.path.join(work, "model")
    for _ in range(ROUNDS):
        run_fsx(m, model, rng.randrange(1 << 32), 200 if big else 400, big)
        kind = rng.random()
        if kind < 0.4:
            m.unmount()
            assert hashlib.sha256(bucket.bytes("f")).digest() == hashlib.sha256(open(model, "rb").read()).digest()
            m.start()
        elif kind < 0.7 and mode == "default":
            m.kill9()  # everything was closed
            m.start()
    m.unmount()
    want = open(model, "rb").read()
    assert hashlib.sha256(bucket.bytes("f")).digest() == hashlib.sha256(want).digest(), f"S3CACHE_SEED={SEED}"
    assert bucket.server.client.list_uploads(bucket.name) == []
