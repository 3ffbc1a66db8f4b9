"""The servers that may be sent to, least loaded first: a decision looks at a few of them, however many there are. Pure.

    ready   those that may be sent to now, by their load
    shut    those that may be at a known time, by that
    neither  full, or waiting for one that is in flight: something ends there before they are looked at again

What changes a server is an event of it, and who takes that in notes it: servers are looked at again that were noted,
and those whose time has come. Both heaps keep what was once said of a server until that comes up, or until it is most
of them.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

    from batcher.policy.lane import Lane

_SPARE: Final = 64
"""Outdated entries that a heap may hold beside as many as there are servers."""


@dataclass(slots=True, eq=False)
class _Place:
    """What was said last of a server."""

    lane: Lane
    index: int
    turn: int = 0
    """How often it was looked at: what a heap says of another turn is outdated."""
    allowed: int = 0
    group: str | None = None


@dataclass(slots=True)
class Roster:
    """Servers whose loads are equal stand in the order in which they were added. `noted` are those that changed."""

    noted: dict[Lane, None] = field(default_factory=dict)
    allowed: int = 0
    """How many calls may be in flight on all of them."""
    _places: dict[Lane, _Place] = field(default_factory=dict)
    _ready: list[tuple[float, int, int, Lane]] = field(default_factory=list)
    _shut: list[tuple[float, int, int, Lane]] = field(default_factory=list)
    _passed: list[tuple[float, int, int, Lane]] = field(default_factory=list)
    """Those that are ready and are being gone through."""
    _groups: Counter[str] = field(default_factory=Counter)
    """How many servers keep to each group."""

    def add(self, lane: Lane) -> None:
        """One more, which comes last where loads are equal."""
        self._places[lane] = _Place(lane, len(self._places))
        self.noted[lane] = None

    def remove(self, lane: Lane) -> None:
        """Nothing is sent there any more."""
        place = self._places.pop(lane, None)
        if place is not None:
            self.noted.pop(lane, None)
            self.allowed -= place.allowed
            self._keeps_to(place, None)

    def in_order(self, now: float) -> Iterator[Lane]:
        """Those that may be sent to now, the least loaded first. Who asks anew goes on with none that he had before."""
        self._restore()
        self.look(now)
        ready = self._ready
        try:
            while ready:
                entry = heapq.heappop(ready)
                if self._is_so(entry):
                    self._passed.append(entry)
                    yield entry[3]
        finally:
            self._restore()

    def later(self) -> float:
        """When the next of them may be sent to; infinity: not before something ends. Ask it after a look."""
        shut = self._shut
        while shut and not self._is_so(shut[0]):
            heapq.heappop(shut)
        return shut[0][0] if shut else math.inf

    def look(self, now: float) -> None:
        """Look at those that have changed, and at those whose time has come."""
        if self.noted:
            for lane in self.noted:
                place = self._places.get(lane)
                if place is not None:
                    self._look_at(place, now)
            self.noted.clear()
        shut = self._shut
        while shut and shut[0][0] <= now:
            entry = heapq.heappop(shut)
            if self._is_so(entry):
                self._look_at(self._places[entry[3]], now)

    def kept_elsewhere(self, lane: Lane) -> Container[str]:
        """The groups that other servers keep to."""
        return _Elsewhere(self._groups, lane.loading.group)

    def _look_at(self, place: _Place, now: float) -> None:
        lane = place.lane
        place.turn += 1
        allowed = lane.allowed
        self.allowed += allowed - place.allowed
        place.allowed = allowed
        if place.group != lane.loading.group:
            self._keeps_to(place, lane.loading.group)
        opens = lane.opens()
        if opens <= now:
            self._push(self._ready, (len(lane.in_flight) / max(allowed, 1), place.index, place.turn, lane))
        elif opens < math.inf:
            self._push(self._shut, (opens, place.index, place.turn, lane))

    def _restore(self) -> None:
        for entry in self._passed:
            heapq.heappush(self._ready, entry)
        self._passed.clear()

    def _push(self, heap: list[tuple[float, int, int, Lane]], entry: tuple[float, int, int, Lane]) -> None:
        if len(heap) > 2 * len(self._places) + _SPARE:
            heap[:] = filter(self._is_so, heap)
            heapq.heapify(heap)
        heapq.heappush(heap, entry)

    def _is_so(self, entry: tuple[float, int, int, Lane]) -> bool:
        place = self._places.get(entry[3])
        return place is not None and place.turn == entry[2]

    def _keeps_to(self, place: _Place, group: str | None) -> None:
        if place.group is not None:
            self._groups[place.group] -= 1
            if not self._groups[place.group]:
                del self._groups[place.group]
        if group is not None:
            self._groups[group] += 1
        place.group = group


@dataclass(frozen=True, slots=True)
class _Elsewhere:
    """The groups that servers keep to, but for one of those that keep to `own`."""

    groups: Counter[str]
    own: str | None

    def __contains__(self, group: object) -> bool:
        return isinstance(group, str) and self.groups.get(group, 0) > (group == self.own)
