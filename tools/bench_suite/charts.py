"""The charts of the report, as SVG text, without a library."""

from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10

# Dark enough for a white background; lines that cross also differ in their dashes.
COLOURS = {
    "raw_epoll": "#30343b", "raw_epoll_coalesce": "#7a7f87", "raw_epoll_512k": "#a08b6c",
    "weir": "#0a66c2", "libev": "#1b8a5a", "libuv_try_write": "#b8860b", "libuv_write": "#e07b00",
    "asio": "#8e44ad", "libevent_events": "#d6457f", "libevent_bufferevent": "#c0392b",
}
DASHES = {"raw_epoll_coalesce": "6 3", "raw_epoll_512k": "2 3", "libuv_write": "6 3",
          "libevent_events": "6 3"}
SPARE_COLOURS = ("#0a66c2", "#c0392b", "#1b8a5a", "#8e44ad", "#e07b00")

FONT = 'font-family="system-ui, Segoe UI, DejaVu Sans, Helvetica, Arial, sans-serif"'


@dataclass
class Bar:
    name: str
    title: str
    value: float = None
    least: float = None
    most: float = None
    label: str = ""  # beside the bar
    ratio: str = ""  # beside the label
    remark: str = ""  # instead of a bar: the reason why there is none
    failed: bool = False


@dataclass
class Line:
    name: str
    title: str
    points: list  # [[share of the messages, value], ...]


def shade_of(name, index=0):
    return COLOURS.get(name, SPARE_COLOURS[index % len(SPARE_COLOURS)])


def text(x, y, words, size=12, anchor="start", fill="#1c1f24", extra=""):
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" '
            f'fill="{fill}" {extra}>{escape(words)}</text>')


def line(x1, y1, x2, y2, stroke, width=1.0, extra=""):
    return (f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{stroke}" '
            f'stroke-width="{width}" {extra}/>')


def picture(width, height, parts, title):
    return (f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
            f'aria-label="{escape(title)}" {FONT}>\n' + "\n".join(parts) + "\n</svg>")


def round_steps(most, count=4):
    """Ticks from 0 to `most` or above, in round steps."""
    if most <= 0:
        return [0, 1]
    raw = most / count
    power = 10 ** floor(log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999)
    return [n * step for n in range(ceil(most / step * 0.999) + 1)]


LABELS, VALUES, ROW, TOP, BOTTOM = 152, 142, 28, 12, 44
BAR_WIDTH = 580


def bar_chart(bars, show, axis, baseline=None):
    """Horizontal bars with whiskers from the least to the most. `show` writes a tick's value."""
    inner = BAR_WIDTH - LABELS - VALUES
    most = max([bar.most for bar in bars if bar.value is not None], default=0)
    ticks = round_steps(most)
    height = TOP + ROW * len(bars) + BOTTOM
    floor_y = TOP + ROW * len(bars)

    def at(value):
        return LABELS + inner * value / ticks[-1]
    parts = []
    if most:
        for tick in ticks:
            parts.append(line(at(tick), TOP, at(tick), floor_y, "#e3e6ea"))
            parts.append(text(at(tick), floor_y + 16, show(tick), 11, "middle", "#4a4f57"))
        parts.append(text(LABELS + inner / 2, floor_y + 36, axis, 12, "middle", "#30343b"))
    remarks = []
    for index, bar in enumerate(bars):
        (parts if bar.value is not None else remarks).extend(bar_row(bar, index, at))
    base = next((bar for bar in bars if bar.name == baseline and bar.value is not None), None)
    if base:
        parts.append(line(at(base.value), TOP, at(base.value), floor_y, "#30343b", 1.2,
                          'stroke-dasharray="3 3"'))
    return picture(BAR_WIDTH, height, parts + remarks, axis)


def bar_row(bar, index, at):
    top, middle = TOP + ROW * index, TOP + ROW * index + ROW / 2
    weight = 'font-weight="700"' if bar.name == "weir" else ""
    parts = [text(LABELS - 8, middle + 4, bar.title, 12, "end", extra=weight)]
    if bar.value is None:
        shade = "#b3261e" if bar.failed else "#6b7078"
        words = bar.remark if len(bar.remark) <= 60 else bar.remark[:59] + "\u2026"
        parts.append(text(LABELS + 6, middle + 4, words, 12, fill=shade,
                          extra='font-style="italic" stroke="#fff" stroke-width="5" '
                          'paint-order="stroke"'))
        return parts
    fill = bar_fill(bar.name)
    parts.append(f'<rect x="{LABELS}" y="{top + 4.5:.1f}" width="{at(bar.value) - LABELS:.1f}" '
                 f'height="{ROW - 9}" rx="2" fill="{fill}"/>')
    if bar.most > bar.least:
        parts.append(line(at(bar.least), middle, at(bar.most), middle, "#111", 1.3))
        for end in (bar.least, bar.most):
            parts.append(line(at(end), middle - 4, at(end), middle + 4, "#111", 1.3))
    parts.append(text(BAR_WIDTH - VALUES + 84, middle + 4, bar.label, 12, "end", extra=weight))
    parts.append(text(BAR_WIDTH - 2, middle + 4, bar.ratio, 12, "end", extra=weight))
    return parts


def bar_fill(name):
    if name == "weir":
        return "#3f8ddb"
    return "#8f959e" if name.startswith("raw_epoll") else "#c3c9d1"


LINE_WIDTH, LINE_HEIGHT, LEFT, RIGHT, LEGEND = 602, 336, 62, 10, 174


def log_ticks(least, most):
    """1, 2 and 5 of every power of ten from `least` to `most`; only the powers when those are
    many."""
    powers = range(floor(log10(least)), ceil(log10(most)) + 1)
    digits = (1, 2, 5) if len(powers) <= 4 else (1,)
    ticks = [d * 10.0**p for p in powers for d in digits]
    low = max([t for t in ticks if t <= least * 1.001], default=ticks[0])
    high = min([t for t in ticks if t >= most * 0.999], default=ticks[-1])
    return [t for t in ticks if low <= t <= high]


def nines(share):
    """The position of a share of the messages: 90 % at 1, 99 % at 2, ..."""
    return -log10(max(1 - share, 1e-9))


def latency_chart(lines, show, title):
    """Latency by share of the messages, both axes logarithmic towards the tail."""
    lines = [Line(one.name, one.title, [p for p in one.points if p[1] > 0 and p[0] < 1])
             for one in lines]
    lines = [one for one in lines if one.points]
    if not lines:
        return ""
    values = [value for one in lines for _, value in one.points]
    ticks = log_ticks(min(values), max(values))
    if len(ticks) == 1:
        ticks.append(ticks[0] * 10)
    end_x = max(3.0, ceil(max(nines(s) for one in lines for s, _ in one.points) - 0.001))
    end_x = min(end_x, 4.0)
    wide, high = LINE_WIDTH - LEFT - RIGHT - LEGEND, LINE_HEIGHT - TOP - BOTTOM
    low, top = log10(ticks[0]), log10(ticks[-1])

    def at_x(share):
        return LEFT + wide * min(nines(share), end_x) / end_x

    def at_y(value):
        return TOP + high * (1 - (log10(value) - low) / (top - low))
    parts = []
    for tick in ticks:
        parts.append(line(LEFT, at_y(tick), LEFT + wide, at_y(tick), "#e3e6ea"))
        parts.append(text(LEFT - 6, at_y(tick) + 4, show(tick), 11, "end", "#4a4f57"))
    for share in (0.5, 0.9, 0.99, 0.999, 0.9999):
        if nines(share) <= end_x + 0.001:
            x = at_x(share)
            parts.append(line(x, TOP, x, TOP + high, "#e3e6ea"))
            parts.append(text(x, TOP + high + 16, f"{share * 100:g} %", 11, "middle", "#4a4f57"))
    parts.append(text(LEFT + wide / 2, TOP + high + 36, title, 12, "middle", "#30343b"))
    ranked = sorted(lines, key=lambda one: -one.points[-1][1])
    for index, one in enumerate(ranked):
        parts += latency_line(one, index, at_x, at_y)
    return picture(LINE_WIDTH, LINE_HEIGHT, parts, title)


def latency_line(one, index, at_x, at_y):
    shade, dash = shade_of(one.name, index), DASHES.get(one.name, "")
    width = 2.6 if one.name == "weir" else 1.5
    path = " ".join(f"{at_x(share):.1f},{at_y(value):.1f}" for share, value in one.points)
    extra = f'stroke-dasharray="{dash}"' if dash else ""
    parts = [f'<polyline points="{path}" fill="none" stroke="{shade}" stroke-width="{width}" '
             f'stroke-linejoin="round" {extra}/>']
    if len(one.points) <= 8:
        parts += [f'<circle cx="{at_x(s):.1f}" cy="{at_y(v):.1f}" r="2.4" fill="{shade}"/>'
                  for s, v in one.points]
    x, y = LINE_WIDTH - LEGEND + 8, TOP + 8 + index * 19
    parts.append(line(x, y, x + 22, y, shade, width, extra))
    parts.append(text(x + 28, y + 4, one.title, 12,
                      extra='font-weight="700"' if one.name == "weir" else ""))
    return parts
