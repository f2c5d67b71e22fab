"""report.html: one file without scripts and external resources."""

from html import escape

from bench_suite import charts, content, extras, units
from bench_suite.workloads import METRICS, US

STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0; background: #f4f5f7; color: #1c1f24;
       font: 14px/1.5 system-ui, "Segoe UI", "DejaVu Sans", Helvetica, Arial, sans-serif; }
main { max-width: 1280px; margin: 0 auto; padding: 20px 12px 48px; }
h1 { font-size: 26px; margin: 0 0 4px; }
h2 { font-size: 19px; margin: 0 0 2px; }
p { margin: 4px 0 10px; max-width: 125ch; }
section { background: #fff; border: 1px solid #dfe2e6; border-radius: 6px;
          padding: 16px 18px 18px; margin: 14px 0; }
.charts { display: flex; flex-wrap: wrap; gap: 12px; align-items: flex-start; }
.charts figure { margin: 0; flex: 1 1 500px; min-width: 0; max-width: 640px; }
figcaption { font-weight: 600; font-size: 13px; margin: 4px 0; }
svg { display: block; max-width: 100%; height: auto; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: 4px 10px; border-bottom: 1px solid #e6e8eb; text-align: right;
         white-space: nowrap; }
th { font-weight: 600; background: #f4f5f7; vertical-align: bottom; }
.narrow th { white-space: normal; min-width: 76px; }
th:first-child, td:first-child, .words td { text-align: left; }
.words td { white-space: normal; }
.words td:first-child { font-weight: 600; white-space: nowrap; vertical-align: top; }
tr.us { background: #eaf3fd; }  /* of the row; the colour of a cell, good or bad, covers it */
tr.us td { font-weight: 700; }
td.better { background: #dff3e4; } td.worse { background: #fdeecb; }
td.far { background: #f9d5cf; } td.none { color: #6b7078; font-style: italic; text-align: left; }
details { margin-top: 10px; } summary { cursor: pointer; color: #0a4f96; }
.banner { background: #b3261e; color: #fff; padding: 10px 16px; font-weight: 700;
          border-radius: 6px; margin: 12px 0; }
.note { color: #4a4f57; font-size: 13px; }
.scroll { overflow-x: auto; }
pre { background: #f4f5f7; border: 1px solid #e3e6ea; border-radius: 4px; padding: 10px 12px;
      overflow-x: auto; font: 12.5px/1.45 ui-monospace, "DejaVu Sans Mono", monospace; }
@media print { body { background: #fff; } section { break-inside: avoid; } }
"""


def page(data):
    parts = [head(data), overview(data), aims(data)]
    parts += [workload(section) for section in content.sections(data)]
    parts += [micro(data), counts(data), texts(data), machine(data), method()]
    return ('<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>weir: benchmark report</title><style>{STYLE}</style></head><body><main>\n"
            + "\n".join(part for part in parts if part) + "\n</main></body></html>\n")


def table(heads, rows, kind="", us=None):
    """`rows`: [first cell, ...]; in a short row the last cell spans the remaining columns."""
    lines = [f'<div class="scroll"><table class="{kind}">']
    if heads:
        lines.append("<tr>" + "".join(f"<th>{escape(head)}</th>" for head in heads) + "</tr>")
    for row in rows:
        mark = ' class="us"' if us is not None and row[0] == us else ""
        cells = [f"<td>{escape(cell)}</td>" for cell in row[:-1]]
        wide = len(heads) - len(row) + 1 if heads else 1
        cells.append(f'<td class="none" colspan="{wide}">{escape(row[-1])}</td>' if wide > 1
                     else f"<td>{escape(row[-1])}</td>")
        lines.append(f"<tr{mark}>{''.join(cells)}</tr>")
    return "\n".join(lines) + "</table></div>"


def head(data):
    machine = data["machine"]
    lines = ["<h1>weir: benchmark report</h1>"]
    lines += [f'<div class="banner">{escape(one)}</div>' for one in content.warnings(data)]
    lines.append(f'<p class="note">{escape(data["started"])} \u00b7 '
                 f'{escape(machine["processor"] or "unknown processor")}, {machine["cores"]} cores '
                 f'\u00b7 Linux {escape(machine["kernel"])} \u00b7 weir '
                 f'{escape(machine["commit"] or "unknown")} \u00b7 {escape(data["mode"])} mode, '
                 f'{units.duration(data["seconds"])}</p>')
    return "\n".join(lines)


def shade(ratio):
    if ratio is None:
        return ""
    if ratio <= 0.95:
        return "better"
    return "far" if ratio > 1.5 else "worse" if ratio > 1.08 else ""


def overview(data):
    heads, rows = content.overview(data)
    if not heads:
        return ""
    lines = ['<section><h2>At a glance</h2><p>Server CPU per message, in units of what '
             f'<b>{content.base_title()}</b> took in the same round (median of the rounds): less '
             'is better. The last column is memory per idle connection.</p>'
             '<div class="scroll"><table class="narrow"><tr><th>server</th>'
             + "".join(f"<th>{escape(head)}</th>" for head in heads) + "</tr>"]
    for server, cells in rows:
        mark = ' class="us"' if server.name == US else ""
        shown = "".join(f'<td class="{shade(value)}">{escape(words)}</td>'
                        for words, value in cells)
        lines.append(f'<tr{mark}><td title="{escape(server.what)}">{escape(server.title)}</td>'
                     f"{shown}</tr>")
    lines.append('</table></div><p class="note">Green: 0.95x or less; yellow: more than 1.08x; '
                 'red: more than 1.5x.</p></section>')
    return "\n".join(lines)


def aims(data):
    rows = content.aims(data)
    if not rows:
        return ""
    heads = ["workload", "against", "aim: at most", "measured (min \u2013 max)", "reached"]
    return ("<section><h2>What weir aims at</h2><p>Server CPU per message of a default-constructed "
            "server against the best hand-written loop for the workload, in the same round.</p>"
            + table(heads, rows) + "</section>")


def workload(section):
    work = section.workload
    lines = [f'<section id="{escape(work.name)}"><h2>{escape(work.title)}</h2>'
             f"<p>{escape(work.what)}</p>"]
    if section.missing:
        return lines[0] + f'<p class="note">Missing: {escape(section.missing)}.</p></section>'
    lines.append('<div class="charts">')
    metric = METRICS[section.metric]
    per = "" if section.metric == "memory" else f" per {work.message}"
    bars = charts.bar_chart(section.bars(), lambda v: units.tick(units.show(section.metric, v)),
                            section.axis(), work.baseline)
    lines.append(f"<figure><figcaption>{escape(metric.title + per)} (less is better)</figcaption>"
                 f"{bars}</figure>")
    curve = charts.latency_chart(section.lines(), lambda v: units.tick(units.microseconds(v)),
                                 f"share of the {plural(work.message)} that took no longer")
    if curve:
        lines.append("<figure><figcaption>latency distribution, closed loop (less is better)"
                     f"</figcaption>{curve}</figure>")
    lines.append("</div>")
    lines += [f'<p class="note">{escape(remark)}</p>' for remark in section.remarks()]
    figures = table(section.heads(), section.rows(), "narrow", us="weir")
    lines.append(f"<details open><summary>figures</summary>{figures}</details></section>")
    return "\n".join(lines)


def plural(word):
    return "deliveries" if word == "delivery" else word + "s"


def micro(data):
    rows = extras.micro_rows(data.get("micro"))
    if not rows:
        return missing("Micro benchmarks", data.get("micro"))
    return ("<section><h2>Micro benchmarks</h2><p>Parts of weir in one process; time and heap "
            "allocations of one item.</p>"
            f"<details><summary>{len(rows)} benchmarks</summary>"
            + table(extras.MICRO_HEADS, rows) + "</details></section>")


def counts(data):
    heads, rows = extras.count_table(data.get("counts"))
    if not rows:
        return missing("Counts", data.get("counts"))
    return ("<section><h2>Counts</h2><p>What one message costs the server whatever the machine's "
            "speed.</p>" + table(heads, rows, us="weir") + "</section>")


def texts(data):
    lines = []
    for one in data.get("texts", []):
        if one.get("missing"):
            lines.append(missing(one["title"], one))
        else:
            lines.append(f"<section><h2>{escape(one['title'])}</h2>"
                         f"<pre>{escape(one['text'])}</pre></section>")
    return "\n".join(lines)


def missing(title, part):
    if not part or not part.get("missing"):
        return ""
    return (f'<section><h2>{escape(title)}</h2><p class="note">Missing: '
            f'{escape(part["missing"])}.</p></section>')


def machine(data):
    return ("<section><h2>Machine and versions</h2>"
            + table([], content.machine_rows(data), "words") + "</section>")


def method():
    return ("<section><h2>How to read this</h2>" + "".join(
        f"<p>{escape(words)}</p>" for words in extras.METHOD) + "</section>")
