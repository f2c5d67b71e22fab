#!/usr/bin/env python3
"""What all samples have in common. Each program of examples/ has a row here that says how to start
it; its own test says what it is for."""

import re
import signal
import socket
import time
import unittest
from pathlib import Path

from harness import BIN, SystemTest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
LISTEN = ("--listen", "127.0.0.1:0")
# Built where the library is that they show.
OPTIONAL = {"weir-in-glib", "weir-in-libuv"}
# Have no command line. Instead of a row here they have a page that tests/guide follows.
BARE = {"weir-hello"}


class Row:
    """How to start a program so that it goes on until it is told to end.

    In `arguments`, {listener} is an address that the test listens on, {datagrams} one where it has
    a datagram socket, and {folder} an empty folder.
    """

    def __init__(self, *arguments, ready="^listening on ", bad_address=("--listen", "nonsense"),
                 bound=None, ends=0):
        self.arguments = arguments
        # The line of standard output that says that it runs. None: it says nothing, and runs once
        # it has connected to {listener}.
        self.ready = ready
        # The arguments with an address that is none, in place of all others. None: it takes none.
        self.bad_address = bad_address
        # The arguments with an address in use, {listener}. None: it listens nowhere.
        self.bound = bound
        # Its exit code after SIGTERM; -n: of signal n, for a program that leaves it to the kernel.
        self.ends = ends


def server(*more, ready="^listening on "):
    """A row of a program with --listen and whatever else it needs to start."""
    return Row(*LISTEN, *more, ready=ready, bad_address=("--listen", "nonsense", *more),
               bound=("--listen", "{listener}", *more))


def datagram_server():
    return Row(*LISTEN, bound=("--listen", "{datagrams}"))


ROWS = {
    "weir-chat": Row("{listener}", "alice", ready=None, bad_address=("nonsense", "alice"),
                     ends=128 + signal.SIGTERM),
    "weir-chat-server": server(),
    "weir-chargen": server(),
    "weir-daytime": server(),
    "weir-discard": server(),
    "weir-echo": server(),
    "weir-file-server": server("--root", "{folder}"),
    "weir-foreign-fd": Row(ready=r"^\* started process ", bad_address=None),
    "weir-idle-kick": server(),
    "weir-in-glib": server(),
    "weir-in-libuv": server(),
    "weir-max-connections": server(),
    "weir-multicast-chat": Row("--group", "239.255.77.77:0", "--interface", "lo",
                               bad_address=("--group", "127.0.0.1:7077")),
    "weir-printer-client": Row("--connect", "{listener}", ready=None,
                               bad_address=("--connect", "nonsense", "hello"),
                               ends=-signal.SIGTERM),
    "weir-printer-server": server(),
    "weir-pubsub": server(),
    "weir-relay": server("--connect", "127.0.0.1:1"),
    "weir-restart": server(),
    "weir-rpc": Row("{listener}", "add", "1", "2", ready=None, bad_address=("nonsense", "add"),
                    ends=-signal.SIGTERM),
    "weir-rpc-server": server(),
    "weir-time": server(),
    "weir-tour": Row("--seconds", "60", ready="the loop starts$|timer: cancelled",
                     bad_address=None),
    "weir-udp-echo": datagram_server(),
    "weir-udp-time": datagram_server(),
    "weir-worker-pool": server(),
}


def folders():
    """Each folder of examples/ with programs, and their names."""
    found = {}
    for cmake in sorted(EXAMPLES.glob("*/CMakeLists.txt")):
        names = re.findall(r"^\s*weir_(?:sample|program)\(\s*([\w-]+)", cmake.read_text(), re.M)
        if cmake.parent.name != "common":
            found[cmake.parent.name] = names
    return found


class Folders(unittest.TestCase):
    def test_each_has_programs_and_a_page_about_them(self):
        for folder, programs in folders().items():
            with self.subTest(folder=folder):
                self.assertTrue(programs)
                page = (EXAMPLES / folder / "README.md").read_text()
                for program in programs:
                    self.assertIn(program, page)

    def test_each_is_in_the_table(self):
        table = (EXAMPLES / "README.md").read_text()
        rows = {row.split("](")[0].removeprefix("| ["): row for row in table.splitlines()
                if row.startswith("| [")}
        self.assertEqual(sorted(rows), sorted(folders()))
        for folder, programs in folders().items():
            for program in programs:
                self.assertIn(f"`./{program}", rows[folder])

    def test_each_is_built(self):
        built = re.findall(r"^\s*add_subdirectory\((\w+)\)",
                           (EXAMPLES / "CMakeLists.txt").read_text(), re.M)
        self.assertEqual(sorted(built), sorted([*folders(), "common"]))

    def test_each_program_has_a_row(self):
        programs = [program for of_folder in folders().values() for program in of_folder]
        self.assertEqual(sorted([*ROWS, *BARE]), sorted(programs))


class Programs(SystemTest):
    """One test a program, made below."""

    def start(self, name, arguments):
        words = [word.format(listener=self.listener_address, datagrams=self.datagram_address,
                             folder=self.directory.name) for word in arguments]
        return self.program([BIN / name, *words])

    def setUp(self):
        super().setUp()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(30)
        self.addCleanup(self.listener.close)
        self.listener_address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(datagrams.close)
        datagrams.bind(("127.0.0.1", 0))
        self.datagram_address = "127.0.0.1:%d" % datagrams.getsockname()[1]

    def refused(self, name, status, *arguments):
        program = self.start(name, arguments)
        self.assertEqual(program.wait(), status, (arguments, program.errors()))
        self.assertRegex(program.errors(), r"\Aerror: .+\n\Z", arguments)
        self.assertEqual(program.errors().count("\n"), 1, arguments)
        self.assertEqual(program.rest_of_output(), "", arguments)

    def check(self, folder, name):
        row = ROWS.get(name)
        self.assertIsNotNone(row, f"{name} has no row in ROWS")
        if name in OPTIONAL and not (BIN / name).is_file():
            self.skipTest(f"{name} is not built: its library is not there")
        self.assertTrue((BIN / name).is_file(), f"{name} is not built")
        self.check_help(folder, name)
        self.check_values(name, row)
        self.refused(name, 2, "--no-such-option", *row.arguments)
        if row.bad_address is not None:
            self.refused(name, 2, *row.bad_address)
        if row.bound is not None:
            self.refused(name, 1, *row.bound)
        self.check_ending(name, row)

    def check_help(self, folder, name):
        program = self.start(name, ["--help"])
        self.assertEqual(program.wait(), 0)
        text = program.rest_of_output()
        self.assertIn(name, text)
        self.assertEqual(program.errors(), "")
        page = (EXAMPLES / folder / "README.md").read_text()
        for option in re.findall(r"(?<![\w-])--[a-z][a-z-]*", text):
            if option not in ("--help", "--version"):
                self.assertRegex(page, re.escape(option) + r"(?![\w-])")

    def check_values(self, name, row):
        """No option takes an empty value, which is mostly a shell variable that was not set; nor a
        number that is none, or is out of a range that makes sense. What 0 seconds are is told."""
        text = self.start(name, ["--help"]).rest_of_output()
        for option, kind, what in re.findall(r"^  (--[a-z-]+) ([A-Z]+)\b(.*(?:\n {10}.*)*)", text,
                                             re.M):
            values = [""]
            if kind in ("N", "BYTES", "SECONDS"):
                values += ["-1", "9" * 25, "1e400", "x"]
            for value in values:
                self.refused(name, 2, f"{option}={value}", *self.without(option, row.arguments))
            if kind == "SECONDS" and re.search("timeout|limit|linger|grace", option):
                self.assertRegex(" ".join(what.split()), r"; 0: (never|none|for ever|any|no |as )",
                                 option)

    @staticmethod
    def without(option, arguments):
        """It may be given once."""
        if option not in arguments:
            return arguments
        at = arguments.index(option)
        return arguments[:at] + arguments[at + 2:]

    def check_ending(self, name, row):
        program = self.start(name, row.arguments)
        if row.ready is None:
            connection, _ = self.listener.accept()
            self.addCleanup(connection.close)
        else:
            line = program.read_line()
            self.assertRegex(line or "", row.ready, program.errors())
        begin = time.monotonic()
        program.signal(signal.SIGTERM)
        self.assertEqual(program.wait(15), row.ends, program.errors())
        self.assertLess(time.monotonic() - begin, 5)
        self.assertEqual(program.errors(), "")


class ClosedInput(SystemTest):
    """Started with descriptor 0 closed, a program does not take what it opens for its input."""

    def started(self, *command):
        return self.program(["bash", "-c", 'exec "$@" 0<&-', "bash", *command])

    def test_chat(self):
        server = self.serve([BIN / "weir-chat-server", *LISTEN])
        client = self.started(BIN / "weir-chat", server.address, "alice")
        self.assertEqual(client.wait(), 0, client.errors())  # as at the end of a file

    def test_multicast_chat(self):
        client = self.started(BIN / "weir-multicast-chat", "--group", "239.255.77.77:0",
                              "--interface", "lo")
        self.assertEqual(client.wait(), 0, client.errors())

    def test_printer_client(self):
        server = self.serve([BIN / "weir-printer-server", *LISTEN])
        client = self.started(BIN / "weir-printer-client", "--connect", server.address)
        self.assertEqual(client.wait(), 0, client.errors())


class LostOutput(SystemTest):
    """Standard output that takes nothing is a failure of those that are run for it."""

    def check(self, *command):
        for output in ("> /dev/full", ">&-"):
            with self.subTest(command=command[0].name, output=output):
                program = self.program(["bash", "-c", f'exec "$@" {output}', "bash", *command])
                self.assertEqual(program.wait(), 1, program.errors())
                self.assertRegex(program.errors(), r"\Aerror: .*standard output.*\n\Z")

    def test_rpc(self):
        server = self.serve([BIN / "weir-rpc-server", *LISTEN])
        self.check(BIN / "weir-rpc", server.address, "add", "1", "2")

    def test_tour(self):
        self.check(BIN / "weir-tour", "--seconds", "0.1")

    def test_foreign_fd(self):
        self.check(BIN / "weir-foreign-fd", "echo", "hello")

    def test_chat(self):
        server = self.serve([BIN / "weir-chat-server", *LISTEN])
        self.check(BIN / "weir-chat", server.address, "alice")


def add_tests():
    def test_of(folder, name):
        return lambda self: self.check(folder, name)

    for folder, names in folders().items():
        for name in set(names) - BARE:
            setattr(Programs, "test_" + name.replace("-", "_"), test_of(folder, name))


add_tests()

if __name__ == "__main__":
    unittest.main()
