"""Kills: whatever an fsync or a close promised is there after the next mount, on the mount and on S3, and nothing is left over.

S3CACHE_LONG=1 kills 500 times a mode. The seed is printed and S3CACHE_SEED repeats it, as far as timing repeats.
"""
import os
import random
import subprocess
import sys
import time

import pytest
from lib import crash_writer
from lib.crash_promises import WRITER, check, data_files
from lib.fixtures import LONG
from lib.s3server import wait_for

ROUNDS = 500 if LONG else 8


@pytest.mark.deadline(240)
@pytest.mark.parametrize("mode", ["default", "writeback"])
def test_kill_loses_nothing_that_was_promised(bucket, mount, work, cache_dir, mode):
    seed = int(os.environ.get("S3CACHE_SEED", random.randrange(1 << 16)))
    print(f"S3CACHE_SEED={seed}")
    rng = random.Random(seed)
    bucket.put("table", b"".join(crash_writer.record(n, 0) for n in range(crash_writer.RECORDS)))
    m = mount(bucket, writeback=mode == "writeback", multipart_size=5)
    manifest = os.path.join(work, "manifest")
    for round_number in range(ROUNDS):
        if rng.random() < 0.5:
            open(m.join("table"), "rb").read()  # cached as a whole: changed in place, under kernel readers
        before = os.path.getsize(manifest) if os.path.exists(manifest) else 0
        writer = subprocess.Popen([sys.executable, WRITER, m.path, manifest, str(round_number + 1)],
                                  stderr=subprocess.DEVNULL)
        wait_for(lambda: os.path.exists(manifest) and os.path.getsize(manifest) > before, 20, "a first promise", 0.001)
        time.sleep(rng.random() * 0.25)  # the moment of the kill is the point of it
        m.kill9()
        writer.wait(20)
        m.start()
        check(m.path, manifest)
    m.unmount()
    check(bucket.dir, manifest)
    assert bucket.server.client.list_uploads(bucket.name) == [], "parts that nobody will ever complete"
    assert "set aside" not in m.log(), "a crash alone is no conflict"
    m.start()
    for name in os.listdir(m.path):
        os.unlink(m.join(name))
    m.unmount()
    m.start()  # its start-up walk collects what the last moments left
    wait_for(lambda: data_files(cache_dir) == 0, 20, "cache files that nothing refers to to go", 0.05)
    m.unmount()


@pytest.mark.deadline(120)
def test_kill_in_the_middle_of_parts_leaves_no_upload(bucket, mount):
    m = mount(bucket, multipart_size=5)
    fd = os.open(m.join("big"), os.O_WRONLY | os.O_CREAT)
    piece = os.urandom(1 << 20)
    def part_seen():
        os.write(fd, piece)
        return any(r.op == "UploadPart" for r in bucket.server.requests(bucket=bucket.name))
    wait_for(part_seen, 20, "a first part", 0.001)
    m.kill9()
    try:
        os.close(fd)
    except OSError:
        pass
    assert bucket.server.client.list_uploads(bucket.name), "the test came too late"
    m.start()
    wait_for(lambda: bucket.server.client.list_uploads(bucket.name) == [], 20, "the upload to be aborted", 0.05)
    assert os.listdir(m.path) == []
