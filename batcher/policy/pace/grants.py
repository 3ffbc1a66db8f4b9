"""How much a server has granted a second, in the last minute and lately: requests, and tokens of answers. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

SPAN: Final = 60.0
"""Seconds over which is measured what was granted: most limits are by the minute. What a window of a minute has granted
when it refuses is its limit; a bucket, or a limit by the second, grants as much in any other time."""
LATELY: Final = 15.0
"""The same for those: where more was granted lately than in the whole minute, that counts."""
EVERY: Final = 5.0
"""Seconds between the marks from which that is told."""
PAUSE: Final = 15.0
"""Seconds without news after which it is measured anew: what nobody asked for was not refused."""


@dataclass(slots=True)
class Mark:
    """Until then: how many requests were sent, how many of them granted; answers, and their tokens."""

    at: float
    sent: float = 0.0
    requests: float = 0.0
    tokens: float = 0.0
    answers: int = 0


@dataclass(slots=True)
class Grants:
    """What was granted since `since`. `taken` is always how many requests were sent so far; times in seconds."""

    since: float
    tokens: float = 0.0
    """Of all answers that told them."""
    answers: int = 0
    """How many these are."""
    refused: int = 0
    marks: deque[Mark] = field(default_factory=deque)
    """Some for each of the last `SPAN` seconds, and one before."""

    def __post_init__(self) -> None:
        self.marks.append(Mark(self.since))

    def mark(self, taken: float, now: float, *, is_asked: bool) -> None:
        """Make a mark, if it is time; `is_asked`: without news only because all were refused."""
        marks = self.marks
        if now - marks[-1].at >= PAUSE and is_asked:
            marks.clear()
        if not marks or now - marks[-1].at >= EVERY:
            marks.append(Mark(now, taken, taken - self.refused, self.tokens, self.answers))
            while len(marks) > 1 and marks[1].at <= now - SPAN:
                marks.popleft()

    def take_back(self, number: float) -> None:
        """What was on its way at a mark may turn out to be refused: the call that was sent as this one of all."""
        self.refused += 1
        for mark in reversed(self.marks):
            if mark.sent < number:
                break
            mark.requests -= 1

    def rates(self, taken: float, now: float, until: float) -> tuple[float, float]:
        """Requests and tokens a second, in the last minute or lately; `until` then there will be no more."""
        marks = self.marks
        lately = next((mark for mark in reversed(marks) if mark.at <= now - LATELY), marks[0])
        minute, late = (
            self.since_mark(mark, span, taken, now, until) for mark, span in ((marks[0], SPAN), (lately, LATELY))
        )
        return max(minute[0], late[0]), max(minute[1], late[1])

    def since_mark(self, mark: Mark, span: float, taken: float, now: float, until: float) -> tuple[float, float]:
        """Requests and tokens a second since a mark, which is about so long ago."""
        lasted = now - mark.at if now - mark.at < span + EVERY else span  # before, there was no news since the mark
        lasted = max(lasted, min(until - mark.at, SPAN))
        if lasted <= 0:  # after a pause, nothing is known yet
            return 0.0, 0.0
        requests = max(0.0, taken - self.refused - mark.requests)
        answers = self.answers - mark.answers
        a_call = (self.tokens - mark.tokens) / answers if answers else self.tokens / max(1, self.answers)
        return requests / lasted, (requests + 0.5) * a_call / lasted  # half of the refused one would still have fit
