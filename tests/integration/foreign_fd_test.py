#!/usr/bin/env python3
"""weir-foreign-fd: what a command says and how it ends; and that it is not left behind."""

import os
import re
import select
import signal
import subprocess
import tempfile
import unittest
from pathlib import Path

from harness import (BIN, DEADLINE, MIB, SANITIZER, SystemTest, Usage, poll_one, task_sleeps,
                     wait_until)


def alive(pid):
    """Neither gone nor a zombie that waits for us."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


class ForeignFdTest(SystemTest):
    def start(self, *command, tick="100"):
        program = self.program([BIN / "weir-foreign-fd", "--tick", tick, "--", *command])
        self.addCleanup(self.sane, program)  # before it is ended for good
        line = program.read_line()
        self.assertRegex(line or "", r"^\* started process \d+: ", program.errors())
        program.child = int(line.split()[3].rstrip(":"))
        return program

    def sane(self, program):
        self.assertNotRegex(program.errors(), "Sanitizer|runtime error")

    def shell(self, script, **keywords):
        return self.start("sh", "-c", script, **keywords)

    def all_of(self, program, status=0):
        """Its lines until it ended."""
        self.assertEqual(program.wait(), status, program.errors())
        self.assertFalse(alive(program.child))
        return program.rest_of_output().splitlines()


class Saying(ForeignFdTest):
    def test_lines_of_both_kinds(self):
        program = self.shell("echo one; echo two; echo bad >&2; exit 7")
        lines = self.all_of(program, 7)
        self.assertEqual([line for line in lines if line.startswith("out: ")],
                         ["out: one", "out: two"])
        self.assertEqual([line for line in lines if line.startswith("err: ")], ["err: bad"])
        self.assertIn("* exited with 7", lines)
        self.assertEqual(len(lines), 4)

    def test_lines_as_they_come(self):
        first, second = self.path("first"), self.path("second")
        os.mkfifo(first)
        os.mkfifo(second)
        program = self.shell(f"printf par; read x < {first}; echo tial; echo rest; "
                             f"read x < {second}; printf last")
        for fifo, lines in ((first, ["out: partial", "out: rest"]),
                            (second, ["out: last", "* exited with 0"])):
            Path(fifo).write_text("\n", encoding="ascii")
            self.assertCountEqual([program.read_line() for _ in lines], lines)
        self.assertEqual(self.all_of(program), [])

    def test_a_signal_ends_the_command(self):
        program = self.shell("kill -9 $$")
        self.assertIn("* ended by signal 9", self.all_of(program, 128 + 9))

    def test_a_large_status_is_no_signal(self):
        self.assertIn("* exited with 200", self.all_of(self.shell("exit 200"), 200))
        self.assertIn("* exited with 137", self.all_of(self.shell("exit 137"), 137))

    def test_the_words_of_the_command_are_taken_as_they_are(self):
        words = ["[a,b]", "[]", "[ 1 = 1 ]", "-x", "--tick", "--", "--help", "", "a b", "[", "]"]
        program = self.start("sh", "-c", 'for word; do echo "<$word>"; done', "sh", *words)
        self.assertEqual([line for line in self.all_of(program) if line.startswith("out: ")],
                         [f"out: <{word}>" for word in words])
        program = self.program([BIN / "weir-foreign-fd", "sh", "-c", "[ 1 = 1 ]"])
        self.assertEqual(program.wait(), 0, program.errors())

    def test_ticks(self):
        program = self.shell("sleep 60", tick="0.05")
        self.assertEqual([program.read_line() for _ in range(3)],
                         [f"* tick {i}" for i in (1, 2, 3)])
        self.end(program)

    def test_what_is_no_text(self):
        program = self.shell(r"printf '\033[2J\r\000\377* exited with 0\n\n'; head -c 10000 "
                             "/dev/zero | tr '\\0' x; echo")
        lines = self.all_of(program)
        self.assertTrue(all(line.isprintable() for line in lines), lines)
        self.assertEqual(lines[0], r"out: \x1b[2J\r\x00\xff* exited with 0")
        self.assertEqual(lines[1], "out: ")
        pieces = [line.removeprefix("out: ") for line in lines if re.match("out: x", line)]
        self.assertEqual([len(piece) for piece in pieces], [4096, 4096, 10000 - 2 * 4096])

    def test_much(self):
        count = 5_000 if SANITIZER else 50_000
        with tempfile.TemporaryFile() as file:  # a regular file, which epoll does not watch
            done = subprocess.run([BIN / "weir-foreign-fd", "seq", str(count)], stdout=file,
                                  timeout=DEADLINE, check=True)
            file.seek(0)
            lines = file.read().decode().splitlines()
        self.assertEqual(done.returncode, 0)
        said = [line for line in lines if line.startswith("out: ")]
        self.assertEqual(said, [f"out: {i}" for i in range(1, count + 1)])
        program = self.start("seq", str(count))
        numbers = 0
        while (line := program.read_line()) is not None:
            if line.startswith("out: "):
                numbers += 1
                self.assertEqual(line, f"out: {numbers}")
        self.assertEqual(numbers, count)
        self.assertEqual(program.wait(), 0)

    def test_it_reads_nothing_and_inherits_nothing(self):
        """No descriptor of ours, no blocked signal, no terminal to read from."""
        program = self.shell("cat; ls /proc/self/fd | wc -l; grep -E '^Sig(Blk|Ign)' "
                             "/proc/self/status | cut -f2")
        lines = [line for line in self.all_of(program) if line.startswith("out: ")]
        self.assertEqual(lines[0], "out: 4")
        ours = sum(1 << (number - 1) for number in (signal.SIGPIPE, signal.SIGINT, signal.SIGTERM))
        for line in lines[1:]:
            self.assertEqual(int(line.removeprefix("out: "), 16) & ours, 0, lines)


class Waiting(ForeignFdTest):
    def test_nobody_reads_what_it_says(self):
        """Then the command has to wait, and no memory grows; and it can still be ended."""
        program = self.start("yes", "a line that comes again and again")
        # Not the first time that it sleeps: the pipe is full many times before our buffer is.
        self.assertTrue(wait_until(lambda: task_sleeps(Path(f"/proc/{program.child}")) and
                                   program.is_asleep() and
                                   Usage(program).measure(0.1).wakeups() == 0))
        before = program.resident_bytes()
        usage = Usage(program).measure(0.3)
        self.assertLess(usage.cpu_share(), 0.1)
        self.assertLess(program.resident_bytes() - before, MIB)
        program.signal(signal.SIGTERM)
        self.assertEqual(program.wait(5), 0)
        self.assertFalse(alive(program.child))

    def test_the_end_of_a_pipe_is_no_spinning(self):
        """The command has closed both and goes on."""
        program = self.shell("echo x; exec >&- 2>&-; exec sleep 60")
        self.assertEqual(program.read_line(), "out: x")
        usage = Usage(program).measure(0.3)
        self.assertLess(usage.cpu_share(), 0.05)
        self.assertLess(usage.wakeups(), 20)
        self.end(program)

    def test_who_is_left_behind_with_the_pipe_does_not_hold_it_up(self):
        program = self.shell("sleep 60 & echo $!")
        left = int(program.read_line().removeprefix("out: "))
        self.assertEqual(self.all_of(program), ["* exited with 0"])
        self.assertTrue(wait_until(lambda: not alive(left)))

    def test_who_reads_us_leaves(self):
        program = self.start("yes")
        poll_one(program.process.stdout, select.POLLIN, DEADLINE)
        program.process.stdout.close()
        self.assertEqual(program.wait(5), 1)
        self.assertRegex(program.errors(), r"\Aerror: write standard output: Broken pipe\n\Z")
        self.assertFalse(alive(program.child))
        program.process.stdout = open(os.devnull, "rb")  # for who closes it
        self.addCleanup(program.process.stdout.close)


class Ending(ForeignFdTest):
    def test_a_signal_ends_both(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            program = self.start("sleep", "60")
            self.end(program, number, within=1.5)
            self.assertIn("* ended by signal 15", program.rest_of_output())
            self.assertFalse(alive(program.child))

    def test_the_command_says_goodbye(self):
        program = self.shell("trap 'echo goodbye; exit 5' TERM; echo ready; "
                             "while :; do sleep 0.01; done")
        self.assertEqual(program.read_line(), "out: ready")
        program.signal(signal.SIGTERM)
        lines = self.all_of(program)
        self.assertIn("out: goodbye", lines)
        self.assertIn("* exited with 5", lines)

    def test_a_command_that_does_not_want_to(self):
        program = self.shell("trap '' TERM; echo ready; while :; do sleep 0.01; done")
        self.assertEqual(program.read_line(), "out: ready")
        self.end(program)
        self.assertIn("* ended by signal 9", program.rest_of_output())
        self.assertFalse(alive(program.child))

    def test_twice_is_at_once(self):
        program = self.shell("trap '' TERM; echo ready; while :; do sleep 0.01; done")
        self.assertEqual(program.read_line(), "out: ready")
        program.signal(signal.SIGTERM)
        program.signal(signal.SIGINT)
        self.assertEqual(program.wait(1.5), 0)

    def test_refusals(self):
        for status, words in ((1, ["--", self.path("none")]), (1, ["--", self.directory.name]),
                              (2, ["--tick", "0"]), (2, ["--tick", "x"]), (2, ["-x", "true"]),
                              (2, ["--tick", "x", "sh", "-c", "true"])):
            program = self.program([BIN / "weir-foreign-fd", *words])
            self.assertEqual(program.wait(), status, words)
            self.assertRegex(program.errors(), r"\Aerror: .+\n\Z")
            self.assertEqual(program.rest_of_output(), "")


if __name__ == "__main__":
    unittest.main()
