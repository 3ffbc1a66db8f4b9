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
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from batcher.policy import history

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
CALL_BYTES: Final = 2048
"""What a call takes beside its text, which it has twice: in its job, and in its body."""

Key: TypeAlias = tuple[str, str]
"""Group and path: what calls must have in common for one to hold up those behind it."""


class Parked(NamedTuple):
    """A call that waits for its next attempt, in the order in which they are due."""

    due: float
    order: int
    since: float
    price: float
    call: Call


def size_of(call: Call) -> int:
    """Roughly the bytes that it takes to keep a call."""
    return CALL_BYTES + 2 * len(call.body)


@dataclass(slots=True)
class Backlog:
    """`intake` yields calls, or None when none has arrived yet."""

    intake: Iterator[Call | None]
    window: int = WINDOW
    stretch: int = 1
    """How many calls are made at a time."""
    is_exhausted: bool = False
    """The input was read to its end."""
    is_blocked: Callable[[], bool] = bool
    """Whether the input waits for what was taken from it: nothing more comes before some of that has ended."""
    kept: int = 0
    """Bytes that the calls take which are parked or set aside."""
    gated: set[Key] = field(default_factory=set)
    """What a server holds: what waits for that is no reason to read no further."""
    heaps: dict[Key, list[Parked]] = field(default_factory=dict)
    """What is parked: those that have a key in common wait for the same."""
    _order: Iterator[int] = field(default_factory=count)
    _aside: dict[Key, deque[tuple[int, Call]]] = field(default_factory=dict)
    """By key: the call, and how many had been read when it was set aside."""
    _again: int = 0
    """How many of those set aside were sent before."""
    _made: deque[Call] = field(default_factory=deque)
    """Calls that the input has made, and nobody has read."""
    _read: int = 0
    _only: str | None = None
    """The one group that was met so far, and its path."""
    _path: str = ""
    _is_mixed: bool = False

    @property
    def parked(self) -> int:
        """How many calls wait that were sent before."""
        return sum(map(len, self.heaps.values())) + self._again

    @property
    def aside(self) -> int:
        return sum(len(queue) for queue in self._aside.values())

    @property
    def is_empty(self) -> bool:
        return self.is_exhausted and not self.heaps and not self._aside and not self._made

    @property
    def may_bring_more(self) -> bool:
        """Whether the input goes on, and waits for nobody here."""
        return not self.is_exhausted and not self.is_blocked()

    @property
    def is_waiting(self) -> bool:
        """Whether anything waits beside the input."""
        return bool(self.heaps or self._aside)

    @property
    def has_new(self) -> bool:
        """Whether anything waits that was never sent, as far as the input was read."""
        return bool(self._made) or self.aside > self._again

    @property
    def due(self) -> float:
        """When the next parked call is due; infinity if none is parked."""
        return min((heap[0].due for heap in self.heaps.values()), default=math.inf)

    def park(self, call: Call, now: float, until: float, price: float = 0.0) -> None:
        """Keep a call until it is due."""
        heap = self.heaps.setdefault((call.group, call.path), [])
        heapq.heappush(heap, Parked(until, next(self._order), now, price, call))
        self.kept += size_of(call)

    def pop(self, key: Key, now: float) -> Call:
        """Take the next parked call of this key."""
        heap = self.heaps[key]
        entry = heapq.heappop(heap)
        if not heap:
            del self.heaps[key]
        call = entry.call
        self.kept -= size_of(call)
        history.waited(call, now - entry.since)
        return call

    def set_aside(self, call: Call) -> None:
        """Put a call in front of its kind, as old as the first there."""
        queue = self._aside.setdefault((call.group, call.path), deque())
        self._again += call.sent > 0
        self.kept += size_of(call)
        queue.appendleft((queue[0][0] if queue else self._read, call))

    def keep(self, call: Call) -> None:
        """Set aside a call that was just read, behind those of its kind."""
        self._aside.setdefault((call.group, call.path), deque()).append((self._read, call))
        self.kept += size_of(call)

    def first_of(self, group: str) -> list[Call]:
        """The first calls of this group that were set aside, one a path."""
        return [queue[0][1] for key, queue in self._aside.items() if key[0] == group] if self._aside else []

    def first_of_others(self, group: str | None) -> list[Call]:
        """The first calls that were set aside of each group but this one."""
        return [queue[0][1] for key, queue in self._aside.items() if key[0] != group]

    def take(
        self, fits: Callable[[Call], bool], *, group: str | None = None, avoid: Collection[str] = ()
    ) -> Call | None:
        """Take the call that has been set aside longest and fits: of this group alone, or those of some groups last."""
        if not self._aside:
            return None
        keys = [key for key in self._aside if group is None or key[0] == group]
        if len(keys) > 1:
            keys.sort(key=lambda key: (key[0] in avoid, self._aside[key][0][0]))
        for key in keys:
            if fits(self._aside[key][0][1]):
                return self._take_of(key)
        return None

    def _take_of(self, key: Key) -> Call:
        queue = self._aside[key]
        _, call = queue.popleft()
        self._again -= call.sent > 0
        self.kept -= size_of(call)
        if not queue:
            del self._aside[key]
        return call

    def read(self) -> Call | None:
        """Read the next call of the input; None: there is none now, or what was set aside is to go first."""
        if (self._aside and not self._may_read()) or not (self._made or self._make()):
            return None
        call = self._made.popleft()
        self._read += 1
        if call.group != self._only or call.path != self._path:
            self._note(call)
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
            if len(call.jobs) > 1:
                break  # how large the next pack may be is known when that goes
        return bool(self._made)

    def peek(self) -> None:
        """Find out whether the input goes on, where it was read no further than needed."""
        if not self._made:
            self._make()

    def clear(self, drop: Callable[[Call], bool]) -> None:
        """Take out every call that `drop` takes."""
        self._made = deque(call for call in self._made if not drop(call))
        heaps = {key: [entry for entry in heap if not drop(entry.call)] for key, heap in self.heaps.items()}
        self.heaps = {key: heap for key, heap in heaps.items() if heap}
        for heap in self.heaps.values():
            heapq.heapify(heap)
        kept = {key: deque(entry for entry in queue if not drop(entry[1])) for key, queue in self._aside.items()}
        self._aside = {key: queue for key, queue in kept.items() if queue}
        self._again = sum(call.sent > 0 for queue in self._aside.values() for _, call in queue)
        self.kept = sum(size_of(entry.call) for heap in self.heaps.values() for entry in heap)
        self.kept += sum(size_of(call) for queue in self._aside.values() for _, call in queue)

    def _may_read(self) -> bool:
        """With one kind of calls there is nothing to look for behind one that has to wait."""
        if not self._is_mixed:
            return False
        waiting = (queue[0] for key, queue in self._aside.items() if key not in self.gated)
        oldest = min((read for read, call in waiting if not call.sent), default=self._read)  # retries hold up nobody
        return self._read - oldest < self.window

    def _note(self, call: Call) -> None:
        """Take in a call of another kind than the only one so far."""
        if self._only is None:
            self._only, self._path = call.group, call.path
        else:
            self._is_mixed = True
