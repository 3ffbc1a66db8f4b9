"""How many of the calls in flight were granted while others were refused, told from how long refusals took. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from batcher.outcome import Attempt

TOGETHER: Final = 1.0
"""Seconds between refusals that belong together."""
ENOUGH: Final = 4
"""Refusals that show something."""


@dataclass(slots=True)
class Refusals:
    """Refusals that came together, and what was granted beside them.

    By Little's law the mean number of refused calls in flight is the time that they took, over the time that passed. On
    a server that takes so many at once, what remains is that number. Where a share is refused whatever is asked, or a
    rate is exceeded, refusals come soon and are soon replaced: what remains is nearly all that may be in flight.
    """

    _since: float = -math.inf
    _last: float = -math.inf
    _count: int = 0
    _seconds: float = 0.0
    _most: int = 0

    def add(self, attempt: Attempt, in_flight: int, now: float) -> None:
        """Take in a refusal, with `in_flight` calls on the way just before, itself included."""
        if now - self._last > TOGETHER:
            self._since, self._count, self._seconds, self._most = attempt.timing.started, 0, 0.0, 0
        self._last = now
        self._count += 1
        self._seconds += attempt.timing.total
        self._most = max(self._most, in_flight)

    def granted(self, now: float) -> float | None:
        """How many were granted of those in flight; None if too few were refused to tell."""
        if self._count < ENOUGH or now <= self._since:
            return None
        return max(0.0, self._most - self._seconds / (now - self._since))
