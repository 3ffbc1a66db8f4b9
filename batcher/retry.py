"""When to try again: capped exponential backoff with full jitter, and the hints that servers give. Pure.

    delay = uniform(0, min(cap, base · 2^(n-1)))      n = attempts used up so far

Full jitter: Marc Brooker, "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how long. `retries` counts the attempts after the first; times in seconds."""

    retries: int = 4
    base: float = 0.5
    throttle_base: float = 1.0
    cap: float = 60.0

    def allows(self, counted: int) -> bool:
        """Whether a call that has used up `counted` attempts may have another."""
        return counted <= self.retries

    def delay(self, counted: int, rng: random.Random) -> float:
        """Seconds to wait after the `counted`-th failed attempt."""
        return rng.uniform(0, min(self.cap, self.base * 2 ** min(counted - 1, 30)))

    def throttle_delay(self, episode: int, rng: random.Random) -> float:
        """Seconds to hold an endpoint that throttled without saying for how long; `episode` counts from 1.

        At least half the ceiling: a gate that opens at once would only provoke the next refusal.
        """
        ceiling = min(self.cap, self.throttle_base * 2 ** min(episode - 1, 30))
        return rng.uniform(ceiling / 2, ceiling)


def hint(headers: Mapping[str, str]) -> float | None:
    """Seconds that the server asks to wait, or None: `retry-after-ms`, then `retry-after` in seconds or as a date.

    A date is measured against the response's own `Date`, for the local clock may be wrong (RFC 9110, 10.2.3).
    Values that are negative, infinite or no numbers are no hint.
    """
    millis = _number(headers.get("retry-after-ms"))
    if millis is not None:
        return millis / 1000
    value = headers.get("retry-after")
    seconds = _number(value)
    if seconds is not None or value is None:
        return seconds
    try:
        then, now = parsedate_to_datetime(value), parsedate_to_datetime(headers.get("date", ""))
        return max(0.0, (then - now).total_seconds())
    except (ValueError, TypeError):
        return None


def _number(value: str | None) -> float | None:
    try:
        number = float(value) if value is not None else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None
