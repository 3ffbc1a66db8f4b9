"""How fast a run is, and how long it takes yet, from the snapshots of its state. Pure."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from batcher.view.snapshot import Snapshot

WINDOW: Final = 30.0
"""Seconds over which speed is measured: long enough to be calm, short enough to show a change."""
APART: Final = 0.1
"""Least seconds between two snapshots that are kept."""
ENOUGH: Final = 1.0
"""Seconds of work in the window that tell a pace; with less, as in a long wait, that of the whole run counts."""


class Pace:
    """How fast a run has been of late, from the snapshots it is shown."""

    def __init__(self) -> None:
        self._seen: deque[Snapshot] = deque()
        self._first: Snapshot | None = None

    def add(self, snapshot: Snapshot) -> None:
        """Look at a snapshot; they come in the order of time, at most one an `APART` is kept.

        When the work begins, so does its time, and what was shown before tells nothing of it.
        """
        seen = self._seen
        if seen and snapshot.elapsed < seen[-1].elapsed:
            seen.clear()
            self._first = None
        self._first = self._first or snapshot
        if len(seen) > 1 and snapshot.elapsed - seen[-2].elapsed < APART:
            seen.pop()
        seen.append(snapshot)
        while len(seen) > 2 and snapshot.elapsed - seen[1].elapsed >= WINDOW:
            seen.popleft()

    @property
    def jobs(self) -> float:
        """Finished jobs a second."""
        return self._per_second(_finished)

    @property
    def tokens(self) -> float:
        """Completion tokens a second, as they arrive."""
        return self._per_second(lambda snapshot: snapshot.tokens)

    def remaining(self) -> float | None:
        """Seconds to the end; `None` if the total is unknown, nothing moves, or a server is away.

        What is left takes as long as it does at the pace of the time in which requests could go, after the wait that is
        known; no rate limit lets it be done sooner than it allows, and what is asked again later is not done before.
        """
        if not self._seen or (total := self._seen[-1].total) is None:
            return None
        last = self._seen[-1]
        left = max(total - last.done, 0)
        pace = self._working()
        if not left:
            return 0.0 if pace or self.jobs else None
        if last.wait == math.inf or not pace:
            return None
        return max(last.wait + left / pace, left / last.most, last.least)

    def _working(self) -> float:
        """Jobs a second, without the time in which nothing could be sent."""
        last = self._seen[-1]
        for first in (self._seen[0], self._first):
            if first is None or first is last:
                continue
            time = last.elapsed - first.elapsed - (last.held - first.held)
            if time >= ENOUGH or (first is self._first and time > 0):
                return (_finished(last) - _finished(first)) / time
        return 0.0

    def _per_second(self, what: Callable[[Snapshot], int]) -> float:
        if len(self._seen) < 2:
            return 0.0
        first, last = self._seen[0], self._seen[-1]
        time = last.elapsed - first.elapsed
        return max(0, what(last) - what(first)) / time if time > 0 else 0.0


def _finished(snapshot: Snapshot) -> int:
    return snapshot.ok + snapshot.failed
