"""A program that writes and keeps books: every line of its manifest is a promise that the file system gave.

usage: crash_writer.py FOLDER MANIFEST SEED    It runs until the file system is taken away from under it.

Three kinds of file, each with its own proof: `new-N` files written once, an append-only log of numbered records, and a
table whose 4 KiB records are overwritten in place. A line is written after the fsync (or close) that promised it.
"""
import hashlib
import os
import random
import struct
import sys

RECORD = 4096
RECORDS = 64


def record(number, generation):
    """Self-describing: which record, which generation, and bytes that follow from both."""
    head = struct.pack("<IQ", number, generation)
    body = hashlib.sha256(head).digest() * (RECORD // 32)
    return head + body[:RECORD - len(head)]


def log_line(number):
    return b"%08d %s\n" % (number, hashlib.sha256(b"%d" % number).hexdigest().encode())


def new_file(folder, rng, serial, promise):
    name = f"new-{serial}"
    data = rng.randbytes(rng.choice([0, 1, 100, 5000, 70_000, 300_000]))
    fd = os.open(os.path.join(folder, name), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    os.write(fd, data)
    os.close(fd)
    promise("new", name, hashlib.sha256(data).hexdigest())


def append(folder, rng, state, promise):
    fd = os.open(os.path.join(folder, "log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for _ in range(rng.randint(1, 5)):
        os.write(fd, log_line(state["log"]))
        state["log"] += 1
    os.fsync(fd)
    promise("log", state["log"])
    os.close(fd)


def overwrite(folder, rng, state, promise):
    fd = os.open(os.path.join(folder, "table"), os.O_RDWR)
    touched = rng.sample(range(RECORDS), rng.randint(1, 6))
    state["generation"] += 1
    for n in touched:
        os.pwrite(fd, record(n, state["generation"]), n * RECORD)
    os.fsync(fd)
    for n in touched:
        promise("table", n, state["generation"])
    os.close(fd)


def main():
    folder, manifest, seed = sys.argv[1], sys.argv[2], int(sys.argv[3])
    rng = random.Random(seed)
    book = os.open(manifest, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def promise(*words):
        os.write(book, (" ".join(str(w) for w in words) + "\n").encode())
    log = os.path.join(folder, "log")
    state = {"log": os.path.getsize(log) // len(log_line(0)) if os.path.exists(log) else 0, "generation": seed * 10_000}
    serial = seed * 10_000
    while True:
        kind = rng.random()
        if kind < 0.5:
            new_file(folder, rng, serial, promise)
            serial += 1
        elif kind < 0.75:
            append(folder, rng, state, promise)
        else:
            overwrite(folder, rng, state, promise)


if __name__ == "__main__":
    try:
        main()
    except OSError as e:
        print(f"ended by {e}", file=sys.stderr)
