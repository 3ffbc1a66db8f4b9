"""Looks at a growing answer now and then: whether it comes too slowly, and whether it runs away. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from batcher.failures import AttemptError, Failure, FailureClass
from batcher.runaway import runs_away
from batcher.timeouts import too_slow

if TYPE_CHECKING:
    from batcher.model import Completion, Timing
    from batcher.timeouts import Timeouts

STEP: Final = 5.0
"""Seconds from one look to the next. Nothing is looked at between them: a record costs one comparison."""

WINDOW: Final = 120.0
"""Seconds of content over which the speed is measured."""


class Guard:
    """Watches one answer. Call `look` when content has arrived at or after `due` (monotonic seconds)."""

    __slots__ = ("_completion", "_since", "_timeouts", "_timing", "_tokens", "due")

    def __init__(self, completion: Completion, timing: Timing, timeouts: Timeouts) -> None:
        self.due = 0.0
        self._completion = completion
        self._timing = timing
        self._timeouts = timeouts
        self._since: float | None = None
        self._tokens: float = 0

    def look(self, now: float) -> None:
        """Raise AttemptError `too_slow` or `runaway`. The first look, at the first content, starts the clock."""
        self.due = now + STEP
        if self._since is None:
            self._since, self._tokens = now, at_least(self._completion, self._timing)
            return
        if now - self._since >= WINDOW and self._timeouts.min_speed:
            tokens = at_least(self._completion, self._timing)
            speed = (tokens - self._tokens) / (now - self._since)
            if speed < self._timeouts.min_speed:
                raise AttemptError(too_slow(speed, self._timeouts))
            self._since, self._tokens = now, tokens
        if self._timeouts.runaway and runs_away(self._completion):
            words = "the answer only repeated itself and was cut off (--runaway); what had arrived is in `partial`"
            raise AttemptError(Failure(FailureClass.SUSPECT, "runaway", words))


def at_least(completion: Completion, timing: Timing) -> float:
    """Tokens that have certainly come: as many as arrivals, as pieces of text, or as a quarter of the characters.

    A proxy that holds back and sends much at once makes few arrivals; a server that sends one token a record, and
    languages with a token a character, make few characters.
    """
    pieces = characters = 0
    for choice in completion.choices.values():
        for part in (choice.texts, choice.thoughts):
            pieces += len(part)
            characters += sum(map(len, part))
    return max(len(timing.arrivals), pieces, characters / 4)
