"""The course of runs: what began, ended and failed when, in bins whose width doubles when there are too many.

How many were in flight is never looked at: it follows from when requests began and ended. In a bin from a to b those
that began before it, less those that ended before, are in flight all the time; one that begins in it at s adds b - s,
one that ends in it at e takes b - e away. Counts and sums of s and e are all that is kept, and they add up.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import floor, inf
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST: Final = 2048
"""Bins that are kept."""
FINEST: Final = 0.125
"""Seconds of the narrowest bin."""
PAUSE: Final = 300.0
"""Seconds in which nothing happened that part one stretch of work from the next: a run was taken up later."""

_STEPS: Final = 500
"""Moments of a time without answers that are noted: enough for two days."""


@dataclass(slots=True)
class _Bin:
    """Moments are seconds from the origin."""

    started: int = 0
    starts: float = 0.0
    ended: int = 0
    ends: float = 0.0
    answers: int = 0
    tokens: int = 0
    failed: int = 0
    first: float = inf
    last: float = -inf

    def take(self, other: _Bin) -> None:
        self.started += other.started
        self.starts += other.starts
        self.ended += other.ended
        self.ends += other.ends
        self.answers += other.answers
        self.tokens += other.tokens
        self.failed += other.failed
        self.first = min(self.first, other.first)
        self.last = max(self.last, other.last)


class Slot(NamedTuple):
    """What happened from one moment to another, in seconds since 1970. `busy` is seconds in flight, added up."""

    start: float
    end: float
    answers: int
    tokens: int
    failed: int
    busy: float

    @property
    def span(self) -> float:
        return self.end - self.start

    @property
    def in_flight(self) -> float:
        """On average."""
        return self.busy / self.span if self.span else 0.0


class Stretch(NamedTuple):
    """Work without a pause of more than `PAUSE`."""

    start: float
    end: float
    slots: list[Slot]

    @property
    def span(self) -> float:
        return self.end - self.start


@dataclass(slots=True)
class Timeline:
    """Moments come in any order."""

    width: float = FINEST
    _origin: float | None = None
    _bins: dict[int, _Bin] = field(default_factory=dict)

    def answered(self, moment: float, took: float, tokens: int = 0) -> None:
        """Count a request that was sent at a moment and answered so many seconds later."""
        start = self._place(moment)
        begun = self._bin(start)
        begun.started += 1
        begun.starts += start
        end = start + took
        ended = self._bin(end)
        ended.ended += 1
        ended.ends += end
        ended.answers += 1
        ended.tokens += tokens

    def shared(self, moment: float, tokens: int = 0) -> None:
        """Count an answer whose request is counted already, when it ended."""
        found = self._bin(self._place(moment))
        found.answers += 1
        found.tokens += tokens

    def failed(self, moment: float) -> None:
        self._bin(self._place(moment)).failed += 1

    def held(self, start: float, end: float) -> None:
        """Take a time in which nothing could be sent for one of work: no pause."""
        steps = min(int((end - start) / PAUSE) + 1, _STEPS)
        for step in range(steps + 1):
            self._bin(self._place(start + (end - start) * step / steps))

    def stretches(self, most: int) -> list[Stretch]:
        """The work in its order, cut into about `most` slots, at least one a stretch."""
        found = [*self._parts()]
        spans = [(min(b.first for _, b in part), max(b.last for _, b in part)) for part in found]
        bins = sum((last - first) / self.width + 1 for first, last in spans)
        by = max(1, -(-int(bins) // most))
        origin = self._origin or 0.0
        return [
            Stretch(origin + first, origin + last, self._slots(part, by, first, last))
            for part, (first, last) in zip(found, spans, strict=True)
        ]

    def _parts(self) -> Iterator[list[tuple[int, _Bin]]]:
        """Bins in their order, parted by pauses in which nothing was in flight."""
        part: list[tuple[int, _Bin]] = []
        flying, last = 0, -inf
        for key, found in sorted(self._bins.items()):
            if part and not flying and found.first - last > PAUSE:
                yield part
                part = []
            part.append((key, found))
            flying += found.started - found.ended
            last = max(last, found.last)
        if part:
            yield part

    def _slots(self, part: list[tuple[int, _Bin]], by: int, first: float, last: float) -> list[Slot]:
        """Cut a part into slots of `by` bins; less than half of one at an end belongs to its neighbour."""
        origin, width = self._origin or 0.0, self.width * by
        kept: list[list[float]] = []  # start, end, answers, tokens, failed, busy
        flying = place = 0
        for number in range(part[0][0] // by, part[-1][0] // by + 1):
            start, end = number * width, (number + 1) * width
            a, b = max(start, first), min(end, last)
            busy, at = 0.0, a
            sums = [0, 0, 0]
            while place < len(part) and part[place][0] // by == number:
                key, found = part[place]
                low, high = max(key * self.width, a), min((key + 1) * self.width, b)
                busy += flying * max(low - at, 0.0)
                busy += flying * (high - low) + found.started * high - found.starts - found.ended * high + found.ends
                flying += found.started - found.ended
                at = high
                sums = [sums[0] + found.answers, sums[1] + found.tokens, sums[2] + found.failed]
                place += 1
            busy += flying * max(b - at, 0.0)
            row = [a, b, *sums, max(busy, 0.0)]
            if kept and (b - a < width / 2 or kept[-1][1] - kept[-1][0] < width / 2):
                before = kept[-1]
                kept[-1] = [before[0], b, *(x + y for x, y in zip(before[2:], row[2:], strict=True))]
            else:
                kept.append(row)
        return [
            Slot(origin + a, origin + b, int(answers), int(tokens), int(failed), busy)
            for a, b, answers, tokens, failed, busy in kept
        ]

    def _place(self, moment: float) -> float:
        if self._origin is None:
            self._origin = moment
        return moment - self._origin

    def _bin(self, at: float) -> _Bin:
        key = floor(at / self.width)
        found = self._bins.get(key)
        if found is None:
            while len(self._bins) >= MOST:
                self._widen()
            found = self._bins.setdefault(floor(at / self.width), _Bin())
        if at < found.first:  # noqa: PLR1730 - a comparison costs a fifth of a call of min()
            found.first = at
        if at > found.last:  # noqa: PLR1730 - as above
            found.last = at
        return found

    def _widen(self) -> None:
        """Make one bin of each two neighbours."""
        self.width *= 2
        joined: dict[int, _Bin] = {}
        for key, found in self._bins.items():
            joined.setdefault(key >> 1, _Bin()).take(found)
        self._bins = joined
