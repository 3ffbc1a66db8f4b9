"""Puts a run together: input → engine → results file, with its signals, its progress and the sums at its end."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

import anyio
from anyio import to_thread

from batcher.contact import contact, only_model
from batcher.engine import Engine
from batcher.errorsfile import ErrorsFile
from batcher.failures import Exit, Failure, FailureClass, UsageError, ungrouped
from batcher.figures import span
from batcher.formats import format_of
from batcher.formats.parameters import unknown_keys_warning
from batcher.intake import Intake
from batcher.ledger import Ledger, errors_path
from batcher.progress import Snapshot
from batcher.recorder import Recorder
from batcher.signals import Signals
from batcher.source import Source
from batcher.streamledger import StreamLedger
from batcher.summary import Summary
from batcher.watchdog import now
from batcher.wiring import defaults_for, said, scheduler_for, stops, timeouts_for

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from batcher.contact import Contact
    from batcher.model import Result
    from batcher.options import Options
    from batcher.scheduler import Scheduler

SYNC_EVERY: Final = 1.0
"""Seconds between two syncs of the results file: what a power cut can cost."""
TICK: Final = 0.2

AnyLedger: TypeAlias = Ledger | StreamLedger


class Observer(Protocol):
    """Whoever watches a run: gets sentences, finished jobs and, now and then, the state.

    `wants_total` has the input counted before the first request, where it can be. What is shown goes through `redact`,
    once the keys of the run are known.
    """

    wants_total: bool
    redact: Callable[[str], str]

    def note(self, message: str) -> None: ...
    def finished(self, result: Result) -> None: ...
    def tick(self, run: Run) -> None: ...


class Silent:
    """Watches nothing: the observer of programs."""

    wants_total = False
    redact: Callable[[str], str] = str

    def note(self, message: str) -> None: ...
    def finished(self, result: Result) -> None: ...
    def tick(self, run: Run) -> None: ...


@dataclass(slots=True)
class Run:
    """One run over one input. `output` None means standard output. Ask it for `run()` once."""

    input: str
    output: Path | None
    options: Options
    environ: Mapping[str, str]
    observer: Observer = field(default_factory=Silent)
    handle_signals: bool = False
    summary: Summary = field(init=False)
    scheduler: Scheduler | None = None
    total: int | None = None
    """Lines of the input, where they could be counted."""
    errors_path: Path | None = None

    async def run(self) -> Summary:
        """Do it and return the sums.

        Raises BatcherError when the run cannot start or its results cannot be kept. A run that stops early returns:
        the summary's `stop` says why, `signal` which signal ended it.
        """
        self.summary = Summary(started=now())
        with ungrouped(), ExitStack() as stack:
            source = Source(self.input, format_of(self.input, self.options.input_format))
            stack.callback(source.close)
            self.errors_path = self._errors_path()
            self._keep_apart(source)
            ledger = self._open_ledger()
            stack.callback(ledger.close)
            errors = ErrorsFile(self.errors_path, overwrite=self.options.overwrite) if self.errors_path else None
            if errors is not None:
                stack.callback(errors.close)
            await self._until_done(source, ledger, errors)
            if errors is not None:
                errors.finish(ledger.__contains__, complete=self._read_all)
        self.summary.finished = now()
        return self.summary

    @property
    def _read_all(self) -> bool:
        """The run saw the whole input: complaints about lines that are gone from it no longer count."""
        summary = self.summary
        stopped = summary.stop is not None or summary.signal is not None or summary.pending + summary.unread > 0
        return not stopped and self.options.limit is None

    def snapshot(self) -> Snapshot:
        """The state of the run now, for whoever shows it."""
        summary, scheduler = self.summary, self.scheduler
        return Snapshot(
            elapsed=now() - summary.started,
            ok=summary.ok,
            failed=summary.failed,
            skipped=summary.skipped,
            in_flight=scheduler.in_flight if scheduler else 0,
            tokens=summary.completion_tokens,
            total=self.total,
            note=scheduler.waits_for(now()) if scheduler else "",
        )

    async def _until_done(self, source: Source, ledger: AnyLedger, errors: ErrorsFile | None) -> None:
        async with anyio.create_task_group() as group:
            signals = Signals(group.cancel_scope, self.observer.note, self.options.grace)
            if self.handle_signals:
                group.start_soon(signals.listen)
            try:
                async with contact(self.options, self.environ, self.observer) as server:
                    await self._serve(source, ledger, errors, server, signals)
            finally:
                self.summary.signal = signals.received
            group.cancel_scope.cancel()

    async def _serve(
        self,
        source: Source,
        ledger: AnyLedger,
        errors: ErrorsFile | None,
        server: Contact,
        signals: Signals,
    ) -> None:
        recorder = Recorder(
            ledger=ledger,
            errors=errors,
            summary=self.summary,
            redactor=server.redactor,
            images=self._images_directory(),
            base64=self.options.embedding_format == "base64",
            finished=self.observer.finished,
        )

        self.observer.redact = server.redactor.text

        def reject(result: Result) -> None:
            recorder.record([result])

        intake = self._intake(source, ledger, server, reject)
        if source.is_regular and server.model is None and not intake.names_model(source.lines()):
            model = await only_model(server, self.observer)
            intake.defaults = replace(intake.defaults, model=model)
        if source.is_regular and len(ledger):
            intake.check(source.lines())
        if source.is_regular and self.observer.wants_total:
            self.total = min(sum(1 for _ in source.lines()), self.options.limit or sys.maxsize)
        jobs = said(intake.jobs(source.lines()), server.endpoint.api, self.observer.note)
        scheduler = self.scheduler = scheduler_for(self.options, server, jobs, reject)
        engine = Engine(
            scheduler,
            server.transport,
            timeouts_for(self.options),
            fail_on=self.options.fail_on,
            raw=self.options.raw,
        )
        source.on_arrival = engine.waker()
        self.summary.started = now()  # speeds are those of the work, not of the start
        try:
            async with engine, anyio.create_task_group() as helpers:
                signals.drain = engine.stop
                helpers.start_soon(_sync_now_and_then, ledger)
                helpers.start_soon(self._tick)
                if server.gone is not None:
                    helpers.start_soon(_stop_with, server.gone, engine)
                async for batch in engine.batches():
                    recorder.record(batch)
                helpers.cancel_scope.cancel()
        finally:
            recorder.record(engine.take())
            self._take_stock(source, intake, scheduler, server)

    def _take_stock(self, source: Source, intake: Intake, scheduler: Scheduler, server: Contact) -> None:
        """Note in the summary what no single result tells."""
        summary = self.summary
        summary.skipped, summary.duplicates = intake.skipped, intake.duplicates
        # Each job that was taken in ends once: with a result, a failure, or pending.
        summary.pending = intake.taken - (summary.ok + summary.failed - intake.refused)
        if source.is_regular and (scheduler.stopped or scheduler.in_flight):
            lines = sum(1 for _ in source.lines())
            summary.unread = max(0, min(lines, self.options.limit or lines) - intake.read)
        summary.stop, summary.refused = stops(scheduler, server.redactor.text)
        if warning := unknown_keys_warning(intake.defaults.unknown_keys):
            self.observer.note(warning)

    def _intake(self, source: Source, ledger: AnyLedger, server: Contact, reject: Callable[[Result], None]) -> Intake:
        return Intake(
            parse=format_of(source.path, self.options.input_format).parse,
            defaults=defaults_for(self.options, self.environ, server.model, source.path),
            finished=ledger,
            reject=reject,
            limit=self.options.limit,
            needs_model=server.model is None,
        )

    def _keep_apart(self, source: Source) -> None:
        """Raise UsageError if a file that would be written is the input, or two of them are one."""
        for path in (self.output, self.errors_path):
            if path is not None and source.identity is not None and _identity(path) == source.identity:
                raise UsageError(f"{path} is the input; name another file for what is written")
        if self.output is not None and self.errors_path is not None and _same(self.output, self.errors_path):
            raise UsageError(f"{self.errors_path} is the results file; errors need a file of their own")

    def _open_ledger(self) -> AnyLedger:
        if self.output is None:
            return StreamLedger()
        ledger = Ledger.open(self.output, overwrite=self.options.overwrite)
        if ledger.repaired:
            self.observer.note(str(ledger.repaired))
        return ledger

    def _errors_path(self) -> Path | None:
        if self.options.errors is not None or self.output is None:
            return self.options.errors
        return errors_path(self.output)

    def _images_directory(self) -> Path:
        beside = self.output or Path("batcher.jsonl")
        return beside.with_name(f"{beside.stem}.images")

    async def _tick(self) -> None:
        """Show the state now and then, and say once when a wait begins and when it is over."""
        waiting_since = None
        while True:
            self.observer.tick(self)
            words = self.scheduler.waits_for(now()) if self.scheduler else ""
            if words and waiting_since is None:
                waiting_since = now()
                self.observer.note(words)
            elif waiting_since is not None and not words:
                self.observer.note(f"going on after {span(now() - waiting_since)}")
                waiting_since = None
            await anyio.sleep(TICK)


async def _stop_with(gone: Callable[[], Awaitable[str]], engine: Engine) -> None:
    """The local server cannot come back: end the run instead of waiting for it."""
    words = await gone()
    message = f"the embedded server died; its last words: {words or '(none)'}"
    engine.stop(Failure(FailureClass.CONNECTION, "local_server_died", message, exit=Exit.UNAVAILABLE))


async def _sync_now_and_then(ledger: AnyLedger) -> None:
    while True:
        await anyio.sleep(SYNC_EVERY)
        await to_thread.run_sync(ledger.sync)


def _same(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve() or (_identity(one) is not None and _identity(one) == _identity(other))


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
