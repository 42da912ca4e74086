"""Power cuts: what an fsync or a close promised is there at the next boot, on the mount and on S3, and nothing is left over.

S3CACHE_LONG=1 cuts 100 times a variant. The seed is printed and S3CACHE_SEED repeats it, as far as timing repeats.
"""
import os
import random
import subprocess
import sys
import time

import pytest
from lib import crash_writer
from lib.crash_promises import WRITER, check
from lib.fixtures import LONG
from lib.power import PowerDisk, Unavailable
from lib.s3server import wait_for

ROUNDS = 100 if LONG else 3


@pytest.fixture
def disk(work):
    try:
        d = PowerDisk(work)
    except Unavailable as e:
        pytest.skip(f"no disk to cut the power of: {e}")
    yield d
    d.close()


@pytest.fixture
def cache_dir(disk):
    return os.path.join(disk.path, "cache")


def test_a_cut_loses_what_was_not_synced(disk):
    """The disk of the other tests is what they take it for."""
    for name in ("lost", "synced"):
        fd = os.open(os.path.join(disk.path, name), os.O_WRONLY | os.O_CREAT)
        os.write(fd, b"x" * 100_000)
        if name == "synced":
            os.fsync(fd)
        os.close(fd)
    with open(os.path.join(disk.path, "synced"), "ab") as f:
        f.write(b"y" * 100_000)
    disk.cut()
    disk.reboot()
    assert open(os.path.join(disk.path, "synced"), "rb").read() == b"x" * 100_000
    lost = os.path.join(disk.path, "lost")
    assert not os.path.exists(lost) or os.path.getsize(lost) == 0


# With the cut first, S3 hears from the program for some milliseconds more than the disk does, and may be newer.
@pytest.mark.deadline(90)
@pytest.mark.parametrize("first", ["kill", "cut"])
@pytest.mark.parametrize("mode", ["default", "writeback"])
def test_power_cut_loses_nothing_that_was_promised(bucket, mount, work, disk, mode, first):
    seed = int(os.environ.get("S3CACHE_SEED", random.randrange(1 << 16)))
    print(f"S3CACHE_SEED={seed}")
    rng = random.Random(seed)
    bucket.put("table", b"".join(crash_writer.record(n, 0) for n in range(crash_writer.RECORDS)))
    m = mount(bucket, writeback=mode == "writeback", multipart_size=5, env={"S3CACHE_TEST_BOOT_ID": "boot 0"})
    manifest = os.path.join(work, "manifest")
    for round_number in range(1, ROUNDS + 1):
        if rng.random() < 0.5:
            open(m.join("table"), "rb").read()  # cached as a whole: changed in place, under kernel readers
        before = os.path.getsize(manifest) if os.path.exists(manifest) else 0
        writer = subprocess.Popen([sys.executable, WRITER, m.path, manifest, str(round_number)],
                                  stderr=subprocess.DEVNULL)
        wait_for(lambda: os.path.exists(manifest) and os.path.getsize(manifest) > before, 20, "a first promise", 0.001)
        time.sleep(rng.random() * 0.25)  # the moment of the cut is the point of it
        if first == "kill":
            m.kill9()
        promised = os.path.getsize(manifest)
        disk.cut()
        if first == "cut":
            m.kill9()
        writer.wait(20)
        os.truncate(manifest, promised)  # what came after was promised by a machine that was off
        disk.reboot()
        m.env = {"S3CACHE_TEST_BOOT_ID": f"boot {round_number}"}
        m.start()
        check(m.path, manifest)
    m.unmount()
    check(bucket.dir, manifest)
    assert bucket.server.client.list_uploads(bucket.name) == [], "parts that nobody will ever complete"
    assert "set aside" not in m.log(1 << 30), "a power cut alone is no conflict"
