"""Everyday changes and the most requests each may cost on a cold mount: counted by the tests, shown by the benchmark.

A change prepares what it needs before the mount (objects in the bucket, files outside), runs on the mount, and `most` says
what the server's log may show afterwards, by kind; a kind that is not named may not occur. No key is sent twice, whatever
the change is. Deletions are not waited for by those who ask for them: settle() does.
"""
import collections
import dataclasses
import os
import subprocess
import time
from typing import Callable

from .s3server import wait_for

OLD = time.time() - 3600


def shell(script, cwd, **env):
    done = subprocess.run(["bash", "-euc", script], cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True)
    if done.returncode != 0:
        raise AssertionError(f"{script}: {done.stdout}{done.stderr}")
    return done.stdout


def settle(root):
    """Returns when the server has every change of names so far."""
    fd = os.open(root, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)


def nothing(bucket, outside):
    pass


@dataclasses.dataclass
class Change:
    name: str
    run: Callable  # (root of the mount, folder outside)
    most: dict
    prepare: Callable = nothing  # (bucket, folder outside)
    proof: Callable = nothing    # (bucket, folder outside): the server has what was meant


def count(bucket):
    """(requests by kind, keys whose data went up again although nothing had removed them) since bucket.mark()."""
    there, again = set(), collections.Counter()
    for r in bucket.requests():
        if r.op == "PutObject" and r.status < 300 and not r.key.endswith("/"):
            again[r.key] += r.key in there
            there.add(r.key)
        elif r.op == "DeleteObject":
            there.discard(r.key)
        elif r.op == "DeleteObjects":
            there.clear()  # the log does not say which
    return bucket.counts(), +again


def excess(change, counts, repeated, spare_batches=0):
    """What of it is more than it may be, as text; empty: nothing. On a machine that is busy with other things a pause between
    two removals may end a batch of deletions: spare_batches."""
    most = {**change.most}
    if "DELETES" in most:
        most["DELETES"] += spare_batches
        most["DELETE"] = most.get("DELETE", 0) + spare_batches
    words = [f"{n} {kind}, not {most.get(kind, 0)}" for kind, n in counts.items() if n > most.get(kind, 0)]
    return "; ".join(words + [f"{key} was sent again {n} times" for key, n in repeated.items()])


# What is prepared -------------------------------------------------------------------------------------------------------
def directory_of(n, size=5000):
    """As another program left it. Larger than any symlink, so that a listing says all that a removal has to know."""
    def prepare(bucket, outside):
        bucket.put("d/", mode=0o40755)
        bucket.place_many("d/", n, size, mtime=OLD)
    return prepare


def archive(n, size=2000):
    def prepare(bucket, outside):
        source = os.path.join(outside, "source")
        os.makedirs(source)
        for i in range(n):
            with open(os.path.join(source, f"f{i:03d}"), "wb") as f:
                f.write(os.urandom(size))
        shell("tar -C source -cf a.tar $(ls source)", outside)
    return prepare


def one_object(bucket, outside):
    bucket.place("f", body=b"old line\n" * 1000, mtime=OLD)


# What is proved ---------------------------------------------------------------------------------------------------------
def has(n, prefix=""):
    def proof(bucket, outside):
        names = [e for e in os.listdir(bucket.path(prefix)) if e not in (".sgwtmp",)]
        assert len(names) == n, f"{len(names)} names in the bucket, not {n}"
    return proof


def untarred(bucket, outside):
    for name in os.listdir(os.path.join(outside, "source")):
        with open(os.path.join(outside, "source", name), "rb") as f:
            assert bucket.bytes(name) == f.read(), name


def gone(bucket, outside):
    wait_for(lambda: not os.path.exists(bucket.path("d")), what="the deletion")


def moved(n):
    def proof(bucket, outside):
        gone(bucket, outside)
        has(n, "e")(bucket, outside)
    return proof


def edited(bucket, outside):
    assert bucket.bytes("f") == b"new line\n" * 1000


def copied(bucket, outside):
    assert bucket.bytes("g") == bucket.bytes("f")


GIT = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a",
       "GIT_COMMITTER_EMAIL": "a@b"}


def repository(bucket, outside):
    shell("git init -q r && cd r && for i in $(seq 10); do echo $i > f$i; done && git add . && git commit -q -m one"
          " && rm -rf .git/hooks", outside, **GIT)
    for where, _, names in os.walk(os.path.join(outside, "r")):
        for name in names:
            path = os.path.join(where, name)
            with open(path, "rb") as f:
                bucket.place(os.path.relpath(path, outside), f.read(), mtime=OLD)


def commit(root, outside):
    shell("cd r && echo new >> f1 && git commit -q -a -m two", root, **GIT)


def committed(bucket, outside):
    assert "two" in shell("git log -1 --format=%s && git fsck --strict", bucket.path("r"), **GIT,
                          GIT_CONFIG_COUNT="1", GIT_CONFIG_KEY_0="safe.directory", GIT_CONFIG_VALUE_0="*")


def rsync(root, outside):
    shell(f"rsync -r --times {outside}/source/ {root}/d/", root)


def rsynced(bucket, outside):
    for name in os.listdir(os.path.join(outside, "source")):
        with open(os.path.join(outside, "source", name), "rb") as f:
            assert bucket.bytes("d/" + name) == f.read(), name


# Deletions of one round go in one DeleteObjects, a single one as DELETE.
CHANGES = [
    Change("50 x echo > new", lambda root, _: shell("for i in $(seq 50); do echo x > new$i; done", root),
           {"PUT": 50, "LIST": 1}, proof=has(50)),
    # What a cold mount has to ask before it knows what there is to remove: the names, and of the first file all.
    Change("rm -rf of 50", lambda root, _: shell("rm -rf d", root), {"DELETES": 1, "LIST": 2, "HEAD": 1, "GET": 1},
           directory_of(50), gone),
    # versitygw copies no directory's object: that copy is refused, and the object put anew.
    Change("mv of 50", lambda root, _: os.rename(os.path.join(root, "d"), os.path.join(root, "e")),
           {"COPY": 51, "PUT": 1, "DELETES": 1, "LIST": 3, "HEAD": 1}, directory_of(50), moved(50)),
    Change("untar of 200", lambda root, out: shell(f"tar -xf {out}/a.tar", root), {"PUT": 200, "LIST": 1}, archive(200), untarred),
    Change("cp", lambda root, _: shell("cp f g", root), {"GET": 1, "PUT": 1, "LIST": 1}, one_object, copied),
    Change("sed -i", lambda root, _: shell("sed -i s/old/new/ f", root),
           {"GET": 1, "PUT": 1, "COPY": 1, "DELETE": 1, "LIST": 1}, one_object, edited),
    # Objects, lock files and logs: 14 new contents, most of them renamed; the rest is what git looks at.
    Change("git commit", commit, {"PUT": 16, "COPY": 16, "DELETE": 2, "DELETES": 4, "LIST": 30, "GET": 40, "HEAD": 12},
           repository, committed),
    # mkstemp, close, utimensat, chmod, rename: the directory's own object is put three times.
    Change("rsync of 20", rsync, {"PUT": 23, "COPY": 60, "DELETES": 10, "LIST": 2}, archive(20), rsynced),
]
