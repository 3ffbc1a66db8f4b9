"""One run over a program's rows, on a task of its own: it asks, holds what has come until that is taken, and ends well.

    rows → Feed → Intake → Engine → Outlet → whoever takes results

The next results are fetched when those that are there have been taken: so a slow taker slows the sending.
"""

from __future__ import annotations

import asyncio
import math
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from time import monotonic as now
from typing import TYPE_CHECKING, Any, Final

import anyio

from batcher.api.feed import feed_of, is_cancelled, let_go
from batcher.api.outlet import Outlet
from batcher.api.result import given
from batcher.api.watching import watching
from batcher.failures import ungrouped
from batcher.inputs.done import DoneIds
from batcher.inputs.intake import Intake
from batcher.running.engine import Engine
from batcher.running.openfiles import open_files
from batcher.running.sharing import leave
from batcher.running.signals import out_of_time
from batcher.running.standing import error_of_stop, show, snapshot_of, take_stock
from batcher.running.stops import error_of, stop_when_gone, too_many
from batcher.running.wiring import defaults_for, exchanges_for, scheduler_for, selection_of
from batcher.view.observer import Silent
from batcher.view.summary import Summary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractAsyncContextManager

    from batcher.api.arguments import Chosen
    from batcher.api.feed import Feed
    from batcher.api.rows import Reader
    from batcher.api.schemas import Schema
    from batcher.api.watching import Watching
    from batcher.failures import Failure
    from batcher.inputs.formats import Line
    from batcher.outcome import Result as Finished
    from batcher.running.sharing import Pool
    from batcher.servers.contact import Contact
    from batcher.view.observer import Observer
    from batcher.view.snapshot import Snapshot

AHEAD: Final = 2
"""Rows that are taken ahead of being sent, for each that may be in flight."""
READY: Final = 256
"""Results that may wait to be taken before no more rows are looked at; rows that are refused come by in thousands."""


@dataclass(slots=True, eq=False)
class Work:
    """What a stream of results stands on. `main` is run once, by a `Host`; it raises nothing, and ends with `error`."""

    rows: Any
    reader: Reader
    chosen: Chosen
    reach: Callable[[Observer], AbstractAsyncContextManager[Contact]]
    """Gives the servers, found and let in, and tells the observer about them."""
    progress: Watching = False
    schema: Schema | None = None
    total: int | None = None
    """How many rows there are, where that is known."""
    pool: Pool | None = None
    """The limits that it shares with others."""
    summary: Summary = field(default_factory=lambda: Summary(started=now()))
    base64: bool = False
    """Vectors are asked for as bytes, where that can be asked for, and come as they are."""
    outlet: Outlet = field(default_factory=Outlet)
    """Where results are taken."""
    error: BaseException | None = None
    """What ended it early."""
    observer: Observer = field(default_factory=Silent)
    _begun: asyncio.Event = field(default_factory=asyncio.Event)
    _server: Contact | None = None
    _engine: Engine | None = None
    _feed: Feed | None = None
    _intake: Intake | None = None
    _is_full: bool = False
    """Rows wait until results are taken."""
    _is_stopped: bool = False

    def __post_init__(self) -> None:
        self.outlet.emptied = self._go_on

    async def begun(self) -> None:
        """Wait until the servers are found, or it has ended without."""
        await self._begun.wait()

    @property
    def source_error(self) -> BaseException | None:
        """What the source of rows raised."""
        return self._feed.failed if self._feed is not None else None

    def stop(self) -> None:
        """Send nothing more; what is in flight may finish."""
        self._is_stopped = True
        if self._engine is not None:
            self._engine.stop()

    def snapshot(self) -> Snapshot:
        """The state now, for whoever shows it."""
        scheduler = self._engine.scheduler if self._engine is not None else None
        flow = self._engine.exchanges.flow if self._engine is not None else None
        return snapshot_of(self.summary, scheduler, self.total, self.observer.redact, flow)

    async def main(self) -> None:
        """Do it all."""
        try:
            with open_files(), ungrouped(), watching(self.progress) as self.observer:
                try:
                    await self._run()
                finally:
                    self.observer.tick(self.snapshot)
        except asyncio.CancelledError as error:
            self.error = None if is_cancelled() else error  # whoever closes it knows; a source may raise its own
        except BaseException as error:  # noqa: BLE001 - it is raised where the results are taken
            while (
                isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1 and error is not self.source_error
            ):
                error = error.exceptions[0]
            self.error = error
        finally:
            rows, self.rows = self.rows, None
            await let_go(rows)  # no server was found
            self.summary.finished = now()
            self.outlet.end()
            self._begun.set()

    async def _run(self) -> None:
        chosen = self.chosen.options
        selection = selection_of(chosen)
        if selection is not None:
            await anyio.to_thread.run_sync(selection.read_done)
        allowed = math.inf if chosen.max_duration is None else chosen.max_duration
        with _in_time(allowed) as waiting:
            async with AsyncExitStack() as stack:
                server = self._server = await stack.enter_async_context(self.reach(self.observer))
                self.observer.redact = server.redactor.text
                over, waiting.deadline = waiting.deadline, math.inf
                intake = self._intake = Intake(
                    parse=self.reader.parse,
                    defaults=defaults_for(chosen, self.chosen.environ, server.model, "-"),
                    finished=DoneIds(),
                    reject=self._reject,
                    at_most=chosen.limit,
                    selection=selection,
                    limit_new=chosen.limit_new,
                    needs_model=server.model is None,
                    names_duplicates=True,
                )
                jobs = intake.jobs(self._lines())
                scheduler = scheduler_for(
                    chosen, server, jobs, self._reject, pool=self.pool, wake=self._send, base64=self.base64
                )
                engine = Engine.of(chosen, scheduler, exchanges_for(chosen, server), server.renew)
                intake.rest = engine.waker()
                self._feed = feed_of(
                    self.rows, engine.waker(), lambda: AHEAD * scheduler.allowed * scheduler.packs.most
                )
                self.rows = None  # it is the feed's to let go
                self._engine = engine
                self.summary.started = now()
                try:
                    await self._serve(engine, over)
                finally:
                    leave(scheduler.lanes)
                    self._deliver(engine.take())
                    take_stock(self.summary, scheduler, intake, server.redactor.text)
                    self.summary.unread = not scheduler.exhausted
                    await self._feed.close()
                self._complain()

    async def _serve(self, engine: Engine, over: float) -> None:
        """Hand on what comes, until it is all there. `over` is when nothing more is sent."""
        chosen, feed, server = self.chosen.options, self._feed, self._server
        assert feed is not None
        assert server is not None
        if self._is_stopped:
            engine.scheduler.stop()
        async with anyio.create_task_group() as helpers, engine:
            await feed.run()
            self._begun.set()
            helpers.start_soon(show, self.observer, self.snapshot)
            if server.gone is not None:
                helpers.start_soon(stop_when_gone, server.gone, engine.stop)
            if over < math.inf:
                helpers.start_soon(_stop_at, over, engine, out_of_time(chosen.max_duration or 0.0))
            batches = engine.batches()
            while True:
                batch = None
                if over < math.inf:
                    with anyio.CancelScope(deadline=over + chosen.grace):
                        batch = await anext(batches, None)
                else:
                    batch = await anext(batches, None)
                if batch is None:
                    break
                self._deliver(batch)
                batch.clear()
                await self.outlet.until_empty()
            helpers.cancel_scope.cancel()

    def _send(self) -> None:
        """There is room for more at the servers."""
        if self._engine is not None:
            self._engine.more()

    def _go_on(self) -> None:
        """All results are taken: rows may be looked at again."""
        if self._is_full:
            self._is_full = False
            asyncio.get_running_loop().call_soon(self._send)  # in nobody's task

    def _deliver(self, batch: list[Finished]) -> None:
        for finished in batch:
            self.summary.add(finished)
            self._put(finished)
        self._heed()

    def _reject(self, finished: Finished) -> None:
        """Hand on what nothing was sent for."""
        if finished.failure is None or finished.failure.code != "repeated":
            self.summary.add(finished)
        self._put(finished, self.reader.row)
        self._heed()

    def _put(self, finished: Finished, row: Any = None) -> None:
        redactor = self._server.redactor if self._server is not None else None
        self.observer.finished(finished)
        self.outlet.put(given(finished, redactor, self.schema, row))

    def _heed(self) -> None:
        summary = self.summary
        why = too_many(self.chosen.options, summary.failed, summary.ok + summary.failed)
        if why is not None and self._engine is not None and not self._engine.scheduler.stopped:
            self._engine.stop(why)

    def _lines(self) -> Iterator[Line | None]:
        feed, reader, seq = self._feed, self.reader, 0
        assert feed is not None
        while seq != self.chosen.options.limit:  # beyond it no row is waited for
            if len(self.outlet) >= READY:
                self._is_full = True
                yield None
            elif feed.has_next:
                yield reader.line(feed.take(), seq)
                seq += 1
            elif feed.is_over:
                return
            else:
                yield None

    def _complain(self) -> None:
        """Raise what ended the source before its end, or what ended the work before it was done."""
        if (failed := self.source_error) is not None:
            raise failed
        if (error := error_of_stop(self.summary)) is not None:
            raise error


@contextmanager
def _in_time(allowed: float) -> Iterator[anyio.CancelScope]:
    """Give up after so many seconds, unless the deadline is moved. Raises BatcherError (4) then."""
    with anyio.CancelScope(deadline=anyio.current_time() + allowed) as scope:
        yield scope
    if scope.cancelled_caught:
        raise error_of(out_of_time(allowed))


async def _stop_at(deadline: float, engine: Engine, why: Failure) -> None:
    await anyio.sleep_until(deadline)
    engine.stop(why)
