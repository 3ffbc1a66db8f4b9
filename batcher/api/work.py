"""One run over a program's rows, on a task of its own: it asks, holds what has come until that is taken, and ends well.

    rows → Feed → Intake → Engine → Outlet → whoever takes results

The next results are fetched when those that are there have been taken: so a slow taker slows the sending.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from time import monotonic as now
from typing import TYPE_CHECKING, Any, Final

import anyio

from batcher.api.deadline import Deadline
from batcher.api.feed import feed_of, is_cancelled, let_go
from batcher.api.hosting import Host
from batcher.api.outlet import Outlet
from batcher.api.result import given
from batcher.api.watching import watching
from batcher.api.wording import reword, reword_sums
from batcher.failures import BatcherError, ungrouped
from batcher.inputs.done import DoneIds
from batcher.inputs.intake import Intake
from batcher.running.chosen import selection_of
from batcher.running.engine import Engine
from batcher.running.exchanges import exchanges_for
from batcher.running.openfiles import open_files
from batcher.running.sharing import leave
from batcher.running.standing import error_of_stop, show, snapshot_of, take_stock
from batcher.running.stops import stop_when_gone, too_much
from batcher.running.wiring import defaults_for, scheduler_for
from batcher.view.observer import Silent
from batcher.view.prices import prices_of
from batcher.view.summary import Summary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractAsyncContextManager

    from batcher.api.arguments import Chosen
    from batcher.api.feed import Feed
    from batcher.api.rows import Reader
    from batcher.api.schemas import Schema
    from batcher.api.watching import Watching
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
    """What a stream of results stands on. It is begun once, raises nothing, and ends with `error`."""

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
    _host: Host | None = None
    _begun: asyncio.Event = field(default_factory=asyncio.Event)
    _server: Contact | None = None
    _engine: Engine | None = None
    _feed: Feed | None = None
    _is_full: bool = False
    """Rows wait until results are taken."""
    _is_stopped: bool = False
    _is_closed: bool = False

    def __post_init__(self) -> None:
        self.outlet.emptied = self._go_on
        said = self.chosen.options
        self.summary.prices = prices_of(said.price_in, said.price_cached, said.price_out, said.price_file)

    def begin(self, owner: object = None) -> None:
        """Have it done beside the caller, until it is closed or nobody holds the owner."""
        self._host = Host(self._main(), owner)
        self.outlet.loop = self._host.loop

    @property
    def has_begun(self) -> bool:
        return self._host is not None

    async def close(self) -> None:
        """Break it off, whether it has begun or not, and wait until it has ended."""
        self._is_closed = True
        try:
            if self._host is not None:
                await self._host.close()
        finally:
            if self._host is None or self._host.task.done():
                await self._end()  # a task that was cancelled before its first turn has done nothing

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

    async def _main(self) -> None:
        """Do it all."""
        try:
            with open_files(), ungrouped(), watching(self.progress) as self.observer:
                try:
                    await self._run()
                finally:
                    self.observer.tick(self.snapshot)
        except asyncio.CancelledError as error:
            if not is_cancelled():
                self.error = error  # the source's own
            elif not self._is_closed:  # whoever closes it knows
                self.error = BatcherError("its loop ended before all rows were answered")
        except BaseException as error:  # noqa: BLE001 - it is raised where the results are taken
            while (
                isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1 and error is not self.source_error
            ):
                error = error.exceptions[0]
            reword(error)
            self.error = error
        finally:
            await self._end()

    async def _end(self) -> None:
        """Nothing more will come; a source of which nothing was read is closed."""
        if not self.outlet.is_over:
            rows, self.rows = self.rows, None
            await let_go(rows)
            self.summary.finished = now()
            self.outlet.end()
            self._begun.set()

    async def _run(self) -> None:
        chosen = self.chosen.options
        selection = selection_of(chosen)
        if selection is not None:
            await anyio.to_thread.run_sync(selection.read_done)
        deadline = Deadline(chosen)
        with deadline.waiting():
            async with AsyncExitStack() as stack:
                server = self._server = await stack.enter_async_context(self.reach(self.observer))
                self.observer.redact = server.redactor.text
                deadline.met()
                intake = Intake(
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
                    await self._serve(engine, deadline)
                finally:
                    leave(scheduler.lanes)
                    self._deliver(engine.take())
                    take_stock(self.summary, scheduler, intake, server.redactor.text)
                    self.summary.unread = not scheduler.exhausted
                    reword_sums(self.summary)
                    await self._feed.close()
                self._complain()

    async def _serve(self, engine: Engine, deadline: Deadline) -> None:
        """Hand on what comes, until it is all there."""
        feed, server = self._feed, self._server
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
            helpers.start_soon(deadline.stop, engine.stop)
            batches = engine.batches()
            while (batch := await deadline.next_of(batches)) is not None:
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
        if self._is_full and not self.outlet.is_over and self.outlet.loop is not None:
            self._is_full = False
            self.outlet.loop.call_soon(self._send)  # in nobody's task

    def _deliver(self, batch: list[Finished]) -> None:
        for finished in batch:
            self._put(finished)
            self.summary.add(finished)
        self._heed()

    def _reject(self, finished: Finished) -> None:
        """Hand on what nothing was sent for."""
        self._put(finished, self.reader.row)
        if finished.failure is None or finished.failure.code != "repeated":
            self.summary.add(finished)
        self._heed()

    def _put(self, finished: Finished, row: Any = None) -> None:
        redactor = self._server.redactor if self._server is not None else None
        result = given(finished, redactor, self.schema, row)  # from here on no key is in it
        self.observer.finished(finished)
        self.outlet.put(result)

    def _heed(self) -> None:
        why = too_much(self.chosen.options, self.summary)
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
