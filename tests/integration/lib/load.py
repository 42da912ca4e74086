"""Ways to read that tests and benchmarks share."""
import concurrent.futures
import os
import random
import time


def read_whole(path, block=1 << 20, flags=0):
    """Bytes read by plain read(2) to the end, into one buffer."""
    fd = os.open(path, os.O_RDONLY | flags)
    try:
        total, buffer = 0, [bytearray(block)]
        while n := os.readv(fd, buffer):
            total += n
        return total
    finally:
        os.close(fd)


def epoch(root, keys, readers=4, seed=None, check=None):
    """Every key once in random order by `readers` threads, as a data loader does. Answers (seconds, bytes)."""
    order = list(keys)
    random.Random(seed).shuffle(order)

    def worker(mine):
        total = 0
        for key in mine:
            if check:
                with open(os.path.join(root, key), "rb") as f:
                    data = f.read()
                assert check(key, data), f"wrong bytes in {key}"
                total += len(data)
            else:
                total += read_whole(os.path.join(root, key), 128 << 10)
        return total
    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(readers) as pool:
        total = sum(pool.map(worker, [order[i::readers] for i in range(readers)]))
    return time.monotonic() - began, total


def du(path):
    """Bytes that a tree takes on its disk; names that vanish meanwhile do not matter."""
    total = 0
    for where, _, names in os.walk(path):
        for name in names:
            try:
                total += os.lstat(os.path.join(where, name)).st_blocks * 512
            except OSError:
                pass
    return total


def drop_caches(what=3):
    """1: page cache, 2: dentries and inodes, 3: both."""
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w") as f:
        f.write(str(what))
