"""The changes between two reports that exceed the noise."""

from dataclasses import dataclass

from bench_suite import content, extras, stats, units
from bench_suite.stats import summarize


@dataclass
class Change:
    what: str
    unit: str  # of the two summaries: "x" for ratios, "B", "ns", "" for counts per message
    old: stats.Summary
    new: stats.Summary
    verdict: str

    @property
    def share(self):
        return self.new.median / self.old.median - 1 if self.old.median else 0.0


def show(value, unit):
    if unit == "x":
        return units.ratio(value)
    if unit == "":
        return f"{value:,.2f}"
    return units.memory(value) if unit == "B" else units.nanoseconds(value)


def comparable(old, new):
    """[Change, ...] for all figures that both reports have. Where possible, ratios within a round
    are compared, so that a faster machine is not a change."""
    changes = []
    olds = {section.name: section for section in content.sections(old)}
    for section in content.sections(new):
        before = olds.get(section.name)
        if not before:
            continue
        for server in section.servers:
            absolute = section.metric == "memory"
            if not absolute and server.name == section.workload.baseline:
                continue
            pair = [one.summary(server.name) if absolute else one.ratio(server.name)
                    for one in (before, section)]
            if all(pair):
                changes.append(Change(f"{section.name}, {server.name}", "B" if absolute else "x",
                                      *pair, stats.judge(*pair)))
    times = extras.micro_times(old.get("micro"))
    for name, (values, _) in extras.micro_times(new.get("micro")).items():
        if name in times:
            pair = [summarize(times[name][0]), summarize(values)]
            changes.append(Change(name, "ns", *pair, stats.judge(*pair)))
    return changes


def count_changes(old, new):
    """Counts do not depend on the speed of the machine, so one value of each is enough."""
    changes = []
    before = (old.get("counts") or {}).get("report") or {}
    for server, kinds in ((new.get("counts") or {}).get("report") or {}).items():
        for kind, loads in kinds.items():
            for load, found in loads.items():
                was = before.get(server, {}).get(kind, {}).get(load)
                if was is None:
                    continue
                pair = [summarize([one["total"]]) for one in (was, found)]
                changes.append(Change(f"{kind}, {load}, {server}", "", *pair,
                                      judge_count(was["total"], found["total"])))
    return changes


def judge_count(old, new):
    """Accepting and waking up cause differences of a hundredth of a call."""
    if abs(new - old) < max(0.01, stats.SMALLEST_CHANGE * abs(old)):
        return "same"
    return "more" if new > old else "less"


def unlike(old, new):
    """The differences that make the two reports hard to compare."""
    remarks = []
    for key, what in (("processor", "processors"), ("kernel", "kernels"),
                      ("compiler", "compilers"), ("flags", "compiler flags")):
        if old["machine"].get(key) != new["machine"].get(key):
            remarks.append(f"different {what}: {old['machine'].get(key)} then, "
                           f"{new['machine'].get(key)} now")
    if old["mode"] != new["mode"]:
        remarks.append(f"one is a {old['mode']} run, the other a {new['mode']} run")
    return remarks


def lines_of(changes, verdict):
    found = sorted((change for change in changes if change.verdict == verdict),
                   key=lambda change: -abs(change.share))
    width = max((len(change.what) for change in found), default=0)
    return [f"  {change.what:<{width}}  {show(change.old.median, change.unit):>8} -> "
            f"{show(change.new.median, change.unit):>8}  {100 * change.share:+.1f} %"
            + ranges(change) for change in found]


def ranges(change):
    if not change.unit:
        return ""
    was, now = (f"{show(one.least, change.unit)} \u2013 {show(one.most, change.unit)}"
                for one in (change.old, change.new))
    return f"   (was {was}, is {now})"


def describe(old, new):
    """The whole comparison as text."""
    timed, counted = comparable(old, new), count_changes(old, new)
    changes = timed + counted
    lines = [f"old: {old['machine']['commit']}, {old['started']}",
             f"new: {new['machine']['commit']}, {new['started']}"]
    lines += [f"note: {remark}" for remark in unlike(old, new)]
    if not changes:
        return "\n".join([*lines, "", "The two reports have nothing in common."])
    for verdict, title in (("more", "costs more"), ("less", "costs less")):
        found = lines_of(changes, verdict)
        if found:
            lines += ["", f"{title} ({len(found)}):", *found]
    judged = [change for change in changes if change.verdict != "unclear"]
    changed = sum(change.verdict in ("more", "less") for change in judged)
    by_chance = sum(stats.chance_of_false_alarm(change.old.count, change.new.count)
                    for change in timed if change.verdict != "unclear")
    lines += ["", f"{changed} of {len(judged)} figures changed beyond noise, "
              f"{len(changes) - len(judged)} have too few rounds (under {stats.FEWEST})."]
    if judged:
        lines.append(
            "Noise: it is a change if every round of one report is beyond every round of the "
            f"other and the median differs by {100 * stats.SMALLEST_CHANGE:.0f} % or more. By "
            f"chance that would happen to at most {by_chance:.1f} of {len(judged)}.")
    return "\n".join(lines)
