"""Runs what has to outlast single calls as a task of its own, so that no scope of it is ever in a caller's task."""

from __future__ import annotations

import asyncio
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio

from batcher.failures import UsageError

if TYPE_CHECKING:
    from collections.abc import Coroutine


class Host:
    """A task that ends when it is closed, or when nobody holds `owner` any more, if it has one. It raises nothing."""

    def __init__(self, main: Coroutine[Any, Any, None], owner: object = None) -> None:
        self.loop = loop = asyncio.get_running_loop()
        self.task = loop.create_task(main, name="batcher")
        self._let_go: weakref.finalize[..., Any] | None = None
        if owner is not None:
            self._let_go = weakref.finalize(owner, _let_go, loop, self.task)
            self._let_go.atexit = False

    async def close(self) -> None:
        """Cancel it, and wait until it has ended, also if the wait is cancelled: that is raised then.

        On another loop nobody can wait for it: it is asked to end.
        """
        if self._let_go is not None:
            self._let_go.detach()
        if self.loop is not asyncio.get_running_loop():
            _let_go(self.loop, self.task)
            return
        self.task.cancel()
        cancelled: asyncio.CancelledError | None = None
        while not self.task.done():
            with anyio.CancelScope(shield=True):
                try:
                    await asyncio.wait({self.task})
                except asyncio.CancelledError as error:
                    cancelled = error
        if cancelled is not None:
            raise cancelled


def _let_go(loop: asyncio.AbstractEventLoop, task: asyncio.Task[None]) -> None:
    """By whichever thread collects garbage."""
    with suppress(RuntimeError):  # the loop is closed
        loop.call_soon_threadsafe(task.cancel)


def on_asyncio(what: str, instead: str = "map(rows, ...)") -> None:
    """Raise UsageError unless asyncio's loop runs here: aiohttp knows no other."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        raise UsageError(
            f"{what} works on asyncio, and none runs here; without a loop there is batcher.{instead}, and under trio "
            f"trio.to_thread.run_sync(lambda: batcher.{instead})"
        ) from None
