"""How long a stream of results may take: `max_duration` from its first step, and then `grace` for what is in flight."""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING

import anyio

from batcher.running.signals import out_of_time
from batcher.running.stops import error_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from batcher.failures import Failure
    from batcher.options import Options
    from batcher.outcome import Result


class Deadline:
    """Made when the work begins; `at` is on the loop's clock, infinite where no time is set."""

    def __init__(self, options: Options) -> None:
        self._allowed = math.inf if options.max_duration is None else options.max_duration
        self._grace = options.grace
        self._scope = anyio.CancelScope()
        self.at = anyio.current_time() + self._allowed

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Give up when the time is over before `met` is called. Raises BatcherError (4) then."""
        self._scope.deadline = self.at
        with self._scope:
            yield
        if self._scope.cancelled_caught:
            raise error_of(out_of_time(self._allowed))

    def met(self) -> None:
        """The servers are found: from here on the end of the time only ends the sending."""
        self._scope.deadline = math.inf

    async def next_of(self, batches: AsyncIterator[list[Result]]) -> list[Result] | None:
        """The next results; None after the last ones, and when what was in flight has had its grace."""
        if self.at == math.inf:
            return await anext(batches, None)
        with anyio.CancelScope(deadline=self.at + self._grace):
            return await anext(batches, None)
        return None

    async def stop(self, stop: Callable[[Failure], object]) -> None:
        """Call `stop` when the time is over."""
        if self.at < math.inf:
            await anyio.sleep_until(self.at)
            stop(out_of_time(self._allowed))
