#!/usr/bin/env python3
"""tools/bench: its arithmetic, its reports, and short runs of everything that is built."""

import copy
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree as ET
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

from bench_suite import charts, compare, content, report_html, report_md  # noqa: E402
from bench_suite import stats, units, workloads  # noqa: E402
from bench_suite.machine import Cores  # noqa: E402
from bench_suite.processes import Generator, read_hdr  # noqa: E402
from bench_suite.runner import Suite, metrics_of  # noqa: E402
from harness import BIN, SystemTest, wait_until  # noqa: E402
from made_up_report import made_up_report  # noqa: E402

MAIN = ROOT / "tools" / "bench_suite" / "main.py"


class Statistics(unittest.TestCase):
    def results(self, values):
        return stats.Results([
            {"workload": "w", "server": server, "round": number,
             "metrics": {"cpu_ns": value}} for server, row in values.items()
            for number, value in enumerate(row, 1)])

    def test_nothing_has_no_summary(self):
        self.assertIsNone(stats.summarize([None, None]))
        self.assertIsNone(self.results({}).summary("w", "a", "cpu_ns"))

    def test_ratios_are_those_of_a_round(self):
        results = self.results({"base": [100, 200, 300], "a": [110, 220, 330]})
        ratio = results.ratio("w", "a", "base", "cpu_ns")
        for value in (ratio.median, ratio.least, ratio.most):
            self.assertAlmostEqual(value, 1.1)
        self.assertEqual(ratio.count, 3)

    def test_a_failed_run_counts_nowhere(self):
        results = stats.Results([
            {"workload": "w", "server": "a", "round": 1, "metrics": {"cpu_ns": 5}},
            {"workload": "w", "server": "a", "round": 2, "metrics": {}, "failure": "it broke"}])
        self.assertEqual(results.summary("w", "a", "cpu_ns").count, 1)
        self.assertEqual(results.failures("w", "a"), ["it broke"])

    def test_change_and_noise(self):
        old = stats.summarize([1.00, 1.01, 1.02])
        self.assertEqual(stats.judge(old, stats.summarize([1.10, 1.11, 1.12])), "more")
        self.assertEqual(stats.judge(old, stats.summarize([0.90, 0.91, 0.92])), "less")
        self.assertEqual(stats.judge(old, stats.summarize([1.015, 1.2, 1.3])), "same")
        self.assertEqual(stats.judge(old, stats.summarize([1.021, 1.022, 1.023])), "same")
        self.assertEqual(stats.judge(old, stats.summarize([2.0, 2.0])), "unclear")
        self.assertAlmostEqual(stats.chance_of_false_alarm(5, 5), 2 / 252)

    def test_numbers_have_units(self):
        self.assertEqual(units.nanoseconds(999.9), "1.00 us")
        self.assertEqual(units.nanoseconds(36.94), "36.9 ns")
        self.assertEqual(units.microseconds(12345), "12.3 ms")
        self.assertEqual(units.per_second(1234567), "1.23 M/s")
        self.assertEqual(units.memory(209), "209 B")
        self.assertEqual(units.ratio(0.0371), "0.037x")
        self.assertEqual(units.duration(150), "2 min 30 s")


class Generating(unittest.TestCase):
    def test_cores(self):
        self.assertEqual(Cores([0, 1]).split(1), ([1], [0]))
        self.assertEqual(Cores([0, 1, 2, 3]).split(2), ([2, 3], [0, 1]))
        self.assertEqual(Cores([0, 1]).split(2), ([0, 1], [0, 1]))
        self.assertTrue(Cores([3]).shared(1))

    def test_hdr(self):
        text = ("       Value     Percentile TotalCount 1/(1-Percentile)\n\n"
                "      10.000 0.000000000000          1           1.00\n"
                "      20.500 0.500000000000         50           2.00\n"
                "      99.000 1.000000000000        100            inf\n"
                "#[Mean    =       21.000, StdDeviation   =        5.000]\n")
        self.assertEqual(read_hdr(text), [[0.0, 10000.0], [0.5, 20500.0]])

    def test_what_was_not_measured_is_none(self):
        metrics, _ = metrics_of({}, None)
        self.assertEqual(set(metrics.values()), {None})

    def test_order_alternates_and_rounds_are_outermost(self):
        with tempfile.TemporaryDirectory() as folder:
            for name in ("bench-raw_epoll", "bench-weir", "bench-asio"):
                Path(folder, name).touch()
            load = Path(folder, "weir-load")
            load.write_text("#!/bin/sh\necho ' --connections --json --warmup'\n")
            load.chmod(0o755)
            chosen = [w for w in workloads.WORKLOADS if w.name in ("echo_1", "bulk")]
            suite = Suite(Path(folder), Generator(load), Cores([0, 1]), True, 2, 60, chosen,
                          ["raw_epoll", "weir", "asio", "libev"])
            suite.find_missing()
            steps = [(s.round, s.workload.name, s.server.name) for s in suite.plan()]
        self.assertEqual(steps, [
            (number, workload, server) for number, servers in
            ((1, ("raw_epoll", "weir", "asio")), (2, ("asio", "weir", "raw_epoll")))
            for workload in ("echo_1", "bulk") for server in servers])
        self.assertEqual(suite.missing_servers["bulk", "libev"], "bench-libev was not built")


class Reports(unittest.TestCase):
    def test_every_picture_is_in_order(self):
        page = report_html.page(made_up_report())
        pictures = re.findall(r"<svg.*?</svg>", page, re.S)
        self.assertEqual(len(pictures), 2 * len(workloads.WORKLOADS) - 1)  # idle has no latency
        for picture in pictures:
            root = ET.fromstring(picture)
            width, height = float(root.get("width")), float(root.get("height"))
            for element in root.iter():
                for key in ("x", "x1", "x2", "cx"):
                    if element.get(key):
                        self.assertTrue(-0.1 <= float(element.get(key)) <= width + 0.1, picture)
                for key in ("y", "y1", "y2", "cy"):
                    if element.get(key):
                        self.assertTrue(-0.1 <= float(element.get(key)) <= height + 0.1, picture)
        self.assertNotIn("nan", page)
        self.assertIn("These figures are made up", page)
        # Self-contained: nothing is fetched.
        self.assertNotRegex(page, r"(src|href)=|https?:|@import|<script")

    def test_missing_and_failed_are_said(self):
        for page in (report_html.page(made_up_report()), report_md.page(made_up_report())):
            self.assertIn("missing: bench-libevent_events was not built", page)
            self.assertIn("failed: 12 errors (reset by peer: 12)", page)

    def test_a_report_of_nothing(self):
        data = made_up_report() | {"runs": [], "ended": "interrupted", "micro": None}
        for page in (report_html.page(data), report_md.page(data)):
            self.assertIn("Interrupted by the user", page)
            self.assertIn("not run", page)

    def test_weirs_bad_figures_are_coloured_as_those_of_others(self):
        page = report_html.page(made_up_report(slower=("echo_100", "weir", 2.0)))
        overview = page[page.index("At a glance"):page.index("What weir aims at")]
        [ours] = re.findall(r'<tr class="us">.*?</tr>', overview)
        self.assertIn('<td class="far">', ours)
        for shade in ("better", "worse", "far"):
            self.assertIsNotNone(background_of("td", {shade}, None))
            self.assertEqual(background_of("td", {shade}, "us"), background_of("td", {shade}, None))

    def test_names_are_escaped(self):
        data = made_up_report()
        data["runs"][0] |= {"failure": "<b>&"}
        data["runs"] = data["runs"][:1]
        page = report_html.page(data)
        self.assertIn("failed: &lt;b&gt;&amp;", page)
        self.assertNotIn("<b>&", page)

    def test_aims(self):
        rows = content.aims(made_up_report())
        self.assertEqual(len(rows), 10)
        self.assertEqual([row[-1] for row in rows if row[0].startswith("Echo")], ["yes"] * 4)

    def test_a_busy_machine_is_said(self):
        data = made_up_report(rounds=1)
        data["machine"]["busy_before"] = 1.5
        for page in (report_html.page(data), report_md.page(data)):
            self.assertIn("The machine was busy before the run (1.50 of 2 cores)", page)
            self.assertIn("too few rounds", page)

    def test_axes(self):
        self.assertEqual(charts.round_steps(97), [0, 25, 50, 75, 100])
        self.assertEqual(charts.round_steps(0), [0, 1])
        self.assertEqual(charts.log_ticks(12, 480), [10, 20, 50, 100, 200, 500])


def background_of(element, classes, row_class):
    """What a browser makes of the style sheet for a cell of a row: of the rules that set the
    background the most specific one, and of those the last."""
    best, value = (-1, -1), None
    sheet = re.sub(r"/\*.*?\*/", "", report_html.STYLE, flags=re.S)
    for selectors, body in re.findall(r"([^{}]+)\{([^{}]*)\}", sheet):
        background = re.search(r"background: ([^;]+)", body)
        for selector in selectors.split(","):
            *above, last = selector.split()
            name, *wanted = last.split(".")
            fits = name == element and set(wanted) <= classes
            fits = fits and above in ([], ["tr"], [f"tr.{row_class}"])
            specific = (selector.count("."), len(above) + 1)
            if background and fits and specific >= best:
                best, value = specific, background.group(1)
    return value


class Comparing(unittest.TestCase):
    def test_the_same_report_has_no_change(self):
        text = compare.describe(made_up_report(), made_up_report())
        self.assertRegex(text, r"\n0 of \d+ figures changed beyond noise")

    def test_one_change_is_found(self):
        new = made_up_report(slower=("echo_100", "weir", 1.5))
        text = compare.describe(made_up_report(), new)
        self.assertRegex(text, r"costs more \(1\):\n  echo_100, weir .* \+50\.0 %")
        self.assertNotIn("costs less", text)

    def test_a_faster_machine_is_no_change(self):
        new = copy.deepcopy(made_up_report())
        for run in new["runs"]:
            if run["metrics"].get("cpu_ns"):
                run["metrics"]["cpu_ns"] *= 0.7
        self.assertRegex(compare.describe(made_up_report(), new), r"\n0 of \d+ figures changed")

    def test_two_rounds_are_too_few(self):
        text = compare.describe(made_up_report(rounds=2), made_up_report(rounds=2))
        self.assertRegex(text, r"0 of \d+ figures changed beyond noise, [1-9]\d+ have too few")

    def test_one_system_call_more_is_found(self):
        new = copy.deepcopy(made_up_report())
        new["counts"]["report"]["weir"]["system_calls"]["ping-pong"]["total"] += 1
        self.assertRegex(compare.describe(made_up_report(), new),
                         r"costs more \(1\):\n  system_calls, ping-pong, weir ")

    def test_other_machines_are_named(self):
        new = made_up_report()
        new["machine"]["processor"] = "Another"
        self.assertIn("note: different processors: ", compare.describe(made_up_report(), new))


class Command(SystemTest):
    def run_it(self, *arguments, status=0):
        done = subprocess.run([sys.executable, MAIN, *map(str, arguments)], capture_output=True,
                              text=True, timeout=100, cwd=ROOT)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return done.stdout, done.stderr

    def test_mistakes(self):
        for words in (("--only", "nonsense"), ("--rivals", "nonsense"), ("--rounds", "-1"),
                      ("--quick", "--smoke"), ("--compare", "/nonexistent"),
                      ("--compare", "a", "b", "c"), ("--compare", __file__)):
            _, errors = self.run_it(*words, status=2)
            self.assertRegex(errors, r"\Aerror: [^\n]+\n\Z")

    def test_help_and_list(self):
        self.assertIn("--compare", self.run_it("--help")[0])
        self.assertIn("raw_epoll_512k", self.run_it("--list")[0])

    def test_nothing_is_built(self):
        out, _ = self.run_it("--smoke", "--bin", self.path("none"), "--out", self.path("report"))
        self.assertIn("missing: echo_1: weir-load was not built", out)
        data = json.loads(Path(self.path("report"), "raw.json").read_text())
        self.assertEqual(data["runs"], [])


class Smoke(SystemTest):
    def command(self, *arguments):
        return [sys.executable, MAIN, "--smoke", "--bin", BIN, "--out", self.path("report"),
                "--rivals", "raw_epoll,weir", *arguments]

    def report(self):
        return json.loads(Path(self.path("report"), "raw.json").read_text())

    def test_everything_that_is_built_works(self):
        done = subprocess.run(self.command(), capture_output=True, text=True, timeout=100,
                              cwd=ROOT)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        data = self.report()
        self.assertEqual(data["ended"], "complete")
        for section in content.sections(data):
            if section.name in data["missing_workloads"]:
                continue
            for server in section.servers:
                if f"{section.name}/{server.name}" not in data["missing_servers"]:
                    runs = [run for run in data["runs"]
                            if (run["workload"], run["server"]) == (section.name, server.name)]
                    self.assertIsNotNone(section.summary(server.name),
                                         (section.name, server.name, runs))

    def test_an_early_end_leaves_a_report_and_no_process(self):
        with open(self.path("errors"), "wb") as errors:
            process = subprocess.Popen(
                [str(word) for word in self.command("--rounds", "50", "--only", "triggers")],
                stdout=subprocess.PIPE, stderr=errors, cwd=ROOT)
        try:
            self.assertTrue(wait_until(lambda: "triggers" in Path(self.path("errors")).read_text()))
            servers = children_of(process.pid)
            process.send_signal(signal.SIGINT)
            out, _ = process.communicate(timeout=20)
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
        self.assertEqual(process.returncode, 130, out)
        data = self.report()
        self.assertEqual(data["ended"], "interrupted")
        self.assertGreater(len(data["runs"]), 0)
        page = Path(self.path("report"), "report.html").read_text()
        self.assertIn("Interrupted by the user", page)
        self.assertTrue(wait_until(lambda: not any(map(is_ours, servers)), 5))


def children_of(pid):
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(word) for word in text.split()]


def is_ours(pid):
    """Whether that process still is a program of ours (its number may have been given anew)."""
    try:
        return BIN.resolve() in Path(os.readlink(f"/proc/{pid}/exe")).parents
    except OSError:
        return False


if __name__ == "__main__":
    unittest.main()
