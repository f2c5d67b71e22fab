#!/usr/bin/env python3
"""Every program with options, of tools/ and of examples/: --version, mistakes on the command line,
and standard descriptors that are closed or full when it starts."""

import os
import subprocess
import unittest

from harness import BIN, DEADLINE, SystemTest, echoes, listens_at, wait_until

# Benchmarks have command lines of their own, and weir-hello has none.
OTHERS = {"weir-micro", "weir-sizes", "weir-poll-compare", "weir-parts-compare", "weir-hello"}


def programs():
    return sorted(path for path in BIN.glob("weir-*") if path.name not in OTHERS)


class Programs(SystemTest):
    def run_with(self, redirection, program, *words):
        """The exit status, standard output and standard error."""
        ended = subprocess.run(
            ["bash", "-c", f'exec "$@" {redirection}', "bash", program, *words],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=DEADLINE, check=False)
        return ended.returncode, ended.stdout, ended.stderr

    def check_all(self, check):
        found = programs()
        self.assertTrue(found)
        for program in found:
            with self.subTest(program=program.name):
                check(program)

    def test_version(self):
        def check(program):
            status, output, errors = self.run_with("", program, "--version")
            self.assertEqual((status, errors), (0, ""))
            self.assertRegex(output, rf"\A{program.name} \d+\.\d+\.\d+\n\Z")

        self.check_all(check)

    def test_a_mistyped_option_is_named(self):
        def check(program):
            status, output, errors = self.run_with("", program, "--no-such-option=3")
            self.assertEqual((status, output), (2, ""))
            self.assertEqual(errors, f"error: unknown option --no-such-option; "
                                     f"see {program.name} --help\n")

        self.check_all(check)

    def test_standard_output_that_is_full_is_told(self):
        def check(program):
            status, _, errors = self.run_with("> /dev/full", program, "--help")
            self.assertEqual(status, 1, errors)
            self.assertRegex(errors, r"\Aerror: standard output: [^\n]+\n\Z")

        self.check_all(check)

    def test_standard_output_that_is_closed_is_told(self):
        def check(program):
            status, _, errors = self.run_with(">&-", program, "--help")
            self.assertEqual(status, 1, errors)
            self.assertRegex(errors, r"\Aerror: standard output: [^\n]+\n\Z")

        self.check_all(check)

    def test_standard_error_that_is_closed_or_full_changes_no_exit_status(self):
        def check(program):
            for redirection in ("2>&-", "2> /dev/full", "0<&- >&- 2>&-"):
                status, _, _ = self.run_with(redirection, program, "--no-such-option")
                self.assertEqual(status, 2, redirection)

        self.check_all(check)

    def test_a_server_that_is_started_with_closed_descriptors_serves(self):
        path = self.path("echo.sock")
        server = self.program(["bash", "-c", 'exec "$@" 0<&- >&- 2>&-', "bash",
                               BIN / "weir-echo", "--listen", f"unix:{path}"])
        self.assertTrue(self.wait_for_socket(path, server))
        client = self.client(f"unix:{path}")
        self.assertTrue(echoes(client))
        for fd in (0, 1, 2):
            self.assertEqual(os.readlink(f"/proc/{server.pid}/fd/{fd}"), "/dev/null")

    def wait_for_socket(self, path, server):
        return wait_until(lambda: listens_at(path) or not server.running()) and server.running()


if __name__ == "__main__":
    unittest.main()
