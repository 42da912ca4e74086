"""What crash_writer.py was promised, and whether a folder keeps it: content is as promised or newer, and never torn."""
import hashlib
import os

from . import crash_writer

WRITER = crash_writer.__file__
LINE = len(crash_writer.log_line(0))


def promises(manifest):
    """What was promised, as of the last whole line."""
    files, log, table = {}, 0, {}
    if os.path.exists(manifest):
        for line in open(manifest):
            if not line.endswith("\n"):
                break
            kind, *rest = line.split()
            if kind == "new":
                files[rest[0]] = rest[1]
            elif kind == "log":
                log = max(log, int(rest[0]))
            else:
                table[int(rest[0])] = max(table.get(int(rest[0]), 0), int(rest[1]))
    return files, log, table


def check(folder, manifest):
    files, log, table = promises(manifest)
    for name, digest in files.items():
        with open(os.path.join(folder, name), "rb") as f:
            assert hashlib.sha256(f.read()).hexdigest() == digest, f"{folder}: {name} is not what was promised"
    if log:
        with open(os.path.join(folder, "log"), "rb") as f:
            data = f.read()
        assert len(data) >= log * LINE, f"{folder}: the log has {len(data) // LINE} lines of {log} promised"
        for n in range(log):
            assert data[n * LINE:(n + 1) * LINE] == crash_writer.log_line(n), f"{folder}: line {n} of the log"
    with open(os.path.join(folder, "table"), "rb") as f:
        data = f.read()
    assert len(data) == crash_writer.RECORDS * crash_writer.RECORD
    for n in range(crash_writer.RECORDS):
        block = data[n * crash_writer.RECORD:(n + 1) * crash_writer.RECORD]
        generation = int.from_bytes(block[4:12], "little")
        assert block == crash_writer.record(n, generation), f"{folder}: record {n} is torn"
        assert generation >= table.get(n, 0), f"{folder}: record {n} fell back to {generation} from {table[n]}"


def data_files(cache_dir):
    """How many cache files lie there, of any mount."""
    return sum(len(names) for path, _, names in os.walk(cache_dir) if os.sep + "data" in path)
