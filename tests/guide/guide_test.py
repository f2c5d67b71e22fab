#!/usr/bin/env python3
"""Follows docs/guide.md, docs/sockets.md or examples/hello/README.md word for word: writes the
files, makes the changes, types the commands, and compares what is seen.

Every block of code says what it is, and any other is an error:

  ```cpp file=NAME      the whole file (cmake, too)
  ```diff file=NAME     changes: lines with "-" go, with "+" come, others show the place; "@@" skips
  ```console            commands after "$ " and what they print
  ```console NAME       the same in a terminal of that name, where a program may go on running:
                        lines that it prints next, or "^C" to end it
  ```console install    builds and installs weir: done with --full only; else --prefix is used
  ```console packages   not done here
  ```console path       not done here: the programs are those of --bin
  ```text               a drawing

The paragraph above a block names its file or terminal. In what is printed "..." stands for any
lines, "…" for anything within one. Times, the kernel's ports, descriptors in what strace shows,
numbers of six digits and more, and the width of columns may differ. What weir-sockstat shows may
need a moment to come true, so it is asked again. The line "Build and restart." does what step 2
says.
All of it happens in a network of its own, if the kernel gives us one, so that port 7000 is free;
with --bin it is needed."""

import argparse
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

DEADLINE = 20  # seconds, for a command and for each line of a program that goes on running
PORT = 7000
AGAIN = "Build and restart."
SKIP = 77


class Mistake(Exception):
    """The guide and the world differ."""


def normal(line):
    """A line of output without what differs from one run to the next."""
    line = re.sub(r"\b(127(?:\.\d+){3}\]?):\d{5}\b", r"\1:PORT", line)
    line = re.sub(r"^\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}\]", "[TIME]", line)
    line = re.sub(r"\.{3,}( +\w+ +)\d+\.\d+ sec", r"...\1SECONDS", line)
    line = re.sub(r"\b\d+(\.\d+)? (us|ms|s)\b", "TIME", line)
    line = re.sub(r"^\[pid +\d+\] ", "[pid PID] ", line)  # strace
    line = re.sub(r"^(\[pid PID\] )?([a-z]\w*\()\d+,", r"\1\2FD,", line)
    line = re.sub(r"^((?:\[pid PID\] )?(?:socket|accept4)\(.*\) += )\d+$", r"\1FD", line)
    line = re.sub(r"\b\d{6,}\b", "NUMBER", line)
    return re.sub(r"(?<=\S) {2,}", " ", line).rstrip()


def same(wanted, seen):
    """Whether a line is the one wanted, where "…" stands for anything."""
    return re.fullmatch(".*".join(map(re.escape, wanted.split("…"))), seen) is not None


def matches(wanted, seen):
    """Whether the lines are those wanted, where "..." stands for any number of lines."""
    if not wanted:
        return not seen
    if wanted[0] == "...":
        return any(matches(wanted[1:], seen[skip:]) for skip in range(len(seen) + 1))
    return bool(seen) and same(wanted[0], seen[0]) and matches(wanted[1:], seen[1:])


def noise(line):
    """What a busy machine alone can bring about."""
    return " held the loop for " in line


class Terminal:
    """One in which a program may go on running while others are typed elsewhere."""

    def __init__(self, name):
        self.name = name
        self.program = None
        self.command = None
        self.unread = b""

    def start(self, command, folder, environment):
        self.must_have_ended()
        self.command = command
        self.program = subprocess.Popen(
            ["bash", "-c", command], cwd=folder, env=environment, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def next_line(self, deadline=DEADLINE):
        """None after the deadline, and at the end."""
        end = time.monotonic() + deadline
        poll = select.poll()
        poll.register(self.program.stdout, select.POLLIN)
        while b"\n" not in self.unread:
            left = end - time.monotonic()
            if left <= 0 or not poll.poll(left * 1000):
                return None
            got = os.read(self.program.stdout.fileno(), 65536)
            if not got:
                return None
            self.unread += got
        line, self.unread = self.unread.split(b"\n", 1)
        return line.decode(errors="replace")

    def expect(self, wanted):
        """Reads on until all lines have been seen."""
        any_before = False
        for line in wanted:
            if line == "...":
                any_before = True
                continue
            while True:
                seen = self.next_line()
                if seen is None:
                    raise Mistake(f"{self.name}: wanted {line!r}, but nothing more came")
                if noise(seen):
                    continue
                if same(line, normal(seen)):
                    break
                if not any_before:
                    raise Mistake(f"{self.name}: wanted {line!r}, but seen {normal(seen)!r}")
            any_before = False

    def interrupt(self, wanted):
        """Ctrl-C, which ends the program if it has not ended by itself."""
        if self.program.poll() is None:
            os.killpg(self.program.pid, signal.SIGINT)
        self.expect(wanted)
        self.ended()

    def must_have_ended(self):
        """By itself, if something was started here."""
        try:
            if self.program:
                self.ended()
        except subprocess.TimeoutExpired:
            raise Mistake(f"{self.name}: {self.command} is still running") from None

    def ended(self):
        status = self.program.wait(DEADLINE)
        if self.command.startswith(("./build/", "weir-")) and status != 0:
            raise Mistake(f"{self.name}: {self.command} ended with {status}")
        self.forget()

    def forget(self):
        self.program.stdout.close()
        self.program = None
        self.unread = b""

    def kill(self):
        if self.program:
            os.killpg(self.program.pid, signal.SIGKILL)
            self.program.wait()
            self.forget()


class Reader:
    """Who does what the guide says."""

    def __init__(self, args):
        self.full = args.full
        self.document = f"{args.guide.parent.name}/{args.guide.name}"
        self.work = args.work
        self.folder = self.work
        self.environment = dict(
            os.environ, CXX=args.compiler, CMAKE_CXX_COMPILER_LAUNCHER=args.launcher,
            LC_ALL="C", PATH=f"{args.cmake.parent}:{os.environ['PATH']}")
        if args.bin:
            self.environment["PATH"] = f"{args.bin}:{self.environment['PATH']}"
        self.environment.pop("WEIR_LOG", None)
        self.terminals = {}
        self.starts = None  # how the server was started last
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)
        if self.full:
            (self.work / "weir").symlink_to(args.weir)
        elif args.prefix:
            (self.work / "weir-installed").symlink_to(args.prefix)

    def follow(self, blocks):
        try:
            for line, kind, arguments, text in blocks:
                began = time.monotonic()
                try:
                    self.do(kind, arguments, text)
                except Mistake as mistake:
                    raise Mistake(f"{self.document}:{line}: {mistake}") from None
                took = time.monotonic() - began
                print(f"line {line}: {kind} {' '.join(arguments)} ({took:.1f} s)", flush=True)
            for terminal in self.terminals.values():
                terminal.must_have_ended()
        finally:
            for terminal in self.terminals.values():
                terminal.kill()

    def do(self, kind, arguments, text):
        if kind == AGAIN:
            self.again()
        elif kind in ("cpp", "cmake") and len(arguments) == 1:
            self.file(arguments[0]).write_text(text)
        elif kind == "diff" and len(arguments) == 1:
            file = self.file(arguments[0])
            file.write_text(changed(file.read_text(), text))
        elif kind == "console" and not arguments:
            self.type(text)
        elif kind == "text" or (kind == "console" and arguments == ["path"]):
            pass
        elif kind == "console" and arguments == ["install"]:
            if self.full:
                self.type(text)
        elif kind == "console" and arguments == ["packages"]:
            for line in text.splitlines():
                if not line.startswith("$ apt-get "):
                    raise Mistake(f"this is more than packages: {line}")
        elif kind == "console" and len(arguments) == 1:
            self.look_at(arguments[0], text)
        else:
            raise Mistake(f"a block that no test knows: {kind} {' '.join(arguments)}")

    def file(self, argument):
        key, _, name = argument.partition("=")
        if key != "file" or not name:
            raise Mistake(f"which file is {argument!r}?")
        return self.folder / name

    def type(self, text):
        """Commands one after the other, in one shell."""
        for command, wanted in commands(text):
            end = time.monotonic() + DEADLINE
            status, seen = self.shell(command)
            while (command.startswith("weir-sockstat ") and time.monotonic() < end
                   and not matches(wanted, [normal(line) for line in seen.splitlines()])):
                time.sleep(0.05)
                status, seen = self.shell(command)
            if command.startswith(("cmake ", "mkdir ", "cd ")) and status != 0:
                raise Mistake(f"{command} ended with {status}\n{seen}")
            if command.startswith("cmake "):
                continue  # the guide does not show what it prints
            seen = [normal(line) for line in seen.splitlines() if not noise(line)]
            if not matches(wanted, seen):
                raise Mistake("\n  ".join([command, "wanted:", *wanted, "seen:", *seen]))

    def shell(self, command):
        """Folder and exported variables stay for the next command."""
        state = self.work / "shell-state"
        script = f'{command}\ns=$?\n{{ pwd; env -0; }} > "$1"\nexit $s'
        shell = subprocess.Popen(
            ["bash", "-c", script, "bash", state], cwd=self.folder, env=self.environment,
            start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT)
        try:
            seen = shell.communicate(timeout=1800 if command.startswith("cmake ") else 2 * DEADLINE)
        except subprocess.TimeoutExpired:
            os.killpg(shell.pid, signal.SIGKILL)
            seen = shell.communicate()[0].decode(errors="replace")
            raise Mistake(f"{command} does not end; seen: {seen}") from None
        folder, variables = state.read_text().split("\n", 1)
        self.folder = Path(folder)
        self.environment = dict(pair.split("=", 1) for pair in variables.split("\0") if pair)
        return shell.returncode, seen[0].decode(errors="replace")

    def look_at(self, name, text):
        terminal = self.terminals.setdefault(name, Terminal(name))
        first, *lines = text.splitlines()
        if not first.startswith("$ "):
            lines.insert(0, first)
        lines = [normal(line) for line in lines]
        if first.startswith("$ "):
            command = first[2:]
            if name == "server":
                self.starts = (command, lines)
            terminal.start(command, self.folder, self.environment)
            terminal.expect(lines)
        elif not terminal.program:
            raise Mistake(f"{name}: nothing is running there")
        elif lines[0] == "^C":
            terminal.interrupt(lines[1:])
        else:
            terminal.expect(lines)

    def again(self):
        """Stops what runs, builds, and starts the server again, as step 2 says."""
        for terminal in self.terminals.values():
            if terminal.program:
                terminal.interrupt([])
        self.type("$ cmake --build build\n")
        command, lines = self.starts
        self.terminals["server"].start(command, self.folder, self.environment)
        self.terminals["server"].expect(lines)


def commands(text):
    """[(command, lines it is to print)]"""
    found = []
    for line in text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        elif found:
            found[-1][1].append(normal(line))
        else:
            raise Mistake(f"output without a command: {line}")
    return found


def changed(text, diff):
    """The text with the changes made. Each place must be there exactly once."""
    for hunk in re.split(r"^@@\n", diff, flags=re.M):
        old, new = [], []
        for line in hunk.splitlines(keepends=True):
            mark, rest = (line[0], line[1:]) if line != "\n" else (" ", line)
            if mark not in " +-":
                raise Mistake(f"no line of changes: {line!r}")
            if mark != "+":
                old.append(rest)
            if mark != "-":
                new.append(rest)
        old, new = "".join(old), "".join(new)
        places = len(re.findall("^" + re.escape(old), text, flags=re.M))
        if places != 1:
            raise Mistake(f"these lines are there {places} times:\n{old}")
        text = re.sub("^" + re.escape(old), lambda _: new, text, flags=re.M)
    return text


def blocks_of(guide):
    """[(line number, kind, arguments, text)], in order."""
    blocks = []
    block = None
    above = ""  # the last paragraph: readers do not see what stands behind the backticks
    for number, line in enumerate(guide.read_text().splitlines(keepends=True), 1):
        if line.startswith("```") and block is None:
            kind, *arguments = line[3:].split() or [""]
            for argument in set(arguments) - {"install", "packages", "path"}:
                if argument.removeprefix("file=") not in above:
                    raise Mistake(f"line {number}: the text above does not say {argument}")
            block = (number, kind, arguments, [])
        elif line.startswith("```"):
            blocks.append((*block[:3], "".join(block[3])))
            block = None
            above = ""
        elif block is not None:
            block[3].append(line)
        elif line.strip():
            above = line if above.endswith("\n\n") else above + line
            if line.strip() == AGAIN:
                blocks.append((number, AGAIN, [], ""))
        else:
            above += "\n"
    if block is not None:
        raise Mistake(f"the block in line {block[0]} has no end")
    return blocks


def own_network():
    """Starts this program again in a network of its own. Returns if it is, or cannot be had."""
    if os.environ.get("WEIR_GUIDE_NETWORK") or not shutil.which("unshare"):
        return
    enter = ["unshare", "--map-root-user", "--net", "sh", "-c",
             'ip link set lo up && exec "$@"', "sh"]
    probe = subprocess.run([*enter, "true"], check=False, capture_output=True)
    if probe.returncode == 0:
        os.environ["WEIR_GUIDE_NETWORK"] = "own"
        os.execvp(enter[0], [*enter, sys.executable, *sys.argv])


def port_is_free():
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", PORT))
        except OSError:
            return False
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    here = Path(__file__).resolve().parents[2]
    parser.add_argument("--guide", type=Path, default=here / "docs/guide.md")
    parser.add_argument("--weir", type=Path, default=here, help="the source tree, for --full")
    parser.add_argument("--prefix", type=Path, help="where weir is installed, without --full")
    parser.add_argument("--bin", type=Path, help="where weir's programs are")
    parser.add_argument("--full", action="store_true", help="build and install weir, too")
    parser.add_argument("--compiler", default="c++")
    parser.add_argument("--launcher", default="")
    parser.add_argument("--cmake", type=Path, default=Path(shutil.which("cmake") or "cmake"))
    parser.add_argument("--work", type=Path, required=True, help="a folder that is made anew")
    args = parser.parse_args()
    if not (args.full or args.prefix or args.bin):
        parser.error("--prefix, --bin or --full")
    own_network()
    if args.bin and not os.environ.get("WEIR_GUIDE_NETWORK"):
        print("skipped: what others do would be seen, and there is no network of our own to be had")
        return SKIP
    if not port_is_free():
        print(f"skipped: port {PORT} is taken, and there is no network of our own to be had")
        return SKIP
    try:
        blocks = blocks_of(args.guide)
        if not blocks:
            raise Mistake("no blocks in the guide")
        Reader(args).follow(blocks)
    except Mistake as mistake:
        print(mistake)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
