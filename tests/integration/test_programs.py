"""Real programs on the mount, each to its end and checked, in both modes; what a later mount and the bucket hold is what they meant.

Where the requests are counted it says "goes up once": temporary files that are renamed cost no second upload.
"""
import filecmp
import os
import shutil
import sqlite3
import subprocess
import sys
import zipfile

import pytest
from lib.s3server import PROJECT
from lib.trees import differences
from lib.trees import snapshot as snapshot_with_xattrs

pytestmark = pytest.mark.deadline(180)


def snapshot(root):
    return snapshot_with_xattrs(root, xattrs=False)


def run(*command, cwd=None, ok=(0,), **named):
    """Runs a program; what it said is in the report if it fails."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, **named)
    assert done.returncode in ok, f"{command} ended with {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


def need(program):
    if not shutil.which(program):
        pytest.skip(f"no {program} here: scripts/deps --test installs it")


@pytest.fixture(params=["default", "writeback"])
def m(request, bucket, mount):
    return mount(bucket, writeback=request.param == "writeback")


def uploads(bucket):
    """Requests that bring bytes: copies on the server bring none."""
    return [r for r in bucket.requests() if r.op in ("PutObject", "UploadPart")]


def settled(m):
    """In writeback mode an unmount waits for S3."""
    m.remount()


def same_tree(a, b):
    found = [d for d in differences(snapshot(a), snapshot(b)) if d[1] != "mtime"]
    assert found == [], found


def source_tree(folder):
    """Part of this project: real files, of every size, with a symlink and an executable."""
    os.makedirs(folder)
    for name in ("base", "config"):
        shutil.copytree(os.path.join(PROJECT, "src", name), os.path.join(folder, "src", name))
    shutil.copy(os.path.join(PROJECT, "Makefile"), folder)
    shutil.copy(os.path.join(PROJECT, "scripts", "deps"), folder)
    os.symlink("src/base", os.path.join(folder, "link"))
    with open(os.path.join(folder, "blob"), "wb") as f:
        f.write(os.urandom(3_000_000))
    # Long ago: rsync sets no time that differs by less than a second.
    for where, dirs, files in os.walk(folder, topdown=False):
        for name in dirs + files:
            os.utime(os.path.join(where, name), ns=(1_600_000_000_123_456_789,) * 2, follow_symlinks=False)
    return folder


GIT = {"GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@example.org", "GIT_COMMITTER_NAME": "t",
       "GIT_COMMITTER_EMAIL": "t@example.org", "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}


def test_git(bucket, m, work):
    need("git")
    env = {**os.environ, **GIT}
    origin = source_tree(os.path.join(work, "origin"))
    run("git", "init", "-q", "-b", "main", cwd=origin, env=env)
    run("git", "add", "-A", cwd=origin, env=env)
    run("git", "commit", "-qm", "first", cwd=origin, env=env)
    bare = os.path.join(work, "bare.git")
    run("git", "clone", "-q", "--bare", origin, bare, env=env)
    clone = m.join("clone")
    run("git", "clone", "-q", bare, clone, env=env)
    assert run("git", "status", "--porcelain", cwd=clone, env=env) == ""
    same_tree(os.path.join(origin, "src"), os.path.join(clone, "src"))
    for n in range(3):
        with open(os.path.join(clone, "note"), "a") as f:
            f.write(f"line {n}\n")
        run("git", "add", "note", cwd=clone, env=env)
        run("git", "commit", "-qm", f"note {n}", cwd=clone, env=env)
    # Seven names are written (blob, tree, commit, index, ref, two logs, COMMIT_EDITMSG); through temporaries, each once.
    bucket.mark()
    with open(os.path.join(clone, "note"), "a") as f:
        f.write("counted\n")
    run("git", "commit", "-qam", "counted", cwd=clone, env=env)
    sent = [r.key for r in uploads(bucket)]
    assert len(sent) == len(set(sent)) or len(sent) <= 14, sent
    run("git", "gc", "-q", "--prune=now", cwd=clone, env=env)
    run("git", "fsck", "--full", "--strict", cwd=clone, env=env)
    run("git", "push", "-q", "origin", "HEAD:pushed", cwd=clone, env=env)
    settled(m)
    run("git", "fsck", "--full", "--strict", cwd=clone, env=env)
    assert run("git", "log", "--format=%s", cwd=clone, env=env).split("\n")[:2] == ["counted", "note 2"]
    assert run("git", "status", "--porcelain", cwd=clone, env=env) == ""
    assert run("git", "rev-parse", "pushed", cwd=bare, env=env) == run("git", "rev-parse", "HEAD", cwd=clone, env=env)


def test_tar_there_and_back(m, work):
    tree = source_tree(os.path.join(work, "tree"))
    os.chmod(os.path.join(tree, "Makefile"), 0o604)
    os.utime(os.path.join(tree, "Makefile"), ns=(1_500_000_000_111_222_333, 1_500_000_000_444_555_666))
    run("tar", "-C", tree, "--format=posix", "-cf", m.join("t.tar"), ".")
    os.mkdir(m.join("out"))
    run("tar", "-C", m.join("out"), "-xpf", m.join("t.tar"))
    settled(m)
    assert run("tar", "-C", tree, "-df", m.join("t.tar")) == ""
    assert run("tar", "-C", m.join("out"), "-df", m.join("t.tar")) == ""
    found = differences(snapshot(tree), snapshot(m.join("out")))
    assert found == [], found


def test_cp_mv_install_dd(bucket, m, work):
    tree = source_tree(os.path.join(work, "tree"))
    run("cp", "-a", tree, m.join("copy"))
    run("cp", "-a", m.join("copy"), m.join("copy2"))
    run("cp", "-a", m.join("copy2"), os.path.join(work, "back"))
    assert differences(snapshot(tree), snapshot(os.path.join(work, "back"))) == []
    run("mv", os.path.join(work, "back"), m.join("moved"))
    run("mv", m.join("moved", "src"), os.path.join(work, "src"))
    assert differences(snapshot(os.path.join(tree, "src")), snapshot(os.path.join(work, "src"))) == []
    assert not os.path.exists(m.join("moved", "src")) and not os.path.exists(os.path.join(work, "back"))
    run("install", "-D", "-m", "4750", os.path.join(tree, "deps"), m.join("a/b/deps"))
    assert os.stat(m.join("a/b/deps")).st_mode & 0o7777 == 0o4750
    blob = m.join("copy", "blob")
    run("dd", "if=/dev/zero", f"of={blob}", "bs=1000", "seek=1000", "count=5", "conv=notrunc,fsync", "status=none")
    with open(os.path.join(tree, "blob"), "rb") as f:
        want = bytearray(f.read())
    want[1_000_000:1_005_000] = bytes(5000)
    settled(m)
    with open(blob, "rb") as f:
        assert f.read() == want
    assert bucket.bytes("copy/blob") == want and os.stat(m.join("a/b/deps")).st_mode & 0o7777 == 0o4750
    assert differences(snapshot(tree), snapshot(m.join("copy2"))) == []
    run("rm", "-r", m.join("copy2"), m.join("moved"), m.join("a"))
    settled(m)
    assert os.listdir(m.path) == ["copy"]


def test_rsync_twice(bucket, m, work):
    need("rsync")
    tree = source_tree(os.path.join(work, "tree"))
    bucket.mark()
    run("rsync", "-a", tree + "/", m.join("copy"))
    sent = uploads(bucket)
    files = sum(len(names) for _, _, names in os.walk(tree)) + 1  # and the link
    dirs = sum(len(names) for _, names, _ in os.walk(tree)) + 1
    # rsync writes .name.XXXXXX and renames it: each file's bytes go up once (directories are PUT when they get their times).
    assert len([r for r in sent if not r.key.endswith("/")]) <= files, sorted(r.key for r in sent)
    bucket.mark()
    again = run("rsync", "-a", "--itemize-changes", tree + "/", m.join("copy"))
    assert again == "", again
    assert uploads(bucket) == []
    settled(m)
    assert run("rsync", "-a", "--itemize-changes", tree + "/", m.join("copy")) == ""
    assert run("rsync", "-ac", "--itemize-changes", tree + "/", m.join("copy")) == "", "by checksum"
    assert dirs > 2 and differences(snapshot(tree), snapshot(m.join("copy"))) == []
    with open(os.path.join(tree, "Makefile"), "a") as f:
        f.write("# changed\n")
    bucket.mark()
    assert run("rsync", "-a", "--itemize-changes", tree + "/", m.join("copy")).split()[-1] == "Makefile"
    assert len([r for r in uploads(bucket) if not r.key.endswith("/")]) <= 1
    os.unlink(os.path.join(tree, "deps"))
    run("rsync", "-a", "--delete", tree + "/", m.join("copy"))
    settled(m)
    assert differences(snapshot(tree), snapshot(m.join("copy"))) == []


@pytest.mark.parametrize("journal", ["delete", "truncate", "persist", "wal"])
def test_sqlite(bucket, m, work, journal):
    path = m.join("data.db")
    db = sqlite3.connect(path, isolation_level=None)
    assert db.execute(f"pragma journal_mode={journal}").fetchone()[0] == journal
    db.execute("create table t (n integer primary key, text)")
    for n in range(30):
        db.execute("begin")
        db.executemany("insert into t values (?, ?)", [(n * 100 + i, "x" * 200) for i in range(100)])
        db.execute("commit" if n % 3 else "rollback")
    db.execute("update t set text = 'changed' where n % 7 = 0")
    db.execute("delete from t where n % 5 = 0")
    db.execute("vacuum")
    want = db.execute("select count(*), sum(n), group_concat(distinct text) from t").fetchall()
    other = sqlite3.connect(path)  # a second connection, as another process would be
    assert other.execute("select count(*), sum(n), group_concat(distinct text) from t").fetchall() == want
    other.close()
    db.close()
    settled(m)
    for where in (path, bucket.path("data.db")):
        # The object itself is only read: sqlite would make -shm files beside it.
        db = sqlite3.connect(f"file:{where}?mode=ro&immutable=1", uri=True)
        assert db.execute("pragma integrity_check").fetchone()[0] == "ok"
        assert db.execute("select count(*), sum(n), group_concat(distinct text) from t").fetchall() == want
        db.close()


def test_make(m):
    """A part of this project, built on the mount: compiler, archiver, linker, dependency files; the second make does nothing."""
    need("g++")
    root = m.join("project")
    os.mkdir(root)
    shutil.copytree(os.path.join(PROJECT, "src", "base"), os.path.join(root, "src", "base"))
    with open(os.path.join(root, "Makefile"), "w") as f:
        f.write("SRC := src/base/bytes.cc src/base/crc32c.cc src/base/crc32c_x86.cc src/base/encoding.cc\n"
                "all: prog\nprog: main.o libbase.a\n\tg++ -o $@ $^\n"
                "libbase.a: $(SRC:.cc=.o)\n\tar rcs $@ $^\n"
                "%.o: %.cc\n\tg++ -std=c++20 -O0 -Isrc -MMD -MP -c -o $@ $<\n-include $(wildcard *.d src/base/*.d)\n")
    with open(os.path.join(root, "main.cc"), "w") as f:
        f.write('#include "base/crc32c.h"\n#include <cstdio>\n'
                'int main() { std::printf("%08x\\n", s3cache::crc32c(0, "123456789", 9)); }\n')
    run("make", "-j2", cwd=root)
    assert run("./prog", cwd=root) == "e3069283\n"
    assert "up to date" in run("make", cwd=root) or "Nothing to be done" in run("make", cwd=root)
    settled(m)
    said = run("make", cwd=root)
    assert "up to date" in said or "Nothing to be done" in said, "times changed over a remount: " + said
    assert run("./prog", cwd=root) == "e3069283\n"
    os.utime(os.path.join(root, "src/base/crc32c.h"))
    assert "crc32c.cc" in run("make", "-j2", cwd=root)


def test_zipfile_and_numpy(bucket, m, work):
    with zipfile.ZipFile(m.join("a.zip"), "w", zipfile.ZIP_DEFLATED) as z:
        for n in range(20):
            z.writestr(f"f{n}", bytes([n]) * 10_000)
    with zipfile.ZipFile(m.join("a.zip"), "a") as z:
        z.writestr("added", b"later")
    numpy = pytest.importorskip("numpy", reason="scripts/deps --test installs python3-numpy")
    array = numpy.arange(500_000, dtype=numpy.float64).reshape(1000, 500)
    numpy.save(m.join("a.npy"), array)
    numpy.savez_compressed(m.join("a.npz"), x=array, y=array[:5])
    mapped = numpy.memmap(m.join("mapped"), dtype=numpy.int32, mode="w+", shape=(300_000,))
    mapped[:] = numpy.arange(300_000)
    mapped[7] = -1
    mapped.flush()
    del mapped
    onto = numpy.load(m.join("a.npy"), mmap_mode="r+")
    onto[10, 10] = 42.5
    onto.flush()
    del onto
    settled(m)
    array[10, 10] = 42.5
    assert (numpy.load(m.join("a.npy")) == array).all()
    assert (numpy.load(m.join("a.npy"), mmap_mode="r")[3] == array[3]).all()
    with numpy.load(m.join("a.npz")) as z:
        assert (z["y"] == numpy.arange(2500, dtype=numpy.float64).reshape(5, 500)).all()
    again = numpy.memmap(m.join("mapped"), dtype=numpy.int32, mode="r")
    assert again[7] == -1 and again[299_999] == 299_999 and len(again) == 300_000
    with zipfile.ZipFile(bucket.path("a.zip")) as z:
        assert z.testzip() is None and z.read("added") == b"later" and len(z.namelist()) == 21


def test_editors(bucket, m, work):
    """Save by rename and in place, with backups and without: the bytes go up once a save."""
    with open(m.join("text"), "w") as f:
        f.writelines(f"line {n}\n" for n in range(2000))
    os.chmod(m.join("text"), 0o640)
    settled(m)
    os.listdir(m.path)
    bucket.mark()
    run("sed", "-i", "s/line 7$/LINE 7/", m.join("text"))
    assert len(uploads(bucket)) <= 1, uploads(bucket)
    assert "LINE 7\n" in open(m.join("text")).read() and os.stat(m.join("text")).st_mode & 0o777 == 0o640
    run("sort", "-r", "-o", m.join("text"), m.join("text"))
    with open(m.join("change.patch"), "w") as f:
        f.write("--- text\n+++ text\n@@ -1,2 +1,2 @@\n-line 999\n+patched\n line 998\n")
    need("patch")
    run("patch", "-s", m.join("text"), m.join("change.patch"))
    assert open(m.join("text")).readline() == "patched\n"
    need("vim")
    for n, backup in enumerate(["backupcopy=yes", "backupcopy=no", "nobackup nowritebackup"]):
        run("vim", "-es", "-u", "NONE", "-c", f"set {backup}", "-c", f"1s/.*/vim {n}/", "-c", "wq", m.join("text"),
            stdin=subprocess.DEVNULL)
        assert open(m.join("text")).readline() == f"vim {n}\n"
    settled(m)
    lines = bucket.bytes("text").decode().splitlines()
    assert len(lines) == 2000 and lines[0] == "vim 2" and lines[1] == "line 998" and lines.index("LINE 7") > 0
    left = [n for n in os.listdir(m.path) if n not in ("text", "change.patch", "text.orig")]
    assert left == [], "temporary files that stayed"


def test_python_tempfile_and_shutil(m, work):
    import tempfile
    with tempfile.TemporaryDirectory(dir=m.path) as folder:
        with tempfile.NamedTemporaryFile(dir=folder) as f:
            f.write(b"x" * 100_000)
            f.flush()
            shutil.copy2(f.name, os.path.join(folder, "kept"))
        with tempfile.TemporaryFile(dir=folder) as f:  # O_TMPFILE where it works, else unlinked at once
            f.write(b"y" * 1000)
            f.seek(0)
            assert f.read() == b"y" * 1000
        assert os.listdir(folder) == ["kept"]
        shutil.move(os.path.join(folder, "kept"), os.path.join(work, "kept"))
        assert filecmp.cmp(os.path.join(work, "kept"), os.path.join(work, "kept"))
    assert os.listdir(m.path) == [] and os.path.getsize(os.path.join(work, "kept")) == 100_000
    assert sys.version_info
