"""Makes exchanges in this process: a task for each call in flight, and one watchdog for all of them."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import monotonic as now
from typing import TYPE_CHECKING, Final, NoReturn

from batcher.exchange import answers, budget
from batcher.exchange.budget import TOO_LARGE, Budget, Flight
from batcher.exchange.guard import Guard
from batcher.exchange.presence import is_there
from batcher.exchange.seam import Flow
from batcher.exchange.timeouts import Timeouts, timed_out
from batcher.exchange.watchdog import Watchdog
from batcher.failures import INTERNAL, AttemptError, internal
from batcher.outcome import Attempt, Timing
from batcher.wire.dialects import DIALECTS, body_of
from batcher.wire.dialects.reading import Reading
from batcher.wire.hints import read
from batcher.wire.rules import classify
from batcher.wire.words import unwrapped

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Generator, Set as AbstractSet

    from batcher.exchange.seam import Reports
    from batcher.exchange.watchdog import Watch
    from batcher.model import Call, Endpoint
    from batcher.outcome import Completion
    from batcher.wire.transport import Exchange, Transport

ANSWERED: Final = frozenset({200, 201, 203})
"""Statuses that come with an answer; gateways say 201 of one that was made, and 203 of one that they changed."""

GIVEN_UP: Final = frozenset({TOO_LARGE, INTERNAL})
"""Failures of which nothing is kept: too much, or what nobody can read."""

DRAIN = 1.0
"""Seconds to wait for what follows a complete answer: its counts, the terminal mark, the end of the body."""


@dataclass(slots=True)
class Workers:
    """The maker of exchanges in this process. A worker that has made one waits for the next call: no task a call."""

    transport: Transport
    timeouts: Timeouts = field(default_factory=Timeouts)
    fail_on: AbstractSet[str] = frozenset()
    judges: bool = True
    """Answers are looked at for what is doubtful; else whoever takes them does it, who has their jobs."""
    _given: deque[tuple[Call, Endpoint]] = field(default_factory=deque)
    _idle: deque[asyncio.Future[None]] = field(default_factory=deque)
    _flight: Flight = field(default_factory=Flight)
    _returning: int = 0
    """Workers that report just now, and take the next call without being woken."""
    _reports: Reports = field(init=False)
    _watchdog: Watchdog = field(init=False)
    _group: asyncio.TaskGroup = field(init=False)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _heard: float = -math.inf
    """When the last answer ended."""

    @asynccontextmanager
    async def open(self, reports: Reports) -> AsyncIterator[None]:
        """Be ready to send while the block runs; at its end what is in flight is broken off, and nothing is told."""
        self._reports = reports
        self._watchdog = Watchdog(self.timeouts.tick)
        async with asyncio.TaskGroup() as self._group:
            self._start(self._watchdog.run())
            try:
                yield
            finally:
                for task in self._tasks:
                    task.cancel()

    def send(self, call: Call, endpoint: Endpoint) -> None:
        """Give the call to a worker that is free, or to a new one."""
        self._given.append((call, endpoint))
        if len(self._given) > self._returning and not self._wake_one():
            self._start(self._work())

    def ask(self, endpoint: Endpoint) -> None:
        """Ask a server for something small, to learn whether anybody is there."""
        self._start(self._ask(endpoint))

    async def _ask(self, endpoint: Endpoint) -> None:
        try:
            there = await is_there(self.transport, endpoint)
        except Exception:  # noqa: BLE001 - a bug in this question is no reason to end what is in flight
            there = False
        self._reports.told(endpoint, is_there=there)

    def flow(self) -> Flow:
        """What comes just now: one look at each call in flight, and nothing to be kept up for each record."""
        pieces, heard, first = 0, self._heard, math.inf
        for watch in self._watchdog.in_flight():
            assert watch.timing is not None
            first = min(first, watch.timing.started)
            if watch.timing.arrivals:
                heard = max(heard, watch.timing.arrivals[-1])
            if watch.completion is not None:
                pieces += sum(len(one.texts) + len(one.thoughts) for one in watch.completion.choices.values())
        return Flow(pieces, max(heard, first) if first < math.inf else None)

    def _start(self, work: Coroutine[object, object, None]) -> None:
        """Have a task of this group's alone: anyio's would need to be in one, and could end with a scope of that."""
        task = self._group.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _work(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        watch = self._watchdog.watch(task)
        try:
            while True:
                if not self._given:
                    await self._until_woken()
                    continue
                call, endpoint = self._given.popleft()
                attempt = await self._attempt(call, endpoint, watch)
                self._returning += 1
                self._reports.ended(call, endpoint, attempt)
                self._returning -= 1
                del call, attempt  # nobody holds an answer while the next call is waited for
        finally:
            self._watchdog.release(watch)

    async def _until_woken(self) -> None:
        future = asyncio.get_running_loop().create_future()
        self._idle.append(future)
        await future

    def _wake_one(self) -> bool:
        idle = self._idle
        while idle:
            future = idle.popleft()
            if not future.done():
                future.set_result(None)
                return True
        return False

    async def _attempt(self, call: Call, endpoint: Endpoint, watch: Watch) -> Attempt:
        """Make one exchange and read its answer to the proof that it is complete."""
        timing = Timing(started_at=time.time(), started=now(), waited=call.waited)
        attempt = Attempt(timing)
        last = timing.started + self.timeouts.total
        first = timing.started + self.timeouts.first_token if call.stream else last
        watch.begin(first, last, "first_token", timing)
        reading: Reading | None = None
        broke = False
        try:
            exchange = await self.transport.post(endpoint, call.path, body_of(call) if call.loads else call.body)
            try:
                if exchange.status not in ANSWERED:
                    await _refuse(exchange, call, attempt)
                if exchange.tells_limits:
                    attempt.hints = read(exchange.headers)
                reading = Reading(call, DIALECTS[call.path], exchange.content_type)
                watch.completion = reading.completion
                attempt.completion = await self._read(exchange, reading, call, timing, watch)
            except BaseException:
                exchange.close()
                raise
        except AttemptError as error:
            attempt.failure = error.failure
            broke = error.failure.code == "cut"
        except asyncio.CancelledError:
            if not watch.took_the_cancel():
                raise
            broke = True
            attempt.failure = timed_out(watch.phase if watch.deadline < last else "total", self.timeouts, call)
        except Exception as error:  # noqa: BLE001 - a bug met by one answer must not cost the others
            attempt.failure = internal(error)
        finally:
            watch.end()
            timing.finished = timing.finished or now()
            if attempt.completion is not None:
                self._heard = timing.finished
        if attempt.failure is not None and attempt.failure.code not in GIVEN_UP and reading is not None:
            _salvage(reading, attempt, broke=broke)
        return answers.judged(call, attempt, self.fail_on) if self.judges else attempt

    async def _read(self, exchange: Exchange, reading: Reading, call: Call, timing: Timing, watch: Watch) -> Completion:
        """Read to the end, moving the deadline with each arrival of content; pings move nothing."""
        idle = self.timeouts.idle
        arrivals, guard = timing.arrivals, None
        share: Budget | None = None
        due, taken = budget.FIRST, 0
        try:
            while chunk := await exchange.read():
                taken += len(chunk)
                if taken >= due:
                    share = share or Budget(call.path, self._flight)
                    due = share.look(taken, reading.completion, reading.kept, streamed=bool(arrivals))
                if reading.feed(chunk):
                    arrived = now()
                    if guard is None:
                        guard = Guard(reading.completion, timing, self.timeouts)
                        self._reports.begun(call)
                    arrivals.append(arrived)
                    watch.phase = "idle"
                    watch.deadline = arrived + idle
                    if arrived >= guard.due and not reading.complete:
                        guard.look(arrived)
                if reading.complete and watch.phase != "drain":
                    watch.phase = "drain"
                    timing.finished = now()
                    watch.deadline = timing.finished + DRAIN
                if (reading.done or not arrivals) and exchange.is_over:
                    break  # that spares a read
        finally:
            if share is not None:
                share.release()
        if not arrivals:
            timing.finished = now()
            await _Turn()  # answers in one piece are all read first, and then decoded one after the other
        return reading.close()


class _Turn:
    """Gives everything that is ready its turn, as `asyncio.sleep(0)` does at thrice the price.

    What is done alike for many calls costs less if it is done for one after the other: it stays in the caches.
    """

    __slots__ = ()

    def __await__(self) -> Generator[None]:
        yield


def _salvage(reading: Reading, attempt: Attempt, *, broke: bool) -> None:
    """Keep a complete answer whose connection `broke` or fell silent before its end, and the partial text of others."""
    is_whole = reading.done or (broke and reading.complete)
    if is_whole or (broke and reading.may_be_whole):
        try:
            attempt.completion, attempt.failure = reading.close(), None
        except AttemptError as error:
            if is_whole:
                attempt.failure = error.failure
                return
        except Exception as error:  # noqa: BLE001 - a bug met by one answer must not cost the others
            attempt.failure = internal(error)
            return
        else:
            return
    attempt.completion = reading.completion


async def _refuse(exchange: Exchange, call: Call, attempt: Attempt) -> NoReturn:
    """Raise AttemptError for an answer whose status is that of none."""
    headers = exchange.headers
    try:
        body = unwrapped(await exchange.body())
    except AttemptError as error:
        if error.failure.code != "malformed":
            raise
        body = b""  # words in an encoding that nobody asked for: the status says the more important part
    hints = attempt.hints = read(headers, body, time.time())
    raise AttemptError(classify(exchange.status, body, call.path, retry_after=hints.retry_after, headers=headers))
