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
    from collections.abc import Callable, Container, Iterator

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
    """By key, what was never sent: the call, and how many had been read when it was set aside."""
    _returned: dict[Key, deque[tuple[int, Call]]] = field(default_factory=dict)
    """The same, of what was sent before."""
    made: deque[Call] = field(default_factory=deque)
    """Calls that the input has made, and nobody has read."""
    _read: int = 0
    _only: str | None = None
    """The one group that was met so far, and its path."""
    _path: str = ""
    _is_mixed: bool = False

    @property
    def parked(self) -> int:
        """How many calls wait that were sent before."""
        return sum(map(len, self.heaps.values())) + sum(map(len, self._returned.values()))

    @property
    def aside(self) -> int:
        """How many calls are set aside."""
        return sum(map(len, self._aside.values())) + sum(map(len, self._returned.values()))

    @property
    def is_empty(self) -> bool:
        return self.is_exhausted and not self.is_waiting and not self.made

    @property
    def may_bring_more(self) -> bool:
        """Whether the input goes on, and waits for nobody here."""
        return not self.is_exhausted and not self.is_blocked()

    @property
    def is_waiting(self) -> bool:
        """Whether anything waits beside the input."""
        return bool(self.heaps or self._aside or self._returned)

    @property
    def has_new(self) -> bool:
        """Whether anything waits that was never sent, as far as the input was read."""
        return bool(self.made or self._aside)

    def has_due(self, now: float) -> bool:
        """Whether anything waits that was read and is not held back by a time."""
        return bool(self.made or self._aside or self._returned) or (bool(self.heaps) and self.due <= now)

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
        """Put a call in front of its kind, or if it was sent before, behind those that were; as old as the first."""
        key = (call.group, call.path)
        age = min((queue[0][0] for queue in self._queues(key)), default=self._read)
        if call.sent:
            self._returned.setdefault(key, deque()).append((age, call))
        else:
            self._aside.setdefault(key, deque()).appendleft((age, call))
        self.kept += size_of(call)

    def keep(self, call: Call) -> None:
        """Set aside a call that was just read, behind those of its kind."""
        self._aside.setdefault((call.group, call.path), deque()).append((self._read, call))
        self.kept += size_of(call)

    def first_of(self, group: str) -> list[Call]:
        """The first calls of this group that were set aside, one a path."""
        return [self._queues(key)[0][0][1] for key in self._keys() if key[0] == group]

    def first_of_others(self, group: str | None) -> list[Call]:
        """The first calls that were set aside of each group but this one."""
        return [self._queues(key)[0][0][1] for key in self._keys() if key[0] != group]

    def take(
        self,
        fits: Callable[[Call], bool],
        *,
        group: str | None = None,
        avoid: Container[str] = (),
        is_again_first: bool = False,
    ) -> Call | None:
        """Take the call that has been set aside longest and fits: of this group alone, or those of some groups last.

        Of those of a kind the new ones come first, or those that were sent before.
        """
        if not self._aside and not self._returned:
            return None
        keys = [key for key in self._keys() if group is None or key[0] == group]
        if len(keys) > 1:
            keys.sort(key=lambda key: (key[0] in avoid, min(queue[0][0] for queue in self._queues(key))))
        sources = (self._returned, self._aside) if is_again_first else (self._aside, self._returned)
        for key in keys:
            for source in sources:
                if key in source and fits(source[key][0][1]):
                    return self._take_of(source, key)
        return None

    def _keys(self) -> list[Key]:
        return [*self._aside, *(key for key in self._returned if key not in self._aside)]

    def _queues(self, key: Key) -> list[deque[tuple[int, Call]]]:
        """What is set aside of a kind."""
        return [source[key] for source in (self._aside, self._returned) if key in source]

    def _take_of(self, source: dict[Key, deque[tuple[int, Call]]], key: Key) -> Call:
        queue = source[key]
        _, call = queue.popleft()
        self.kept -= size_of(call)
        if not queue:
            del source[key]
        return call

    def read(self) -> Call | None:
        """Read the next call of the input; None: there is none now, or what was set aside is to go first."""
        if ((self._aside or self._returned) and not self._may_read()) or not (self.made or self._make()):
            return None
        call = self.made.popleft()
        self._read += 1
        if call.group != self._only or call.path != self._path:
            self._note(call)
        return call

    def _make(self) -> bool:
        """Have the input make calls, a stretch of them; true if there are any."""
        size = 0
        while len(self.made) < self.stretch and size < STRETCH_BYTES and not self.is_exhausted:
            try:
                call = next(self.intake)
            except StopIteration:
                self.is_exhausted = True
                break
            if call is None:
                break
            self.made.append(call)
            size += len(call.body)
            if len(call.jobs) > 1:
                break  # how large the next pack may be is known when that goes
        return bool(self.made)

    def peek(self) -> None:
        """Find out whether the input goes on, where it was read no further than needed."""
        if not self.made:
            self._make()

    def clear(self, drop: Callable[[Call], bool]) -> None:
        """Take out every call that `drop` takes."""
        self.made = deque(call for call in self.made if not drop(call))
        heaps = {key: [entry for entry in heap if not drop(entry.call)] for key, heap in self.heaps.items()}
        self.heaps = {key: heap for key, heap in heaps.items() if heap}
        for heap in self.heaps.values():
            heapq.heapify(heap)
        self._aside, self._returned = _without(self._aside, drop), _without(self._returned, drop)
        self.kept = sum(size_of(entry.call) for heap in self.heaps.values() for entry in heap)
        for source in (self._aside, self._returned):
            self.kept += sum(size_of(call) for queue in source.values() for _, call in queue)

    def _may_read(self) -> bool:
        """With one kind of calls there is nothing to look for behind one that has to wait."""
        if not self._is_mixed:
            return False
        waiting = (queue[0][0] for key, queue in self._aside.items() if key not in self.gated)
        oldest = min(waiting, default=self._read)
        return self._read - oldest < self.window

    def _note(self, call: Call) -> None:
        """Take in a call of another kind than the only one so far."""
        if self._only is None:
            self._only, self._path = call.group, call.path
        else:
            self._is_mixed = True


def _without(
    source: dict[Key, deque[tuple[int, Call]]], drop: Callable[[Call], bool]
) -> dict[Key, deque[tuple[int, Call]]]:
    """What is set aside, without every call that `drop` takes."""
    kept = {key: deque(entry for entry in queue if not drop(entry[1])) for key, queue in source.items()}
    return {key: queue for key, queue in kept.items() if queue}
