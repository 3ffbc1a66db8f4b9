"""What is drawn by lot: faults, lengths, lags. Each draw follows from the seed, the job and its attempt alone. Pure."""

from __future__ import annotations

from math import exp, log
from random import Random
from typing import TYPE_CHECKING

from batcher.simulator.behaviours import named_fault

if TYPE_CHECKING:
    from batcher.simulator.settings import Settings

PASSING = (
    *("runner_stopped", "busy", "loading", "throttled", "html502", "cloudflare524", "overloaded", "empty200"),
    *("reset_before", "close_before", "truncate", "cut", "reset", "error_line", "stale"),
)
"""What `--fail` draws from: faults that are over at the next attempt and hold nobody up."""


class Chance:
    """Draws for one server. `sure` says that nothing is left to chance."""

    def __init__(self, settings: Settings) -> None:
        self._seed = settings.seed
        self._tokens = settings.tokens
        self._sigma = settings.sigma
        self._lag = settings.lag
        self._shares = [(named_fault(name), chance) for name, chance in settings.faults]
        if settings.fail:
            self._shares += [(named_fault(name), settings.fail / len(PASSING)) for name in PASSING]
        self.sure = not self._shares

    def fault(self, key: str, nth: int) -> str:
        """A directive's words for the n-th request of a job; "" for none. What cuts an answer cuts it anywhere."""
        draw = self._of("fault", key, nth)
        spot = draw.random()
        for words, chance in self._shares:
            spot -= chance
            if spot < 0:
                return f"{words} after={draw.randrange(self.tokens(key))}"
        return ""

    def lag(self, key: str, nth: int) -> float:
        """Seconds until the n-th request of a job is looked at."""
        return self._lag and self._lag * self._of("lag", key, nth).random()

    def tokens(self, key: str) -> int:
        """How long the answer to a job is: the same each time it is asked. The mean is the one that was set."""
        if not self._sigma:
            return self._tokens
        middle = log(self._tokens) - self._sigma**2 / 2
        return max(1, round(exp(middle + self._sigma * self._of("tokens", key).gauss())))

    def _of(self, *parts: object) -> Random:
        return Random(repr((self._seed, *parts)))
