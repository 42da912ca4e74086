"""copy_file_range (what cp does): a whole file is copied by the server, anything else is read and written, and both are right."""
import errno
import os
import subprocess
import time

import pytest

OLD = time.time() - 3600
SIZE = 3 << 20


@pytest.fixture
def source(bucket):
    bucket.place("d/from", size=SIZE, mtime=OLD)
    return bucket.bytes("d/from")


def cp(*words):
    subprocess.run(["cp", *words], check=True, timeout=60)


def read(path):
    with open(path, "rb") as f:
        return f.read()


def moved(c):
    return c.PUT, c.GET


def test_new_file(bucket, mount, source):
    m = mount(bucket, umask="022")
    os.stat(m.join("d/from"))
    bucket.mark()
    cp(m.join("d/from"), m.join("d/to"))
    assert moved(bucket.counts()) == (0, 0), bucket.counts()
    st = os.stat(m.join("d/to"))
    assert st.st_size == SIZE and time.time() - st.st_mtime < 60
    assert read(m.join("d/to")) == source == bucket.bytes("d/to")
    again = m.remount()
    assert read(again.join("d/to")) == source and os.stat(again.join("d/to")).st_mtime == st.st_mtime


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("writeback", [False, True])
def test_over_another(bucket, mount, source, cached, writeback):
    bucket.place("old", size=5 << 20, mtime=OLD)
    m = mount(bucket, writeback=writeback)
    if cached:
        read(m.join("old"))
    cp(m.join("d/from"), m.join("old"))
    assert os.stat(m.join("old")).st_size == SIZE
    assert read(m.join("old")) == source
    m.unmount()
    assert bucket.bytes("old") == source


def test_readers_of_the_target_see_it(bucket, mount, source):
    bucket.place("old", size=5 << 20, mtime=OLD)
    m = mount(bucket)
    read(m.join("old"))
    with open(m.join("old"), "rb", buffering=0) as reader:  # the kernel reads the cache file by itself
        assert len(reader.read(4096)) == 4096
        cp(m.join("d/from"), m.join("old"))
        assert os.pread(reader.fileno(), SIZE + 1, 0)[:1 << 20] == source[:1 << 20]
    assert read(m.join("old")) == source == bucket.bytes("old")


def test_a_source_that_is_not_saved_yet(bucket, mount):
    m = mount(bucket, writeback=True)
    data = os.urandom(SIZE)
    with open(m.join("from"), "wb") as f:
        f.write(data)
        f.flush()
        cp(m.join("from"), m.join("to"))
        assert read(m.join("to")) == data
    m.unmount()
    assert bucket.bytes("to") == bucket.bytes("from") == data


def test_written_after_the_copy(bucket, mount, source):
    m = mount(bucket)
    with open(m.join("d/from"), "rb") as f, open(m.join("to"), "w+b", buffering=0) as to:
        assert os.copy_file_range(f.fileno(), to.fileno(), SIZE, 0, 0) == SIZE
        assert os.pread(to.fileno(), 100, 1_000_000) == source[1_000_000:1_000_100]
        os.pwrite(to.fileno(), b"changed", 2_000_000)
        os.pwrite(to.fileno(), b"appended", SIZE)
    want = source[:2_000_000] + b"changed" + source[2_000_007:] + b"appended"
    assert read(m.join("to")) == want == bucket.bytes("to")
    assert bucket.bytes("d/from") == source


def test_parts_of_files(bucket, mount, source):
    m = mount(bucket)
    with open(m.join("d/from"), "rb") as f, open(m.join("to"), "w+b", buffering=0) as to:
        for offset in (2 << 20, 0, 1 << 20):
            done = 0
            while done < 1 << 20:
                at = offset + done
                done += os.copy_file_range(f.fileno(), to.fileno(), (1 << 20) - done, at, at)
    assert read(m.join("to")) == source == bucket.bytes("to")


def test_a_name_that_somebody_else_takes_meanwhile_is_theirs(bucket, mount, source):
    m = mount(bucket)
    fd = os.open(m.join("to"), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    bucket.put("to", b"theirs")
    with pytest.raises(OSError) as lost, open(m.join("d/from"), "rb") as f:
        done = 0
        while done < SIZE:
            done += os.copy_file_range(f.fileno(), fd, SIZE - done)
        os.fsync(fd)
    assert lost.value.errno == errno.EEXIST
    try:
        os.close(fd)
    except OSError:
        pass
    assert bucket.bytes("to") == b"theirs"
    assert bucket.server.client.list_uploads(bucket.name) == []


def test_a_source_that_was_replaced_meanwhile(bucket, mount, source):
    m = mount(bucket)
    with open(m.join("d/from"), "rb", buffering=0) as f, open(m.join("to"), "wb", buffering=0) as to:
        bucket.put("d/from", b"b" * SIZE)
        try:
            done = 0
            while done < SIZE:
                done += os.copy_file_range(f.fileno(), to.fileno(), SIZE - done)
        except OSError as error:
            assert error.errno in (errno.ESTALE, errno.EIO)
    m.unmount()  # a new file that nobody wrote is sent after its close
    assert bucket.bytes("to") in (b"", b"b" * SIZE)


def test_attributes_of_the_copy(bucket, mount, source):
    bucket.put("page.html", b"h" * SIZE, mode=0o100604)
    m = mount(bucket)
    cp("-p", m.join("page.html"), m.join("other.css"))
    m = m.remount()
    st = os.stat(m.join("other.css"))
    assert st.st_mode & 0o777 == 0o604
    assert st.st_mtime_ns == os.stat(m.join("page.html")).st_mtime_ns
    headers = {k.lower(): v for k, v in dict(bucket.server.client.head(bucket.name, "other.css")).items()}
    assert headers["content-type"] == "text/css"
