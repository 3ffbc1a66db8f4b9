"""Axes: where their marks stand, in percent of the axis, and what they say."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from math import ceil, floor, log10
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from batcher.view.statistics.timeline import Stretch

STEPS: Final = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)
"""Seconds between two marks of time; longer ones are whole days."""
MARKS: Final = 5
"""Marks of an axis that are aimed at."""
LEAST_RATIO: Final = 1.05
"""Of the ends of a logarithmic axis; values that are closer stand in its middle, with as much on both sides."""
GAP: Final = 1.5
"""Percent of the axis between two stretches of work; of many, a fifth of it together."""
APART: Final = 22.0
"""Percent between two marks of time."""
_DAY: Final = 86400
_ZEROS: Final = re.compile(r"\.0+(?!\d)|(?<=\.\d)0+(?!\d)")


class Mark(NamedTuple):
    at: float
    words: str
    is_spare: bool = False
    """Left out where there is little room."""


class Scale(NamedTuple):
    """From values to percent of an axis; its marks are values with words."""

    low: float
    high: float
    is_log: bool
    marks: Sequence[Mark]

    def at(self, value: float) -> float:
        if self.is_log:
            low, high, value = log10(self.low), log10(self.high), log10(max(value, self.low))
        else:
            low, high = self.low, self.high
        return min(max(100 * (value - low) / (high - low), 0.0), 100.0)


def linear(most: float, words: Callable[[float], str], *, counts: bool = False) -> Scale:
    """From 0 to a round number that is no less than the most; of what `counts`, all marks are whole."""
    most = most if most > 0 else 1.0
    size = 10 ** floor(log10(most / 4))
    steps = (1, 2, 5, 10) if counts and size < 10 else (1, 2, 2.5, 5, 10)
    step = next(size * n for n in steps if size * n * 4 >= most * 0.999)
    step = max(step, 1.0) if counts else step
    number = max(1, ceil(most / step - 1e-3))
    high = number * step
    return Scale(0.0, high, is_log=False, marks=[Mark(100 * n / number, words(n * step)) for n in range(number + 1)])


def logarithmic(low: float, high: float, words: Callable[[float], str]) -> Scale:
    """From the least to the most, with marks at round numbers of each power of ten, as far as there is room."""
    low = max(low, 1e-9)
    if high < low * LEAST_RATIO:
        low, high = low / 1.5, max(low, high) * 1.5
    scale = Scale(low, high, is_log=True, marks=())
    for factors in ((1, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)):
        powers = range(floor(log10(low)), ceil(log10(high)) + 1)
        values = [f * 10.0**n for n in powers for f in factors if low * 0.999 <= f * 10.0**n <= high * 1.001]
        if len(values) <= MARKS + 1:
            break
    values = values[:: -(-len(values) // (MARKS + 1))] if values else []
    if not values:  # between two round numbers
        values = [low, high]
    return scale._replace(marks=spaced([(scale.at(value), rounded(words(value))) for value in values]))


def spaced(marks: list[tuple[float, str]]) -> list[Mark]:
    """Marks of which every other one can be spared."""
    return [Mark(at, words, bool(place % 2)) for place, (at, words) in enumerate(marks)]


def rounded(words: str) -> str:
    """A round number without the zeros behind its point: `50.0 ms` is `50 ms`."""
    return _ZEROS.sub("", words)


class Course:
    """The axis of time: stretches of work in their order, with what lay between them cut out."""

    def __init__(self, stretches: Sequence[Stretch]) -> None:
        self._stretches = stretches
        gaps = len(stretches) - 1
        self._gap = min(GAP, 20.0 / gaps) if gaps > 0 else 0.0
        total = sum(stretch.span for stretch in stretches) or 1.0
        self._per_second = (100.0 - self._gap * max(gaps, 0)) / total
        self.starts: list[float] = []
        at = 0.0
        for stretch in stretches:
            self.starts.append(at)
            at += stretch.span * self._per_second + self._gap

    def at(self, moment: float) -> float:
        """Percent; a moment in a pause is at the beginning of what follows."""
        place = 0.0
        for start, stretch in zip(self.starts, self._stretches, strict=True):
            if moment < stretch.start:
                return start
            place = start + min(moment - stretch.start, stretch.span) * self._per_second
            if moment <= stretch.end:
                return min(place, 100.0)
        return min(place, 100.0)

    @property
    def cuts(self) -> list[float]:
        """Where time was cut out."""
        return [start - self._gap / 2 for start in self.starts[1:]]

    @property
    def marks(self) -> list[Mark]:
        """Round moments of one stretch; of several where each begins, as far as there is room."""
        if len(self._stretches) == 1:
            [only] = self._stretches
            return spaced([(self.at(moment), words) for moment, words in _round_moments(only.start, only.end)])
        found: list[tuple[float, str]] = []
        for start, stretch in zip(self.starts, self._stretches, strict=True):
            if not found or start - found[-1][0] >= APART:
                found.append((start, f"{datetime.fromtimestamp(stretch.start, UTC):%m-%d %H:%M}"))
        return spaced(found)


def _round_moments(start: float, end: float) -> list[tuple[float, str]]:
    span = end - start
    step = next((step for step in STEPS if span / step <= MARKS), None)
    if step is None:
        step = _DAY * ceil(span / _DAY / MARKS)
    form = "%m-%d" if step >= _DAY else "%H:%M" if step % 60 == 0 else "%H:%M:%S"
    if step < _DAY <= span:  # of which day
        form = f"%m-%d {form}"
    first = ceil(start / step) * step
    moments = [float(moment) for moment in range(int(first), int(end) + 1, step)]
    if not moments:
        moments, form = [start], "%H:%M:%S"
    return [(moment, datetime.fromtimestamp(moment, UTC).strftime(form)) for moment in moments]
