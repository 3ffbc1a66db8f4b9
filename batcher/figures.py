"""Numbers as people read them: counts, durations, rates."""

from __future__ import annotations

from math import inf


def count(n: int, noun: str = "") -> str:
    """Write `1,234 jobs`; one of a thing loses its plural s."""
    if not noun:
        return f"{n:,}"
    return f"{n:,} {noun.removesuffix('s') if n == 1 else noun}"


def seconds(s: float | None) -> str:
    """Write a measured time with three digits: `840 µs`, `12.3 ms`, `2.90 s`, `125 s`; `-` if there is none."""
    if s is None:
        return "-"
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if s >= size:
            return f"{_three(s / size)} {unit}"
    return f"{max(s, 0.0) * 1e6:.0f} µs"


def span(s: float) -> str:
    """Write how long something takes or took: `4.2 s`, `3m 07s`, `2h 05m`, `3d 04h`."""
    if s == inf:
        return "∞"
    s = max(s, 0.0)
    if s < 9.95:  # from here two digits before the point
        return f"{s:.1f} s"
    whole = round(s)
    for unit, size, below, least in (("d", 86400, "h", 3600), ("h", 3600, "m", 60), ("m", 60, "s", 1)):
        if whole >= size:
            return f"{whole // size}{unit} {whole % size // least:02}{below}"
    return f"{whole} s"


def rate(per_second: float) -> str:
    """Write a rate with three digits, whole from 100 on: `0.25`, `6.52`, `812`, `12,400`."""
    return _three(per_second)


def _three(x: float) -> str:
    if x >= 99.95:  # rounds to three digits before the point
        return f"{x:,.0f}"
    return f"{x:.1f}" if x >= 9.995 else f"{x:.2f}"
