"""A round of answers: enough of them, to calls that were sent since the limit changed, to decide about it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

ROUND: Final = (8, 64)
"""Answers in a round: as many as may be in flight, within these bounds; short answers must not decide alone."""
WHOLE_ROUND: Final = (4, 32)
"""The same in slow start where answers come in one piece: half of what may be in flight. There no first token speeds
growth, and a rate that is taken from the calls' own durations needs few of them."""
ROUND_S: Final = 1.0
"""The least time of a round, in seconds: where answers take milliseconds, many are had for little."""
WHOLE_ROUND_S: Final = 0.25
"""The same in slow start where answers come in one piece."""
USED: Final = 0.8
"""Share of the limit that must be in flight for an answer to say something about the limit."""


@dataclass(slots=True)
class Round:
    """Answers since `since`; None: since the first of these calls was sent."""

    since: float | None = None
    clean: bool = True
    """Nothing has failed."""
    count: int = 0
    streamed: int = 0
    """How many of the answers came in pieces."""
    _used: int = 0

    def add(self, sent: float, *, used: bool, streamed: bool) -> None:
        """Take in an answer; `used`: the limit was, when it ended."""
        if self.since is None:
            self.since = sent
        self.count += 1
        self._used += used
        self.streamed += streamed

    def is_old(self, now: float) -> bool:
        return self.since is not None and now - self.since >= ROUND_S

    def is_over(self, allowed: int, now: float, *, slow_start: bool) -> bool:
        if slow_start and not self.streamed:
            enough, least = max(WHOLE_ROUND[0], min(allowed // 2, WHOLE_ROUND[1])), WHOLE_ROUND_S
        else:
            enough, least = max(ROUND[0], min(allowed, ROUND[1])), ROUND_S
        return self.count >= enough and self.since is not None and now - self.since >= least

    @property
    def is_clean(self) -> bool:
        """Whether nothing failed, and the limit was really used."""
        return self.clean and 2 * self._used >= self.count
