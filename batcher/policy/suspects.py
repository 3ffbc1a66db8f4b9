"""Who is to blame when a server breaks down: no call that ran among others, until it has done it alone. Pure.

A call that may have brought a server down is a suspect. Suspects wait in line and are sent one by one, each alone on
its server; one that breaks the server down again and again while alone is what crashes it. When a server breaks down
without those in line, it does not take them for that: they are suspects no longer.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from batcher.failures import Failure, FailureClass
from batcher.policy.breakdown import Breakdown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from batcher.model import Call

TOGETHER: Final = 2
"""Breakdowns among others that make a call a suspect: it was there each time."""
ALONE: Final = (3, 8)
"""Breakdowns while alone that convict it: three, and one more for every two without it, but no more than eight.

A server that is restarted again and again meets any call, and breaks down without it as often."""


@dataclass(slots=True)
class Suspects:
    """The suspects of a run. `line` holds those whose turn has come, in order."""

    line: deque[Call] = field(default_factory=deque)
    _together: dict[Call, int] = field(default_factory=dict)
    _alone: dict[Call, int] = field(default_factory=dict)
    _seen: int = 0
    """Breakdowns of any kind, each once."""
    _met: dict[Call, tuple[int, int]] = field(default_factory=dict)
    """The number of the first breakdown that a call was in, and in how many it was."""
    _acquitted: set[Call] = field(default_factory=set)
    """Who stood in line, and has left it."""
    _hung_up: dict[Call, tuple[str, float]] = field(default_factory=dict)
    """Which server that was there hung up on a call, and when: the last time, or the first that it outlived."""

    def broke_down(
        self, call: Call, in_flight: Iterable[Call], known: Breakdown | None, now: float, *, is_free: bool = False
    ) -> Breakdown:
        """A call met a dying server, with `in_flight` still there. Return the breakdown: `known`, or a new one.

        `is_free`: it was hung up on, as one may be without a fault of anybody's.
        """
        breakdown = known if known is not None and known.takes(call, now) else Breakdown.under(call, in_flight, now)
        was_collective = breakdown.is_collective
        breakdown.fails(call, now, is_free=is_free)
        self._together.setdefault(call, 0)
        if breakdown.is_collective:
            self._seen += not was_collective
            for one in (call,) if was_collective else breakdown.failed:
                self._was_there(one)
            breakdown.accused.clear()
        return breakdown

    def unwitnessed(self, breakdown: Breakdown) -> None:
        """Too few of those in flight were served after it for that to tell whose fault it was."""
        for one in breakdown.accused:
            self._was_there(one)

    def broke_down_alone(self, call: Call) -> bool:
        """The call met a dying server with nothing beside it; true if that convicts it."""
        self._seen += 1
        self._meets(call)
        self._alone[call] = self._alone.get(call, 0) + 1
        first, met = self._met[call]
        without = self._seen - first + 1 - met
        return self._alone[call] >= min(ALONE[0] + without // 2, ALONE[1])

    def suspects(self, call: Call, *, is_out_of_attempts: bool) -> bool:
        """Whether the call may be sent again only alone: it was there when a server broke down under all.

        So is one whose last try was among others: no job fails for what it flew beside.
        """
        if call not in self._together:
            return False
        return is_out_of_attempts or self._together[call] >= TOGETHER

    def line_up(self, call: Call) -> None:
        """A suspect waits for its turn. First who was alone once or twice: it may have met an outage that is over.

        Then who was alone least often, as one that has not done it needs one turn; of those what needs no other model.
        """
        turn = self._turn(call)
        alike = [place for place, one in enumerate(self.line, 1) if self._turn(one) == turn]
        behind = [place for place in alike if self.line[place - 1].group == call.group]
        before = sum(self._turn(one) <= turn for one in self.line)
        self.line.insert(behind[-1] if behind else before, call)

    def _turn(self, call: Call) -> int:
        times = self._alone.get(call, 0)
        return -1 if 0 < times < ALONE[0] else times

    def acquit(self, absent: Callable[[Call], bool], *, is_once: bool = False) -> list[Call]:
        """The server broke down without these, who leave the line and are returned: they have not done it.

        `is_once`: but for those of whom that was said before.
        """
        acquitted = (
            [call for call in self.line if absent(call) and not (is_once and call in self._acquitted)]
            if self.line
            else []
        )
        self._acquitted.update(acquitted)
        for call in acquitted:
            self.line.remove(call)
            self._together[call] = 0
        return acquitted

    def clear(self, drop: Callable[[Call], bool]) -> None:
        """Take out of the line every call that `drop` takes."""
        self.line = deque(call for call in self.line if not drop(call))

    def hung_up(self, call: Call, server: str, served: float, now: float) -> None:
        """A server that seems to be there hung up on the call. What it `served` last ended then."""
        if self.outlived(call, server, served) == math.inf:
            self._hung_up[call] = (server, now)

    def outlived(self, call: Call, server: str, served: float) -> float:
        """Since when this server has hung up on the call and gone on to serve others; infinity if it has not."""
        root, when = self._hung_up.get(call, ("", math.inf))
        return when if root == server and when < served else math.inf

    def left(self, server: str, served: float) -> int:
        """How many of those that wait this server has hung up on since it served anybody."""
        return sum(root == server and when >= served for root, when in self._hung_up.values())

    def forget(self, call: Call) -> None:
        """The call has met its fate."""
        if self._hung_up:
            self._hung_up.pop(call, None)
        if self._together or self._alone:
            self.clears(call)

    def clears(self, call: Call) -> None:
        """It was asked alone, and failed at a server that lives: it is a suspect no longer."""
        self._together.pop(call, None)
        self._alone.pop(call, None)
        self._met.pop(call, None)
        self._acquitted.discard(call)

    def _was_there(self, call: Call) -> None:
        if call in self._together:  # else it has met its fate meanwhile
            self._together[call] += 1
            self._meets(call)

    def _meets(self, call: Call) -> None:
        first, met = self._met.get(call, (self._seen, 0))
        self._met[call] = (first, met + 1)


def convicted(failure: Failure) -> Failure:
    """The failure of a job that broke the server down each time it was asked alone."""
    words = f"the server broke down each time it was asked this and nothing else: {failure.message}"
    return Failure(FailureClass.PERMANENT, "crashes_server", words, failure.status)
