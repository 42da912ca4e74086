"""The measuring half of scripts/quickstart: server, data set, mount, and the table."""
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "integration"))
from lib.guardian import Guardian  # noqa: E402
from lib.load import epoch, read_whole  # noqa: E402
from lib.mount import PROGRAM  # noqa: E402
from lib.guardian import mounts_under  # noqa: E402
from lib.s3server import S3Server, wait_for  # noqa: E402


def make_data(bucket, files, mib):
    """Sizes spread as photographs are: about 100 KB, from 40 to 200."""
    rng = random.Random(7)
    block, old = os.urandom(400_000), time.time() - 3600
    keys = []
    for i in range(files):
        size = min(200_000, max(40_000, int(rng.gauss(100_000, 30_000))))
        start = rng.randrange(200_000)
        keys.append(f"images/class{i % 10}/{i:05d}.jpg")
        bucket.place(keys[-1], block[start:start + size], etag=f"{i:032x}", mtime=old)
    bucket.place("video.bin", size=mib << 20, mtime=old)
    return keys


def mount(server, bucket, path, cache):
    command = [PROGRAM, bucket.name, path, "-o",
               f"url={server.url},use_path_request_style,passwd_file={server.passwd_file},use_cache={cache}"]
    subprocess.run(command, check=True)
    wait_for(lambda: mounts_under(path), 20, "the mount")


def unmount(path):
    wait_for(lambda: subprocess.run(["fusermount3", "-u", path], stderr=subprocess.DEVNULL).returncode == 0, 20, "the unmount", 0.05)


def measure(bucket, root, keys):
    """(files/s, MB/s of the large object, requests)."""
    bucket.mark()
    seconds, _ = epoch(root, keys, seed=1)
    began = time.monotonic()
    size = read_whole(os.path.join(root, "video.bin"))
    big = time.monotonic() - began
    return len(keys) / seconds, size / big / 1e6, bucket.counts()


def main():
    files, mib = int(sys.argv[1]), int(sys.argv[2])
    guardian = Guardian()
    work = tempfile.mkdtemp(prefix="s3cache-quickstart-", dir=os.environ.get("S3CACHE_TMP", "/var/tmp"))
    guardian.watch_folder(work)
    try:
        server = S3Server(base=os.path.join(work, "server"))
        bucket = server.create_bucket("quickstart")
        print(f"quickstart: {files} images of about 100 KB and one object of {mib} MiB on {server.url}")
        keys = make_data(bucket, files, mib)
        path, cache = os.path.join(work, "mnt"), os.path.join(work, "cache")
        os.makedirs(path)
        rows = []
        mount(server, bucket, path, cache)
        rows.append(("cold", *measure(bucket, path, keys)))
        rows.append(("warm", *measure(bucket, path, keys)))
        unmount(path)
        mount(server, bucket, path, cache)
        rows.append(("after a remount", *measure(bucket, path, keys)))
        unmount(path)
        server.close()
        print(f"\n{'':16}  {'images/s':>9}  {'large object':>13}  requests sent")
        for name, rate, speed, counts in rows:
            print(f"{name:16}  {rate:9,.0f}  {speed:8,.0f} MB/s  {counts}")
        print("\n4 readers, random order; everything is stopped and removed again.")
    finally:
        guardian.close()
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
