"""A tree with one of everything a bucket can hold, and what a mount shows of it."""
import os
import stat
import struct

UNDEFINED = 0xFFFFFFFF
# Names whose Content-Type goes by /etc/mime.types: last extension, else the one before it.
TYPED = ["page.html", "archive.tar.gz", "notes.txt.unknownext", "UPPER.JPG", "no_extension", ".hidden", "two.html.css", "dot."]


def acl(*entries):
    """A POSIX ACL as its xattr holds it: (tag, permissions, id) each."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


USER_33 = acl((1, 6, UNDEFINED), (2, 6, 33), (4, 4, UNDEFINED), (0x10, 6, UNDEFINED), (0x20, 0, UNDEFINED))
ATIME, MTIME = 1_500_000_000_123_456_789, 1_600_000_000_987_654_321


def write(path, data):
    with open(path, "wb") as f:
        f.write(data)


def build(root, big):
    """`big`: bytes of more than one part. Everything is made the way a program would, nothing is put behind the mount."""
    def at(*names):
        return os.path.join(root, *names)
    os.mkdir(at("dir"), 0o751)
    os.mkdir(at("dir", "sub"))
    os.mkdir(at("empty dir"))
    write(at("dir", "file"), b"some text\n" * 1000)
    write(at("dir", "sub", "deep"), b"deep")
    write(at("empty"), b"")
    write(at("big"), big)
    for name in TYPED:
        write(at(name), name.encode())
    write(at("sp ace+%41&<>'\"é\u4e2d"), b"odd name")
    os.symlink("dir/file", at("link"))
    os.symlink("/no/such/place", at("dangling"))
    os.mkfifo(at("fifo"), 0o644)
    os.mknod(at("socket"), 0o600 | stat.S_IFSOCK)
    os.mknod(at("null"), 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    os.mknod(at("disk"), 0o660 | stat.S_IFBLK, os.makedev(8, 1))

    write(at("moved from"), b"moved")
    os.rename(at("moved from"), at("dir", "moved to.html"))
    os.mkdir(at("old dir"))
    write(at("old dir", "inside"), b"inside")
    os.mkdir(at("old dir", "below"))
    os.rename(at("old dir"), at("new dir"))
    write(at("removed"), b"x")
    os.unlink(at("removed"))
    os.mkdir(at("removed dir"))
    os.rmdir(at("removed dir"))

    os.chmod(at("dir", "file"), 0o640)
    os.chown(at("dir", "file"), 1234, 5678)
    os.setxattr(at("dir", "file"), "user.text", b"value")
    os.setxattr(at("dir", "file"), "user.bytes", bytes(range(256)))
    os.setxattr(at("dir", "file"), "system.posix_acl_access", USER_33)
    os.utime(at("dir", "file"), ns=(ATIME, MTIME))
    os.chmod(at("empty"), 0o4711)
    os.setxattr(at("dir"), "user.of a directory", b"1")
    os.chown(at("dir"), 12, 34)
    os.chmod(at("dir"), 0o2775)
    os.utime(at("dir"), ns=(ATIME, MTIME))
    os.chown(at("link"), 77, 88, follow_symlinks=False)


def attributes(path, xattrs=True):
    """What one name shows: everything but inode number, ctime and atime."""
    st = os.lstat(path)
    shown = {"mode": oct(st.st_mode), "owner": (st.st_uid, st.st_gid), "mtime": st.st_mtime_ns}
    if stat.S_ISLNK(st.st_mode):
        shown["target"] = os.readlink(path)
    if stat.S_ISREG(st.st_mode):
        with open(path, "rb") as f:
            shown["bytes"] = f.read()
        assert len(shown["bytes"]) == st.st_size, path
    if stat.S_ISBLK(st.st_mode) or stat.S_ISCHR(st.st_mode):
        shown["device"] = (os.major(st.st_rdev), os.minor(st.st_rdev))
    if not stat.S_ISLNK(st.st_mode) and xattrs:
        names = [n for n in os.listxattr(path) if not n.startswith("user.s3cache.")]
        shown["xattrs"] = {n: os.getxattr(path, n) for n in sorted(names)}
    return shown


def snapshot(root, xattrs=True):
    """Every name below `root` and what it shows."""
    shown = {}
    for where, dirs, files in os.walk(root):
        for name in dirs + files:
            path = os.path.join(where, name)
            shown[os.path.relpath(path, root)] = attributes(path, xattrs)
    return shown


def differences(left, right):
    """[(name, field, left, right)]; long values are cut for the message."""
    found = []
    for name in sorted(set(left) | set(right)):
        a, b = left.get(name), right.get(name)
        if a is None or b is None:
            found.append((name, "exists", a is not None, b is not None))
            continue
        for field in sorted(set(a) | set(b)):
            if a.get(field) != b.get(field):
                found.append((name, field, str(a.get(field))[:80], str(b.get(field))[:80]))
    return found
