"""Whether more calls in flight bring more: for servers that tell no durations, where a queue may not show. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from batcher.policy.limit.queueing import busy

if TYPE_CHECKING:
    from batcher.outcome import Attempt

APART: Final = 1.5
"""Levels nearer than this factor are not compared: the lengths of answers are too uneven for it."""
GAIN: Final = 0.25
"""Of the calls added, the share that must have brought something. A full server brings 0, a batch of 256 still 0.3."""


@dataclass(slots=True)
class Plateau:
    """The rate of work at a level: calls in flight times what one of them brings in a second.

    Work is tokens of the answer, or of the input for embeddings, or calls where no tokens are told. The rate is taken
    from the calls' own durations, not from the clock: a long answer is much work and much time, so its length cancels.
    """

    level: int = 0
    """The highest level at which the work still grew, 0 before the first."""
    _rate: float = 0.0
    _count: int = 0
    _flying: float = 0.0
    _work: float = 0.0
    _time: float = 0.0

    def add(self, attempt: Attempt, in_flight: int) -> None:
        """Take in a success."""
        usage = attempt.completion.usage if attempt.completion else None
        self._count += 1
        self._flying += in_flight
        self._work += (usage.completion_tokens or usage.prompt_tokens or 1) if usage else 1
        self._time += busy(attempt)

    def is_reached(self, level: int) -> bool:
        """Say, at the end of a round at `level`, whether it brought next to nothing over the level before."""
        if not self._count:
            return False
        rate = self._flying / self._count * self._work / self._time
        if level == self.level:
            self._rate = (self._rate + rate) / 2  # a lucky round must not stand for good
        elif level < self.level or level >= APART * self.level:
            if self.level < level and rate - self._rate < GAIN * (level / max(self.level, 1) - 1) * self._rate:
                return True
            self.level, self._rate = level, rate
        return False

    def restart(self) -> None:
        """Forget the round, keep the level."""
        self._count = 0
        self._flying = self._work = self._time = 0.0
