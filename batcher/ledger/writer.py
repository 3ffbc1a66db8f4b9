"""Gets finished lines into the results for good: syncs beside the event loop, waits where the disk is full.

    off     nothing is synced before the end
    batch   every second, and sooner where much has come: what a power cut can cost
    each    a result counts as done when it is on the disk; those that finish meanwhile share the next sync

The first error ends the run: `append` and `watch` raise it into the task group that the senders are in, so that
nobody goes on spending on results that cannot be kept.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import partial
from queue import SimpleQueue
from time import monotonic as now
from typing import TYPE_CHECKING, Final, NoReturn

import anyio
from anyio import to_thread

from batcher.failures import OutputIOError
from batcher.figures import span
from batcher.ledger import disk

if TYPE_CHECKING:
    from collections.abc import Callable

    from batcher.ledger.ledger import AnyLedger
    from batcher.ledger.lines import Entry

SYNC_EVERY: Final = 1.0
SYNC_BYTES: Final = 8 << 20
DISK_EVERY = 1.0
"""Seconds between two tries on a full disk."""
FAREWELL: Final = 1.0
"""Seconds that the last lines of a run that is cut off may wait for their reader."""


def nothing() -> None:
    """Do nothing."""


class Executor(Enum):
    """Where a write is done, by how long it may take."""

    LOOP = auto()
    """On the event loop: into the memory of the system."""
    THREAD = auto()
    """In a thread, until it has ended: it waits for a disk."""
    LOOSE_THREAD = auto()
    """In a thread that may be left behind: it waits for a reader, who may never come."""


class LooseThread:
    """Does one thing after the other in a thread that nobody waits for at the end of the process.

    A write to a pipe whose reader has stopped cannot be ended from outside, and must not hold up the exit.
    """

    def __init__(self) -> None:
        self._orders: SimpleQueue[tuple[Callable[[], None], Callable[[BaseException | None], None]]] = SimpleQueue()
        self._thread: threading.Thread | None = None

    async def do(self, order: Callable[[], None]) -> None:
        """Have it done, and return or raise as it does; cancelled, it goes on by itself."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="output", daemon=True)
            self._thread.start()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()

        def settle(error: BaseException | None) -> None:
            with suppress(RuntimeError):  # the run is over and its loop closed
                loop.call_soon_threadsafe(_settle, future, error)

        self._orders.put((order, settle))
        await future

    def _work(self) -> None:
        while True:
            order, settle = self._orders.get()
            try:
                order()
            except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
                settle(error)
            else:
                settle(None)


def _settle(future: asyncio.Future[None], error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)


@dataclass(slots=True, kw_only=True)
class Writer:
    """The one writer of a run. `hold` and `release` stop the sending and let it go on; `disk_wait` is in seconds."""

    ledger: AnyLedger
    note: Callable[[str], None]
    durability: str = "batch"
    disk_wait: float = 60.0
    hold: Callable[[], None] = nothing
    release: Callable[[], None] = nothing
    waited: float = 0.0
    """Seconds that finished answers have waited for the disk, or for whoever reads a pipe."""
    _due: anyio.Event = field(default_factory=anyio.Event)
    _writing: bool = False
    """A write to a stream is under way, in a thread that the run may have left behind."""
    _waiting: bool = False
    _loose: LooseThread = field(default_factory=LooseThread)
    _broken: bool = False

    async def append(self, lines: list[Entry]) -> None:
        """Write lines and return when they count as done.

        Raises `OutputIOError` if they cannot be kept, and `BrokenPipeError` if nobody reads them.
        """
        began = now()
        try:
            await self._keep(lines)
        finally:
            self.waited += now() - began

    async def _keep(self, lines: list[Entry]) -> None:
        if self.ledger.waits:
            await self.with_room(partial(self._append, lines), Executor.LOOSE_THREAD)
        else:
            try:
                self.ledger.append(lines)  # the way of nearly every line, and so without a detour
            except OutputIOError as error:
                self._keep_unwritten(lines)
                await self._until_room(error, partial(self._append, lines), Executor.LOOP)
        if self.durability == "each":
            with anyio.CancelScope(shield=True):  # nobody leaves between the file and the disk
                await self._tell(self.ledger.sync)
        elif self.durability == "batch" and self.ledger.end - self.ledger.synced >= SYNC_BYTES:
            self._due.set()

    async def append_last(self, lines: list[Entry]) -> bool:
        """Write what had finished when the run was cut off, in one try; what does not get in is asked again.

        False: the results can take no more, or half a line is on its way to a reader who does not read.
        """
        if self._broken or self._writing:
            return False
        try:
            with anyio.move_on_after(FAREWELL, shield=True):
                await self._once(
                    partial(self._append, lines), Executor.LOOSE_THREAD if self.ledger.waits else Executor.LOOP
                )
        except OutputIOError as error:
            self.note(f"{error}; run the same command again for the rest")
        except BrokenPipeError:
            return False
        return not self._writing

    async def with_room(self, write: Callable[[], None], executor: Executor) -> None:
        """Write something; while the disk is full, hold the sending and try again.

        Raises what `write` does, and an `OutputIOError` for want of room only when `disk_wait` is over.
        """
        try:
            await self._once(write, executor)
        except OutputIOError as error:
            await self._until_room(error, write, executor)

    async def watch(self) -> NoReturn:
        """Sync what is due, and each second see to it that the results are still there. Raises as `append` does."""
        while True:
            with anyio.move_on_after(SYNC_EVERY):
                await self._due.wait()
            self._due = anyio.Event()
            await self._tell(self.ledger.sync if self.durability == "batch" else self.ledger.check)

    async def _tell(self, order: Callable[[], None]) -> None:
        """Have the ledger do what may take the disk long."""
        try:
            await to_thread.run_sync(order)
        except (OutputIOError, BrokenPipeError):
            self._end()
            raise

    async def _once(self, write: Callable[[], None], executor: Executor) -> None:
        try:
            if executor is Executor.LOOP:
                write()
            elif executor is Executor.THREAD:
                await to_thread.run_sync(write)
            else:
                await self._loose.do(write)
        except BrokenPipeError:
            self._end()
            raise

    async def _until_room(self, error: OutputIOError, write: Callable[[], None], executor: Executor) -> None:
        """Write what a full disk refused when there is room, and let nobody send until then."""
        began = now()
        while disk.is_full(error.__cause__):
            left = began + self.disk_wait - now()
            if left <= 0:
                error = self._out_of_patience(error)
                break
            if not self._waiting:
                self._waiting = True
                self.hold()
                self.note(f"{error}; waiting up to {span(self.disk_wait)} for room, and sending nothing meanwhile")
            await anyio.sleep(min(DISK_EVERY, left))
            try:
                await self._once(write, executor)
            except OutputIOError as again:
                error = again
                continue
            self._waiting = False
            self.note(f"there is room again after {span(now() - began)}: going on")
            self.release()
            return
        self._end()
        raise error

    def _end(self) -> None:
        """Have nobody send anything more, from this moment on: it takes a while until an error has stopped them."""
        self._broken = True
        self.hold()

    def _out_of_patience(self, error: OutputIOError) -> OutputIOError:
        waited = f" in {span(self.disk_wait)}" if self.disk_wait else ""
        given_up = OutputIOError(
            f"{error}, and nobody made room{waited}: make some, and run the same command again for the rest"
        )
        given_up.__cause__ = error.__cause__
        return given_up

    def _append(self, lines: list[Entry]) -> None:
        self._writing = self.ledger.waits
        try:
            self.ledger.append(lines)
        except OutputIOError:
            self._keep_unwritten(lines)
            raise
        finally:
            self._writing = False

    def _keep_unwritten(self, lines: list[Entry]) -> None:
        """Leave those that are to be tried again."""
        lines[:] = [line for line in lines if line[0] not in self.ledger]
