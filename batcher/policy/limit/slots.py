"""How many slots a server has that refuses what finds all of them taken: told by beside how many it grants. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

WINDOW: Final = 64
"""Calls that count: the last ones."""
FEW: Final = 8
"""Calls beside fewer others that show that there it was no matter of luck."""
MANY: Final = 16
"""Calls beside as many, or more, of which nearly all were refused."""
NEARLY: Final = 0.9
EVERY: Final = 4
"""Refusals from one look to the next."""


@dataclass(slots=True)
class Slots:
    """Calls that were granted, and that were refused, each sent beside so many others.

    Where slots are taken one is refused beside so many and granted beside fewer. Where a share is refused by lot, it is
    the same share beside few and many; where a rate is exceeded, it is for a while whatever is in flight.
    """

    _told: deque[tuple[int, bool]] = field(default_factory=lambda: deque(maxlen=WINDOW))
    _refused: int = 0

    def granted(self, beside: int) -> None:
        self._told.append((beside, False))

    def refused(self, beside: int) -> int | None:
        """Take one in, and return how many slots there are; None if it is not slots, or was looked at just before."""
        self._told.append((beside, True))
        self._refused += 1
        return None if self._refused % EVERY else self._found()

    def _found(self) -> int | None:
        told = sorted(self._told)
        total, best, found = sum(refused for _, refused in told), 0, None
        below = 0
        for fewer, (beside, refused) in enumerate(told):
            as_many, above = len(told) - fewer, total - below
            is_edge = fewer >= FEW and as_many >= MANY and told[fewer - 1][0] < beside
            if is_edge and fewer - below >= NEARLY * fewer and above >= NEARLY * as_many:
                fits = fewer - below + above
                if fits > best:
                    best, found = fits, beside
            below += refused
        return found
