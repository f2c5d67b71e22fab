"""The other parts of the report: micro benchmarks, counts, programs that print a table."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from bench_suite import processes, units
from bench_suite.stats import summarize
from bench_suite.workloads import RIVALS

MICRO = "weir-micro"


class Program(NamedTuple):
    name: str
    title: str             # in the report
    quick: tuple = ()      # options of the quick run
    threads: bool = False  # has several threads and needs more than the server's core


PROGRAMS = (
    Program("weir-sizes", "Sizes"),
    Program("weir-poll-compare", "select, poll, epoll: few active among many"),
    Program("weir-parts-compare", "Timers and posts beside other libraries", ("--quick",), True),
)
MICRO_HEADS = ("benchmark", "time per item", "min \u2013 max", "allocations per item",
               "repetitions")

METHOD = (
    "Server and generator (weir-load) are separate processes on different cores. Each run starts a "
    "new server on a port that the kernel chooses, warms it up, measures, and ends it. In a round "
    "every server runs every workload once, in alternating order (forwards, then backwards), so "
    "that a change of the machine's speed affects all.",
    "The main figure is the CPU time of the server per message (as the scheduler counts it, user "
    "and kernel), because it does not depend on the speed of the generator. A ratio compares two "
    "servers within one round; medians and ranges are over the rounds. Whiskers and \"min \u2013 "
    "max\" show the whole range; no value is left out.",
    "Latency and throughput are those of a closed loop: the generator sends the next message after "
    "the answer to the last one. So it sends less to a server that stalls, and the percentiles do "
    "not show the stalls that independent clients would see. With many connections, latency is "
    "mostly the wait for the other connections. The curve is that of the round with the median "
    "p99.",
    "A difference of 2 % or less is noise, and so is a difference with overlapping ranges of the "
    "rounds. tools/bench --compare OLD.json uses exactly these rules.",
)


def run_text(command, seconds, cores):
    """The output of a program. Raises Failure."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        process = processes.start(command, cores, stdout=out, stderr=errors)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise processes.Failure(f"{Path(command[0]).name} was not done after "
                                    f"{seconds:.0f} s") from None
        finally:
            processes.stop_group(process)
        out.seek(0)
        errors.seek(0)
        if process.returncode != 0:
            last = errors.read().decode(errors="replace").strip().split("\n")[-1][:200]
            raise processes.Failure(f"{Path(command[0]).name} failed (exit {process.returncode}): "
                                    f"{last}")
        return out.read().decode(errors="replace")


def run_micro(bin_folder, quick, seconds, cores):
    program = bin_folder / MICRO
    if not program.exists():
        return {"missing": f"{MICRO} was not built"}
    command = [program, "--benchmark_format=json",
               f"--benchmark_min_time={0.005 if quick else 0.2}",
               "--benchmark_repetitions=3"]
    try:
        return {"report": json.loads(run_text(command, seconds, cores))}
    except processes.Failure as failure:
        return {"missing": str(failure)}
    except ValueError:
        return {"missing": f"{MICRO} did not write JSON"}


def run_counts(root, bin_folder, servers, quick, seconds, cores):
    """Counts one server after the other, so that a failure or the end of the time affects only one
    server. strace and valgrind are slow, so the quick run only counts allocations."""
    script = root / "benchmarks" / "counts.py"
    if not script.exists():
        return {"missing": "benchmarks/counts.py is not there"}
    part, end = {"report": {}, "failed": {}}, time.monotonic() + seconds
    for name in servers:
        left = end - time.monotonic()
        if not (bin_folder / f"bench-{name}").exists():
            part["failed"][name] = f"missing: bench-{name} was not built"
        elif left < 1:
            part["failed"][name] = "not run: the time was over"
        else:
            try:
                part["report"] |= count_one(script, bin_folder, name, quick, left, cores)
            except processes.Failure as failure:
                part["failed"][name] = f"failed: {failure}"
    return part


def count_one(script, bin_folder, name, quick, seconds, cores):
    with tempfile.TemporaryDirectory(prefix="weir-bench-") as folder:
        report = Path(folder, "counts.json")
        what = ["--what", "allocations"] if quick else []
        run_text([sys.executable, script, "--bin", bin_folder, "--servers", name, "--json", report,
                  *what], seconds, cores)
        try:
            return json.loads(report.read_text())
        except (OSError, ValueError):
            raise processes.Failure("counts.py did not write JSON") from None


def run_programs(bin_folder, quick, seconds, cores):
    texts = []
    for program in PROGRAMS:
        one = {"name": program.name, "title": program.title}
        path = bin_folder / program.name
        if not path.exists():
            one["missing"] = f"{program.name} was not built"
        else:
            try:
                one["text"] = run_text([path, *(program.quick if quick else ())], seconds,
                                       cores.all if program.threads else cores.server)
            except processes.Failure as failure:
                one["missing"] = str(failure)
        texts.append(one)
    return texts


FACTORS = {"ns": 1, "us": 1e3, "ms": 1e6, "s": 1e9}


def micro_times(part):
    """{name: ([ns per item, ...], allocations per item or None)}, in the order of the report."""
    found = {}
    for one in ((part or {}).get("report") or {}).get("benchmarks", []):
        if one.get("run_type") == "aggregate" or one.get("error_occurred"):
            continue
        name = one.get("run_name", one["name"])
        if "per_item" in one:
            ns = one["per_item"] * 1e9
        else:
            ns = one["real_time"] * FACTORS[one["time_unit"]]
        times, _ = found.setdefault(name, ([], one.get("allocs")))
        times.append(ns)
    return found


def micro_rows(part):
    rows = []
    for name, (times, allocations) in micro_times(part).items():
        time = summarize(times)
        rows.append([name.replace("/manual_time", "").replace("/real_time", ""),
                     units.nanoseconds(time.median),
                     f"{units.nanoseconds(time.least)} \u2013 {units.nanoseconds(time.most)}",
                     few(allocations), str(time.count)])
    return rows


def few(allocations):
    if allocations is None:
        return "-"
    return "< 0.001" if 0 < allocations < 0.001 else f"{allocations:.3g}"


COUNTS = (("system_calls", "system calls", 2), ("instructions", "instructions", 0),
          ("allocations", "allocations", 2))
LOADS = ("ping-pong", "pipelined")


def count_table(part):
    """(heads, rows) of the counts: a row for each server, a column for each count and load."""
    part = part or {}
    report, failed = part.get("report") or {}, part.get("failed") or {}
    kinds = [kind for kind in COUNTS if any(kind[0] in one for one in report.values())]
    heads = ["server"] + [f"{title}, {load}" for _, title, _ in kinds for load in LOADS]
    rows = []
    for server in RIVALS:
        if server.name in report:
            one = report[server.name]
            rows.append([server.title] + [count(one, kind, load, digits)
                                          for kind, _, digits in kinds for load in LOADS])
        elif server.name in failed:
            rows.append([server.title, failed[server.name]])
    return heads, rows


def count(one, kind, load, digits):
    found = one.get(kind, {}).get(load)
    return "-" if found is None else f"{found['total']:,.{digits}f}".replace("-0.00", "0.00")
