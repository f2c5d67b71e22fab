#!/usr/bin/env python3
"""Shows that tools/list_failure_tests.py sees tests, and sees each way in which the catalogue and
the tests can differ."""

import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

TOOL = Path(__file__).resolve().parents[2] / "tools" / "list_failure_tests.py"

IDS = ["F01", "F02", "F03", "F04"]


def entry(failure, tests=None):
    tests = tests or f"`Fault.{failure}_Does`"
    return (f'### <a id="{failure.lower()}"></a>{failure}: a failure\n\nIt fails.\n\n'
            f"- Danger: some.\n- Tests: {tests}.\n\n")


def test(failure, kind="TEST"):
    return f"{kind}(Fault,\n    {failure}_Does) {{}}\n"


class ListFailureTestsTest(unittest.TestCase):
    def run_on(self, entries, tests, *options):
        with tempfile.TemporaryDirectory() as folder:
            for name, text in [("docs/failures.md", entries), ("tests/a_test.cc", tests)]:
                path = Path(folder) / name
                path.parent.mkdir()
                path.write_text("".join(text))
            return subprocess.run(
                [sys.executable, TOOL, "--root", folder, *options],
                capture_output=True, text=True, check=False,
            )

    def assert_one_problem(self, result, problem):
        self.assertEqual(result.returncode, 1)
        self.assertIn(problem, result.stdout)
        self.assertEqual(len(result.stdout.splitlines()), 2, result.stdout)

    def test_catalogue_and_tests_that_fit(self):
        kinds = ["TEST", "TEST_F", "TEST_P", "TYPED_TEST"]
        result = self.run_on(["# Failures\n", "## A topic\n", *map(entry, IDS), "## Another\n"],
                             map(test, IDS, kinds))
        self.assertEqual(result.returncode, 0, result.stdout)
        self.assertIn("4 of 4", result.stdout)

    def test_an_entry_without_a_test(self):
        entries = [entry(name, "`Fault.F02_F03_Does`" if name == "F02" else None) for name in IDS]
        tests = ["TEST(Fault, F02_F03_Does) {}\n", test("F01"), test("F03")]
        result = self.run_on(entries[:3], tests)
        self.assertEqual(result.returncode, 0, result.stdout)
        result = self.run_on([*entries[:3], entry("F04", "`Fault.F04_Gone`")], tests)
        self.assertEqual(result.returncode, 1)
        self.assertIn("F04: no test is named after it", result.stdout)
        self.assertNotIn("F03:", result.stdout)

    def test_an_entry_that_says_none(self):
        entries = [entry("F01"), entry("F02", "none, because")]
        self.assertEqual(self.run_on(entries, [test("F01")]).returncode, 0)
        self.assert_one_problem(self.run_on(entries, [test("F01"), test("F02")]),
                                "F02: docs/failures.md lists no test, but ")

    def test_an_entry_that_names_no_test(self):
        self.assert_one_problem(self.run_on([entry("F01", "some")], [test("F01")]),
                                "F01: docs/failures.md names none of its tests")

    def test_a_named_test_that_is_gone(self):
        self.assert_one_problem(
            self.run_on([entry("F01", "`Fault.F01_Does`, `Fault.F01_Did`")], [test("F01")]),
            "F01: docs/failures.md names Fault.F01_Did, which is not a test of it")

    def test_a_test_with_an_unknown_id(self):
        for unknown in ["F05", "F99", "F100", "F1"]:
            self.assert_one_problem(self.run_on(map(entry, IDS), map(test, [*IDS, unknown])),
                                    f"{unknown}: tests/a_test.cc: Fault.{unknown}_Does")

    def test_entries_that_are_missing_doubled_or_out_of_order(self):
        for ids in [["F01", "F03"], ["F01", "F01"], ["F02", "F01"]]:
            result = self.run_on(map(entry, ids), map(test, sorted(set(ids))))
            self.assertEqual(result.returncode, 1)
            self.assertIn("docs/failures.md should have F0", result.stdout)

    def test_a_catalogue_that_cannot_be_read(self):
        self.assert_one_problem(self.run_on(["### F01\n"], [""]), "has no entry")

    def test_tests_that_do_not_run(self):
        tests = ["// F01_Does\n", "TEST(Fault, DISABLED_F01_Does) {}\n",
                 "TEST(DISABLED_Fault, F01_Does) {}\n"]
        result = self.run_on([entry("F01")], tests)
        self.assertIn("F01: no test is named after it", result.stdout)

    def test_all_prints_each_test(self):
        result = self.run_on([entry("F01")], [test("F01")], "--all")
        self.assertIn("F01\n  tests/a_test.cc: Fault.F01_Does\n", result.stdout)


if __name__ == "__main__":
    unittest.main()
