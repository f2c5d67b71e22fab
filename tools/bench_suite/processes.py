"""The servers and the generator as processes: pinned to cores, measured through /proc, with time
limits, and ended by their process id."""

import ctypes
import json
import os
import re
import resource
import select
import signal
import subprocess
import tempfile
import time
from pathlib import Path

START_SECONDS = 10  # time limit until a server listens
STOP_SECONDS = 5  # time limit until it ends after SIGTERM


class Failure(Exception):
    """An error that makes a run invalid; the message goes into the report."""


def raise_descriptor_limit():
    """Raises the soft limit to the hard limit, for this process and its children; returns it."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard if hard != resource.RLIM_INFINITY else 1 << 20


LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1


def start(command, cores, **streams):
    """Starts a process on `cores`, which does not get the terminal's Ctrl-C and ends with us."""
    def prepare():
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        os.sched_setaffinity(0, cores)
    return subprocess.Popen([str(word) for word in command], preexec_fn=prepare,
                            start_new_session=True, stdin=subprocess.DEVNULL, **streams)


def stop(process, seconds=STOP_SECONDS):
    """Sends SIGTERM and, if needed, SIGKILL; True if SIGTERM sufficed."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return False
    return True


def stop_group(process):
    """Ends a process and its children; start() gave it its own process group."""
    stop(process)
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def cpu_ns(pid):
    """CPU time of all live threads in nanoseconds, as the scheduler counts it."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            total += int((task / "schedstat").read_text().split()[0])
        except (OSError, IndexError, ValueError):
            pass  # a thread that ended just now
    return total


class Server:
    """One server of a run."""

    def __init__(self, command, cores):
        self.errors = tempfile.TemporaryFile()
        self.process = start(command, cores, stdout=subprocess.PIPE, stderr=self.errors)
        self.pid = self.process.pid
        try:
            self.address = self.read_address()
        except BaseException:
            self.close()
            raise

    def read_address(self):
        end, text = time.monotonic() + START_SECONDS, b""
        out = self.process.stdout.fileno()
        while b"\n" not in text:
            left = end - time.monotonic()
            ready, _, _ = select.select([out], [], [], max(left, 0))
            data = os.read(out, 4096) if ready else b""
            if not data:
                raise Failure(f"the server did not start: {self.last_words() or 'no output'}")
            text += data
        line = text.decode(errors="replace").split("\n")[0]
        if not line.startswith("listening on "):
            raise Failure(f"the server printed '{line}' instead of its address")
        return line.removeprefix("listening on ")

    def last_words(self):
        self.errors.seek(0)
        lines = self.errors.read().decode(errors="replace").strip().split("\n")
        return lines[-1][:200]

    def alive(self):
        return self.process.poll() is None

    def close(self):
        """Ends the server; False if it had to be killed."""
        obeyed = stop(self.process)
        self.process.stdout.close()
        self.errors.close()
        return obeyed


class Generator:
    """weir-load: the options of its modes, and its runs."""

    def __init__(self, program):
        self.program = Path(program)
        self.helps = {}

    def options(self, mode):
        """The options of a mode; None if this weir-load has no such mode."""
        if mode not in self.helps:
            self.helps[mode] = self.ask(mode)
        return self.helps[mode]

    def ask(self, mode):
        try:
            done = subprocess.run([self.program, mode, "--help"], capture_output=True, text=True,
                                  timeout=10)
        except (OSError, subprocess.SubprocessError):
            return None
        return set(re.findall(r"--[a-z][a-z-]*", done.stdout)) if done.returncode == 0 else None

    def run(self, words, cores, most_seconds):
        """The report of one run as a dictionary. Raises Failure."""
        with tempfile.TemporaryDirectory(prefix="weir-bench-") as folder:
            report, spread = Path(folder, "report.json"), Path(folder, "latency.hdr")
            command = [self.program, *words, "--json", report]
            if "--hdr" in (self.options(words[0]) or ()):
                command += ["--hdr", spread]
            with open(Path(folder, "errors"), "w+b") as errors:
                process = start(command, cores, stdout=subprocess.DEVNULL, stderr=errors)
                try:
                    self.wait(process, most_seconds)
                finally:
                    stop(process)
                errors.seek(0)
                text = errors.read().decode(errors="replace").strip()
            try:
                numbers = json.loads(report.read_text())
            except (OSError, ValueError):
                last = re.split(r"[\r\n]", text)[-1][:200]
                raise Failure(f"weir-load failed (exit {process.returncode}): {last}") from None
            if spread.exists():
                numbers["hdr"] = read_hdr(spread.read_text())
            numbers["exit"] = process.returncode
            return numbers

    @staticmethod
    def wait(process, most_seconds):
        try:
            process.wait(most_seconds)
        except subprocess.TimeoutExpired:
            raise Failure(f"weir-load did not end within {most_seconds:.0f} s") from None


MOST_POINTS = 120


def read_hdr(text):
    """[[share of the messages, microseconds], ...] from HdrHistogram's text format, which weir-load
    writes in milliseconds; reduced to the number of points that a chart can show."""
    points = []
    for line in text.split("\n"):
        found = re.match(r"\s*([\d.]+)\s+([\d.]+)\s+(\d+)\s+([\d.]+|inf)\s*$", line)
        if found:
            points.append([float(found.group(2)), 1000 * float(found.group(1))])
    points = [point for point in points if point[0] <= 0.9999]
    return points[::len(points) // MOST_POINTS + 1]
