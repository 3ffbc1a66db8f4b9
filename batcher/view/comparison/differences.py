"""The rows whose answers differ most: so many of them are kept while all are counted."""

from __future__ import annotations

from dataclasses import dataclass, field
from heapq import heappush, heappushpop
from typing import NamedTuple


class Difference(NamedTuple):
    """A row whose answers differ: by how much, from 0 to 1, and where its lines begin."""

    distance: float
    order: int
    """The earlier, the higher: of rows that differ as much the first are kept."""
    a: int
    b: int


@dataclass(slots=True)
class Differences:
    """Keeps `most` of them."""

    most: int
    count: int = 0
    """All that there were."""
    _heap: list[Difference] = field(default_factory=list)

    def add(self, distance: float, number: int, a: int, b: int) -> None:
        """Count the row of this number, whose lines begin at `a` and `b`, if its answers differ at all."""
        if distance <= 0:
            return
        self.count += 1
        difference = Difference(distance, -number, a, b)
        if len(self._heap) < self.most:
            heappush(self._heap, difference)
        elif self._heap and difference > self._heap[0]:
            heappushpop(self._heap, difference)

    def ranked(self) -> list[Difference]:
        """Those that differ most first."""
        return sorted(self._heap, reverse=True)
