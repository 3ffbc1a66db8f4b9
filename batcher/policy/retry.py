"""When to try again: capped exponential backoff with full jitter. Pure.

    delay = uniform(0, min(cap, base · 2^(n-1)))      n = attempts used up so far

Full jitter: Marc Brooker, "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from batcher.policy.doubling import doubled

if TYPE_CHECKING:
    import random


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how long. `retries` counts the attempts after the first; times in seconds."""

    retries: int = 4
    base: float = 0.5
    throttle_base: float = 1.0
    cap: float = 60.0
    throttle_cap: float = 8.0
    lone_cap: float = 2.0
    failing_base: float = 2.0
    failing_cap: float = 120.0
    unproven_base: float = 0.25
    unproven_cap: float = 1.0

    def allows(self, counted: int) -> bool:
        """Whether a call that has used up `counted` attempts may have another."""
        return counted <= self.retries

    def delay(self, counted: int, rng: random.Random) -> float:
        """Seconds to wait after the `counted`-th failed attempt."""
        return rng.uniform(0, doubled(self.base, counted - 1, self.cap))

    def throttle_delay(self, episode: int, rng: random.Random) -> float:
        """Seconds to hold an endpoint that throttled without saying for how long; `episode` counts from 1.

        At least half the ceiling: a gate that opens at once would only provoke the next refusal. A low cap: it costs
        one call to find out, and a gate that stays closed for as long as the storm so far would double it.
        """
        return self._half_sure(episode, self.throttle_cap, rng)

    def lone_delay(self, throttled: int, rng: random.Random) -> float:
        """Seconds for a call to wait that was told so for the n-th time, while the server takes others."""
        return self._half_sure(throttled, self.lone_cap, rng)

    def lone_hint(self, hint: float, rng: random.Random) -> float:
        """Seconds for a call to wait that alone was told for how long: up to a tenth longer, and ten seconds."""
        return hint + rng.uniform(0.0, min(0.1 * hint, 10.0))

    def failing_delay(self, gate: int, rng: random.Random) -> float:
        """Seconds to hold what fails whatever is asked, for the n-th time: spread, lest many runs ask in step."""
        return doubled(self.failing_base, gate - 1, self.failing_cap) * rng.uniform(0.8, 1.2)

    def unproven_delay(self, gate: int, rng: random.Random) -> float:
        """Seconds to hold what has failed from the start, for the n-th time: it is to be known soon."""
        return doubled(self.unproven_base, gate - 1, self.unproven_cap) * rng.uniform(0.8, 1.2)

    def _half_sure(self, times: int, cap: float, rng: random.Random) -> float:
        ceiling = doubled(self.throttle_base, times - 1, cap)
        return rng.uniform(ceiling / 2, ceiling)
