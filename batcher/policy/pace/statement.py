"""What a server said is left of its limit, and what follows from that as time goes on. Pure.

Headers name neither their window nor their kind. A bucket that fills all the time tells its rate by its reset, the time
until it is whole: OpenAI, Groq, Anthropic, also where the limit is for a day. One that is whole sooner than a minute's
rate would make it is a window, and gains nothing before. Some say no reset at all (Azure).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from batcher.outcome import Allowance

MINUTE: Final = 60.0
EPSILON: Final = 1e-6
"""Less than this is nothing: a call that waits until there is enough must find it so."""
LOW: Final = 0.25
"""When less than this part of a server's limit is left, its rate is kept to, not only what is left."""
TOGETHER: Final = 1.0
"""Seconds within which calls may overtake each other."""
GRACE: Final = 0.3
"""Seconds after a reset: the answer that told it was under way."""
UNTOLD: Final = 10.0
PROBE: Final = 0.02
"""Where a server says what is left and not until when, so many seconds later so much of the limit is tried (Azure)."""


@dataclass(slots=True)
class Statement:
    """As of the time `heard`, at which the call it answered was sent. It counts until it `ends`, a minute at most."""

    left: float
    limit: float
    heard: float
    rate: float
    ends: float
    taken: float
    """What we had taken when it was made."""
    then: float
    """What is presumed to be there when it has ended, until the server says more; infinity: whatever is asked for."""
    is_told: bool = False
    """The rate follows from the reset."""

    @classmethod
    def of(cls, allowance: Allowance, at: float, taken: float) -> Statement | None:
        left, limit, reset = allowance.remaining, allowance.limit or math.inf, allowance.reset
        if left is None or (limit == math.inf and reset is None):
            return None
        a_minute = limit / MINUTE if limit < math.inf else 0.0
        if reset is None:
            return cls(left, limit, at, 0.0, at + UNTOLD, taken, max(1.0, limit * PROBE))
        is_told = reset > 0 and limit > left and a_minute > 0
        rate = (limit - left) / reset if is_told else a_minute
        if rate > a_minute * 1.1:
            rate, is_told = 0.0, False
        return cls(left, limit, at, rate, at + min(reset + GRACE, MINUTE), taken, limit, is_told)

    def opens(self, cost: float, taken: float) -> float:
        """The time from which so much may be taken; one that asks for more than the limit goes when all is there."""
        lacks = min(cost, self.limit) - (self.left - (taken - self.taken))
        if lacks <= EPSILON:
            return -math.inf
        return min(self.ends, self.heard + lacks / self.rate) if self.rate else self.ends

    def gives_way(self, newer: Statement) -> bool:
        """Whether the newer one is to be believed. Calls that are sent together arrive in any order: less counts."""
        is_probe = self.then == math.inf and self.left < self.limit
        age = newer.heard - self.heard
        return is_probe or age >= TOGETHER or (age >= 0 and newer.left + newer.taken <= self.left + self.taken)

    def after(self, now: float, taken: float) -> Statement | None:
        """What is presumed when it has ended; a minute later, nothing."""
        if self.then == math.inf:
            return None
        return Statement(self.then, self.limit, now, 0.0, now + MINUTE, taken, math.inf)

    @property
    def is_low(self) -> bool:
        return self.is_told and self.left < self.limit * LOW
