#!/usr/bin/env python3
"""Builds the fuzz targets with Clang 19 and runs them, each until one of its limits is reached.

  tests/fuzz/run.py                           # the full run: 20 million inputs or 20 minutes each
  tests/fuzz/run.py --total-seconds 60        # what CI does: a minute for all targets together
  tests/fuzz/run.py --target timers --seconds 300
  tests/fuzz/run.py --target timers --reduce  # renews tests/fuzz/corpus/timers

Inputs that reach new code are kept in build/fuzz/corpus and used by the next run. An input that
fails is kept in build/fuzz/findings, and the command that repeats it is printed. The exit code is 1
if there was any.
"""

import argparse
import base64
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "fuzz"
SEEDS = ROOT / "tests" / "fuzz" / "corpus"
COMPILER = "clang++-19"
ENVIRONMENT = dict(os.environ, UBSAN_OPTIONS="print_stacktrace=1:halt_on_error=1")

# The most bytes of an input: enough for each state of a target, and fast.
MAX_INPUT = 1024
# Seconds after which an input is a finding; a target itself checks for much less.
MAX_SECONDS_OF_INPUT = 20
# The corpus of a target in the repository.
MAX_FILES = 32
MAX_FILE = 512
PROGRESS_SECONDS = 10


def all_targets():
    return sorted(path.name.removesuffix("_fuzz.cc")
                  for path in (ROOT / "tests" / "fuzz").glob("*_fuzz.cc"))


def build(targets, jobs):
    """True when the programs of the targets are there."""
    commands = [["cmake", "--preset", "fuzz", "--log-level=WARNING"],
                ["cmake", "--build", "--preset", "fuzz", "--parallel", str(jobs), "--target"] +
                [f"fuzz_{target}" for target in targets]]
    started = time.monotonic()
    for command in commands:
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, check=False)
        if done.returncode != 0:
            print(done.stdout + "fuzz: FAILED: " + " ".join(command))
            return False
    print(f"fuzz: {len(targets)} targets built in {time.monotonic() - started:.0f} s", flush=True)
    return True


def program(target):
    return BUILD / "bin" / f"fuzz_{target}"


class Run:
    """One target that runs, with its log."""

    def __init__(self, target, seconds, runs):
        self.target = target
        self.corpus = BUILD / "corpus" / target
        self.findings = BUILD / "findings"
        for folder in (self.corpus, self.findings, SEEDS / target):
            folder.mkdir(parents=True, exist_ok=True)
        self.log = BUILD / "findings" / f"{target}.log"
        self.before = set(self.found())
        self.began = time.monotonic()
        self.end = self.began + seconds
        command = [program(target), self.corpus, SEEDS / target, f"-max_total_time={seconds}",
                   f"-runs={runs}", f"-max_len={MAX_INPUT}", f"-timeout={MAX_SECONDS_OF_INPUT}",
                   f"-artifact_prefix={self.findings}/{target}-", "-print_final_stats=1"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen([str(word) for word in command], stdout=log,
                                            stderr=log, env=ENVIRONMENT, cwd=ROOT)

    def found(self):
        return self.findings.glob(f"{self.target}-*")

    def executed(self):
        """The number of inputs and of covered places, from the last line about them."""
        text = self.log.read_text(errors="replace")
        found = re.findall(r"^#(\d+)\s.* cov: (\d+)", text, re.MULTILINE)
        total = re.search(r"number_of_executed_units: (\d+)", text)
        inputs, covered = found[-1] if found else (0, 0)
        return int(total.group(1)) if total else int(inputs), int(covered)

    def describe(self):
        inputs, covered = self.executed()
        seconds = time.monotonic() - self.began
        return f"{self.target}: {inputs:,} inputs in {seconds:.0f} s, {covered} places"

    def failed(self):
        """After the end: prints what has to be repeated, if the target has failed."""
        if self.process.returncode == 0:
            return False
        print(self.log.read_text(errors="replace")[-4000:])
        print(f"fuzz: FAILED: {self.target}; the whole log is {self.log}")
        for finding in sorted(set(self.found()) - self.before):
            name = finding.relative_to(ROOT)
            content = base64.b64encode(finding.read_bytes()).decode()
            print("To repeat it:\n"
                  f"  {program(self.target).relative_to(ROOT)} {name}\n"
                  f"In another tree first:\n  base64 -d <<< '{content}' > {name}")
        return True


def run_all(targets, seconds, runs, jobs):
    """Runs the targets, `jobs` at a time; returns the names of those that failed."""
    waiting, running, failed = list(targets), [], []
    started = last = time.monotonic()
    while waiting or running:
        while waiting and len(running) < jobs:
            running.append(Run(waiting.pop(0), seconds, runs))
        time.sleep(0.2)
        for run in [run for run in running if run.process.poll() is not None]:
            running.remove(run)
            print(f"fuzz: done: {run.describe()}", flush=True)
            if run.failed():
                failed.append(run.target)
        now = time.monotonic()
        if running and now - last >= PROGRESS_SECONDS:
            last = now
            left = max(run.end for run in running) - now + seconds * (-(-len(waiting) // jobs))
            print(f"fuzz: {now - started:.0f} s, at most {max(left, 0):.0f} s left: " +
                  "; ".join(run.describe() for run in running), flush=True)
    return failed


def reduce_corpus(target):
    """Replaces the corpus of the repository by few small inputs that cover the same."""
    (SEEDS / target).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([str(program(target)), "-set_cover_merge=1", f"-max_len={MAX_FILE}", folder,
                        str(BUILD / "corpus" / target), str(SEEDS / target)], check=True,
                       env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        # The set cover prefers inputs that reach much, and these are the large ones.
        found = sorted(Path(folder).iterdir(), key=lambda path: -path.stat().st_size)[:MAX_FILES]
        shutil.rmtree(SEEDS / target, ignore_errors=True)
        (SEEDS / target).mkdir(parents=True)
        for path in found:
            shutil.copy(path, SEEDS / target / path.name[:12])
    print(f"fuzz: {target}: {len(found)} files in {(SEEDS / target).relative_to(ROOT)}")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", action="append", choices=all_targets(), metavar="NAME",
                        help="only this target; may be repeated. There are: " +
                        ", ".join(all_targets()))
    parser.add_argument("--seconds", type=int, default=20 * 60,
                        help="limit for each target (default: %(default)s)")
    parser.add_argument("--total-seconds", type=int,
                        help="in place of it: limit for all targets together")
    parser.add_argument("--runs", type=int, default=20_000_000,
                        help="inputs for each target (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(),
                        help="targets that run at the same time (default: %(default)s)")
    parser.add_argument("--reduce", action="store_true",
                        help="does not fuzz: renews the corpus in the repository from the inputs "
                        "that earlier runs have kept")
    args = parser.parse_args()
    if shutil.which(COMPILER) is None:
        print(f"fuzz: skipped: {COMPILER} is not installed")
        return 0

    targets = args.target or all_targets()
    if not build(targets, args.jobs):
        return 1
    if args.reduce:
        for target in targets:
            reduce_corpus(target)
        return 0
    seconds = args.seconds
    if args.total_seconds:
        rounds = -(-len(targets) // args.jobs)
        seconds = max(1, args.total_seconds // rounds)
    failed = run_all(targets, seconds, args.runs, args.jobs)
    print(f"fuzz: {len(targets)} targets, findings: {' '.join(failed) or 'none'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
