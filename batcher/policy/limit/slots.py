"""How many slots a server has that refuses what finds all of them taken: told by beside how many it grants. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from dataclasses import dataclass, field
from typing import Final

FEW: Final = 8
"""Calls that were granted, the last of which count twice as many, that show that it was no matter of luck."""
MANY: Final = 16
"""Calls that were refused."""
NEARLY: Final = 0.9
"""Of both."""
EVERY: Final = 4
"""Refusals from one look to the next."""


@dataclass(slots=True)
class Slots:
    """Calls that were granted, and that were refused, each sent beside so many others.

    Where slots are taken one is refused beside so many or more, and granted beside fewer. Where a share is refused by
    lot, it is so beside few as beside many; where a rate is exceeded, for a while whatever is in flight.
    """

    _granted: deque[int] = field(default_factory=lambda: deque(maxlen=2 * FEW))
    _refused: deque[int] = field(default_factory=lambda: deque(maxlen=2 * MANY))
    _count: int = 0

    def granted(self, beside: int) -> None:
        self._granted.append(beside)

    def refused(self, beside: int) -> int | None:
        """Take one in, and return how many slots there are; None if it is not slots, or was looked at just before."""
        self._refused.append(beside)
        self._count += 1
        if self._count % EVERY or len(self._granted) < FEW or len(self._refused) < MANY:
            return None
        return self._found()

    def _found(self) -> int | None:
        """The number from which on nearly all were refused, and below which nearly all were granted that were."""
        granted, refused = sorted(self._granted), sorted(self._refused)
        best, found = 0.0, None
        for number in {*refused}:
            below = bisect_left(granted, number) / len(granted)
            above = 1 - bisect_left(refused, number) / len(refused)
            if min(below, above) >= NEARLY and below + above > best:
                best, found = below + above, number
        return found
