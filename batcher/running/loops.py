"""Runs what is asynchronous to its end for those who are not: on a new loop, in a thread where one runs already."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import anyio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")
LOOK: Final = 0.1
"""Seconds between two looks whether who waits was cancelled."""


def blocking(main: Callable[[], Awaitable[T]]) -> T:
    """Do it and return what it returns; what it raises is raised. Ctrl-C cancels it first.

    Where a loop runs in this thread, as in a notebook, it has a thread to itself, and the loop stands still meanwhile.
    """
    if _has_loop():
        return _Aside(main).run()
    return on_loop(main)


def on_loop(main: Callable[[], Awaitable[T]]) -> T:
    """Do it on a new event loop in this thread, the fastest that there is. No policy is set."""
    return anyio.run(main, backend_options={"use_uvloop": find_spec("uvloop") is not None})


def _has_loop() -> bool:
    """Whether a loop of any kind runs in this thread."""
    try:
        anyio.get_cancelled_exc_class()
    except RuntimeError:
        return False
    return True


def _task() -> asyncio.Task[Any] | None:
    """The task that runs in this thread, if asyncio's loop does."""
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


class _Aside(Generic[T]):
    """What runs in a thread of its own, while this one waits for it."""

    def __init__(self, main: Callable[[], Awaitable[T]]) -> None:
        self._main = main
        self._results: list[T] = []
        self._error: BaseException | None = None
        self._cancel: Callable[[], object] | None = None
        self._is_cancelled = False

    def run(self) -> T:
        work = partial(contextvars.Context().run, self._work)
        thread = threading.Thread(target=work, name="batcher", daemon=True)
        task = _task()
        before = task.cancelling() if task is not None else 0  # Ctrl-C may come as soon as the thread is there
        try:
            thread.start()
            while thread.is_alive():
                thread.join(LOOK)
                if task is not None and task.cancelling() > before:  # by asyncio's own handler of Ctrl-C
                    raise asyncio.CancelledError  # noqa: TRY301 - what the task would have met at an await
        except BaseException:  # Ctrl-C, which a thread that waits hears of
            self._is_cancelled = True
            if self._cancel is not None:
                self._cancel()
            with suppress(RuntimeError):  # it has not been started
                thread.join()
            raise
        if self._error is not None:
            raise self._error
        return self._results[0]

    def _work(self) -> None:
        try:
            self._results.append(on_loop(self._with_cancel))
        except BaseException as error:  # noqa: BLE001 - it is raised in the thread that waits
            self._error = error

    async def _with_cancel(self) -> T:
        task = asyncio.current_task()
        assert task is not None
        loop = asyncio.get_running_loop()
        self._cancel = partial(_quietly, partial(loop.call_soon_threadsafe, task.cancel))
        if self._is_cancelled:
            task.cancel()
        return await self._main()


def _quietly(ask: Callable[[], object]) -> None:
    try:
        ask()
    except RuntimeError:  # it has ended, and its loop is closed
        return
