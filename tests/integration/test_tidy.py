"""scripts/tidy finds each kind of thing it is there for (and says nothing about a clean tree)."""
import os
import shutil
import subprocess

import pytest

PROJECT = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))
CLEAN = "int add(int a, int b) { return a + b; }\n"
GUARDED = '''#include "base/sync.h"
class Counter {
 public:
  void add() { n_++; }

 private:
  s3cache::Mutex mu_;
  int n_ GUARDED_BY(mu_) = 0;
};
void use() { Counter().add(); }
'''


def tidy(root, check):
    run = subprocess.run([os.path.join(PROJECT, "scripts", "tidy"), "--root", str(root), "--only", check],
                         capture_output=True, text=True)
    return run.returncode, run.stdout


def write(root, name, text):
    path = os.path.join(root, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as f:
        f.write(text)


@pytest.fixture
def tree(tmp_path):
    shutil.copy(os.path.join(PROJECT, ".clang-format"), tmp_path)
    write(tmp_path, "src/core/fine.cc", CLEAN)
    return tmp_path


def body(lines):
    return "int f() {\n  int x = 0;\n" + "  x++;\n" * (lines - 4) + "  return x;\n}\n"


CASES = {
    "format": ("format", "src/core/x.cc", "int  f(){return 1;}\n"),
    "upward include": ("includes", "src/core/x.cc", '#include "fuse/ops.h"\n'),
    "sibling include": ("includes", "src/s3/x.h", '#include "cache/budget.h"\n'),
    "sibling include in a test": ("includes", "tests/meta/x_test.cc", '#include "s3/xml.h"\n'),
    "long file": ("sizes", "src/core/x.cc", "int a;\n" * 401),
    "long function": ("sizes", "src/core/x.cc", body(71)),
    "long method behind initialisers": ("sizes", "src/core/x.cc", "A::A(int b) : a_(b), c_{b} " + body(80)[8:]),
    "long python function": ("sizes", "tests/x.py", "def f():\n" + "    pass\n" * 71),
    "allowance larger than needed": ("sizes", "scripts/tidy.allow", "lines src/core/fine.cc 500\n"),
    "left open": ("words", "src/core/x.cc", "// TO" + "DO: later\n"),
    "machine path": ("paths", "README.md", "see /wo" + "rk/main\n"),
    "registry host": ("paths", "scripts/x", "pip install -i https://py" + "pi.org/simple x\n"),
    "lock": ("locks", "src/core/x.cc", GUARDED),
    "man page": ("man", "man/x.1", ".Dd November 1, 2026\n.Dt X 1\n.Sh NAME\n.Nx broken\n.Bl\n"),
}


@pytest.mark.parametrize("case", CASES)
def test_finds(tree, case):
    check, name, text = CASES[case]
    if check == "locks":
        shutil.copytree(os.path.join(PROJECT, "src", "base"), tree / "src" / "base", ignore=shutil.ignore_patterns("*.cc"))
    assert tidy(tree, check) == (0, ""), "the clean tree"
    write(tree, name, text)
    code, out = tidy(tree, check)
    assert code == 1 and name.split("/")[-1] in out, out


def test_lengths_at_the_limit_pass(tree):
    write(tree, "src/core/x.cc", body(70) + "int a;\n" * 330)
    assert tidy(tree, "sizes") == (0, "")


def test_comments_and_strings_do_not_count_as_braces(tree):
    write(tree, "src/core/x.cc", 'const char* s = "{(";\n// void f() {\n' + "int a;\n" * 80 + "/* } */\nchar c = '{';\n")
    assert tidy(tree, "sizes") == (0, "")


def test_allowance_lets_one_pass(tree):
    write(tree, "src/core/x.cc", body(75))
    write(tree, "scripts/tidy.allow", "function src/core/x.cc f 75  # a table\n")
    assert tidy(tree, "sizes") == (0, "")
