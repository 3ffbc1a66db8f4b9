"""The Python API: run a file, or stream results of jobs that a program makes; the CLI stands on the same runner."""

from __future__ import annotations

import math
import os
from collections import deque
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from batcher import codec
from batcher.failures import AccountError, BatcherError, ConfigError, UnavailableError, UsageError, ungrouped
from batcher.inputs.done import DoneIds
from batcher.inputs.formats import Line, parse_job
from batcher.inputs.intake import Intake
from batcher.options import Options
from batcher.running.engine import Engine
from batcher.running.runner import Run
from batcher.running.signals import out_of_time
from batcher.running.stops import stops, too_many
from batcher.running.wiring import defaults_for, exchanges_for, scheduler_for, selection_of
from batcher.servers.contact import contact, learn
from batcher.view.observer import Silent

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Sequence

    from batcher.failures import Failure
    from batcher.model import Json, Result
    from batcher.policy.scheduler import Scheduler
    from batcher.redaction import Redactor
    from batcher.servers.contact import Contact
    from batcher.view.summary import Summary

AHEAD = 2
"""Jobs of an asynchronous source that are taken ahead of being sent, for each that may be in flight."""


def run(
    input: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],  # noqa: A002 - what it is
    output: str | os.PathLike[str],
    **options: Any,
) -> Summary:
    """Run a file of jobs, or several as one, write results beside what is there already, and return the sums.

    `options` are the fields of `batcher.options.Options`. Raises BatcherError (see `batcher.failures`): UsageError for
    options that are wrong, InputError, OutputError, UnavailableError, ConfigError. Jobs that fail raise nothing: they
    are in the summary and in the errors file. No signal handlers are installed.
    """
    inputs = (input,) if isinstance(input, str | os.PathLike) else tuple(input)
    job_run = Run(tuple(os.fspath(one) for one in inputs), Path(output), Options.of(options), os.environ)
    return anyio.run(job_run.run, backend_options={"use_uvloop": uses_uvloop()})


@asynccontextmanager
async def stream(
    jobs: Iterable[dict[str, Json]] | AsyncIterable[dict[str, Json]], **options: Any
) -> AsyncIterator[AsyncIterator[Result]]:
    """Run jobs as they are made and yield each result as it finishes; leaving the block cancels what is in flight.

        async with batcher.stream([{"prompt": "Hello"}], model="llama3.2") as results:
            async for result in results:
                print(result.id, result.text if result.ok else result.failure)

    A job is a dict as on an input line. Works on asyncio. Raises BatcherError as `run` does, and after the results that
    there are: what `jobs` raised, or a BatcherError that says why jobs were left undone. `max_duration` counts from
    here; when it is over nothing more is sent, and what is in flight gets `grace`.
    """
    chosen = Options.of(options)
    if chosen.sample or chosen.estimate or chosen.dedupe:
        raise UsageError("sample, estimate and dedupe want a file that can be read again: use run")
    selection = selection_of(chosen)
    if selection is not None:
        selection.read_done()
    rejected: list[Result] = []
    raised: list[Exception] = []
    allowed = math.inf if chosen.max_duration is None else chosen.max_duration
    with ungrouped(), _in_time(allowed) as waiting:
        async with contact(chosen, os.environ, Silent()) as server, anyio.create_task_group() as group:
            await learn(server, chosen, Silent())
            over, waiting.deadline = waiting.deadline, math.inf
            feed = _Feed(jobs)
            intake = Intake(
                parse=parse_job,
                defaults=defaults_for(chosen, os.environ, server.model, "-"),
                finished=DoneIds(),
                reject=rejected.append,
                at_most=chosen.limit,
                selection=selection,
                limit_new=chosen.limit_new,
                needs_model=server.model is None,
            )
            scheduler = scheduler_for(chosen, server, intake.jobs(feed.lines()), rejected.append)
            engine = Engine(
                scheduler,
                exchanges_for(chosen, server),
                raw=chosen.raw,
                schema_retries=chosen.schema_retries,
                renew=server.renew,
            )
            feed.on_arrival = engine.waker()
            feed.room = lambda: AHEAD * scheduler.allowed * (chosen.pack or 1)
            async with engine:
                group.start_soon(feed.pump)
                if chosen.max_duration is not None:
                    group.start_soon(_stop_at, over, engine, out_of_time(chosen.max_duration))
                complain = partial(_complain, feed, scheduler, server)
                try:
                    heed = partial(too_many, chosen)
                    yield _each(engine, over + chosen.grace, rejected, server.redactor, heed=heed, complain=complain)
                except Exception as error:  # noqa: BLE001 - the caller's own: it leaves as it came, not in a group
                    raised.append(error)
            group.cancel_scope.cancel()
    if raised:
        raise raised[0]


@contextmanager
def _in_time(allowed: float) -> Iterator[anyio.CancelScope]:
    """Give up after so many seconds, unless the deadline is moved. Raises BatcherError (4) then."""
    with anyio.CancelScope(deadline=anyio.current_time() + allowed) as scope:
        yield scope
    if scope.cancelled_caught:
        raise _error(out_of_time(allowed))


async def _stop_at(deadline: float, engine: Engine, why: Failure) -> None:
    await anyio.sleep_until(deadline)
    engine.stop(why)


async def _each(
    engine: Engine,
    until: float,
    rejected: list[Result],
    redactor: Redactor,
    *,
    heed: Callable[[int, int], Failure | None],
    complain: Callable[[], None],
) -> AsyncIterator[Result]:
    batches = engine.batches()
    failed = finished = 0
    while True:
        batch = None
        with anyio.CancelScope(deadline=until):
            batch = await anext(batches, None)
        if batch is None:
            break
        failed += len(rejected) + sum(not result.ok for result in batch)
        finished += len(rejected) + len(batch)
        if why := heed(failed, finished):
            engine.stop(why)
        while rejected:
            yield rejected.pop(0)
        for result in batch:
            yield _guarded(result, redactor)
    while rejected:
        yield rejected.pop(0)
    complain()


def _guarded(result: Result, redactor: Redactor) -> Result:
    if result.failure is not None:  # it quotes the server, which may have quoted the key
        result.failure = replace(result.failure, message=redactor.text(result.failure.message))
    return result


def _complain(feed: _Feed, scheduler: Scheduler, server: Contact) -> None:
    """Raise what ended the source before its end, or what ended the work before it was done."""
    if feed.failed is not None:
        raise feed.failed
    why, refused = stops(scheduler, server.redactor.text)
    if why is not None and why.code == "max_duration":
        scheduler.backlog.peek()
        if scheduler.exhausted and not scheduler.pending and not scheduler.in_flight:
            return  # the time was over, and so was the work
    if failure := why or next(iter(refused), None):
        raise _error(failure)


def _error(failure: Failure) -> BatcherError:
    kinds = (UnavailableError, AccountError, ConfigError)
    error = next((kind for kind in kinds if kind.exit == failure.exit), BatcherError)(failure.message)
    error.exit = failure.exit
    return error


class _Feed:
    """Lines out of jobs: pulled from an iterable, or pumped from an asynchronous one as far as there is room."""

    def __init__(self, jobs: Iterable[dict[str, Json]] | AsyncIterable[dict[str, Json]]) -> None:
        self.failed: Exception | None = None
        """What the source raised; it counts as its end."""
        self._jobs = jobs
        self._held: deque[dict[str, Json]] = deque()
        self._over = not hasattr(jobs, "__aiter__")
        self._room = anyio.Event()
        self.on_arrival: Callable[[], None] = lambda: None
        self.room: Callable[[], int] = lambda: AHEAD

    def lines(self) -> Iterator[Line | None]:
        seq = 0
        try:
            for job in self._each():
                yield None if job is None else Line(seq, 0, codec.dumps(job))
                seq += job is not None
        except Exception as error:  # noqa: BLE001 - the caller's: it is raised where the caller can catch it
            self.failed = error

    async def pump(self) -> None:
        """Take jobs from an asynchronous source until it ends."""
        if self._over:
            return
        try:
            async for job in self._jobs:  # type: ignore[union-attr]  # `_over` says that it is asynchronous
                self._held.append(job)
                self.on_arrival()
                while len(self._held) >= self.room():
                    self._room = anyio.Event()
                    await self._room.wait()
        except Exception as error:  # noqa: BLE001 - as in `lines`
            self.failed = error
        self._over = True
        self.on_arrival()

    def _each(self) -> Iterator[dict[str, Json] | None]:
        if self._over:
            yield from self._jobs  # type: ignore[misc]  # as above: it is not
            return
        while self._held or not self._over:
            if self._held:
                yield self._held.popleft()
                self._room.set()
            else:
                yield None


def uses_uvloop() -> bool:
    """Whether uvloop is there; it is wherever CPython is."""
    from importlib.util import find_spec

    return find_spec("uvloop") is not None
