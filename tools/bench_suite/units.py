"""Numbers for people, each with its unit."""


def digits(value):
    """Three significant digits, thousands grouped."""
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 99.95:
        return f"{value:,.0f}"
    return f"{value:.1f}" if size >= 9.995 else f"{value:.2f}"


def scaled(value, steps):
    """`steps`: (factor, unit), the smallest first."""
    factor, unit = steps[0]
    for step in steps:
        if abs(value) >= step[0] * 0.9995:
            factor, unit = step
    return f"{digits(value / factor)} {unit}"


def nanoseconds(value):
    return scaled(value, ((1, "ns"), (1e3, "us"), (1e6, "ms"), (1e9, "s")))


def microseconds(value):
    return nanoseconds(value * 1e3)


def per_second(value):
    return scaled(value, ((1, "/s"), (1e3, "k/s"), (1e6, "M/s")))


def memory(value):
    return scaled(value, ((1, "B"), (1024, "KiB"), (1024**2, "MiB"), (1024**3, "GiB")))


def tick(shown):
    """The same number on an axis: "20 us" and not "20.0 us"."""
    number, unit = shown.split(" ", 1) if " " in shown else (shown, "")
    if "." in number:
        number = number.rstrip("0").rstrip(".")
    return f"{number} {unit}".strip()


FORMS = {
    "cpu_ns": nanoseconds,
    "rate": per_second,
    "p50_us": microseconds,
    "p99_us": microseconds,
    "p999_us": microseconds,
    "memory": memory,
}


def show(metric, value):
    return "-" if value is None else FORMS[metric](value)


def ratio(value):
    if value is None:
        return "-"
    return f"{value:.3f}x" if value < 0.0995 else f"{value:.2f}x"


def duration(seconds):
    seconds = int(round(seconds))
    if seconds < 60:
        return f"{seconds} s"
    return f"{seconds // 60} min {seconds % 60:02d} s"
