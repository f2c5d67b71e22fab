#!/usr/bin/env python3
"""Compares weir with other libraries and writes the report bench-report/."""

import argparse
import json
import signal
import sys
import time
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

from bench_suite import compare, extras, machine, report_html, report_md, units  # noqa: E402
from bench_suite.processes import Generator  # noqa: E402
from bench_suite.runner import Runner, Suite  # noqa: E402
from bench_suite.workloads import BASELINE, RIVALS, WORKLOADS, Timing  # noqa: E402

FORMAT = 1  # of raw.json
# Seconds: for the servers, and for the parts after them.
BUDGETS = {"quick": (130, 40), "full": (1700, 900), "smoke": (60, 0)}
EXTRAS = ("micro", "counts", "programs")


class Mistake(Exception):
    """A mistake on the command line; the text is the error message."""


def words_of(texts):
    return [word for text in texts for word in text.split(",") if word]


def parse_arguments(arguments):
    parser = argparse.ArgumentParser(prog="tools/bench", description=__doc__)
    parser.add_argument("--quick", action="store_true",
                        help="less than 3 minutes instead of less than 45, less accurate")
    parser.add_argument("--smoke", action="store_true",
                        help="a test of the suite with few connections, in seconds; the figures "
                        "are not valid")
    parser.add_argument("--only", action="append", default=[], metavar="NAME",
                        help="only these workloads (or micro, counts, programs); see --list")
    parser.add_argument("--rivals", action="append", default=[], metavar="LIST",
                        help="only these servers, and raw_epoll; separated by commas")
    parser.add_argument("--rounds", type=int, default=0, metavar="N",
                        help="number of rounds of every workload")
    parser.add_argument("--out", type=Path, default=Path("bench-report"), metavar="DIR",
                        help="folder of the report (bench-report)")
    parser.add_argument("--bin", type=Path, default=Path("build/release/bin"), metavar="DIR",
                        help="folder of the programs (build/release/bin)")
    parser.add_argument("--compare", nargs="+", type=Path, metavar="RAW.json",
                        help="measure nothing; print the changes from OLD.json to NEW.json "
                        "(default: the last report)")
    parser.add_argument("--list", action="store_true", help="print the workloads and servers")
    args = parser.parse_args(arguments)
    if args.quick and args.smoke:
        raise Mistake("--quick and --smoke exclude each other")
    if args.rounds < 0 or args.rounds > 1000:
        raise Mistake("--rounds must be between 1 and 1000")
    if args.compare and len(args.compare) > 2:
        raise Mistake("--compare takes one or two files")
    args.mode = "smoke" if args.smoke else "quick" if args.quick else "full"
    return args


def chosen(names, known, what):
    unknown = [name for name in names if name not in known]
    if unknown:
        raise Mistake(f"there is no {what} {unknown[0]}; tools/bench --list prints all names")
    return [name for name in known if name in names] if names else list(known)


# Long enough that also a server that shares its processors with a build gets some time in it: a run
# in whose measured part the server did nothing has no figures.
SMOKE_SECONDS = 0.4


def smoke_of(workload):
    """The same workload with at most 40 connections."""
    options = list(workload.options)
    at = options.index("--connections") + 1
    count = min(int(options[at]), 40)
    options[at] = str(count)
    return replace(workload, options=tuple(options), connections=count,
                   full=Timing(SMOKE_SECONDS, 0, 1))


def list_all():
    print("workloads:")
    for workload in WORKLOADS:
        print(f"  {workload.name:<16}{workload.title}")
    print("servers (all workloads that do not name their own):")
    for server in RIVALS:
        print(f"  {server.name:<22}{server.what}")
    for workload in WORKLOADS:
        if workload.servers:
            print(f"servers of {workload.name}:")
            for server in workload.servers:
                print(f"  {server.name:<22}{server.what}")


def load(path):
    try:
        data = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise Mistake(f"{path} cannot be read as a report: {error}") from None
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise Mistake(f"{path} is not a raw.json of this suite")
    return data


def make_suite(args):
    only = chosen(words_of(args.only), [w.name for w in WORKLOADS] + list(EXTRAS), "workload")
    rivals = chosen(words_of(args.rivals), [server.name for server in RIVALS], "server")
    if BASELINE not in rivals:
        rivals.insert(0, BASELINE)  # all others are compared with it
    workloads = [workload for workload in WORKLOADS if workload.name in only]
    if args.smoke:
        workloads = [smoke_of(workload) for workload in workloads]
    suite = Suite(args.bin, Generator(args.bin / "weir-load"), machine.Cores(), args.quick,
                  args.rounds, BUDGETS[args.mode][0], workloads, rivals)
    suite.find_missing()
    return suite, only


def announce(suite, args):
    steps = suite.plan()
    most = sum(BUDGETS[args.mode])
    print(f"bench: {args.mode} mode, {len(steps)} runs of servers, about "
          f"{units.duration(min(sum(step.estimate for step in steps), BUDGETS[args.mode][0]))} for "
          f"them; never more than {units.duration(most)} in total")
    cores = suite.cores
    if cores.shared(1):
        print("bench: only one core: server and generator share it, so times are rough")
    for name, reason in suite.missing_workloads.items():
        print(f"bench: missing: {name}: {reason}")
    for program in sorted({reason for reason in suite.missing_servers.values()}):
        print(f"bench: missing: {program}")
    sys.stdout.flush()


def run_extras(data, args, only, cores, end):
    """Adds the other parts, each within the time that is left until `end`."""
    def left(share):
        return max(2, share * (end - time.monotonic()))
    if "micro" in only:
        print("  micro benchmarks", file=sys.stderr)
        data["micro"] = extras.run_micro(args.bin, args.quick, left(0.5), cores.all)
    if "programs" in only:
        print("  sizes, epoll against poll and select, timers and posts", file=sys.stderr)
        data["texts"] = extras.run_programs(args.bin, args.quick, left(0.5), cores)
    if "counts" in only:
        print("  counts", file=sys.stderr)
        data["counts"] = extras.run_counts(ROOT, args.bin, data["rivals"], args.quick, left(1),
                                           cores.all)


def measure(args, arguments):
    """(data of the report, exit status)"""
    suite, only = make_suite(args)
    data = {
        "format": FORMAT, "mode": args.mode, "ended": "complete",
        "started": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "command": " ".join(["tools/bench", *arguments]),
        "machine": machine.describe(ROOT, args.bin.parent, suite.cores),
        "workloads": [workload.name for workload in suite.workloads], "rivals": suite.rivals,
        "missing_workloads": suite.missing_workloads,
        "missing_servers": {"/".join(key): reason
                            for key, reason in suite.missing_servers.items()},
    }
    announce(suite, args)
    begun, runner = time.monotonic(), Runner(suite)
    try:
        runner.go()
        data["ended"] = runner.ended
        if not args.smoke:
            run_extras(data, args, only, suite.cores, begun + sum(BUDGETS[args.mode]))
    except KeyboardInterrupt:
        print("\nbench: interrupted; the report has the figures measured so far", file=sys.stderr)
        data["ended"] = "interrupted"
    data["runs"], data["seconds"] = runner.runs, round(time.monotonic() - begun, 1)
    failed = [run for run in runner.runs if run.get("failure")]
    for run in failed:
        print(f"bench: failed: {run['workload']}, {run['server']}, round {run['round']}: "
              f"{run['failure']}")
    status = 130 if data["ended"] == "interrupted" else 1 if failed else 0
    return data, status


def write_report(data, folder):
    folder.mkdir(parents=True, exist_ok=True)
    raw = folder / "raw.json"
    if raw.exists():
        raw.replace(folder / "previous.json")
    raw.write_text(json.dumps(data, indent=1) + "\n")
    (folder / "report.html").write_text(report_html.page(data))
    (folder / "report.md").write_text(report_md.page(data))


def main(arguments):
    try:
        args = parse_arguments(arguments)
        if args.list:
            list_all()
            return 0
        if args.compare:
            new = args.compare[1] if len(args.compare) == 2 else args.out / "raw.json"
            print(compare.describe(load(args.compare[0]), load(new)))
            return 0
        data, status = measure(args, arguments)
    except Mistake as mistake:
        print(f"error: {mistake}", file=sys.stderr)
        return 2
    write_report(data, args.out)
    print()
    print(report_md.short(data))
    print(f"\nbench: {units.duration(data['seconds'])}; the report is in {args.out}/report.html "
          f"(and report.md, raw.json)")
    return status


def interrupt(*_):
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, interrupt)
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
