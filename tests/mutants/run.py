#!/usr/bin/env python3
"""Tests the tests: breaks weir in one place at a time, and shows that a test notices it.

The tables beside this script (*.toml) list the mutants. Each entry replaces one piece of a source
by code that is wrong while the mutant is chosen; the tests of its failure must then fail. The
sources of weir are not changed: all mutants are applied to a copy below build/mutants, which is
built once, and the environment variable WEIR_MUTANT chooses one at run time.

    [F02]                            # an entry of docs/failures.md, or the name of a mended defect
    breaks = "a sentence: what is wrong while it is chosen"
    file = "net/reactor/channel.cc"
    old = "if (id != expected) return;"              # occurs exactly once in the file
    new = "if (!BROKEN && id != expected) return;"   # BROKEN: true while the mutant is chosen
    tests = ["Suite.Name"]           # default: every test that is named after the entry
    [[F02.also]]                     # a second piece that belongs to the mutant: file, old, new

An entry may be named F02_more, if F02 has several mutants. An entry without code to break has only
`none`, the reason.

Exits with 1 if a mutant survives, a test fails without a mutant, or a table is wrong.
"""

import argparse
import json
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT / "tools"))
import list_failure_tests  # noqa: E402

SWITCH = "WEIR_MUTANT"
PIECE = {"file", "old", "new"}
KEYS = PIECE | {"breaks", "tests", "also"}
# A mutant that runs for longer than this plus TIMES the usual time of its tests hangs.
GRACE_SECONDS = 20
TIMES = 8
# A mutant that allocates without end must not take the memory of the machine.
MEMORY_LIMIT = 6 << 30

TEST = re.compile(r"^\s*(?:TYPED_)?TEST(?:_[FP])?\s*\(\s*(\w+)\s*,\s*(\w+)\s*\)", re.M)
PROGRAM = re.compile(r"weir_test\(\s*(\w+)\s+SOURCES\s+(.*?)\)", re.S)
FAILED_TEST = re.compile(r"^\[  FAILED  \] ([\w./]+)", re.M)
RUNNING_TEST = re.compile(r"^\[ RUN      \] ([\w./]+)", re.M)


class Edit:
    """One piece of a source that a mutant replaces."""

    def __init__(self, mutant, fields):
        self.mutant = mutant
        self.file = fields.get("file", "")
        self.old = fields.get("old", "")
        self.new = fields.get("new", "")

    def replacement(self):
        return self.new.replace("BROKEN", f"::weir::mutants::broken({self.mutant.number}ul)")


class Mutant:
    """An entry of a table."""

    def __init__(self, name, fields):
        self.name = name
        self.breaks = fields.get("breaks", "")
        self.edits = [Edit(self, fields)] + [Edit(self, more) for more in fields.get("also", [])]
        self.named_tests = fields.get("tests")
        self.tests = []  # (program, "Suite.Name")
        self.fields = set(fields)
        self.pieces_are_whole = all(set(more) == PIECE for more in fields.get("also", []))

    @property
    def failure(self):
        """The entry of the catalogue, or None."""
        match = re.match(r"F\d\d(?=_|$)", self.name)
        return match.group(0) if match else None

    @property
    def number(self):
        return zlib.crc32(self.name.encode())


def read_tables():
    """(list of mutants, {entry of the catalogue: reason why it has none}, list of problems)."""
    mutants, reasons, problems = [], {}, []
    names = set()
    for table in sorted(HERE.glob("*.toml")):
        for name, fields in tomllib.loads(table.read_text(encoding="utf-8")).items():
            if name in names:
                problems.append(f"{name}: stands in the tables twice")
            names.add(name)
            if set(fields) == {"none"}:
                reasons[name] = fields["none"]
            else:
                mutants.append(Mutant(name, fields))
    return mutants, reasons, problems


def find_tests():
    """{"Suite.Name": path of the program, from the build folder} of the tests in C++."""
    found = {}
    for listing in (ROOT / "tests").rglob("CMakeLists.txt"):
        for program, rest in PROGRAM.findall(listing.read_text(encoding="utf-8")):
            for source in re.findall(r"\w+\.cc", rest):
                path = listing.parent / source
                text = path.read_text(encoding="utf-8") if path.exists() else ""
                built = (listing.parent / program).relative_to(ROOT).as_posix()
                for suite, name in TEST.findall(text):
                    found[f"{suite}.{name}"] = built
    return found


def tests_of(mutant, found):
    """[(program, test)] of a mutant, or a problem."""
    if mutant.named_tests is None and mutant.failure is None:
        return [], f"{mutant.name}: names no test"
    if mutant.named_tests is None:
        # F16_F57_Name is a test of both.
        wanted = re.compile(rf"\w+\.(?:F\d+_)*{mutant.failure}_")
        tests = sorted(test for test in found if wanted.match(test))
    else:
        tests = mutant.named_tests
    missing = [test for test in tests if test not in found]
    if missing or not tests:
        return [], f"{mutant.name}: there is no test {', '.join(missing)}"
    return [(found[test], test) for test in tests], None


def apply(mutants):
    """({file: text with all its mutants}, list of problems)."""
    texts, problems = {}, []
    edits = [edit for mutant in mutants for edit in mutant.edits]
    for file in sorted({edit.file for edit in edits}):
        path = ROOT / file
        if not path.is_file():
            problems.append(f"{file}: does not exist")
            continue
        text = path.read_text(encoding="utf-8")
        places = []
        for edit in (edit for edit in edits if edit.file == file):
            if text.count(edit.old) == 1:
                places.append((text.index(edit.old), edit))
            else:
                problems.append(f"{edit.mutant.name}: `old` occurs {text.count(edit.old)} times in "
                                f"{file}, not once: {edit.old}")
        places.sort(key=lambda place: place[0])
        for (begin, edit), (next_begin, next_edit) in zip(places, places[1:]):
            if begin + len(edit.old) > next_begin:
                problems.append(f"{edit.mutant.name} and {next_edit.mutant.name} replace the same "
                                f"text of {file}")
        for begin, edit in reversed(places):
            text = text[:begin] + edit.replacement() + text[begin + len(edit.old):]
        texts[file] = text
    return texts, problems


def check(mutants, reasons, problems):
    """Everything that can be checked without building; returns (texts, problems)."""
    found = find_tests()
    for mutant in mutants:
        if not {"breaks", *PIECE} <= mutant.fields <= KEYS or not mutant.pieces_are_whole:
            problems.append(f"{mutant.name}: has {sorted(mutant.fields)}")
        if not all("BROKEN" in edit.new for edit in mutant.edits):
            problems.append(f"{mutant.name}: `new` has no BROKEN")
        mutant.tests, problem = tests_of(mutant, found)
        problems += [problem] if problem else []
    entries = [failure for failure, _ in list_failure_tests.read_catalogue(ROOT)]
    covered = {mutant.failure for mutant in mutants} | set(reasons)
    problems += [f"{failure}: has no mutant" for failure in entries if failure not in covered]
    problems += [f"{name}: is not an entry of the catalogue"
                 for name in sorted(covered - {None} - set(entries))]
    texts, wrong = apply(mutants)
    return texts, problems + wrong


def tracked_files():
    listed = subprocess.run(
        ["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        check=True, capture_output=True, text=True).stdout
    return [name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def copy_source(source, texts):
    """Makes `source` a copy of the tree with all mutants. Does not touch files that are right, so
    that they are not compiled again."""
    names = set(tracked_files())
    if source.exists():
        for file in source.rglob("*"):
            if file.is_file() and file.relative_to(source).as_posix() not in names:
                file.unlink()
    for name in names:
        wanted = texts[name].encode() if name in texts else (ROOT / name).read_bytes()
        target = source / name
        if target.exists() and target.read_bytes() == wanted:
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(wanted)
        target.chmod((ROOT / name).stat().st_mode)


def build(work, programs, jobs):
    include = f"-include {work / 'source/tests/mutants/broken.h'}"
    commands = [
        ["cmake", "-S", work / "source", "-B", work / "build", "-G", "Ninja",
         "--log-level=WARNING", "-DCMAKE_BUILD_TYPE=Debug", "-DCMAKE_CXX_FLAGS_DEBUG=-O1",
         f"-DCMAKE_CXX_FLAGS={include}", "-DWEIR_BUILD_BENCHMARKS=OFF"],
        ["cmake", "--build", work / "build", "--parallel", str(jobs), "--target", *programs],
    ]
    for command in commands:
        if subprocess.run(command, check=False).returncode != 0:
            sys.exit("mutants: the copy with all mutants does not build")


def filter_of(tests):
    """The filter for GoogleTest, with the instances of parameterised and typed tests."""
    patterns = []
    for test in tests:
        suite, name = test.split(".")
        patterns += [test, f"*/{suite}.{name}/*", f"{suite}/*.{name}"]
    return ":".join(patterns)


def plain_name(suite, test):
    """The name in the source of an instance such as ("Errnos/Suite", "Name/3")."""
    return f"{re.sub('^.*/(?=[A-Z])|/[0-9]+$', '', suite)}.{test.split('/')[0]}"


def limit_memory():
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_LIMIT, MEMORY_LIMIT))


class Run:
    """One run of a test program: `status` is None if it was ended at the timeout."""

    def __init__(self, program, tests, number, timeout, *options):
        environment = dict(os.environ)
        environment.pop(SWITCH, None)
        if number is not None:
            environment[SWITCH] = str(number)
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as output:
            child = subprocess.Popen(
                [program, f"--gtest_filter={filter_of(tests)}", *options],
                cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=output,
                stderr=subprocess.STDOUT, start_new_session=True, preexec_fn=limit_memory)
            try:
                self.status = child.wait(timeout)
            except subprocess.TimeoutExpired:
                self.status = None
            try:
                os.killpg(child.pid, signal.SIGKILL)  # with the children of the tests
            except ProcessLookupError:
                pass
            child.wait()
            output.seek(0)
            self.output = output.read().decode(errors="replace")
        self.seconds = time.monotonic() - began

    def death(self):
        """(the test that failed, how) or None if all passed."""
        if self.status == 0:
            return None
        failed = FAILED_TEST.findall(self.output) or RUNNING_TEST.findall(self.output)[-1:]
        test = failed[0] if failed else "?"
        if self.status is None:
            return test, "hang"
        if self.status < 0:
            return test, signal.Signals(-self.status).name
        return test, "failed"


def run_unbroken(work, mutants):
    """{(program, test): seconds} of all tests without a mutant; ends the program if one fails."""
    by_program = {}
    for mutant in mutants:
        for program, test in mutant.tests:
            by_program.setdefault(program, set()).add(test)
    seconds = {}
    for program, tests in sorted(by_program.items()):
        with tempfile.NamedTemporaryFile(suffix=".json") as report:
            run = Run(work / "build" / program, tests, None, 1200,
                      f"--gtest_output=json:{report.name}")
            print(f"unbroken: {program}, {len(tests)} tests, {run.seconds:.1f} s", flush=True)
            if run.status != 0:
                print(run.output[-4000:])
                sys.exit(f"mutants: {program} fails without a mutant")
            for suite in json.load(report)["testsuites"]:
                for test in suite["testsuite"]:
                    key = program, plain_name(suite["name"], test["name"])
                    seconds[key] = seconds.get(key, 0) + float(test["time"].rstrip("s"))
    return seconds


class Result:
    def __init__(self, mutant, death, seconds):
        self.mutant, self.death, self.seconds = mutant, death, seconds


def run_mutant(work, mutant, usual):
    by_program = {}
    for program, test in mutant.tests:
        by_program.setdefault(program, []).append(test)
    began = time.monotonic()
    death = None
    for program, tests in by_program.items():
        timeout = GRACE_SECONDS + TIMES * sum(usual.get((program, test), 0) for test in tests)
        run = Run(work / "build" / program, tests, mutant.number, timeout,
                  "--gtest_fail_fast")
        death = run.death()
        if death:
            break
    return Result(mutant, death, time.monotonic() - began)


def command_of(work, mutant):
    program = mutant.tests[0][0]
    tests = filter_of(test for with_program, test in mutant.tests if with_program == program)
    return (f"{SWITCH}={mutant.number} {os.path.relpath(work, Path.cwd())}/build/{program} "
            f"--gtest_filter='{tests}'")


def run_all(work, mutants, jobs):
    usual = run_unbroken(work, mutants)
    results = []
    began = time.monotonic()
    with ThreadPoolExecutor(jobs) as pool:
        for result in pool.map(lambda mutant: run_mutant(work, mutant, usual), mutants):
            results.append(result)
            passed = time.monotonic() - began
            left = passed / len(results) * (len(mutants) - len(results))
            test, how = result.death or ("", "SURVIVED")
            print(f"[{len(results)}/{len(mutants)}, {left:.0f} s left] {result.mutant.name}: {how} "
                  f"{test} ({result.seconds:.1f} s)", flush=True)
    return results


FAILED_SEED = re.compile(r"^seed (\d+): (.*)$", re.M)
SIMULATION_SECONDS = 600  # for one mutant


class SimulationResult:
    """How the simulation found a mutant: `seed` is None if it did not."""

    def __init__(self, mutant, output, seconds):
        found = FAILED_SEED.search(output)
        self.mutant, self.seconds = mutant, seconds
        self.seed = int(found.group(1)) if found else None
        self.how = found.group(2) if found else ""


def simulate_mutant(work, mutant, seeds):
    environment = dict(os.environ, **{SWITCH: str(mutant.number)})
    began = time.monotonic()
    try:
        output = subprocess.run(
            [work / "build/bin/sim_seeds", "--seeds", str(seeds), "--stop-after", "1",
             "--workers", "1"], env=environment, stdin=subprocess.DEVNULL, capture_output=True,
            text=True, errors="replace", timeout=SIMULATION_SECONDS, preexec_fn=limit_memory).stdout
    except subprocess.TimeoutExpired as late:
        output = (late.stdout or b"").decode(errors="replace")
    return SimulationResult(mutant, output, time.monotonic() - began)


def simulate(work, mutants, seeds, jobs):
    """Which mutants the simulation finds, and after how many seeds."""
    results = []
    with ThreadPoolExecutor(jobs) as pool:
        for result in pool.map(lambda mutant: simulate_mutant(work, mutant, seeds), mutants):
            results.append(result)
            found = f"seed {result.seed}: {result.how}" if result.seed else "not found"
            print(f"[{len(results)}/{len(mutants)}] {result.mutant.name}: {found} "
                  f"({result.seconds:.1f} s)", flush=True)
    return results


def simulation_markdown(results):
    lines = ["| Mutant | What is broken | Found at seed | As |", "|---|---|---|---|"]
    lines += [f"| {result.mutant.name} | {result.mutant.breaks} | {result.seed} | {result.how} |"
              for result in sorted(results, key=lambda result: result.seed or 0) if result.seed]
    return "\n".join(lines) + "\n"


def markdown(results, reasons):
    lines = ["| Mutant | What is broken | Killed by | How | s |", "|---|---|---|---|---|"]
    for result in sorted(results, key=lambda result: result.mutant.name):
        test, how = result.death or ("**survived**", "")
        lines.append(f"| {result.mutant.name} | {result.mutant.breaks} | `{test}` | {how} | "
                     f"{result.seconds:.1f} |")
    lines += [f"| {name} | none: {reason} | | | |" for name, reason in sorted(reasons.items())]
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true",
                        help="only check the tables against the sources and the tests")
    parser.add_argument("--only", metavar="NAME", action="append",
                        help="only this mutant, or those of this entry (F02); may be repeated")
    parser.add_argument("--markdown", metavar="FILE", type=Path,
                        help="write the table of the results to this file")
    parser.add_argument("--simulate", metavar="SEEDS", type=int,
                        help="run the simulation instead of the tests: how many seeds it needs to "
                             "find each mutant; many concern code that it does not reach")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(),
                        help="compilers and tests at a time (default: %(default)s)")
    parser.add_argument("--work", type=Path, default=ROOT / "build/mutants",
                        help="folder of the copy and its build (default: build/mutants)")
    arguments = parser.parse_args()

    mutants, reasons, problems = read_tables()
    texts, problems = check(mutants, reasons, problems)
    for problem in problems:
        print(problem)
    print(f"mutants: {len(mutants)}, of {len({m.failure for m in mutants} - {None})} entries of "
          f"the catalogue and {sum(m.failure is None for m in mutants)} mended defects; "
          f"{len(problems)} problems")
    if problems or arguments.check:
        return 1 if problems else 0

    chosen = mutants
    if arguments.only:
        chosen = [mutant for mutant in mutants
                  if mutant.name in arguments.only or mutant.failure in arguments.only]
        if not chosen:
            sys.exit(f"mutants: there is no {', '.join(arguments.only)}")
    work = arguments.work.resolve()
    copy_source(work / "source", texts)
    if arguments.simulate:
        build(work, ["sim_seeds"], arguments.jobs)
        results = simulate(work, chosen, arguments.simulate, arguments.jobs)
        if arguments.markdown:
            arguments.markdown.write_text(simulation_markdown(results), encoding="utf-8")
        found = [result for result in results if result.seed]
        print(f"mutants: the simulation found {len(found)} of {len(results)}")
        return 0
    build(work, sorted({Path(program).name for mutant in chosen for program, _ in mutant.tests}),
          arguments.jobs)
    results = run_all(work, chosen, arguments.jobs)
    if arguments.markdown:
        arguments.markdown.write_text(markdown(results, reasons), encoding="utf-8")
    survivors = [result.mutant for result in results if not result.death]
    for mutant in survivors:
        print(f"survived: {mutant.name}: {mutant.breaks}\n  {command_of(work, mutant)}")
    print(f"mutants: {len(results) - len(survivors)} of {len(results)} killed")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
