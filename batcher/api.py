"""The Python API: run a file, or stream results of jobs that a program makes; the CLI stands on the same runner."""

from __future__ import annotations

import os
from collections import deque
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import orjson

from batcher.contact import contact
from batcher.done import Done
from batcher.engine import Engine
from batcher.failures import ungrouped
from batcher.formats import Line, parse_job
from batcher.intake import Intake
from batcher.options import Options
from batcher.runner import Run, Silent
from batcher.wiring import defaults_for, scheduler_for, timeouts_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator

    from batcher.model import Json, Result
    from batcher.summary import Summary

HELD = 1024
"""Jobs of an asynchronous source that are taken ahead of being sent."""


def run(input: str | os.PathLike[str], output: str | os.PathLike[str], **options: Any) -> Summary:  # noqa: A002 - what it is
    """Run a file of jobs, write results beside what is there already, and return the sums.

    `options` are the fields of `batcher.options.Options`. Raises BatcherError (see `batcher.failures`): UsageError for
    options that are wrong, InputError, OutputError, UnavailableError, ConfigError. Jobs that fail raise nothing: they
    are in the summary and in the errors file. No signal handlers are installed.
    """
    job_run = Run(os.fspath(input), Path(output), Options.of(options), os.environ)
    return anyio.run(job_run.run, backend_options={"use_uvloop": uses_uvloop()})


@asynccontextmanager
async def stream(
    jobs: Iterable[dict[str, Json]] | AsyncIterable[dict[str, Json]], **options: Any
) -> AsyncIterator[AsyncIterator[Result]]:
    """Run jobs as they are made and yield each result as it finishes; leaving the block cancels what is in flight.

        async with batcher.stream([{"prompt": "Hello"}], model="llama3.2") as results:
            async for result in results:
                print(result.id, result.text if result.ok else result.failure)

    A job is a dict as on an input line. Works on asyncio. Raises BatcherError as `run` does.
    """
    chosen = Options.of(options)
    rejected: list[Result] = []
    with ungrouped():
        async with contact(chosen, os.environ, Silent()) as server, anyio.create_task_group() as group:
            feed = _Feed(jobs)
            intake = Intake(
                parse=parse_job,
                defaults=defaults_for(chosen, os.environ, server.model, "-"),
                finished=Done(),
                reject=rejected.append,
                limit=chosen.limit,
                needs_model=server.model is None,
            )
            scheduler = scheduler_for(chosen, server, intake.jobs(feed.lines()), rejected.append)
            engine = Engine(scheduler, server.transport, timeouts_for(chosen), fail_on=chosen.fail_on, raw=chosen.raw)
            feed.on_arrival = engine.waker()
            async with engine:
                group.start_soon(feed.pump)
                yield _each(engine, rejected)
            group.cancel_scope.cancel()


async def _each(engine: Engine, rejected: list[Result]) -> AsyncIterator[Result]:
    async for batch in engine.batches():
        while rejected:
            yield rejected.pop(0)
        for result in batch:
            yield result
    while rejected:
        yield rejected.pop(0)


class _Feed:
    """Lines out of jobs: pulled from an iterable, or pumped from an asynchronous one as far as there is room."""

    def __init__(self, jobs: Iterable[dict[str, Json]] | AsyncIterable[dict[str, Json]]) -> None:
        self._jobs = jobs
        self._held: deque[dict[str, Json]] = deque()
        self._over = not hasattr(jobs, "__aiter__")
        self._room = anyio.Event()
        self.on_arrival: Callable[[], None] = lambda: None

    def lines(self) -> Iterator[Line | None]:
        seq = 0
        for job in self._each():
            if job is None:
                yield None
            else:
                yield Line(seq, 0, orjson.dumps(job))
                seq += 1

    async def pump(self) -> None:
        """Take jobs from an asynchronous source until it ends."""
        if self._over:
            return
        async for job in self._jobs:  # type: ignore[union-attr]  # `_over` says that it is asynchronous
            self._held.append(job)
            self.on_arrival()
            while len(self._held) >= HELD:
                self._room = anyio.Event()
                await self._room.wait()
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
