"""Where workers wait that have nothing to send: woken one by one, or by one timer for all of them."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from dataclasses import dataclass, field

from batcher.watchdog import now


@dataclass(slots=True)
class Parking:
    """Workers that wait. Times are seconds on the monotonic clock."""

    _waiting: deque[asyncio.Future[None]] = field(default_factory=deque)
    _timer: asyncio.TimerHandle | None = None
    _due: float = math.inf

    async def wait(self, until: float) -> None:
        """Wait to be woken by someone, or as the first of them when the earliest `until` of all has come."""
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self._waiting.append(future)
        if until < self._due:
            self.close()
            self._due = until
            self._timer = loop.call_later(max(0.0, until - now()), self._ring)
        await future

    def wake_one(self) -> bool:
        """Wake one worker, if one waits. One that finds work, or the end, wakes the next: a chain, not a herd."""
        waiting = self._waiting
        while waiting:
            future = waiting.popleft()
            if not future.done():
                future.set_result(None)
                return True
        return False

    def close(self) -> None:
        """Let the timer go."""
        if self._timer is not None:
            self._timer.cancel()

    def _ring(self) -> None:
        self._timer, self._due = None, math.inf
        self.wake_one()
