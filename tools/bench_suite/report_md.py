"""report.md: the tables of the report for terminals and repositories."""

from bench_suite import content, extras


def page(data):
    parts = [head(data), overview(data), aims(data)]
    parts += [workload(section) for section in content.sections(data)]
    parts += [micro(data), counts(data), texts(data), machine(data), method()]
    return "\n\n".join(part for part in parts if part) + "\n"


def table(heads, rows):
    def clean(cell):
        return str(cell).replace("|", "\\|").replace("\n", " ")
    lines = ["| " + " | ".join(clean(head) for head in heads) + " |",
             "|---" + "|---:" * (len(heads) - 1) + "|"]
    for row in rows:
        cells = [clean(cell) for cell in row] + [""] * (len(heads) - len(row))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def head(data):
    return "\n\n".join(["# weir: benchmark report",
                        *(f"**{one}**" for one in content.warnings(data))])


def overview(data):
    heads, rows = content.overview(data)
    if not heads:
        return ""
    return ("## At a glance\n\nServer CPU per message, in units of what "
            f"{content.base_title()} took in the same round (medians); idle: memory per "
            "connection.\n\n"
            + table(["server", *heads], [[server.title] + [words for words, _ in cells]
                                         for server, cells in rows]))


def aims(data):
    rows = content.aims(data)
    if not rows:
        return ""
    heads = ["workload", "against", "aim: at most", "measured (min \u2013 max)", "reached"]
    return "## What weir aims at\n\n" + table(heads, rows)


def workload(section):
    lines = [f"## {section.workload.title}", section.workload.what]
    if section.missing:
        return "\n\n".join([*lines, f"Missing: {section.missing}."])
    lines.append(table(section.heads(), section.rows()))
    return "\n\n".join(lines + section.remarks())


def micro(data):
    rows = extras.micro_rows(data.get("micro"))
    if not rows:
        return missing("Micro benchmarks", data.get("micro"))
    return "## Micro benchmarks\n\n" + table(extras.MICRO_HEADS, rows)


def counts(data):
    heads, rows = extras.count_table(data.get("counts"))
    if not rows:
        return missing("Counts", data.get("counts"))
    return "## Counts\n\n" + table(heads, rows)


def texts(data):
    return "\n\n".join(missing(one["title"], one) or
                       f"## {one['title']}\n\n```\n{one['text'].rstrip()}\n```"
                       for one in data.get("texts", []))


def missing(title, part):
    if not part or not part.get("missing"):
        return ""
    return f"## {title}\n\nMissing: {part['missing']}."


def machine(data):
    return "## Machine and versions\n\n" + table(["", ""], content.machine_rows(data))


def method():
    return "## How to read this\n\n" + "\n\n".join(extras.METHOD)


def short(data):
    """The overview for the terminal, at the end of a run."""
    heads, rows = content.overview(data)
    names = [section.name for section in content.sections(data) if not section.workload.servers]
    lines = [["server", *names]] + [[server.name] + [words for words, _ in cells]
                                    for server, cells in rows]
    if not heads:
        return ""
    widths = [max(len(row[i]) for row in lines) for i in range(len(lines[0]))]
    return "\n".join("  ".join(cell.rjust(width) if i else cell.ljust(width)
                               for i, (cell, width) in enumerate(zip(row, widths)))
                     for row in lines)
