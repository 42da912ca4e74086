"""The S3 client's writing verbs against a real server: the hidden tests of build/test_s3, and their requests."""
import fcntl
import os
import subprocess

import pytest

from lib.s3server import KEY_ID, PROJECT, SECRET


def run_live(server, bucket, tag, **env):
    # Tests run in several processes, and two makes in one folder do not go together.
    with open(os.path.join(PROJECT, "build", "test_s3.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        build = subprocess.run(["make", "-s", "-j2", "build/test_s3"], cwd=PROJECT, capture_output=True, text=True)
    assert build.returncode == 0, build.stderr[-4000:]
    return subprocess.run([os.path.join(PROJECT, "build", "test_s3"), tag], capture_output=True, text=True, timeout=100,
                          env={**os.environ, "S3_URL": server.url, "S3_BUCKET": bucket.name, "S3_KEY_ID": KEY_ID,
                               "S3_SECRET": SECRET, **env})


@pytest.mark.deadline(300)
def test_writing_verbs(server, bucket):
    run = run_live(server, bucket, "[live_write]")
    assert run.returncode == 0, run.stdout[-6000:]
    assert "All tests passed" in run.stdout
    counts = bucket.counts()
    assert counts.get("DELETES") == 1
    assert counts.get("CompleteMultipartUpload", 0) >= 2
