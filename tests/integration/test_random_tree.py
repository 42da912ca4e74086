"""Random operations over many names and directories (lib/tree_program.py), beside a plain file system and a model of promises.

Each program's answers and its tree are compared with the plain file system's at once, the tree again through a new mount
with an empty cache: what is on S3. The short form runs the programs that once went wrong (lib/tree_found.py); S3CACHE_SEED
or S3CACHE_LONG=1 (a thousand programs) draws new ones. The seed is printed, and repeats them. A program that fails is cut down, printed, and written to a file.

S3CACHE_KINDS=crash,behind runs programs with kills, and with objects put and deleted behind the mount's back. They are no part
of the suite yet: once in some dozens of programs a read answers ESTALE or EIO where the reference has bytes.
"""
import json
import os
import random
import time

import pytest
from lib import tree_ops
from lib.fixtures import LONG
from lib.tree_found import FOUND
from lib.tree_program import Program
from lib.tree_run import Difference, Run, minimise, populate, same_trees, sync_command

SEED = int(os.environ.get("S3CACHE_SEED", random.randrange(1 << 24)))
BATCH = int(os.environ.get("S3CACHE_BATCH", 25 if LONG else 10))  # programs on one mount
BATCHES = int(os.environ.get("S3CACHE_BATCHES", 40 if LONG else 1))
STEPS = 50
KINDS = os.environ.get("S3CACHE_KINDS", "plain").split(",")


class Batches:
    def __init__(self, bucket, start, work, mode, options):
        self.bucket, self.work, self.mode, self.options = bucket, work, mode, options
        self.start, self.m, self.serial = start, None, 0

    def fresh(self):
        """A mount that knows nothing: what it shows is what S3 has."""
        self.serial += 1
        cache = os.path.join(self.work, f"cache{self.serial}")
        if self.m:
            self.m.remount(use_cache=cache)
        else:
            self.m = self.start(self.bucket, use_cache=cache, **self.options)

    def prepare(self, initial):
        self.serial += 1
        name = f"s{self.serial:05}"
        ref = os.path.join(self.work, "ref", name)
        populate(self.bucket, name, ref, initial)
        return name, ref

    def run(self, name, ref, next_op):
        run = Run(self.m, self.bucket, name, ref, sync_command(self.m))
        try:
            run.run(next_op)
        except Difference as e:
            e.log = run.log
            raise
        return run.log

    def again(self, initial, ops):
        """Does this program still fail, from its objects to what S3 has afterwards?"""
        name, ref = self.prepare(initial)
        try:
            self.fresh()
            left = list(ops)
            self.run(name, ref, lambda *_: left.pop(0) if left else None)
            self.fresh()
            self.check(name, ref)
        except (Difference, AssertionError) as e:
            return str(e)
        return ""

    def check(self, name, ref):
        same_trees(f"{name} through a new mount", tree_ops.tree(self.m.join(name)), tree_ops.tree(ref))

    def report(self, initial, ops, why):
        tries = 3 if self.mode == "crash" else 1
        why_now = [why]

        def fails(fewer):
            for _ in range(tries):
                if found := self.again(initial, fewer):
                    why_now[0] = found
                    return True
            return False
        small = minimise(ops, fails, 600 if LONG else 60) if fails(ops) else None
        path = f"/var/tmp/s3cache-random-tree-{SEED}-{self.mode}-{os.getpid()}.json"
        with open(path, "w") as f:
            json.dump({"initial": initial, "ops": small or ops}, f)
        raise AssertionError(f"S3CACHE_SEED={SEED} {why}\n{path}: "
                             + (f"cut down to {len(small)} operations: {why_now[0]}" if small else "did not fail again")
                             + f"\ninitial {initial}\n" + "\n".join(str(op) for op in (small or ops)))


@pytest.mark.parametrize("mode", ["default", "writeback"])
def test_programs_that_went_wrong(bucket, mount, work, mode):
    batches = Batches(bucket, mount, work, "plain", {"writeback": mode == "writeback", "use_xattr": True, "multipart_size": 5})
    made = [(what, ops, *batches.prepare(initial)) for what, initial, ops in FOUND]
    batches.fresh()
    wrong = []
    for what, ops, name, ref in made:
        left = list(ops)
        try:
            batches.run(name, ref, lambda *_: left.pop(0) if left else None)
        except Difference as e:
            wrong.append(f"{what}: {e}")
    batches.fresh()
    for what, _, name, ref in made:
        try:
            batches.check(name, ref)
        except Difference as e:
            wrong.append(f"{what}: {e}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.skipif(not LONG and "S3CACHE_SEED" not in os.environ, reason="looks for new faults: S3CACHE_LONG=1 or S3CACHE_SEED")
@pytest.mark.deadline(300)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", ["default", "writeback"])
def test_programs(bucket, mount, work, mode, kind):
    print(f"S3CACHE_SEED={SEED}")
    options = {"writeback": mode == "writeback", "use_xattr": True, "multipart_size": 5,
               "stat_cache_expire": 0 if kind == "behind" else None}
    batches = Batches(bucket, mount, work, kind, options)
    rng, began, count = random.Random(f"{SEED} {mode} {kind}"), time.monotonic(), 0
    for _ in range(BATCHES):
        programs = []
        for _ in range(BATCH):
            program = Program(random.Random(rng.randrange(1 << 48)), STEPS, kind, big=True)
            initial = program.initial()
            programs.append((*batches.prepare(initial), initial, program))
        batches.fresh()
        logs = []
        for name, ref, initial, program in programs:
            try:
                logs.append(batches.run(name, ref, program.next_op))
            except Difference as e:
                batches.report(initial, e.log, f"{name}: {e}")
            count += 1
        batches.fresh()
        for (name, ref, initial, _), log in zip(programs, logs):
            try:
                batches.check(name, ref)
            except Difference as e:
                batches.report(initial, log, str(e))
    print(f"{count} programs of {STEPS} steps, {count / (time.monotonic() - began):.1f} a second")
