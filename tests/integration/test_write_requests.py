"""What everyday changes cost in requests on a cold mount, by the server's own log: lib/changes.py has the limits."""
import os
import random
import time

import pytest
from lib.changes import CHANGES, count, excess, settle, shell

OLD = time.time() - 3600


@pytest.mark.parametrize("change", CHANGES, ids=lambda c: c.name)
def test_requests_of(change, bucket, mount, work):
    outside = os.path.join(work, "outside")
    os.makedirs(outside)
    change.prepare(bucket, outside)
    m = mount(bucket)
    bucket.mark()
    change.run(m.path, outside)
    settle(m.path)
    change.proof(bucket, outside)
    counts, again = count(bucket)
    print(change.name, counts)
    assert not excess(change, counts, again, spare_batches=3), counts


def test_new_files_in_a_directory_of_others(bucket, mount):
    """The directory's own listing answers for all names, once one of them was absent."""
    bucket.place_many("d/", 20, 10, mtime=OLD)
    m = mount(bucket)
    os.stat(m.join("d"))
    bucket.mark()
    shell("for i in $(seq 20); do echo x > d/new$i; done", m.path)
    c = bucket.counts()
    assert c.PUT == 20 and c.LIST <= 2 and c.HEAD == c.GET == 0, c


def test_after_a_removal_attributes_are_exact(bucket, mount):
    """Names that a remover looked up without their headers show them to whoever wants them, also in the same thread."""
    for i in range(8):
        bucket.put(f"d/f{i}", b"x" * 5000, mode=0o100751, uid=7)
    m = mount(bucket)
    os.unlink(m.join("d/f0"))
    os.unlink(m.join("d/f1"))
    for i in (2, 3):
        st = os.stat(m.join(f"d/f{i}"))
        assert (st.st_mode & 0o7777, st.st_uid, st.st_size) == (0o751, 7, 5000)
    os.unlink(m.join("d/f4"))
    os.unlink(m.join("d/f5"))
    with open(m.join("d/f6"), "rb") as f:
        assert os.fstat(f.fileno()).st_uid == 7 and f.read() == b"x" * 5000
    os.unlink(m.join("d/f2"))
    os.chmod(m.join("d/f7"), 0o700)
    assert os.stat(m.join("d/f7")).st_uid == 7 and os.stat(m.join("d/f7")).st_mode & 0o7777 == 0o700


def test_second_rsync_sends_nothing(bucket, mount, work):
    source = os.path.join(work, "source")
    os.makedirs(source)
    for i in range(20):
        with open(os.path.join(source, f"f{i}"), "wb") as f:
            f.write(os.urandom(3000))
    m = mount(bucket)
    shell(f"rsync -r --times {source}/ {m.path}/d/", work)
    settle(m.path)
    bucket.mark()
    shell(f"rsync -r --times {source}/ {m.path}/d/", work)
    settle(m.path)
    c = bucket.counts()
    assert c.total() == 0, c


def test_attributes_right_after_the_bytes_send_no_bytes(bucket, mount):
    m = mount(bucket)
    bucket.mark()
    for i in range(20):
        with open(m.join(f"f{i}"), "wb") as f:
            f.write(b"x" * 5000)
        os.chmod(m.join(f"f{i}"), 0o600)
        os.utime(m.join(f"f{i}"), (OLD, OLD))
    c, again = count(bucket)
    assert c.PUT == 20 and not again and c.COPY <= 40, (c, again)
    m.remount()
    for i in range(20):
        st = os.stat(m.join(f"f{i}"))
        assert (st.st_mode & 0o777, st.st_size) == (0o600, 5000) and abs(st.st_mtime - OLD) < 0.001


@pytest.mark.deadline(90)
def test_one_byte_of_a_large_object(bucket, mount):
    """At most two parts go up; the server copies the rest, and nothing but the edited part's bytes comes down."""
    size = 96 << 20
    bucket.place("big", size=size, mtime=OLD)
    seed = random.randrange(1 << 32)
    at = random.Random(seed).randrange(size)
    with open(bucket.path("big"), "rb") as f:
        model = bytearray(f.read())
    model[at] ^= 0xff
    m = mount(bucket)
    bucket.mark()
    fd = os.open(m.join("big"), os.O_WRONLY)
    os.pwrite(fd, bytes([model[at]]), at)
    os.fsync(fd)
    os.close(fd)
    c = bucket.counts()
    print(seed, c)
    assert c.UploadPart <= 2 and c.PUT == 0 and c.UploadPartCopy >= 1, (seed, c)
    assert bucket.bytes("big") == model, seed


def test_rename_of_directories_with_objects_of_their_own(bucket, mount):
    """versitygw copies no `dir/`: it is made anew with the same attributes."""
    bucket.put("foreign/", mode=0o40750, uid=7)
    bucket.put("foreign/sub/", mode=0o40700)
    bucket.place("foreign/sub/f", b"f", mtime=OLD)
    m = mount(bucket)
    os.mkdir(m.join("own"), 0o711)
    os.mkdir(m.join("own/sub"))
    for name in ("own", "foreign"):
        os.rename(m.join(name), m.join("moved-" + name))
    settle(m.path)
    assert not os.path.exists(bucket.path("own")) and not os.path.exists(bucket.path("foreign"))
    m.remount()
    assert os.stat(m.join("moved-own")).st_mode & 0o7777 == 0o711
    st = os.stat(m.join("moved-foreign"))
    assert st.st_mode & 0o7777 == 0o750 and st.st_uid == 7
    assert os.stat(m.join("moved-foreign/sub")).st_mode & 0o7777 == 0o700
    assert sorted(os.listdir(m.path)) == ["moved-foreign", "moved-own"]
    assert bucket.bytes("moved-foreign/sub/f") == b"f"
