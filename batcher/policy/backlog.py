"""What waits to be sent: the input, calls parked until they are due, calls set aside by group. Pure.

The input is read no further than needed. Calls are set aside when another group is to go first, within a window: no
call waits until more than so many that came after it were read, whatever groups they belong to.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from batcher.model import Call

WINDOW: Final = 1000
"""How far is read beyond the oldest call that was set aside, in calls."""
STRETCH: Final = 32
"""Calls that are made one after the other: what makes them is in the caches then, which saves a twelfth of what a job
costs. With 128 the calls themselves are no longer there when they are sent."""
STRETCH_BYTES: Final = 1 << 20
"""Bytes of bodies after which a stretch ends."""


@dataclass(slots=True)
class Backlog:
    """`intake` yields calls, or None when none has arrived yet."""

    intake: Iterator[Call | None]
    window: int = WINDOW
    stretch: int = 1
    """How many calls are made at a time."""
    is_exhausted: bool = False
    """The input was read to its end."""
    _parked: list[tuple[float, int, float, float, Call]] = field(default_factory=list)
    """(due, order, parked at, price, call), as a heap."""
    _order: Iterator[int] = field(default_factory=count)
    _aside: dict[str, deque[tuple[int, Call]]] = field(default_factory=dict)
    """By group: the call, and how many had been read when it was set aside."""
    _again: int = 0
    """How many of those set aside were sent before."""
    _made: deque[Call] = field(default_factory=deque)
    """Calls that the input has made, and nobody has read."""
    _read: int = 0
    _only: str | None = None
    """The one group that was met so far."""
    _is_mixed: bool = False

    @property
    def parked(self) -> int:
        """How many calls wait that were sent before."""
        return len(self._parked) + self._again

    @property
    def aside(self) -> int:
        return sum(len(queue) for queue in self._aside.values())

    @property
    def is_empty(self) -> bool:
        return self.is_exhausted and not self._parked and not self._aside and not self._made

    @property
    def is_waiting(self) -> bool:
        """Whether anything waits beside the input."""
        return bool(self._parked or self._aside)

    @property
    def due(self) -> float:
        """When the next parked call is due; infinity if none is parked."""
        return self._parked[0][0] if self._parked else math.inf

    @property
    def price(self) -> float:
        """What it costs to send the next parked call."""
        return self._parked[0][3]

    def park(self, call: Call, now: float, until: float, price: float = 0.0) -> None:
        """Keep a call until it is due."""
        heapq.heappush(self._parked, (until, next(self._order), now, price, call))

    def pop(self, now: float) -> Call:
        """Take the next parked call."""
        _, _, since, _, call = heapq.heappop(self._parked)
        call.waited += now - since
        return call

    def set_aside(self, call: Call) -> None:
        """Put a call in front of its group, as old as the first there."""
        queue = self._aside.setdefault(call.group, deque())
        self._again += call.sent > 0
        queue.appendleft((queue[0][0] if queue else self._read, call))

    def first_of(self, group: str) -> Call | None:
        """The first call of this group that was set aside."""
        return self._aside[group][0][1] if group in self._aside else None

    def take(self, fits: Callable[[Call], bool], avoid: Collection[str] = ()) -> Call | None:
        """Take the call that has been set aside longest and fits, those of groups to avoid last."""
        if not self._aside:
            return None
        by_age = sorted(self._aside, key=lambda group: (group in avoid, self._aside[group][0][0]))
        return next((self.take_of(group) for group in by_age if fits(self._aside[group][0][1])), None)

    def take_of(self, group: str) -> Call:
        """Take the first call of this group that was set aside."""
        queue = self._aside[group]
        _, call = queue.popleft()
        self._again -= call.sent > 0
        if not queue:
            del self._aside[group]
        return call

    def read(self) -> Call | None:
        """Read the next call of the input; None: there is none now, or what was set aside is to go first."""
        if (self._aside and not self._may_read()) or not (self._made or self._make()):
            return None
        call = self._made.popleft()
        self._read += 1
        if call.group != self._only:
            self._note(call.group)
        return call

    def _make(self) -> bool:
        """Have the input make calls, a stretch of them; true if there are any."""
        size = 0
        while len(self._made) < self.stretch and size < STRETCH_BYTES and not self.is_exhausted:
            try:
                call = next(self.intake)
            except StopIteration:
                self.is_exhausted = True
                break
            if call is None:
                break
            self._made.append(call)
            size += len(call.body)
        return bool(self._made)

    def keep(self, call: Call) -> None:
        """Set aside a call that was just read, behind those of its group."""
        self._aside.setdefault(call.group, deque()).append((self._read, call))

    def peek(self) -> None:
        """Find out whether the input goes on, where it was read no further than needed."""
        if (call := self.read()) is not None:
            self.keep(call)

    def clear(self, drop: Callable[[Call], bool]) -> None:
        """Take out every call that `drop` takes."""
        self._made = deque(call for call in self._made if not drop(call))
        self._parked = [entry for entry in self._parked if not drop(entry[-1])]
        heapq.heapify(self._parked)
        kept = {group: deque(entry for entry in queue if not drop(entry[1])) for group, queue in self._aside.items()}
        self._aside = {group: queue for group, queue in kept.items() if queue}
        self._again = sum(call.sent > 0 for queue in self._aside.values() for _, call in queue)

    def _may_read(self) -> bool:
        """With one group there is nothing to look for behind a call that has to wait."""
        return self._is_mixed and self._read - min(queue[0][0] for queue in self._aside.values()) < self.window

    def _note(self, group: str) -> None:
        """Take in a group that is not the only one so far."""
        if self._only is None:
            self._only = group
        else:
            self._is_mixed = True
