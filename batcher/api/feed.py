"""Takes rows out of a program's source some way ahead of need, and closes it at the end.

A list is taken as it is, an iterable is read in a thread, an asynchronous one in a task: nothing waits for a source but
what needs its next row.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections import deque
from collections.abc import KeysView, ValuesView
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Protocol

import anyio

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable, Iterable, Iterator

LEAST: Final = 32
"""Rows that may be held, at least: so many jobs are made at a stretch."""
PATIENCE: Final = 0.5
"""Seconds that a source has for its end when it is left early; a thread that waits for it longer ends when it can."""
CLEANUP: Final = 10.0
"""Seconds that an asynchronous source has for closing itself."""
AT_HAND: Final = (list, tuple, set, frozenset, deque, range, KeysView, ValuesView)
"""Types that have all of their rows in memory."""


class Feed(Protocol):
    """Rows in their order. `failed` is what the source raised, which counts as its end."""

    failed: BaseException | None

    @property
    def is_over(self) -> bool:
        """Nothing is held, and nothing will come."""

    @property
    def has_next(self) -> bool:
        """Whether there is a row now; if not, `wake` is called when there is, or when it is over."""

    def take(self) -> Any:
        """Take the next row; `has_next` says that there is one."""

    async def run(self) -> None:
        """Read, as long as a run lasts."""

    async def close(self) -> None:
        """Read no more, and close the source."""


def feed_of(rows: Any, wake: Callable[[], object], room: Callable[[], int]) -> Feed:
    """What takes rows out of a source; `room` says how many may be held. `wake` may be called by another thread."""
    if hasattr(rows, "__aiter__"):
        return Pumped(rows, wake, room)
    return AtHand(rows) if isinstance(rows, AT_HAND) else Threaded(rows, wake, room)


class AtHand:
    """Rows that are in memory, all of them."""

    def __init__(self, rows: Iterable[Any]) -> None:
        self.failed: BaseException | None = None
        self.is_over = False
        self._rows: Iterator[Any] = iter(rows)
        self._next: deque[Any] = deque()

    @property
    def has_next(self) -> bool:
        if not self._next and not self.is_over:
            try:
                self._next.append(next(self._rows))
            except StopIteration:
                self.is_over = True
            except Exception as error:  # noqa: BLE001 - a set that was changed: it is raised where the results are taken
                self.failed, self.is_over = error, True
        return bool(self._next)

    def take(self) -> Any:
        return self._next.popleft()

    async def run(self) -> None: ...

    async def close(self) -> None:
        self.is_over = True


class _Held:
    """What was read and not taken yet."""

    def __init__(self, wake: Callable[[], object], room: Callable[[], int]) -> None:
        self.failed: BaseException | None = None
        self._wake = wake
        self._room = room
        self._most = LEAST
        """Rows that may be held; looked at anew on the loop when there are none, for a thread may not ask."""
        self._rows: deque[Any] = deque()
        self._has_ended = False
        self._is_wanted = False
        """Somebody came for a row and there was none."""

    @property
    def is_over(self) -> bool:
        return self._has_ended and not self._rows

    @property
    def has_next(self) -> bool:
        if self._rows:
            return True
        self._most = max(LEAST, self._room())
        self._is_wanted = True
        return bool(self._rows)  # one may have come just before it was wanted

    def _put(self, row: Any) -> None:
        self._rows.append(row)
        self._tell()

    def _tell(self) -> None:
        if self._is_wanted:
            self._is_wanted = False
            self._wake()

    def _end(self) -> None:
        self._has_ended = True
        self._wake()


class Threaded(_Held):
    """An iterable, which may take its time: it is made an iterator, read and closed in one thread of its own."""

    def __init__(self, rows: Iterable[Any], wake: Callable[[], object], room: Callable[[], int]) -> None:
        super().__init__(wake, room)
        self._source = rows
        self._is_closed = False
        self._is_waiting = False
        self._low = 0
        self._changed = threading.Condition()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    async def run(self) -> None:
        """Start the thread, in the context of whoever made the source."""
        work = contextvars.copy_context().run
        # A daemon: a source that waits cannot be interrupted, and must not hold up the end of the program.
        self._thread = threading.Thread(target=work, args=(self._read,), name="batcher rows", daemon=True)
        self._thread.start()

    def take(self) -> Any:
        row = self._rows.popleft()
        if self._is_waiting and len(self._rows) <= self._low:
            with self._changed:
                self._changed.notify()
        return row

    async def close(self) -> None:
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        if self._thread is None:
            return
        loop = asyncio.get_running_loop()
        until = loop.time() + PATIENCE
        while not self._ended.is_set() and loop.time() < until:  # noqa: ASYNC110 - a thread has no event for a loop
            await asyncio.sleep(0.001)

    def _read(self) -> None:
        iterator = None
        try:
            iterator = iter(self._source)
            del self._source
            for row in iterator:
                self._put(row)
                del row
                if len(self._rows) >= self._most:
                    self._wait()
                if self._is_closed:
                    break
        except BaseException as error:  # noqa: BLE001 - the caller's: it is raised where the results are taken
            self.failed = _told(error)
        finally:
            self._shut(iterator)
            self._ended.set()
            self._end()

    def _wait(self) -> None:
        with self._changed:
            self._low = self._most // 2
            self._is_waiting = True
            while len(self._rows) > self._low and not self._is_closed:
                self._changed.wait()
            self._is_waiting = False

    def _shut(self, iterator: Any) -> None:
        try:
            if hasattr(iterator, "close"):
                iterator.close()
        except BaseException as error:  # noqa: BLE001 - as above
            self.failed = self.failed or error


class Pumped(_Held):
    """An asynchronous iterable: it is read and closed in one task."""

    def __init__(self, rows: AsyncIterable[Any], wake: Callable[[], object], room: Callable[[], int]) -> None:
        super().__init__(wake, room)
        self._source = rows
        self._taken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def run(self) -> None:
        self._task = asyncio.create_task(self._read())

    def take(self) -> Any:
        row = self._rows.popleft()
        self._taken.set()
        return row

    async def close(self) -> None:
        task = self._task
        if task is not None:
            task.cancel()
            with anyio.move_on_after(CLEANUP, shield=True):
                await asyncio.wait({task})

    async def _read(self) -> None:
        iterator = None
        try:
            iterator = aiter(self._source)
            async for row in iterator:
                self._put(row)
                del row
                while len(self._rows) >= self._most:
                    self._taken.clear()
                    await self._taken.wait()
        except asyncio.CancelledError as error:
            if is_cancelled():
                raise
            self.failed = error  # the source's own
        except BaseException as error:  # noqa: BLE001 - the caller's: it is raised where the results are taken
            self.failed = _told(error)
        finally:
            await self._shut(iterator)
            self._end()

    async def _shut(self, iterator: Any) -> None:
        try:
            if hasattr(iterator, "aclose"):
                await iterator.aclose()
        except Exception as error:  # noqa: BLE001 - as above
            self.failed = self.failed or error


def _told(error: BaseException) -> BaseException:
    """What a source raised; what would end a loop over the results in silence is a RuntimeError, as in generators.

    https://peps.python.org/pep-0479/
    """
    if not isinstance(error, StopIteration | StopAsyncIteration | GeneratorExit):
        return error
    told = RuntimeError(f"the source of rows raised {type(error).__name__}")
    told.__cause__ = error
    return told


async def let_go(rows: Any) -> None:
    """Close a source of which nothing was read; what it says to that is not what ended the work."""
    with suppress(Exception), anyio.move_on_after(CLEANUP, shield=True):
        if hasattr(rows, "__anext__") and hasattr(rows, "aclose"):
            await rows.aclose()
        elif hasattr(rows, "__next__") and hasattr(rows, "close"):
            await anyio.to_thread.run_sync(rows.close, abandon_on_cancel=True)


def is_cancelled() -> bool:
    """Whether somebody asks this task to end."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
