"""What a process takes while it works: samples of its memory and its open files, and how fast they grow."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from math import sqrt
from pathlib import Path
from typing import Final, NamedTuple

_PROC: Final = Path("/proc")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
MB: Final = 1 << 20
WARM_UP: Final = 30.0
"""Seconds of work after which a process has the size that it keeps."""


class Sample(NamedTuple):
    """One look at a process: when (seconds), how many jobs were done by then, bytes of memory, open files."""

    time: float
    done: int
    rss: int
    files: int


class Slope(NamedTuple):
    """A straight line through samples, by least squares: its rise by x, and the standard error of that."""

    rise: float
    error: float


@dataclass(slots=True)
class Life:
    """One life of the client."""

    began: float
    calm: bool = False
    """It is left alone, and it knew of all jobs before it sent anything."""
    samples: list[Sample] = field(default_factory=list)
    """Once a second, from its first result on."""

    @property
    def settled(self) -> list[Sample]:
        """The samples of its later work: buffers and pools have their size by then."""
        return [one for one in self.samples if one.time - self.samples[0].time >= WARM_UP]


def look(process: int, now: float, done: int) -> Sample | None:
    """Look at a process; `None` if it is gone, or if the system has no /proc."""
    try:
        pages = int((_PROC / str(process) / "statm").read_bytes().split()[1])
        return Sample(now, done, pages * _PAGE, len(os.listdir(_PROC / str(process) / "fd")))  # noqa: PTH208 - cheaper
    except (OSError, IndexError):
        return None


def slope(xs: list[float], ys: list[float]) -> Slope | None:
    """The line through these points; `None` if there are too few."""
    count = len(xs)
    if count < 3 or len(set(xs)) < 2:
        return None
    x_mean, y_mean = sum(xs) / count, sum(ys) / count
    spread = sum((x - x_mean) ** 2 for x in xs)
    rise = sum((x - x_mean) * (y - y_mean) for x, y in zip(xs, ys, strict=True)) / spread
    rest = sum((y - y_mean - rise * (x - x_mean)) ** 2 for x, y in zip(xs, ys, strict=True))
    return Slope(rise, sqrt(rest / (count - 2) / spread))


def by_hour(samples: list[Sample]) -> Slope | None:
    """MB of memory an hour."""
    found = slope([one.time for one in samples], [one.rss for one in samples])
    return found and Slope(found.rise * 3600 / MB, found.error * 3600 / MB)


def by_job(samples: list[Sample]) -> Slope | None:
    """Bytes of memory a job."""
    return slope([float(one.done) for one in samples], [one.rss for one in samples])
