"""Puts a run together: input → engine → results file, with its signals, its progress and the sums at its end."""

from __future__ import annotations

import time
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from time import monotonic as now
from typing import TYPE_CHECKING

import anyio
from anyio import to_thread
from anyio.from_thread import check_cancelled
from anyio.lowlevel import cancel_shielded_checkpoint

from batcher.failures import BatcherError, Exit, Failure, FailureClass, InputError, ungrouped
from batcher.inputs.formats.parameters import unknown_keys_warning
from batcher.running.announcement import Share, announced
from batcher.running.chosen import by_part
from batcher.running.destination import Destination
from batcher.running.estimate import Estimate
from batcher.running.holds import Holds
from batcher.running.journal import Journal
from batcher.running.openfiles import open_files
from batcher.running.pipeline import Pipeline
from batcher.running.preparation import Jobs, jobs_of, left_of, prepare
from batcher.running.reports import Reports, told_before
from batcher.running.sharing import leave
from batcher.running.signals import Signals
from batcher.running.standing import beginning, show, show_beginning, snapshot_of, take_stock
from batcher.running.statekeeper import StateKeeper
from batcher.running.stops import stop_when_gone, too_much
from batcher.running.wiring import fits_of, recipe_of, said, source_for, taken_of
from batcher.servers.described import reached
from batcher.view.observer import Silent
from batcher.view.prices import prices_of
from batcher.view.summary import Summary

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from anyio.abc import TaskGroup

    from batcher.exchange.seam import Flow
    from batcher.inputs.intake import Intake
    from batcher.inputs.source import Source
    from batcher.ledger.errors import ErrorsFile
    from batcher.ledger.ledger import AnyLedger
    from batcher.model import Job
    from batcher.options import Options
    from batcher.outcome import Result
    from batcher.policy.scheduler import Scheduler
    from batcher.running.engine import Engine
    from batcher.running.sharing import Pool
    from batcher.servers.contact import Contact
    from batcher.view.observer import Observer
    from batcher.view.snapshot import Snapshot


@dataclass(slots=True)
class Run:
    """One run over one input or several. `output` None means standard output. Ask it for `run()` once."""

    input: str | Sequence[str]
    output: Path | None
    options: Options
    environ: Mapping[str, str]
    observer: Observer = field(default_factory=Silent)
    handle_signals: bool = False
    typed: bool = True
    """Whether the user named `output`."""
    opened: Source | None = None
    """The input, where no name leads to it."""
    reach: Callable[[Observer], AbstractAsyncContextManager[Contact]] | None = None
    """Gives the servers, where others have found them, and tells the observer about them."""
    pool: Pool | None = None
    """The limits that it shares with other runs."""
    sends_for: float | None = None
    """Seconds from its first request on after which nothing more is sent, which is no reason to complain."""
    summary: Summary = field(init=False)
    scheduler: Scheduler | None = None
    jobs: Jobs | None = None
    """How many there are, where they could be counted."""
    intake: Intake | None = None
    destination: Destination = field(init=False)
    _state: StateKeeper = field(init=False)
    _flow: Callable[[], Flow] | None = field(default=None, init=False)
    _reports: Reports = field(init=False)
    _estimate: Estimate | None = field(default=None, init=False)
    _mismatched: bool = field(default=False, init=False)
    """An answer did not fit, and that was said."""

    def __post_init__(self) -> None:
        named = partial(by_part, shard=self.options.shard)
        self.output = named(self.output)
        self.options = replace(
            self.options,
            errors=named(self.options.errors),
            vectors=named(self.options.vectors),
            metrics_file=named(self.options.metrics_file),
        )
        self.destination = Destination(self.output, self.options, self.observer.note, self.typed)

    async def run(self) -> Summary:
        """Do it and return the sums.

        Raises BatcherError when the run cannot start or its results cannot be kept. A run that stops early returns:
        the summary's `stop` says why, `signal` which signal ended it.
        """
        prices = self.options
        self.summary = Summary(started=now())
        self.summary.prices = prices_of(prices.price_in, prices.price_cached, prices.price_out, prices.price_file)
        if self.options.estimate is not None:
            self._estimate = Estimate(prices=self.summary.prices)
        self._reports = Reports(self.snapshot, Journal(), self.summary)
        recipe_of(self.options)  # a template that is wrong is told before there is a file, and so is a schema
        fits_of(self.options)
        with ungrouped(), open_files(), ExitStack() as stack:
            source = self.opened
            if source is None:
                is_table = self.destination.table is not None
                opened = partial(source_for, self.input, self.options, self.observer.note, whole=is_table)
                source = await to_thread.run_sync(opened)
            stack.callback(source.close)
            ledger: AnyLedger | None = None
            self._state = stack.enter_context(StateKeeper(self.summary, self.observer.note))
            self._state.report = self._reports.for_state
            async with self._interruptible() as signals:
                ledger = await self.destination.open_when_free(source, stack)
                self._reports.earlier = told_before(ledger)
                stack.callback(self._write_table, source)
                errors = self.destination.open_errors(stack)
                self.destination.emptied = self._state.keep
                reach = self.reach or partial(reached, self.options, self.environ, at_once=False)
                async with reach(self.observer) as server:
                    await self._serve(source, ledger, errors, server, signals)
            if ledger is not None:
                self.destination.finish(ledger, self.summary)
            self.summary.finished = now()  # the state, which is kept last, tells what held the run up
        self.summary.finished = now()
        if self.options.metrics_file is not None:
            self._reports.last_metrics(self.options.metrics_file, self.summary)
        return self.summary

    def _write_table(self, source: Source) -> None:
        """Make tables and arrays of what is there, however the run ended, before others may have the results."""
        if self.destination.table is None and self.options.vectors is None:
            return
        from batcher.outputs.columns import fields_of

        try:
            taken = taken_of(self.options, source)
        except BatcherError as error:  # the run was told the same; the results alone make a table too
            self.observer.note(f"what is made of the results is of them alone: {error}")
            taken = None
        fits, wanted = fits_of(self.options)
        fields = fields_of(wanted.get("format") if fits is not None else self.options.params.get("format"))
        self.destination.write_vectors(taken, self.summary)
        self.destination.write_table(taken, fields, self.summary)

    def snapshot(self) -> Snapshot:
        """The state of the run now, for whoever shows it."""
        if self.intake is not None:
            self.summary.skipped = self.intake.skipped
        total = None if self.jobs is None else self.jobs.most(self.options.limit_new, self.summary.skipped)
        if self.scheduler is None:
            return beginning(self.summary, total, is_reached=self.intake is not None)
        return snapshot_of(self.summary, self.scheduler, total, self.observer.redact, self._flow)

    @asynccontextmanager
    async def _interruptible(self) -> AsyncIterator[Signals]:
        """Heed signals, and the end of `--max-duration`; what is cut short by them goes on behind the block."""
        async with anyio.create_task_group() as group:
            observer, grace = self.observer, self.options.grace
            signals = Signals(group.cancel_scope, observer.note, grace, lambda: observer.asked(self.snapshot()))
            if self.handle_signals:
                group.start_soon(signals.listen)
            if self.options.max_duration is not None:
                group.start_soon(signals.expire, self.options.max_duration)
            group.start_soon(show_beginning, observer, self.snapshot, lambda: self.scheduler is None)
            await cancel_shielded_checkpoint()  # the listener listens before anything can take long
            try:
                yield signals
            finally:
                self.summary.signal = signals.received
                if signals.expired is not None:
                    self._stop_at(signals.expired)
                self.summary.unread = not self.summary.complete and not (self.scheduler and self.scheduler.exhausted)
            group.cancel_scope.cancel()

    def _stop_at(self, expiry: Failure) -> None:
        """The time was over: that ended the run, unless something else had, or all was done by then."""
        summary, scheduler = self.summary, self.scheduler
        if summary.stop is None and (summary.pending or scheduler is None or not scheduler.exhausted):
            summary.stop = expiry

    async def _serve(
        self,
        source: Source,
        ledger: AnyLedger,
        errors: ErrorsFile | None,
        server: Contact,
        signals: Signals,
    ) -> None:
        self.observer.redact = server.redactor.text
        pipeline = Pipeline.of(
            self.options,
            self.environ,
            source,
            ledger,
            server,
            errors=errors,
            destination=self.destination,
            summary=self.summary,
            note=self.observer.note,
            finished=self._finished,
        )
        intake = self.intake = pipeline.intake
        self.jobs = await prepare(
            intake, source, ledger, server, self._state, options=self.options, observer=self.observer
        )
        engine = await pipeline.engine(self._jobs(intake, source, server), self.pool)
        self.scheduler = engine.scheduler
        self._state.keep_sizes(ledger, engine.sizes.known)
        await self._work(pipeline, engine, signals)
        await self._explain(engine.scheduler, server)

    async def _work(self, pipeline: Pipeline, engine: Engine, signals: Signals) -> None:
        """Send all that may be sent and write what comes of it; what has come is written however this ends."""
        source, server, scheduler = pipeline.source, pipeline.server, engine.scheduler
        recorder, writer = pipeline.recorder, pipeline.recorder.writer
        self.summary.started = now()  # speeds are those of the work, not of the start
        self.summary.work.cpu = -time.process_time()
        try:
            # the engine is left first: after an error nobody goes on sending while the helpers end
            async with anyio.create_task_group() as helpers, engine:
                signals.drain, self._flow = engine.stop, engine.exchanges.flow
                helpers.start_soon(writer.watch)
                self._accompany(helpers, scheduler, source, server, signals)
                if server.gone is not None:
                    helpers.start_soon(stop_when_gone, server.gone, engine.stop)
                async for batch in engine.batches():
                    await recorder.record(batch)
                    batch.clear()  # nobody holds an answer while the next one is waited for
                    await recorder.record_copies()
                    if why := too_much(self.options, self.summary):
                        engine.stop(why)
                await recorder.record_copies()
                helpers.cancel_scope.cancel()
            await self._tell_estimate(pipeline, scheduler)
        finally:
            leave(scheduler.lanes)
            self.summary.work.cpu += time.process_time()
            self.summary.work.disk = writer.waited
            self._flow = None
            await recorder.record_last(engine.take())
            self._take_stock(pipeline.intake, scheduler, server, source.damage)

    async def _tell_estimate(self, pipeline: Pipeline, scheduler: Scheduler) -> None:
        if self._estimate is not None:
            left_over = partial(left_of, pipeline.source, self.options, pipeline.ledger, check_cancelled)
            left = await to_thread.run_sync(left_over)
            allowed = sum(lane.limit.allowed for lane in scheduler.lanes)
            self.observer.note(self._estimate.words(left, now() - self.summary.started, allowed))

    async def _explain(self, scheduler: Scheduler, server: Contact) -> None:
        """Say why a server ended the run as `batcher check` would say it."""
        if self.summary.stop is not None or self.summary.refused:
            from batcher.running.explanation import explain

            await explain(self.summary, scheduler, server)

    def _accompany(
        self, helpers: TaskGroup, scheduler: Scheduler, source: Source, server: Contact, signals: Signals
    ) -> None:
        """Start what watches the run beside its work, until that is done."""
        observer, journal = self.observer, self._reports.journal
        holds, journal.redact = Holds(observer.note, self.summary), server.redactor.text

        def look() -> None:
            holds.look(scheduler, now())
            journal.look(scheduler, self.summary, now())

        helpers.start_soon(show, observer, self.snapshot, look)
        helpers.start_soon(self._state.keep_now_and_then)
        if self.sends_for is not None:
            helpers.start_soon(signals.conclude, self.sends_for)
        if self.options.metrics_file is not None:
            helpers.start_soon(self._reports.keep_metrics, self.options.metrics_file, self.summary, observer.note)
        if source.is_regular and self.jobs is None and observer.wants_total:
            helpers.start_soon(self._count, source)

    def _jobs(self, intake: Intake, source: Source, server: Contact) -> Iterator[Job | None]:
        """The jobs that are to do, with what there is to say of them."""
        api, note = server.endpoint.api, self.observer.note
        jobs = said(intake.jobs(source.lines() if intake.remaining is None else intake.remaining), server, note)
        share = Share(self.jobs, self.options.shard, self.options.limit_new)
        return announced(jobs, api, intake.defaults, note=note, share=share, place=source.place)

    def _take_stock(self, intake: Intake, scheduler: Scheduler, server: Contact, damage: list[str]) -> None:
        """Note in the summary what no single result tells."""
        summary = self.summary
        total = None if self.jobs is None else self.jobs.share
        take_stock(summary, scheduler, intake, server.redactor.text, total=total, slots=server.slots)
        if damage and summary.stop is None:
            summary.stop = Failure(FailureClass.PERMANENT, "input_damaged", "; ".join(damage), exit=Exit.INPUT)
        if warning := unknown_keys_warning(intake.defaults.unknown_keys):
            self.observer.note(warning)
        for doubt in intake.defaults.unused_aliases() if scheduler.exhausted else ():
            self.observer.note(doubt)

    def _finished(self, result: Result) -> None:
        self.observer.finished(result)
        completion = result.completion
        if completion is not None and completion.mismatch is not None and not self._mismatched:
            self._mismatched = True
            self.observer.note(f"{result.id}: the first answer that does not fit: {completion.mismatch}")
        if self._estimate is not None:
            self._estimate.add(result)

    async def _count(self, source: Source) -> None:
        """Find out how many jobs there are to come, beside the work: a large input takes a while to be read."""
        with suppress(InputError):  # whoever reads the jobs says so
            self.jobs = await to_thread.run_sync(jobs_of, source, self.options, check_cancelled)
