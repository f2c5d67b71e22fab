"""The content of the report, for HTML and Markdown: rows and remarks."""

from dataclasses import dataclass

from bench_suite import units
from bench_suite.charts import Bar, Line
from bench_suite.stats import FEWEST, Results, summarize
from bench_suite.workloads import BASELINE, METRICS, RIVALS, US, WORKLOADS, servers_of

ENDINGS = {
    "complete": "The whole plan was run.",
    "interrupted": "Interrupted by the user: some figures were not measured.",
    "out of time": "The time was over before the plan was complete: some have fewer rounds.",
}


@dataclass
class Section:
    """One workload of a report."""
    workload: object
    data: dict

    def __post_init__(self):
        self.results = Results(self.data["runs"])
        self.name = self.workload.name
        self.metric = self.workload.metric
        self.missing = self.data["missing_workloads"].get(self.name)
        wanted = self.data["rivals"]
        self.servers = [server for server in servers_of(self.workload)
                        if self.workload.servers or server.name in wanted]

    def summary(self, server, metric=None):
        return self.results.summary(self.name, server, metric or self.metric)

    def ratio(self, server, baseline=None, metric=None):
        return self.results.ratio(self.name, server, baseline or self.workload.baseline,
                                  metric or self.metric)

    def measured(self):
        return any(self.summary(server.name) for server in self.servers)

    def remark(self, server):
        """The reason why a server has no figures; "" if it has."""
        if self.summary(server.name):
            return ""
        gone = self.missing or self.data["missing_servers"].get(f"{self.name}/{server.name}")
        if gone:
            return f"missing: {gone}"
        failures = self.results.failures(self.name, server.name)
        return f"failed: {failures[-1]}" if failures else "not run"

    def bars(self):
        bars = []
        for server in self.servers:
            found, ratio = self.summary(server.name), self.ratio(server.name)
            if not found:
                remark = self.remark(server)
                bars.append(Bar(server.name, server.title, remark=remark,
                                failed=remark.startswith("failed")))
                continue
            bars.append(Bar(server.name, server.title, found.median, found.least, found.most,
                            units.show(self.metric, found.median),
                            units.ratio(ratio.median) if ratio else ""))
        return bars

    def axis(self):
        metric = METRICS[self.metric]
        per = "" if self.metric == "memory" else f" per {self.workload.message}"
        return f"{metric.title}{per}, median and min\u2013max; dashed: {self.base_title()}"

    def base_title(self):
        return next((server.title for server in self.servers
                     if server.name == self.workload.baseline), self.workload.baseline)

    def lines(self):
        """The latency distributions of the round with the median p99."""
        lines = []
        for server in self.servers:
            runs = [run for run in self.results.good(self.name, server.name)
                    if run["metrics"].get("p99_us")]
            if not runs:
                continue
            runs.sort(key=lambda run: run["metrics"]["p99_us"])
            points = distribution(runs[(len(runs) - 1) // 2]["report"])
            if points:
                lines.append(Line(server.name, server.title, points))
        return lines

    def rows(self):
        """[server, figures...] as texts, in the columns of heads()."""
        return [[server.title] + self.cells(server) for server in self.servers]

    def heads(self):
        what = METRICS[self.metric].title + ("" if self.metric == "memory"
                                             else f" a {self.workload.message}")
        heads = ["server", f"{what}: median", "min \u2013 max", f"x {self.base_title()}",
                 "min \u2013 max"]
        if self.metric != "memory":
            heads += ["throughput", "p50", "p99", "p99.9"]
        return heads + ["rounds"]

    def cells(self, server):
        found, ratio = self.summary(server.name), self.ratio(server.name)
        if not found:
            return [self.remark(server)]
        cells = [units.show(self.metric, found.median),
                 f"{units.show(self.metric, found.least)} \u2013 "
                 f"{units.show(self.metric, found.most)}"]
        cells += ([units.ratio(ratio.median),
                   f"{units.ratio(ratio.least)} \u2013 {units.ratio(ratio.most)}"]
                  if ratio else ["-", "-"])
        if self.metric != "memory":
            for metric in ("rate", "p50_us", "p99_us", "p999_us"):
                one = self.summary(server.name, metric)
                cells.append(units.show(metric, one.median if one else None))
        failed = len(self.results.failures(self.name, server.name))
        return cells + [f"{found.count}" + (f" ({failed} failed)" if failed else "")]

    def remarks(self):
        """Remarks on these figures."""
        runs = [run for server in self.servers for run in self.results.good(self.name, server.name)]
        remarks = []
        if self.metric == "cpu_ns" and any(run.get("cpu_over") == "whole run" for run in runs):
            remarks.append("The server's CPU time is that of the whole run, with connecting and "
                           "closing.")
        limited = sum(bool((run["report"].get("generator") or {}).get("bottleneck"))
                      for run in runs)
        if limited:
            remarks.append(f"In {limited} of {len(runs)} runs weir-load was itself the bottleneck: "
                           "the throughput is then that of the generator, not of the server.")
        crowded = [server.title for server in self.servers
                   if server.threads >= self.data["machine"]["cores"]]
        if crowded and runs:
            remarks.append(f"Server and generator had to share cores: {', '.join(crowded)}.")
        return remarks


def distribution(report):
    """[[share, microseconds], ...]: the whole distribution, if the generator wrote it; otherwise
    the percentiles of its report."""
    if report.get("hdr"):
        return report["hdr"]
    latency = report.get("latency_us") or {}
    named = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999), ("p9999", 0.9999))
    return [[share, latency[key]] for key, share in named if latency.get(key)]


def sections(data):
    names = set(data["workloads"])
    return [Section(workload, data) for workload in WORKLOADS if workload.name in names]


def warnings(data):
    """Warnings at the top of the report."""
    found = []
    if data.get("made_up"):
        found.append("These figures are made up, to try the report. Nothing here was measured.")
    if data["mode"] == "smoke":
        found.append("A smoke run, to see whether everything works: its figures mean nothing.")
    machine = data["machine"]
    if machine["busy_before"] > 0.1 * (machine["cores"] or 1):
        found.append(f"The machine was busy before the run ({machine['busy_before']:.2f} of "
                     f"{machine['cores']} cores): these figures are rough.")
    if data["ended"] != "complete":
        found.append(ENDINGS[data["ended"]])
    return found


def overview(data):
    """(heads, [(server, [(text, ratio or None), ...]), ...]): ratios to raw epoll."""
    main = [section for section in sections(data) if not section.workload.servers]
    heads = [section.workload.title for section in main]
    table = []
    for server in (server for server in RIVALS if server.name in data["rivals"]):
        cells = []
        for section in main:
            found, ratio = section.summary(server.name), section.ratio(server.name)
            if not found:
                cells.append((section.remark(server).split(":")[0], None))
            elif section.metric == "memory":
                cells.append((units.show("memory", found.median), None))
            elif ratio:
                cells.append((units.ratio(ratio.median), ratio.median))
            else:
                cells.append((units.show(section.metric, found.median), None))
        table.append((server, cells))
    return heads, table


def aims(data):
    """[workload, against, at most, measured, reached?] for the workloads with an aim."""
    rows = []
    for section in sections(data):
        if not section.workload.aim or US not in data["rivals"]:
            continue
        against, limit = section.workload.aim
        ratio = section.ratio(US, against)
        rows.append([
            section.workload.title,
            next(s.title for s in servers_of(section.workload) if s.name == against),
            f"{limit:.2f}x",
            f"{units.ratio(ratio.median)} ({units.ratio(ratio.least)} \u2013 "
            f"{units.ratio(ratio.most)})" if ratio else "not measured",
            reached(ratio, limit),
        ])
    return rows


def reached(ratio, limit):
    if not ratio:
        return "-"
    if ratio.count < FEWEST:
        return "too few rounds"
    return "yes" if ratio.median <= limit + 0.005 else "no"


def noise(data):
    """The spread of raw epoll's own figures in per cent: the noise of the machine."""
    spreads = []
    for section in sections(data):
        if section.workload.servers:
            continue
        found = section.summary(BASELINE)
        if found and found.count > 1 and section.metric == "cpu_ns":
            spreads.append(100 * found.spread)
    return summarize(spreads)


def machine_rows(data):
    machine = data["machine"]

    def cores(numbers):
        return ", ".join(str(number) for number in numbers)
    shared = machine["server_cores"] == machine["load_cores"]
    libraries, spread = machine.get("libraries") or {}, noise(data)
    return [
        ("processor", f"{machine['processor'] or 'unknown'}, {machine['cores']} cores"
         + (", a virtual machine" if machine.get("virtual") else "")),
        ("memory", units.memory(machine["memory_bytes"]) if machine["memory_bytes"] else "unknown"),
        ("pinned", f"server to core {cores(machine['server_cores'])}, weir-load to core "
         f"{cores(machine['load_cores'])}" + (" (the same!)" if shared else "")),
        ("governor", machine["governor"] or "unknown"),
        ("noise", f"{base_title()}'s own figures differ by {spread.median:.0f} % from round to "
         f"round (the whole range, median of the workloads; {spread.least:.0f} to "
         f"{spread.most:.0f} %)"
         if spread else "unknown: one round only"),
        ("busy before", f"{machine['busy_before']:.2f} cores (a quiet machine is near 0)"),
        ("system", f"{machine['system'] or 'unknown'}, Linux {machine['kernel']}"),
        ("compiler", machine["compiler"] or "unknown"),
        ("flags", machine["flags"] or "unknown"),
        ("libraries", ", ".join(f"{name} {version}" for name, version in libraries.items())
         or "none found"),
        ("weir", (machine["commit"] or "unknown")
         + (" with uncommitted changes" if machine["uncommitted_changes"] else "")),
        ("run", f"{data['started']}, {units.duration(data['seconds'])}, {data['mode']}; "
         f"{ENDINGS[data['ended']]}"),
        ("command", data["command"]),
    ]


def base_title():
    return next(server.title for server in RIVALS if server.name == BASELINE)
