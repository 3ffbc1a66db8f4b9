"""Numbers as people read and write them: counts, durations, rates, how many at once, how many failures."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import floor, inf, isfinite, log10
from typing import ClassVar, Final

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "": 1.0}
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|)")
_THOUSANDS: Final = {"": 1.0, "k": 1e3, "m": 1e6}


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


def money(amount: float) -> str:
    """Write an amount with two digits that mean something, and at least whole hundredths from 1 on."""
    if amount >= 100:
        return f"{amount:,.0f}"
    if amount >= 1 or not amount:
        return f"{amount:.2f}"
    return f"{amount:.{1 - floor(log10(amount))}f}"


def _three(x: float) -> str:
    if x >= 99.95:  # rounds to three digits before the point
        return f"{x:,.0f}"
    return f"{x:.1f}" if x >= 9.995 else f"{x:.2f}"


def duration(text: str) -> float:
    """Read `30s`, `5m`, `1h`, `1h30m`, `250ms` or plain seconds, as seconds. Raises ValueError."""
    total, end = 0.0, 0
    for match in _DURATION.finditer(text):
        if match.start() != end or not match[0] or (not match[2] and match[0] != text):
            break
        total, end = total + float(match[1]) * _UNITS[match[2]], match.end()
    if not text or end != len(text) or not isfinite(total):
        raise ValueError(f"{text!r} is no duration; write it as 30s, 5m or 1h30m")
    return total


def amount(value: str | float) -> float:
    """Read `500`, `30k` or `2m` (millions), as a number. Raises ValueError, which repeats no text."""
    match = re.fullmatch(r"(\d{1,15}(?:\.\d+)?)([km]?)", str(value).strip().lower())
    if not match:
        raise ValueError("must be an amount such as 500, 30k or 2m")
    return float(match[1]) * _THOUSANDS[match[2]]


def pack_size(value: str | int) -> int | None:
    """Read `auto`, which is None, or a number. Raises ValueError, which repeats no text."""
    text = str(value).strip().lower()
    if text != "auto" and not (re.fullmatch(r"\d{1,6}", text) and int(text) > 0):
        raise ValueError("must be auto, or a number of at least 1")
    return None if text == "auto" else int(text)


@dataclass(frozen=True, slots=True)
class Concurrency:
    """How many requests may be in flight at one server: between `least` and `most`; fixed where they are equal."""

    least: int
    most: int

    @property
    def is_fixed(self) -> bool:
        return self.least == self.most

    @classmethod
    def of(cls, value: str | int) -> Concurrency:
        """Read `auto`, `N` or `MIN-MAX`. Raises ValueError, which repeats no text: it may be a secret gone astray."""
        text = str(value).strip().lower()
        if text == "auto":
            return AUTO
        match = re.fullmatch(r"(\d{1,6})(?:-(\d{1,6}))?", text)
        if not match:
            raise ValueError("must be auto, a number such as 8, or a range such as 2-16")
        least, most = int(match[1]), int(match[2] or match[1])
        if least < 1:
            raise ValueError(f"must be at least 1, not {least}")
        if most < least:
            raise ValueError(f"must go from less to more: {most}-{least}, not {least}-{most}")
        return cls(least, most)

    def __str__(self) -> str:
        if self == AUTO:
            return "auto"
        return str(self.most) if self.is_fixed else f"{self.least}-{self.most}"


AUTO: Final = Concurrency(1, 256)


@dataclass(frozen=True, slots=True)
class MaxErrors:
    """How many failed jobs a run puts up with: more than `most` end it. With `of_all`, `most` is percent."""

    most: float
    of_all: bool = False

    ENOUGH: ClassVar[int] = 100
    """Finished jobs before a share of them says anything."""

    @classmethod
    def of(cls, value: str | int) -> MaxErrors:
        """Read `20` or `5%`. Raises ValueError."""
        match = re.fullmatch(r"(\d{1,9})|(\d{1,3}(?:\.\d+)?)\s*%", str(value).strip())
        if not match or (match[2] and float(match[2]) > 100):
            raise ValueError("must be a number of jobs such as 20, or a share of them such as 5%")
        return cls(float(match[1] or match[2]), of_all=match[2] is not None)

    def exceeded(self, failed: int, finished: int) -> bool:
        """Whether so many failures, among so many jobs that finished in this run, are too many."""
        if not self.of_all:
            return failed > self.most
        return finished >= self.ENOUGH and 100 * failed > self.most * finished

    def __str__(self) -> str:
        return f"{self.most:g}{'%' if self.of_all else ''}"
