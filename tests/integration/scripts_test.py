#!/usr/bin/env python3
"""tools/setup, test, demo, bench, coverage and soak: what they say without doing anything, and that
two of them do not work in one tree at a time."""

import os
import shutil
import subprocess
import unittest
from pathlib import Path

from harness import DEADLINE, SystemTest

TOOLS = Path(__file__).resolve().parents[2] / "tools"


class Scripts(SystemTest):
    def run_it(self, script, *words, status=0):
        done = subprocess.run([TOOLS / script, *words], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=DEADLINE, check=False)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return done.stdout if status == 0 else done.stderr

    def test_help_starts_nothing(self):
        for script in ("setup", "test", "demo", "bench", "coverage", "soak"):
            for option in ("--help", "-h"):
                with self.subTest(script=script, option=option):
                    text = self.run_it(script, option)
                    self.assertTrue(text.startswith(f"usage: tools/{script}"), text)
                    self.assertNotIn("== [", text)

    def test_a_mistake_is_a_sentence(self):
        self.assertEqual(self.run_it("setup", "--everything", status=2),
                         "error: unknown option --everything; see tools/setup --help\n")

    def packages(self, *options):
        return set(self.run_it("setup", *options, "--list").split())

    def test_only_what_is_needed_is_installed(self):
        build, test = self.packages("--build"), self.packages()
        bench, dev = self.packages("--bench"), self.packages("--dev")
        self.assertLess(build, test)
        self.assertLess(test, bench)
        self.assertLess(bench, dev)
        self.assertIn("libspdlog-dev", build)
        self.assertNotIn("libgtest-dev", build)
        for rival in ("libevent-dev", "libasio-dev", "libev-dev"):
            self.assertNotIn(rival, test)
            self.assertIn(rival, bench)
        self.assertIn("clang-tidy-19", dev)

    def test_a_second_run_in_one_tree_is_refused(self):
        tree = Path(self.path("tree"))
        (tree / "tools").mkdir(parents=True)
        for name in ("common.sh", "demo", "test"):
            shutil.copy(TOOLS / name, tree / "tools")
        # Says that it is there, waits for a line, and ends the script that called it.
        setup = tree / "tools" / "setup"
        setup.write_text("#!/bin/sh\necho set up\nread line\nexit 9\n")
        setup.chmod(0o755)
        first = self.program([tree / "tools" / "demo"])
        while (line := first.read_line()) != "set up":
            self.assertIsNotNone(line, first.errors())
        second = self.program([tree / "tools" / "test", "-R", "tcp"])
        self.assertEqual(second.wait(), 1)
        self.assertEqual(second.errors(),
                         f"error: tools/demo (process {first.pid}) is running in "
                         f"{os.path.realpath(tree)}; wait until it ends, or use a second "
                         "clone\n")
        first.process.stdin.write(b"go on\n")
        first.process.stdin.flush()
        self.assertEqual(first.wait(), 9)
        self.assertRegex(first.errors(), r"^tools/demo: failed \(exit 9\) at: ./tools/setup")
        third = self.program([tree / "tools" / "test"])
        while (line := third.read_line()) != "set up":
            self.assertIsNotNone(line, third.errors())


if __name__ == "__main__":
    unittest.main()
