"""Medians, ranges, and ratios within a round. The summary of an empty list is None."""

from dataclasses import dataclass
from math import comb
from statistics import median


@dataclass(frozen=True)
class Summary:
    median: float
    least: float
    most: float
    count: int

    @property
    def spread(self):
        """The range as a share of the median."""
        return (self.most - self.least) / self.median if self.median else 0.0


def summarize(values):
    values = [value for value in values if value is not None]
    if not values:
        return None
    return Summary(median(values), min(values), max(values), len(values))


class Results:
    """The runs of a report by workload and server."""

    def __init__(self, runs):
        self.cells = {}
        for run in runs:
            self.cells.setdefault((run["workload"], run["server"]), []).append(run)

    def runs(self, workload, server):
        return self.cells.get((workload, server), [])

    def good(self, workload, server):
        return [run for run in self.runs(workload, server) if not run.get("failure")]

    def values(self, workload, server, metric):
        """{round: value} of the runs that succeeded."""
        return {run["round"]: run["metrics"][metric] for run in self.good(workload, server)
                if run["metrics"].get(metric) is not None}

    def summary(self, workload, server, metric):
        return summarize(self.values(workload, server, metric).values())

    def ratio(self, workload, server, baseline, metric):
        """The figure of `server` divided by that of `baseline` in the same round."""
        own = self.values(workload, server, metric)
        base = self.values(workload, baseline, metric)
        return summarize([own[n] / base[n] for n in own if base.get(n)])

    def failures(self, workload, server):
        return [run["failure"] for run in self.runs(workload, server) if run.get("failure")]


# A difference below this share of the median is not a change, whatever the ranges are.
SMALLEST_CHANGE = 0.02
# With fewer rounds there is no verdict.
FEWEST = 3


def chance_of_false_alarm(old_count, new_count):
    """The probability that two samples of one distribution have ranges that do not overlap."""
    return 2 / comb(old_count + new_count, old_count)


def judge(old, new):
    """"less", "more", "same" (within the noise) or "unclear" (too few rounds to tell).

    A change is what takes all rounds of the one report beyond all rounds of the other, by at least
    SMALLEST_CHANGE in the median.
    """
    if min(old.count, new.count) < FEWEST:
        return "unclear"
    if abs(new.median - old.median) < SMALLEST_CHANGE * abs(old.median):
        return "same"
    if new.least > old.most:
        return "more"
    if new.most < old.least:
        return "less"
    return "same"
