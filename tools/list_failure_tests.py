#!/usr/bin/env python3
"""Lists the entries of the failure catalogue that no test is named after.

A test of entry F19 is a TEST whose own name starts with `F19_`. Prints each id that has none and
exits 1 if there was any; with --all prints every id with its tests.
"""

import argparse
import re
import sys
from pathlib import Path

# The entries that the floors built so far can meet.
EXPECTED = "F01-F65 F68-F72"

TEST = re.compile(r"^\s*(?:TYPED_)?TEST(?:_[FP])?\s*\(\s*(\w+)\s*,\s*(F\d\d)(_\w+)", re.M)
# A test that does not run is not a test.
DISABLED = re.compile(r"^DISABLED_|_DISABLED")


def expand(ranges):
    """"F01-F03 F07" -> ["F01", "F02", "F03", "F07"]."""
    ids = []
    for part in ranges.split():
        first, _, last = part.partition("-")
        for number in range(int(first[1:]), int((last or first)[1:]) + 1):
            ids.append(f"F{number:02}")
    return ids


def find_tests(root):
    """id -> list of "path: Suite.F19_Name"."""
    found = {}
    for file in sorted((root / "tests").rglob("*.cc")):
        text = file.read_text(encoding="utf-8")
        for suite, failure, rest in TEST.findall(text):
            if not DISABLED.search(suite):
                where = f"{file.relative_to(root)}: {suite}.{failure}{rest}"
                found.setdefault(failure, []).append(where)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parent.parent)
    parser.add_argument("--all", action="store_true", help="print every id with its tests")
    arguments = parser.parse_args()
    expected = expand(EXPECTED)
    found = find_tests(arguments.root)
    if arguments.all:
        for failure in sorted(set(expected) | set(found)):
            print(failure)
            for where in found.get(failure, []):
                print(f"  {where}")
    missing = [failure for failure in expected if failure not in found]
    for failure in missing:
        print(f"{failure}: no test is named after it")
    print(f"list_failure_tests: {len(expected) - len(missing)} of {len(expected)} have a test")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
