#!/usr/bin/env python3
"""Prints the coverage of each folder from the JSON summary of gcovr (see tools/coverage), the files
with the most that is not covered, and exits with 1 below the floor."""

import argparse
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LEAST_LINES = 95.0
LEAST_BRANCHES = 85.0
WORST_FILES = 15


class Count:
    def __init__(self):
        self.lines = self.lines_reached = self.branches = self.branches_reached = 0

    def add(self, file):
        self.lines += file["line_total"]
        self.lines_reached += file["line_covered"]
        self.branches += file["branch_total"]
        self.branches_reached += file["branch_covered"]

    def line_percent(self):
        return 100 * self.lines_reached / self.lines if self.lines else 100.0

    def branch_percent(self):
        return 100 * self.branches_reached / self.branches if self.branches else 100.0

    def row(self, name):
        return (f"{name:32} {self.lines_reached:6} of {self.lines:6} {self.line_percent():6.1f} % "
                f"{self.branches_reached:6} of {self.branches:6} {self.branch_percent():6.1f} %")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("summary", type=Path, help="the file that gcovr --json-summary wrote")
    files = json.loads(parser.parse_args().summary.read_text(encoding="utf-8"))["files"]

    whole, folders = Count(), {}
    for file in files:
        # gcov saw headers through the links of the build tree.
        file["filename"] = str(Path(file["filename"]).resolve().relative_to(ROOT))
        parts = Path(file["filename"]).parts
        folder = parts[0] if parts[0] == "base" else "/".join(parts[:2])
        folders.setdefault(folder, Count()).add(file)
        whole.add(file)
    print(f"{'folder':32} {'lines':>25} {'branches':>25}")
    for folder, count in sorted(folders.items()):
        print(count.row(folder))
    print(whole.row("all"))

    def missed(file):
        return file["line_total"] - file["line_covered"]

    print("\nlines and branches that no test reaches:")
    for file in sorted(files, key=missed, reverse=True)[:WORST_FILES]:
        branches = file["branch_total"] - file["branch_covered"]
        print(f"  {file['filename']}: {missed(file)} lines, {branches} branches")

    low = []
    if whole.line_percent() < LEAST_LINES:
        low.append(f"lines: {whole.line_percent():.1f} %, at least {LEAST_LINES:.0f} % are wanted")
    if whole.branch_percent() < LEAST_BRANCHES:
        low.append(f"branches: {whole.branch_percent():.1f} %, at least {LEAST_BRANCHES:.0f} % are "
                   "wanted")
    for sentence in low:
        print(f"coverage: {sentence}")
    return 1 if low or not files else 0


if __name__ == "__main__":
    sys.exit(main())
