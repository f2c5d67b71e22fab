#!/usr/bin/env python3
"""Starts weir-echo, puts load on it with weir-load in several runs, and prints the results."""

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

# (title, connections, bytes per message, messages in flight per connection)
RUNS = [
    ("one client, one message at a time", 1, 64, 1),
    ("a hundred clients", 100, 64, 1),
    ("a hundred clients that pipeline", 100, 64, 32),
    ("bulk, 64 KiB per message", 16, 65536, 1),
    ("a thousand clients", 1000, 64, 1),
    ("ten thousand clients", 10000, 64, 1),
]

# Descriptors that a process needs in addition to its connections.
SPARE_DESCRIPTORS = 100


def raise_descriptor_limit():
    """Raises the soft limit to the hard limit; returns the possible number of connections."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        hard = 1 << 20
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard - SPARE_DESCRIPTORS


class Server:
    """A weir-echo process, and its memory and CPU time."""

    def __init__(self, program, threads):
        command = [program, "--listen", "127.0.0.1:0", "--idle-timeout", "60"]
        if threads:
            command += ["--threads", str(threads)]
        print("$", *command, flush=True)
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline().strip()
        if not line.startswith("listening on "):
            self.process.kill()
            raise SystemExit(f"demo: the server did not start (its output: {line!r})")
        print(line, flush=True)
        self.address = line.removeprefix("listening on ")

    def resident_bytes(self):
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        return 0

    def cpu_seconds(self):
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self):
        """Sends SIGTERM and returns the exit code, which is 0 after an orderly shutdown."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


class PeakMemory(threading.Thread):
    """Samples the server's resident memory during a run."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server, self.peak, self.over = server, server.resident_bytes(), threading.Event()
        self.start()

    def run(self):
        while not self.over.wait(0.1):
            try:
                self.peak = max(self.peak, self.server.resident_bytes())
            except OSError:
                return

    def stop(self):
        self.over.set()
        self.join()
        return self.peak


def drive(load, server, run, duration, folder):
    """One run of weir-load; returns its numbers and those of the server."""
    title, connections, size, depth = run
    report = Path(folder) / "run.json"
    report.unlink(missing_ok=True)
    command = [
        load, "echo", server.address, "--connections", str(connections), "--size", str(size),
        "--depth", str(depth), "--duration", str(duration),
    ]
    print(f"\n-- {title}\n$", *command, flush=True)
    memory, cpu, begin = PeakMemory(server), server.cpu_seconds(), time.monotonic()
    code = subprocess.call(command + ["--json", str(report)], stderr=subprocess.STDOUT)
    cpu, seconds = server.cpu_seconds() - cpu, time.monotonic() - begin
    peak = memory.stop()
    if server.process.poll() is not None:
        raise SystemExit(f"demo: the server ended by itself (exit {server.process.returncode})")
    if code != 0 or not report.exists():
        raise SystemExit(f"demo: weir-load failed (exit {code})")
    numbers = json.loads(report.read_text())
    return numbers | {"rss": peak, "cpu": 100 * cpu / seconds}


def microseconds(value):
    return f"{value / 1000:.1f} ms" if value >= 1000 else f"{value:.0f} us"


def print_table(results):
    heads = ["connections", "bytes", "depth", "messages", "messages/s", "MB/s", "errors", "p50",
             "p99", "p99.9", "server RSS", "server CPU", "generator"]
    rows = []
    for result in results:
        latency, generator = result["latency_us"], result["generator"]
        rows.append([
            f"{result['connections']:,}", f"{result['size']:,}", f"{result['depth']}",
            f"{result['messages']:,}", f"{result['rate']:,.0f}", f"{result['mb_per_s']:,.1f}",
            f"{result['errors']}", microseconds(latency["p50"]), microseconds(latency["p99"]),
            microseconds(latency["p999"]), f"{result['rss'] / 2**20:.1f} MiB",
            f"{result['cpu']:.0f} %", f"{100 * generator['busiest_thread']:.0f} %"
            + ("*" if generator["bottleneck"] else " "),
        ])
    widths = [max(len(row[i]) for row in [heads] + rows) for i in range(len(heads))]
    print()
    for row in [heads] + rows:
        print("  ".join(cell.rjust(width) for cell, width in zip(row, widths)).rstrip())
    if any(result["generator"]["bottleneck"] for result in results):
        print("\n* weir-load had no time left, or waited for a core: here the server could carry "
              "more than\n  its clients ask for. More cores, or a second machine, would show how "
              "much.")


def print_next_steps(folder):
    steps = [
        (f"{folder}/weir-echo --listen 127.0.0.1:7000", "a server; in another terminal:"),
        ("nc -N 127.0.0.1 7000", "type a line, and it comes back"),
        (f"{folder}/weir-load echo 127.0.0.1:7000 --connections 1000", "your own load"),
        (f"{folder}/weir-echo --listen '[::1]:7000,unix:/tmp/weir.sock' --stats 1",
         "IPv6 and a Unix socket at once"),
        (f"{folder}/weir-echo --help", "threads, edge-triggered, limits"),
        ("./tools/test", "all tests"),
    ]
    width = max(len(command) for command, _ in steps)
    print("\nTry next:")
    for command, what in steps:
        print(f"  {command.ljust(width)}  # {what}")


def main():
    parser = argparse.ArgumentParser(
        prog="tools/demo", description="Installs what a build needs (tools/setup --build), builds "
        "weir-echo and weir-load in build/demo, puts load on weir-echo in six runs with up to ten "
        "thousand connections, and prints the results.")
    parser.add_argument("--bin", type=Path, default=Path("build/demo/bin"),
                        help="folder of weir-echo and weir-load (build/demo/bin)")
    parser.add_argument("--duration", type=int, default=3, help="seconds per run")
    parser.add_argument("--threads", type=int, help="threads of the server")
    args = parser.parse_args()

    cores = os.cpu_count() or 1
    # The load generator needs cores, too; on a small machine the server runs on its main thread.
    threads = args.threads if args.threads is not None else (cores // 2 if cores > 2 else 0)
    most = raise_descriptor_limit()
    server = Server(str(args.bin / "weir-echo"), threads)
    try:
        results, load = [], str(args.bin / "weir-load")
        with tempfile.TemporaryDirectory() as folder:
            for title, connections, size, depth in RUNS:
                if connections > most:
                    title += f" (only {most:,}: the limit of open files, ulimit -Hn)"
                    connections = most
                run = (title, connections, size, depth)
                results.append(drive(load, server, run, args.duration, folder))
    finally:
        running = server.process.poll() is None
        code = server.stop() if running else server.process.returncode

    print_table(results)
    carried, errors = sum(r["messages"] for r in results), sum(r["errors"] for r in results)
    print(f"\n{carried:,} messages came back, {errors} errors; "
          f"the server ended on SIGTERM with exit code {code}")
    print_next_steps(args.bin)
    if errors or code:
        print("\ndemo: something went wrong, see above")
        return 1
    print("\ndemo: done")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
