#!/usr/bin/env python3
"""Shows that tools/list_failure_tests.py sees tests, and sees that one is missing."""

import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

TOOLS = Path(__file__).resolve().parents[2] / "tools"
sys.path.insert(0, str(TOOLS))

import list_failure_tests  # noqa: E402  (found through the line above)


class ListFailureTestsTest(unittest.TestCase):
    def test_ranges(self):
        self.assertEqual(list_failure_tests.expand("F08-F10 F70"), ["F08", "F09", "F10", "F70"])

    def run_on(self, source):
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "tests").mkdir()
            (Path(folder) / "tests" / "a_test.cc").write_text(source)
            return subprocess.run(
                [sys.executable, TOOLS / "list_failure_tests.py", "--root", folder],
                capture_output=True, text=True, check=False,
            )

    def test_a_missing_entry_is_listed(self):
        ids = list_failure_tests.expand(list_failure_tests.EXPECTED)
        source = "".join(f"TEST(Fault, {name}_Does) {{}}\n" for name in ids if name != "F19")
        result = self.run_on(source)
        self.assertEqual(result.returncode, 1)
        self.assertIn("F19: no test", result.stdout)
        self.assertEqual(result.stdout.count("no test"), 1)

    def test_all_entries_present(self):
        ids = list_failure_tests.expand(list_failure_tests.EXPECTED)
        kinds = ["TEST", "TEST_F", "TEST_P", "TYPED_TEST"]
        source = "".join(
            f"{kinds[i % 4]}(Fault,\n    {name}_Does) {{}}\n" for i, name in enumerate(ids)
        )
        self.assertEqual(self.run_on(source).returncode, 0)

    def test_what_is_no_test(self):
        found = "// F01_Something\nTEST(Fault, DISABLED_F01_Does) {}\nTEST(FaultDISABLED, x) {}\n"
        self.assertIn("F01: no test", self.run_on(found).stdout)


if __name__ == "__main__":
    unittest.main()
