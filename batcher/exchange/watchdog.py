"""One task that watches every call's deadline: no timer per request, none per record."""

from __future__ import annotations

import math
from dataclasses import dataclass
from time import monotonic as now
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator

    from batcher.outcome import Completion, Timing


@dataclass(slots=True, eq=False)
class Watch:
    """A worker's call in flight, if it has one.

    Move `deadline` (seconds, monotonic) as it makes progress; `phase` names what is waited for. `last` stands for all
    of the call. Between calls there is neither, so that a worker needs one watch for all of them.
    """

    task: asyncio.Task[object]
    deadline: float = math.inf
    last: float = math.inf
    phase: str = ""
    expired: bool = False
    timing: Timing | None = None
    completion: Completion | None = None
    """What has come of its answer, once that has begun."""
    _cancels: int = 0

    def begin(self, deadline: float, last: float, phase: str, timing: Timing | None = None) -> None:
        self.deadline, self.last, self.phase, self.expired, self.timing = deadline, last, phase, False, timing
        self._cancels = self.task.cancelling()

    def end(self) -> None:
        self.deadline = self.last = math.inf
        self.timing = self.completion = None

    def expire(self) -> None:
        self.expired = True
        self.task.cancel(f"no progress in phase {self.phase}")

    def took_the_cancel(self) -> bool:
        """Whether the cancellation now being handled is this watch's own; then it is over, as in asyncio.timeout."""
        return self.expired and self.task.uncancel() <= self._cancels


class Watchdog:
    """Looks at all watches every `tick` seconds, so a deadline is kept to within that."""

    def __init__(self, tick: float) -> None:
        self._tick = tick
        self._watches: set[Watch] = set()

    def watch(self, task: asyncio.Task[object]) -> Watch:
        watch = Watch(task)
        self._watches.add(watch)
        return watch

    def release(self, watch: Watch) -> None:
        self._watches.discard(watch)

    def in_flight(self) -> Iterator[Watch]:
        """Those of the calls that are being made."""
        return (watch for watch in self._watches if watch.timing is not None)

    async def run(self) -> None:
        while True:
            await anyio.sleep(self._tick)
            time_now = now()
            for watch in [w for w in self._watches if (w.deadline <= time_now or w.last <= time_now) and not w.expired]:
                watch.expire()
