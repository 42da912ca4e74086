"""Programs that once went wrong, cut down: (what it is about, what other clients left, operations)."""
import os

CREATE, EXCL, TRUNC, WRONLY, RDWR = os.O_CREAT, os.O_EXCL, os.O_TRUNC, os.O_WRONLY, os.O_RDWR
TIME = 1_093_863_491_293_787_785
DIR = ["dir", "r", 0o755]


def file(path, size=5000):
    return ["file", path, [size + 1, size], 0o644, TIME + size]


FOUND = [
    ("a directory takes the name of a file that was moved away", [DIR, file("r/a")],
     [["rename", "r/a", "r/b", 0], ["mkdir", "r/a", 0o755]]),
    ("a directory takes the place of a file that was moved away",
     [DIR, ["dir", "r/d", 0o755], file("r/d/x"), file("r/a"), ["dir", "r/e", 0o755]],
     [["rename", "r/a", "r/e/b", 0], ["rename", "r/d", "r/a", 0]]),
    ("times set on an open file without a name", [DIR, file("r/a")],
     [["open", 0, "r/a", RDWR, 0], ["unlink", "r/a"], ["futimens", 0, TIME], ["fstat", 0]]),
    ("modes of an open file without a name", [DIR],
     [["open", 0, "r/a", CREATE | RDWR, 0o600], ["pwrite", 0, 0, [1, 10]], ["fsync", 0], ["open", 1, "r/a", 0, 0],
      ["unlink", "r/a"], ["fsyncdir", "r"], ["fchmod", 1, 0o640], ["fstat", 0], ["fstat", 1], ["close", 0], ["fstat", 1]]),
    ("O_EXCL, and a rename over another file before the close", [DIR, file("r/a")],
     [["open", 0, "r/t", CREATE | EXCL | RDWR, 0o644], ["pwrite", 0, 0, [1, 10]], ["rename", "r/t", "r/a", 0], ["close", 0]]),
    ("a file that was never sent replaces another and is removed", [DIR, file("r/a")],
     [["open", 0, "r/t", CREATE | RDWR, 0o644], ["rename", "r/t", "r/a", 0], ["unlink", "r/a"], ["close", 0]]),
    ("a symlink that is removed at once", [DIR], [["symlink", "x", "r/l"], ["unlink", "r/l"], ["mkfifo", "r/f", 0o644], ["unlink", "r/f"]]),
    ("truncate to the size it has", [DIR, file("r/a"), file("r/e", 0)],
     [["truncate", "r/a", 5000], ["truncate", "r/e", 0]]),
    ("O_TRUNC of an empty file", [DIR, file("r/e", 0)], [["open", 0, "r/e", WRONLY | TRUNC, 0], ["close", 0]]),
    ("a file that is replaced while it is read and goes up", [DIR, file("r/a"), file("r/b")],
     [["truncate", "r/a", 100], ["open", 0, "r/a", 0, 0], ["rename", "r/b", "r/a", 0], ["pread", 0, 0, 200]]),
    ("a file that is removed under handles from before its first save", [DIR],
     [["open", 0, "r/a", CREATE, 0o644], ["open", 1, "r/a", WRONLY, 0], ["pwrite", 1, 0, [1, 5000]], ["fsync", 1],
      ["unlink", "r/a"], ["pread", 0, 0, 9000]]),
    ("times of an empty file right after its close", [DIR],
     [["open", 0, "r/a", CREATE | WRONLY, 0o644], ["close", 0], ["utimens", "r/a", TIME]]),
    ("a directory moves right after a file was moved out of it", [DIR, ["dir", "r/d", 0o755], file("r/d/a"), file("r/d/b")],
     [["rename", "r/d/a", "r/a", 0], ["rename", "r/d", "r/e", 0]]),
    ("attributes of a directory that is listed afterwards", [DIR, ["dir", "r/d", 0o700]],
     [["ls", "r"], ["setxattr", "r/d", "user.x", [1, 30], 0], ["ls", "r/d"], ["listxattr", "r/d"]]),
]
