"""Results that are there, and those who wait for them: each waits for a future of his own, and may come again."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from batcher.failures import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from batcher.api.result import Result


@dataclass(slots=True)
class Outlet:
    """Between one who brings results and any number of takers. A taker who is cancelled costs no result."""

    emptied: Callable[[], object] = bool
    """Called when all that was there has been taken."""
    is_over: bool = False
    """Nothing more will come."""
    loop: asyncio.AbstractEventLoop | None = None
    """The one on which results are brought."""
    _results: deque[Result[Any, Any]] = field(default_factory=deque)
    _takers: deque[asyncio.Future[None]] = field(default_factory=deque)
    _bringer: asyncio.Future[None] | None = None

    def __len__(self) -> int:
        return len(self._results)

    def put(self, result: Result[Any, Any]) -> None:
        self._results.append(result)
        self._wake_one()

    def end(self) -> None:
        """Nothing more will come: whoever waits may go."""
        self.is_over = True
        while self._takers:
            self._wake_one()

    async def take(self) -> Result[Any, Any] | None:
        """Take the next result; None at the end. Raises UsageError to who would wait on another loop for ever."""
        while not self._results:
            if self.is_over:
                return None
            loop = asyncio.get_running_loop()
            if self.loop is not None and loop is not self.loop:
                raise UsageError("its results come on another loop: take them where it has begun")
            future = loop.create_future()
            self._takers.append(future)
            try:
                await future
            except BaseException:
                if future.done() and not future.cancelled():
                    self._wake_one()  # it was his turn, and is another's now
                raise
        result = self._results.popleft()
        if not self._results:
            self._tell()
        return result

    def take_all(self) -> list[Result[Any, Any]]:
        """Take all that is there, which may be nothing."""
        results = list(self._results)
        self._results.clear()
        self._tell()
        return results

    async def until_empty(self) -> None:
        """Wait until all that is there has been taken."""
        if self._results:
            self._bringer = asyncio.get_running_loop().create_future()
            try:
                await self._bringer
            finally:
                self._bringer = None

    def _wake_one(self) -> None:
        while self._takers:
            future = self._takers.popleft()
            if not future.done():
                future.set_result(None)
                return

    def _tell(self) -> None:
        if self._bringer is not None and not self._bringer.done() and not self._bringer.get_loop().is_closed():
            self._bringer.set_result(None)
        self.emptied()
