"""The end of the input: calls that were refused too often, kept until all else has ended, and then asked again. Pure.

They are sent again in rounds while a round serves any of them; then one at a time, with ever longer waits between the
rounds. Who was asked to wait is in no round before that is over, once; the others do not wait for it. What nobody has
served through so many rounds and so long fails, with what the server said last.
"""

from __future__ import annotations

import math
from array import array
from collections import deque
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from batcher.failures import FailureClass
from batcher.figures import span
from batcher.policy import history
from batcher.policy.backlog import size_of
from batcher.policy.doubling import doubled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from batcher.failures import Failure
    from batcher.model import Call

ROOM: Final = 64 * 1024 * 1024
"""Bytes of calls that may wait, parked and set aside ones included. The others are read again from the input."""
WAITS: Final = (1.0, 16.0)
"""Seconds before the second round, and at most; doubled from one round in vain to the next."""
TOGETHER_S: Final = 1.0
"""Seconds within which those may be asked again that are asked in one round."""
LEAST_S: Final = 15.0
"""Seconds for which nobody must have been served before anything fails."""
_SENT_BITS: Final = 16
_SENT_MASK: Final = (1 << _SENT_BITS) - 1
_END: Final[Any] = object()

Reread: TypeAlias = "Callable[[Iterator[tuple[int, int]]], Iterator[tuple[Call, int] | None]]"
"""Makes calls of lines of the input anew, which are given in order, and how often each was sent. None where reading is
left off to give others a turn."""


@dataclass(slots=True)
class LastLook:
    """`retries` rounds in vain may follow the first. Without `reread` the input cannot be read twice."""

    retries: int = 4
    reread: Reread | None = None
    kept: int = 0
    """Bytes that the calls take which are kept here."""
    is_on: bool = False
    is_reading: bool = False
    """Reading was left off to give others a turn."""
    opens: float = -math.inf
    """When the next round begins."""
    _next: deque[Call] = field(default_factory=deque)
    """Those of the next round."""
    _lines: array[int] = field(default_factory=lambda: array("Q"))
    """Those of the next round that have to be read again: `seq` and how often they were sent, in one number."""
    _round: deque[Call] = field(default_factory=deque)
    _reading: Iterator[tuple[Call, int] | None] = field(default_factory=lambda: iter(()))
    _unread: int = 0
    """Lines of this round that are still to be read."""
    _sent: set[Call] = field(default_factory=set)
    """Those of this round that were sent, and have not ended."""
    _in_vain: int = 0
    """Rounds in a row that served none."""
    _has_served: bool = True
    """This round has served some."""
    _since: float = math.inf
    """Since when nobody was served."""

    @property
    def waiting(self) -> int:
        """How many calls wait here."""
        return len(self._next) + len(self._lines) + len(self._round) + self._unread

    @property
    def is_round_over(self) -> bool:
        """Whether all of this round were sent."""
        return not self._round and not self._unread

    @property
    def is_wary(self) -> bool:
        """One at a time: the last round has served none, and this one has not yet."""
        return self._in_vain > 0 and not self._has_served

    def keep(self, call: Call, room: int) -> bool:
        """Keep a call for the next round; false if there is neither room nor another way to it."""
        size = size_of(call)
        if self.kept + size <= room:
            self._next.append(call)
            self.kept += size
        elif self.reread is None:
            return False
        else:
            sent = min(call.sent, _SENT_MASK)
            self._lines.extend(job.seq << _SENT_BITS | sent for job in call.jobs)
        return True

    def refused(self, call: Call, failure: Failure, now: float, patience: float) -> bool:
        """It is refused once more; true if that was the last time."""
        self._sent.discard(call)
        if (failure.retry_after or 0.0) > patience:
            return True
        is_over = self._in_vain >= self.retries and not self._has_served and call.sent > self.retries
        return is_over and now - self._since >= LEAST_S

    def leaves(self, call: Call) -> None:
        """The call has met its fate, or is no longer one of this round."""
        self._sent.discard(call)

    def served(self, call: Call) -> None:
        self._sent.discard(call)
        self._has_served = True
        self._since = math.inf

    def has(self, call: Call) -> bool:
        """Whether the call is one of this round."""
        return call in self._sent

    def begin(self, now: float) -> None:
        """All else has ended, and so has the round before this: begin one, or say in `opens` when."""
        if not self.is_on:
            self.is_on, self._in_vain, self._has_served = True, 0, True
            self._since = math.inf
            self.opens = now
        elif self.opens == math.inf:
            self._in_vain = 0 if self._has_served else self._in_vain + 1
            self.opens = now + doubled(WAITS[0], max(0, self._in_vain - 1), WAITS[1])
        if now < self.opens:
            return
        if self._next and not self._lines:
            self.opens = max(now, self._first_rested())
            if now < self.opens:
                return
        if self._since == math.inf:
            self._since = now
        self.opens = math.inf
        self._has_served = False
        rested = [call for call in self._next if history.rests_until(call) <= now]
        self._round, self._next = (
            deque(sorted(rested, key=_group)),
            deque(call for call in self._next if history.rests_until(call) > now),
        )
        lines, self._lines = self._lines, array("Q")
        self._unread = len(lines)
        if lines and self.reread is not None:
            numbers = sorted(lines)
            self._reading = self.reread((number >> _SENT_BITS, number & _SENT_MASK) for number in numbers)

    def take(self, fits: Callable[[Call], bool]) -> Call | None:
        """Take the next call of this round that may go; None if there is none now."""
        self.is_reading = not self._round and self._unread > 0 and not self._read()
        if not self._round or not fits(self._round[0]):
            return None
        call = self._round.popleft()
        self.kept -= size_of(call)
        self._sent.add(call)
        return call

    def end(self) -> None:
        """Something new has come: what is left of the round waits for the end of that."""
        self.is_on = False
        self._next.extend(self._round)
        self._round.clear()

    def clear(self, drop: Callable[[Call], bool]) -> None:
        """Take out every call that `drop` takes; what has to be read again is asked about then."""
        for queue in (self._next, self._round):
            kept = [call for call in queue if not drop(call)]
            queue.clear()
            queue.extend(kept)
        self.kept = sum(size_of(call) for queue in (self._next, self._round) for call in queue)

    def forget(self) -> int:
        """Nothing will be read again. Return how many lines were to be."""
        lines = len(self._lines) + self._unread
        self._lines, self._unread = array("Q"), 0
        return lines

    def first(self) -> Call | None:
        """Whoever may be asked first, of those that are kept for the next round."""
        return min(self._next, key=history.rests_until, default=None)

    def rests_until(self, most: int) -> float:
        """A time before which not all are asked, looking at so many of them."""
        times = [history.rests_until(call) for call in islice(self._next, most)]
        opens = self.opens if self.is_on and self.waiting and self.opens < math.inf else -math.inf
        return max(*times, opens, -math.inf)

    def _first_rested(self) -> float:
        """When the first may be asked again, and those that may be soon after."""
        times = [history.rests_until(call) for call in self._next]
        first = min(times)
        return max(time for time in times if time <= first + TOGETHER_S)

    def _read(self) -> bool:
        """Read on in this round; false if there is more, but not at once."""
        made = next(self._reading, _END)
        if made is _END:
            self._unread = 0
        elif made is not None:
            call, times = made
            history.read_again(call, times)
            self._unread -= len(call.jobs)
            self._round.append(call)
            self.kept += size_of(call)
        return made is not None


def _group(call: Call) -> str:
    return call.group


def last_word(call: Call, failure: Failure, patience: float) -> Failure:
    """What the error line of a call says: of one that was told to wait, while others were served, for how long."""
    if failure.kind is not FailureClass.THROTTLE:
        return failure
    hint = failure.retry_after or 0.0
    why = f"it asks to wait {span(hint)}" if hint else "it says wait"
    if hint > patience:
        why += ", which is longer than --max-wait"
    elif call.throttled > 1:
        why += f", each of the {call.throttled} times that it was asked this"
    return replace(failure, message="; ".join(filter(None, (failure.message, f"{why}, and has served others"))))
