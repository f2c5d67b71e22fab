#!/usr/bin/env python3
"""Counts the operations of each server per message: system calls (strace), instructions in user
space (callgrind), heap allocations (a preloaded library). Each count is the difference between two
runs with different numbers of messages, so that start, accept and end do not count.

Counts, unlike times, hardly depend on the machine. There are two loads: ping-pong of 64 bytes on
100 connections, and 32 messages of 64 bytes at once on each of 50 connections, each answered by its
own send (a server that can combine sends may do so)."""

import argparse
import json
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ORDER = ["raw_epoll", "raw_epoll_coalesce", "raw_epoll_512k", "weir", "libev", "libuv_try_write",
         "libuv_write", "asio", "libevent_events", "libevent_bufferevent"]
# The arguments of rival_drive. The second run has EXTRA_ROUNDS more rounds.
LOADS = {
    "ping-pong": {"work": "echo", "connections": 100, "batch": 1},
    "pipelined": {"work": "each", "connections": 50, "batch": 32},
}
FIRST_ROUNDS = 10
EXTRA_ROUNDS = {"ping-pong": 200, "pipelined": 50}
SIZE = 64
DEADLINE = 120  # seconds, for each wait


class Failed(Exception):
    pass


class Server:
    """A server that is ready; `prefix` is the command of a program that counts."""

    def __init__(self, program, work, prefix=(), environment=None):
        self.errors = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            [*map(str, prefix), str(program), "--listen", "127.0.0.1:0", "--work", work],
            stdout=subprocess.PIPE, stderr=self.errors, text=True,
            env={**os.environ, **(environment or {})})
        ready, _, _ = select.select([self.process.stdout], [], [], DEADLINE)
        line = self.process.stdout.readline() if ready else ""
        if not line.startswith("listening on "):
            self.stop()
            raise Failed(f"{program.name} did not start: {self.said()}")
        self.address = line.split()[-1]

    def said(self):
        self.errors.seek(0)
        return self.errors.read().decode(errors="replace").strip()

    def end(self):
        """Ends the server in order, so that the counting program writes its result."""
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self.stop()
            raise Failed("the server did not end on SIGTERM") from None
        if status != 0:
            raise Failed(f"the server ended with {status}: {self.said()}")

    def stop(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


def drive(binaries, address, load, rounds):
    """Exchanges messages with the server and returns their number."""
    done = subprocess.run(
        [binaries / "rival_drive", address, "--connections", str(load["connections"]), "--rounds",
         str(rounds), "--batch", str(load["batch"]), "--size", str(SIZE)],
        capture_output=True, text=True, timeout=DEADLINE)
    if done.returncode != 0:
        raise Failed(done.stderr.strip())
    return int(done.stdout.split()[0])


def run_under(binaries, name, load, rounds, prefix=(), environment=None):
    server = Server(binaries / f"bench-{name}", load["work"], prefix, environment)
    try:
        messages = drive(binaries, server.address, load, rounds)
        server.end()
    finally:
        server.stop()
    return messages


def read_when_written(path, pattern):
    """The text of a file, once it matches: the counting program may end after the server."""
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        text = path.read_text() if path.exists() else ""
        if re.search(pattern, text, re.M):
            return text
        time.sleep(0.01)
    raise Failed(f"{path.name} was not written")


def system_calls(binaries, name, load, rounds, folder):
    """The number of messages, and the calls by name."""
    table = folder / f"strace-{name}-{rounds}"
    # -D: strace is the grandchild, so the server gets the signal.
    messages = run_under(binaries, name, load, rounds,
                         ["strace", "-D", "-q", "-f", "-c", "-o", table])
    text = read_when_written(table, r"^100\.00.* total$")
    calls = {}
    for row in text.splitlines():
        # % time, seconds, usecs/call, calls, [errors], name
        fields = row.split()
        if len(fields) in (5, 6) and fields[3].isdigit() and fields[-1] != "total":
            calls[fields[-1]] = int(fields[3])
    return messages, calls


def instructions(binaries, name, load, rounds, folder):
    out = folder / f"callgrind-{name}-{rounds}"
    messages = run_under(binaries, name, load, rounds,
                         ["valgrind", "-q", "--tool=callgrind", f"--callgrind-out-file={out}"])
    text = read_when_written(out, r"^(totals|summary): \d+")
    return messages, {"Ir": int(re.search(r"^(?:totals|summary): (\d+)", text, re.M).group(1))}


def allocations(binaries, name, load, rounds, folder):
    out = folder / f"allocations-{name}-{rounds}"
    library = binaries / "rival_allocations.so"
    if not library.exists():
        raise Failed(f"{library} does not exist")
    messages = run_under(binaries, name, load, rounds, environment={
        "LD_PRELOAD": str(library.resolve()), "WEIR_COUNT_FILE": str(out)})
    return messages, {"malloc": int(read_when_written(out, r"^\d+$"))}


WHAT = {"system_calls": system_calls, "instructions": instructions, "allocations": allocations}


def per_message(count, binaries, name, load_name, folder):
    """The count for one message, in total and by name."""
    load = LOADS[load_name]
    few, before = count(binaries, name, load, FIRST_ROUNDS, folder)
    many, after = count(binaries, name, load, FIRST_ROUNDS + EXTRA_ROUNDS[load_name], folder)
    kinds = {kind: (after.get(kind, 0) - before.get(kind, 0)) / (many - few)
             for kind in before.keys() | after.keys()}
    return {"total": sum(kinds.values()), "messages": many - few,
            "by_name": {kind: value for kind, value in sorted(kinds.items()) if value != 0}}


def table(results, what):
    """The results as text, one row for each server."""
    titles = {"system_calls": "calls/msg", "instructions": "instr/msg", "allocations": "allocs/msg"}
    digits = {"system_calls": 2, "instructions": 0, "allocations": 2}
    rows = [["server", *(f"{titles[kind]} {load}" for kind in what for load in LOADS)]]
    for name, result in results.items():
        row = [name]
        for kind in what:
            for load in LOADS:
                value = result[kind][load]["total"]
                row.append(f"{value if abs(value) > 1e-3 else 0:.{digits[kind]}f}")
        rows.append(row)
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join("  ".join(cell.ljust(width) if i == 0 else cell.rjust(width)
                               for i, (cell, width) in enumerate(zip(row, widths)))
                     for row in rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--bin", type=Path, default=Path("build/release/bin"), metavar="DIR",
                        help="folder of the programs (default: %(default)s)")
    parser.add_argument("--servers", metavar="NAME,...",
                        help="only these servers (default: all that are built)")
    parser.add_argument("--what", metavar="KIND,...", default=",".join(WHAT),
                        help="only these counts (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE",
                        help="also write the counts to this file")
    arguments = parser.parse_args()

    built = [name for name in ORDER if (arguments.bin / f"bench-{name}").exists()]
    names = arguments.servers.split(",") if arguments.servers else built
    what = arguments.what.split(",")
    for wrong in [name for name in names if name not in built]:
        parser.error(f"{arguments.bin}/bench-{wrong} does not exist")
    for wrong in [kind for kind in what if kind not in WHAT]:
        parser.error(f"'{wrong}' is not one of {', '.join(WHAT)}")
    if not names:
        parser.error(f"no servers in {arguments.bin}")

    results = {}
    with tempfile.TemporaryDirectory(prefix="weir-counts-") as folder:
        for number, name in enumerate(names):
            if sys.stderr.isatty():
                print(f"\r\x1b[K{number + 1} of {len(names)}: {name}", end="", file=sys.stderr,
                      flush=True)
            try:
                results[name] = {
                    kind: {load: per_message(WHAT[kind], arguments.bin, name, load, Path(folder))
                           for load in LOADS} for kind in what}
            except (Failed, OSError, subprocess.TimeoutExpired) as error:
                print(f"error: {name}: {error}", file=sys.stderr)
                return 1
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr)
    print(table(results, what))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
