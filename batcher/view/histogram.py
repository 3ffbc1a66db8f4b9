"""Quantiles of any number of measurements in constant memory, each within 1 % of the true one.

The buckets are those of DDSketch (Masson, Rim, Lee: "DDSketch: a fast and fully-mergeable quantile sketch with
relative-error guarantees", PVLDB 12(12), 2019): bucket i holds g^(i-1) < x <= g^i with g = (1 + e) / (1 - e), and
2 g^i / (g + 1) is within a share e of everything in it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil, inf, log
from operator import add
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

ERROR = 0.01
"""e: the largest relative error of a quantile."""
LEAST, MOST = 1e-6, 1e6
"""The range of that promise, for seconds: a microsecond to eleven days. What is outside counts as the nearest end."""

_GAMMA = (1 + ERROR) / (1 - ERROR)
_PER_LOG = 1 / log(_GAMMA)
_FIRST = ceil(log(LEAST) * _PER_LOG)
_BUCKETS = ceil(log(MOST) * _PER_LOG) - _FIRST + 1


@dataclass(slots=True)
class Histogram:
    """Counts in buckets; exact `count`, `sum`, `min` and `max`."""

    count: int = 0
    sum: float = 0.0
    min: float = inf
    max: float = -inf
    _buckets: list[int] = field(default_factory=lambda: [0] * _BUCKETS, repr=False)

    def add(self, x: float, count: int = 1) -> None:
        """Count a measurement, as `count` equal ones. NaN is nobody's measurement and a bug: raises `ValueError`."""
        place = ceil(log(x) * _PER_LOG) - _FIRST if LEAST < x < MOST else _outside(x)
        self._buckets[place] += count
        self.count += count
        self.sum += x * count
        if x < self.min:  # noqa: PLR1730 - a comparison costs a fifth of a call of min(), and this is the hot path
            self.min = x
        if x > self.max:  # noqa: PLR1730 - as above
            self.max = x

    def add_all(self, xs: Sequence[float], count: int = 1) -> None:
        """Count many measurements, each as `add` does and at a third of the price; at least one."""
        least, most = min(xs), max(xs)
        if not LEAST < least <= most < MOST:
            for x in xs:
                self.add(x, count)
            return
        buckets = self._buckets
        for x in xs:
            buckets[ceil(log(x) * _PER_LOG) - _FIRST] += count
        self.count += count * len(xs)
        self.sum += count * sum(xs)
        self.min = min(self.min, least)
        self.max = max(self.max, most)

    def merge(self, other: Histogram) -> None:
        """Add all that another one counted."""
        self._buckets = [*map(add, self._buckets, other._buckets)]
        self.count += other.count
        self.sum += other.sum
        self.min = min(self.min, other.min)
        self.max = max(self.max, other.max)

    def quantile(self, q: float) -> float | None:
        """Give the value that a share `q` (0 to 1) of the measurements does not exceed; `None` if there are none."""
        if not 0 <= q <= 1:
            raise ValueError(f"a quantile is between 0 and 1, not {q}")
        if not self.count:
            return None
        rank = max(ceil(q * self.count), 1)
        if rank == 1:
            return self.min
        if rank == self.count:
            return self.max
        for place, count in enumerate(self._buckets):
            rank -= count
            if rank <= 0:
                middle = 2 * _GAMMA ** (place + _FIRST) / (_GAMMA + 1)
                return min(max(middle, self.min), self.max)
        raise AssertionError("the buckets hold fewer than were counted")

    def bars(self, most: int) -> list[tuple[float, float, int]]:
        """The distribution in at most `most` bars as wide as each other on a logarithmic scale: above, up to, count.

        Their edges are edges of buckets, so the counts are exact. What is no more than `LEAST` is left out: `nothing`.
        """
        filled = [place for place, count in enumerate(self._buckets) if count and place]
        if not filled:
            return []
        first, last = filled[0], filled[-1] + 1
        step = -(-(last - first) // most)
        return [
            (_GAMMA ** (low + _FIRST - 1), _GAMMA ** (low + step + _FIRST - 1), sum(self._buckets[low : low + step]))
            for low in range(first, last, step)
        ]

    @property
    def nothing(self) -> int:
        """How many were no more than `LEAST`."""
        return self._buckets[0]

    @property
    def mean(self) -> float | None:
        return self.sum / self.count if self.count else None


def _outside(x: float) -> int:
    if x != x:  # noqa: PLR0124 - the quickest test for NaN
        raise ValueError("not a number")
    return 0 if x <= LEAST else _BUCKETS - 1
