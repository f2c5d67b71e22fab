"""Runs the plan: in each round all workloads, in each workload all servers, in alternating order
(forwards in one round, backwards in the next)."""

import sys
import time
from dataclasses import dataclass, field

from bench_suite import processes, units
from bench_suite.processes import Failure
from bench_suite.stats import Results
from bench_suite.workloads import US, servers_of

CONNECT_NS = 60_000  # time to set up one connection, for the estimate
SPARE_DESCRIPTORS = 100


@dataclass(frozen=True)
class Step:
    round: int
    workload: object
    server: object
    timing: object

    @property
    def estimate(self):
        connecting = self.workload.connections * CONNECT_NS / 1e9
        return self.timing.warmup + self.timing.seconds + 0.15 + connecting


@dataclass
class Suite:
    """The workloads and servers to run, and the missing ones with the reason."""
    bin: object
    generator: object
    cores: object
    quick: bool
    rounds: int  # 0: the number of each workload
    budget: float  # seconds, for all steps
    workloads: list = field(default_factory=list)
    rivals: list = field(default_factory=list)  # names
    missing_servers: dict = field(default_factory=dict)  # (workload, server): reason
    missing_workloads: dict = field(default_factory=dict)  # workload: reason

    def find_missing(self):
        """Finds missing programs and modes before the measurement."""
        limit = processes.raise_descriptor_limit()
        for workload in self.workloads:
            if not self.generator.program.exists():
                self.missing_workloads[workload.name] = "weir-load was not built"
            elif self.generator.options(workload.mode) is None:
                self.missing_workloads[workload.name] = f"weir-load has no mode {workload.mode}"
            elif workload.connections + SPARE_DESCRIPTORS > limit:
                self.missing_workloads[workload.name] = (
                    f"{workload.connections:,} connections need more descriptors than the "
                    f"{limit:,} allowed (ulimit -Hn)")
            for server in self.servers(workload):
                if not (self.bin / server.words[0]).exists():
                    self.missing_servers[workload.name, server.name] = (
                        f"{server.words[0]} was not built")

    def servers(self, workload):
        return [server for server in servers_of(workload)
                if workload.servers or server.name in self.rivals]

    def plan(self):
        """Round by round, so that an early end gives fewer rounds, not fewer workloads."""
        steps = []
        present = [w for w in self.workloads if w.name not in self.missing_workloads]
        rounds = {w.name: self.rounds or w.timing(self.quick).rounds for w in present}
        for number in range(1, max(rounds.values(), default=0) + 1):
            for workload in present:
                if number > rounds[workload.name]:
                    continue
                servers = [server for server in self.servers(workload)
                           if (workload.name, server.name) not in self.missing_servers]
                if number % 2 == 0:
                    servers.reverse()
                steps += [Step(number, workload, server, workload.timing(self.quick))
                          for server in servers]
        return steps


def load_words(step, address, pid, offered):
    """The command line of weir-load, with those optional arguments that its mode `offered`."""
    workload, timing = step.workload, step.timing
    words = [workload.mode, address, *workload.options]
    wishes = [("--duration", timing.seconds), ("--warmup", timing.warmup), ("--pid", pid)]
    if workload.mode == "churn":
        wishes.append(("--source", "127.0.0.0/8"))  # ports in TIME_WAIT must not run out
    for option, value in wishes:
        if option in offered and (value or option != "--warmup"):
            words += [option, str(value)]
    return words


def metrics_of(report, whole_cpu):
    """The figures of one run, and the part that its CPU time is for: weir-load measures the
    measured part, `whole_cpu` is for the whole run. Figures that were not measured are None."""
    latency = report.get("latency_us") or {}
    server = report.get("server") or {}
    messages = report.get("messages") or 0
    measured = server.get("cpu_s")
    cpu = measured * 1e9 if measured is not None else whole_cpu
    memory = server.get("rss_per_connection")
    return {
        # 0 is not valid: the server ran for less than the resolution of the scheduler.
        "cpu_ns": cpu / messages if messages and cpu else None,
        "rate": report.get("rate"),
        "p50_us": latency.get("p50"),
        "p99_us": latency.get("p99"),
        "p999_us": latency.get("p999"),
        "memory": memory,
    }, "measured part" if measured is not None else "whole run"


class Runner:
    def __init__(self, suite, say=None):
        self.suite = suite
        self.say = say or Progress()
        self.runs = []
        self.ended = "complete"

    def go(self):
        """Runs until the plan is complete, the time is over or the user interrupts it."""
        steps = self.suite.plan()
        expected, begun, spent = sum(step.estimate for step in steps), time.monotonic(), 0.0
        for index, step in enumerate(steps):
            passed = time.monotonic() - begun
            if passed > self.suite.budget:
                self.ended = "out of time"
                break
            # The ratio of the real time to the estimate so far.
            pace = passed / spent if spent > 5 else 1
            left = min((expected - spent) * pace, self.suite.budget - passed)
            self.say.begins(step, index, len(steps), passed, left)
            self.runs.append(self.run(step, begun, self.suite.budget - passed))
            spent += step.estimate
            following = steps[index + 1] if index + 1 < len(steps) else None
            if not following or (following.round, following.workload) != (step.round,
                                                                          step.workload):
                self.say.workload_done(step, self.runs)
        self.say.over()

    def run(self, step, begun, left):
        run = {"workload": step.workload.name, "server": step.server.name, "round": step.round,
               "at_s": round(time.monotonic() - begun, 2)}
        try:
            run |= self.measure(step, left)
        except Failure as failure:
            run |= {"failure": str(failure), "metrics": {}}
        return run

    def measure(self, step, left):
        suite, workload = self.suite, step.workload
        cores, load_cores = suite.cores.split(step.server.threads)
        words = [word.format(work=workload.work) for word in step.server.words]
        server = processes.Server([suite.bin / words[0], *words[1:], "--listen", "127.0.0.1:0"],
                                  cores)
        try:
            offered = suite.generator.options(workload.mode)
            command = load_words(step, server.address, server.pid, offered)
            before = processes.cpu_ns(server.pid)
            report = suite.generator.run(command, load_cores,
                                         most_seconds(step, left))
            if not server.alive():
                raise Failure(f"the server ended by itself: {server.last_words()}")
            whole = processes.cpu_ns(server.pid) - before
        finally:
            obeyed = server.close()
        if not obeyed:
            raise Failure("the server did not end on SIGTERM")
        if report.get("errors") or report["exit"] != 0:
            raise Failure(f"{report.get('errors') or 'unknown'} errors {error_kinds(report)}")
        if not report.get("messages"):
            raise Failure("not one message came back")
        metrics, over = metrics_of(report, whole)
        return {"command": " ".join(["weir-load", *command]), "metrics": metrics,
                "cpu_over": over, "messages": report["messages"], "report": report}


def most_seconds(step, left):
    """The time limit of a run: generous, but about within the total time."""
    return min(20 + 3 * (step.timing.seconds + step.timing.warmup), max(left, 2 * step.estimate))


def error_kinds(report):
    kinds = report.get("errors_by_kind") or {}
    return "(" + ", ".join(f"{kind}: {count}" for kind, count in kinds.items()) + ")"


class Progress:
    """The progress: a line that is rewritten on a terminal, and a line for each workload and
    round."""

    def __init__(self, out=sys.stderr):
        self.out, self.live = out, out.isatty()

    def begins(self, step, index, count, passed, left):
        self.left = left
        if self.live:
            text = (f"  {index + 1} of {count}  round {step.round}  {step.workload.name}  "
                    f"{step.server.name}  ({units.duration(passed)} so far, about "
                    f"{units.duration(left)} left)")
            self.write(f"\r{text[:110]:<110}\r")

    def workload_done(self, step, runs):
        name, metric = step.workload.name, step.workload.metric
        mine = [run for run in runs if run["workload"] == name and run["round"] == step.round]
        results = Results(mine)
        failed = [run["server"] for run in mine if run.get("failure")]
        if step.workload.servers:
            base, us = step.workload.baseline, None
        else:
            base, us = step.workload.baseline, US
        words = [f"  round {step.round}  {name:<13}"]
        for server in (base, us):
            found = results.summary(name, server, metric) if server else None
            if found:
                words.append(f"{server} {units.show(metric, found.median)}")
        words.append(f"{len(mine) - len(failed)} of {len(mine)} servers")
        if failed:
            words.append("failed: " + ", ".join(failed))
        words.append(f"about {units.duration(self.left)} left")
        self.write(f"{'  '.join(words):<110}\n")

    def over(self):
        if self.live:
            self.write(" " * 110 + "\r")

    def write(self, text):
        self.out.write(text)
        self.out.flush()


