"""What a tree has to look like after a crash: a manifest of operations, begun and acknowledged, and what each may leave.

The manifest has a line of JSON for each step of the writer (lib/crash_ops.py): an operation that begins, then "done" when the
file system has answered it. What was done has to be there whole. The one that had begun and was not answered may have
happened or not; a change of bytes also in part, but only of its own bytes. What a check found of it is added to the
manifest ("found"), and is as good as a promise from then on.

A tree is {path: Node}; folders have no data. Times and modes are compared where the writer has set them.
"""
import dataclasses
import json
import os
import random
import re
import stat
from typing import Optional


@dataclasses.dataclass(frozen=True)
class Node:
    data: Optional[bytes] = None  # None: a folder
    mode: Optional[int] = None
    mtime: Optional[int] = None  # in seconds; None: as it comes

    def like(self, found):
        return (self.data == found.data and self.mode in (None, found.mode) and self.mtime in (None, found.mtime))


def blob(tag, size):
    """Bytes that follow from their tag, without long runs of zeros."""
    return random.Random(tag).randbytes(size)


def bytes_of(op):
    return blob(op["tag"], op["size"])


def moved(tree, old, new):
    """The tree after a rename of a file or of a folder with all below it."""
    out = {}
    for path, node in tree.items():
        if path == new or path.startswith(new + "/"):
            continue  # replaced
        if path == old or path.startswith(old + "/"):
            path = new + path[len(old):]
        out[path] = node
    return out


def edited(data, op):
    for i, offset in enumerate(op["offsets"]):
        piece = blob(f"{op['tag']}/{i}", op["size"])
        data = data[:offset] + piece + data[offset + op["size"]:]
    return data


def apply(tree, op):
    """The tree after an operation that was done."""
    kind, path = op["op"], op["path"]
    node = tree.get(path)
    data = None
    if kind == "create":
        node, data = Node(b"", 0o644), bytes_of(op)
    elif kind == "rewrite":
        data = bytes_of(op)
    elif kind == "append":
        data = node.data + bytes_of(op)
    elif kind == "edit":
        data = edited(node.data, op)
    elif kind == "truncate":
        data = node.data[:op["size"]] + bytes(max(0, op["size"] - len(node.data)))
    elif kind == "replace":  # by somebody else, under a writer
        node, data = Node(b"", None), bytes_of(op)
    if data is not None:
        return {**tree, path: dataclasses.replace(node, data=data, mtime=None)}
    if kind == "mkdir":
        return {**tree, path: Node(None, 0o755)}
    if kind in ("unlink", "rmdir"):
        return {p: n for p, n in tree.items() if p != path}
    if kind == "rename":
        return moved(tree, path, op["to"])
    if kind == "chmod":
        return {**tree, path: dataclasses.replace(node, mode=op["mode"])}
    assert kind == "utime", kind
    return {**tree, path: dataclasses.replace(node, mtime=op["mtime"])}


def partly(old, new, found, op):
    """May an operation on bytes that was under way have left `found`?"""
    kind = op["op"]
    if found in (old, new):
        return True
    if kind == "append":
        return found.startswith(old) and new.startswith(found)
    if kind == "rewrite":
        return new.startswith(found)
    if kind == "edit" and len(found) == len(old):
        at = 0
        for offset in sorted(op["offsets"]):
            if found[at:offset] != old[at:offset]:
                return False
            at = offset + op["size"]
            if any(f not in (a, b) for f, a, b in zip(found[offset:at], old[offset:at], new[offset:at])):
                return False
        return found[at:] == old[at:]
    return False


def outcomes(tree, op, found):
    """The trees that an operation under way may have left; `found` says which parts of its bytes there are."""
    done = apply(tree, op)
    yield tree
    yield done
    path = op["path"]
    if path not in found or path not in tree or tree[path].data is None:
        return
    there, before = found[path].data, tree[path]
    if there is None:
        return
    if op["op"] == "replace":
        mine = {**op, "op": "edit", **op["edit"]}
        if partly(before.data, edited(before.data, mine), there, mine):
            yield {**tree, path: dataclasses.replace(before, data=there, mtime=None)}
    elif op["op"] in ("append", "edit", "rewrite", "truncate"):
        if partly(before.data, done[path].data, there, op):
            yield {**tree, path: dataclasses.replace(before, data=there, mtime=None)}


def same(tree, found):
    return tree.keys() == found.keys() and all(node.like(found[path]) for path, node in tree.items())


def differences(tree, found):
    """For the report of a failure."""
    out = [f"{p} is missing" for p in tree.keys() - found.keys()] + [f"{p} is extra" for p in found.keys() - tree.keys()]
    for path in sorted(tree.keys() & found.keys()):
        want, got = tree[path], found[path]
        if want.like(got):
            continue
        if want.data is not None and got.data is not None and want.data != got.data:
            first = next((i for i, (a, b) in enumerate(zip(want.data, got.data)) if a != b), min(len(want.data), len(got.data)))
            out.append(f"{path}: {len(got.data)} bytes of {len(want.data)}, the first difference at {first}: "
                       f"{got.data[first:first + 16].hex()} where {want.data[first:first + 16].hex()} was promised")
        else:
            out.append(f"{path}: mode {got.mode}, mtime {got.mtime} instead of {want.mode}, {want.mtime}")
    return out


def scan(root):
    """The tree as it is. Raises what the file system raises."""
    out = {}

    def fail(error):
        raise error
    for folder, folders, files in os.walk(root, onerror=fail):
        for name in folders + files:
            path = os.path.join(folder, name)
            st = os.lstat(path)
            data = None
            if stat.S_ISREG(st.st_mode):
                with open(path, "rb") as f:
                    data = f.read()
            out[os.path.relpath(path, root)] = Node(data, stat.S_IMODE(st.st_mode), int(st.st_mtime))
    return out


class Manifest:
    """One writer's book. The writer appends through begin() and done(); the check settles what is open."""

    def __init__(self, path):
        self.path = path
        self.tree, self.open, self.acked, self.replaced, self.steps = {}, None, False, [], 0
        for line in open(path) if os.path.exists(path) else []:
            if not line.endswith("\n"):
                break
            self._take(json.loads(line))

    def _take(self, step):
        if "op" in step:
            self.open, self.acked = step, False
            self.steps += 1
        elif "acked" in step:  # the local bytes of a "replace", which then has to be kept aside
            self.acked = True
            self.replaced.append(self.open)
        elif "done" in step:
            self.tree = apply(self.tree, self.open)
            self.open = None
        elif "data" in step:  # found in part
            node = self.tree[step["path"]]
            self.tree = {**self.tree, step["path"]: dataclasses.replace(node, data=bytes.fromhex(step["data"]), mtime=None)}
            self.open = None
        else:
            assert "undone" in step
            self.open = None

    def _write(self, step):
        with open(self.path, "a") as f:
            f.write(json.dumps(step) + "\n")
        self._take(step)

    def begin(self, **op):
        self._write(op)

    def done(self):
        self._write({"done": True})

    def bytes_acknowledged(self):
        self._write({"acked": True})

    def history(self, wrong):
        """The latest steps that name what is wrong, for the report of a failure."""
        names = {re.split("[: ]", text)[0].rsplit("/", 1)[-1] for text in wrong}
        with open(self.path) as f:
            return [line.strip()[:200] for line in f if any(name in line for name in names)][-8:]

    def settle(self, found):
        """Compares the tree with what was promised; answers a list of what is wrong, empty if all is well."""
        if self.open is None:
            return [] if same(self.tree, found) else differences(self.tree, found)
        for candidate in outcomes(self.tree, self.open, found):
            if not same(candidate, found):
                continue
            path = self.open["path"]
            if candidate is self.tree:
                self._write({"undone": True})
            elif same(apply(self.tree, self.open), candidate):
                self._write({"done": True})
            else:
                self._write({"path": path, "data": candidate[path].data.hex()})
            return []
        return [f"{self.open} was under way"] + differences(self.tree, found)
