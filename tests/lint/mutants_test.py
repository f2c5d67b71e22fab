#!/usr/bin/env python3
"""Shows that tests/mutants/run.py --check sees each way in which a table can be wrong."""

import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COPIED = ["tests/mutants/run.py", "tools/list_failure_tests.py"]
CATALOGUE = ('### <a id="f01"></a>F01: a failure\n\n- Tests: `Fault.F01_Does`.\n\n'
             '### <a id="f02"></a>F02: a failure\n\n- Tests: none.\n')
SOURCE = "if (a) one();\nif (b) two();\nif (b) three();\n"
NONE = '[F02]\nnone = "it has no code"\n'


def entry(name="F01", old="(a)", new="(!BROKEN && a)", more=""):
    return f"[{name}]\nbreaks = 'a'\nfile = 'net/a.cc'\nold = '{old}'\nnew = '{new}'\n{more}"


class MutantsTest(unittest.TestCase):
    def check(self, table):
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            files = {"docs/failures.md": CATALOGUE, "net/a.cc": SOURCE,
                     "tests/CMakeLists.txt": "weir_test(fault SOURCES a_test.cc LIBS weir)\n",
                     "tests/a_test.cc": "TEST(Fault, F01_Does) {}\nTEST(Other, Does) {}\n",
                     "tests/mutants/a.toml": table}
            for name, text in files.items():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).write_text(text)
            for name in COPIED:
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, root / name)
            return subprocess.run([sys.executable, root / COPIED[0], "--check"],
                                  capture_output=True, text=True, check=False)

    def assert_one_problem(self, table, problem):
        result = self.check(table)
        self.assertEqual(result.returncode, 1, result.stderr)
        self.assertIn(problem, result.stdout)
        self.assertEqual(len(result.stdout.splitlines()), 2, result.stdout)

    def test_a_table_that_fits(self):
        mended = entry("mended", "two();", "BROKEN ? one() : two();", "tests = ['Other.Does']\n")
        result = self.check(entry() + mended + NONE)
        self.assertEqual(result.returncode, 0, result.stdout)

    def test_a_piece_that_is_not_there_or_there_twice(self):
        for old, times in [("(c)", 0), ("if (b)", 2)]:
            self.assert_one_problem(entry(old=old) + NONE, f"occurs {times} times")

    def test_two_mutants_of_one_piece(self):
        self.assert_one_problem(entry() + entry("F01_more", "if (a)", "if (BROKEN)") + NONE,
                                "replace the same text")

    def test_an_entry_without_a_mutant(self):
        self.assert_one_problem(entry(), "F02: has no mutant")

    def test_a_mutant_that_breaks_nothing(self):
        self.assert_one_problem(entry(new="(a)") + NONE, "has no BROKEN")

    def test_a_test_that_does_not_exist(self):
        self.assert_one_problem(entry(more="tests = ['Fault.Gone']\n") + NONE, "Fault.Gone")
        self.assert_one_problem(entry() + entry("mended", "two", "BROKEN") + NONE, "names no test")

    def test_a_word_that_is_none_of_the_form(self):
        self.assert_one_problem(entry(more="test = 'Other.Does'\n") + NONE, "F01: has [")


if __name__ == "__main__":
    unittest.main()
