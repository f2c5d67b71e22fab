#!/usr/bin/env python3
"""Compares the failure catalogue, docs/failures.md, with the tests named after its entries.

The name of a test of entry F19 starts with `F19_`; that of a test of two entries with `F16_F57_`.
Reports and exits 1 if

- the entries of the catalogue are not F01, F02, ... in order, each once;
- an entry has no test, or does not name one, unless its list of tests is "none";
- a test has an id that is not in the catalogue;
- the catalogue names a test that does not exist.

With --all prints every id with its tests.
"""

import argparse
import re
import sys
from pathlib import Path

CATALOGUE = "docs/failures.md"

ENTRY = re.compile(r'^### <a id="f(\d+)"></a>F\1: .*$', re.M)
# The heading of the next topic, which is not an entry.
TOPIC = re.compile(r"^## ", re.M)
TESTS_OF_ENTRY = re.compile(r"^- Tests: (.*)", re.M | re.S)
NAMED_TEST = re.compile(r"`(\w+\.F\d+_\w+)`")

TEST = re.compile(r"^\s*(?:TYPED_)?TEST(?:_[FP])?\s*\(\s*(\w+)\s*,\s*((?:F\d+_)+)(\w+)", re.M)
# Disabled tests do not count.
DISABLED = re.compile(r"^DISABLED_|_DISABLED")


def read_catalogue(root):
    """List of (id, list of the tests that the entry names, or None if its list is "none")."""
    text = (root / CATALOGUE).read_text(encoding="utf-8")
    entries = []
    for heading in ENTRY.finditer(text):
        rest = text[heading.end():]
        end = re.search(f"{ENTRY.pattern}|{TOPIC.pattern}", rest, re.M)
        tests = TESTS_OF_ENTRY.search(rest[:end.start()] if end else rest)
        listed = tests.group(1) if tests else ""
        named = None if listed.startswith("none") else NAMED_TEST.findall(listed)
        entries.append((f"F{heading.group(1)}", named))
    return entries


def find_tests(root):
    """id -> {"Suite.F19_Name": path}."""
    found = {}
    for file in sorted((root / "tests").rglob("*.cc")):
        text = file.read_text(encoding="utf-8")
        for suite, ids, rest in TEST.findall(text):
            if not DISABLED.search(suite):
                for failure in ids.split("_")[:-1]:
                    tests = found.setdefault(failure, {})
                    tests[f"{suite}.{ids}{rest}"] = file.relative_to(root)
    return found


def compare(entries, found):
    """The messages about all differences."""
    for number, (failure, named) in enumerate(entries, start=1):
        if failure != f"F{number:02}":
            yield f"{failure}: {CATALOGUE} should have F{number:02} here"
            return
        tests = found.get(failure, {})
        if named is None and tests:
            yield f"{failure}: {CATALOGUE} lists no test, but {next(iter(tests))} is one"
        if named is not None and not tests:
            yield f"{failure}: no test is named after it"
        if named == []:
            yield f"{failure}: {CATALOGUE} names none of its tests"
        for test in named or []:
            if test not in tests:
                yield f"{failure}: {CATALOGUE} names {test}, which is not a test of it"
    for failure in sorted(set(found) - {failure for failure, _ in entries}):
        for test, file in found[failure].items():
            yield f"{failure}: {file}: {test} has an id that is not in {CATALOGUE}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parent.parent)
    parser.add_argument("--all", action="store_true", help="print every id with its tests")
    arguments = parser.parse_args()
    entries = read_catalogue(arguments.root)
    found = find_tests(arguments.root)
    if arguments.all:
        for failure in sorted(set(found) | {failure for failure, _ in entries}):
            print(failure)
            for test, file in found.get(failure, {}).items():
                print(f"  {file}: {test}")
    problems = list(compare(entries, found))
    if not entries:
        problems.append(f"{CATALOGUE} has no entry")
    for problem in problems:
        print(problem)
    tested = sum(failure in found for failure, _ in entries)
    print(f"list_failure_tests: {tested} of {len(entries)} have a test")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
