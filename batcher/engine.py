"""The thin async shell: workers that obey the scheduler, exchanges with the server, results out. It knows no file."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn, Self

import anyio

from batcher import answers, packing
from batcher.attempt import Attempt
from batcher.dialects import DIALECTS
from batcher.dialects.reading import Reading
from batcher.dialects.vectors import Sizes
from batcher.failures import AttemptError, Failure, FailureClass
from batcher.guard import Guard
from batcher.harvest import results_of
from batcher.hints import read
from batcher.model import Timing
from batcher.parking import Parking
from batcher.rules import classify
from batcher.scheduler import Done, Send, Verdict
from batcher.timeouts import Timeouts, timed_out
from batcher.watchdog import Watchdog, now

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Generator, Set as AbstractSet
    from types import TracebackType

    from batcher.model import Call, Completion, Endpoint, Result
    from batcher.scheduler import Scheduler
    from batcher.transport import Exchange, Transport
    from batcher.watchdog import Watch

DRAIN = 1.0
"""Seconds to wait for the end of a body after the terminal mark; it costs only the connection's reuse."""


@dataclass(slots=True)
class Engine:
    """Runs a scheduler's calls. Use as an async context manager and iterate over `batches()` inside."""

    scheduler: Scheduler
    transport: Transport
    timeouts: Timeouts = field(default_factory=Timeouts)
    fail_on: AbstractSet[str] = frozenset()
    raw: bool = False
    _outbox: list[Result] = field(default_factory=list)
    _taken: int = 0
    """How often the outbox was emptied."""
    _parking: Parking = field(default_factory=Parking)
    _consumer: asyncio.Future[None] | None = None
    _room: asyncio.Event = field(default_factory=asyncio.Event)
    _working: int = 0
    _most: int = field(init=False)
    _sizes: Sizes = field(default_factory=Sizes)
    _watchdog: Watchdog = field(init=False)
    _group: anyio.abc.TaskGroup = field(init=False)

    async def __aenter__(self) -> Self:
        self._most = sum(lane.limit.most for lane in self.scheduler.lanes)
        self._watchdog = Watchdog(self.timeouts.tick)
        self._group = anyio.create_task_group()
        await self._group.__aenter__()
        self._hire()
        self._group.start_soon(self._watchdog.run)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        if kind is not None:
            self.stop()  # a worker that was just woken does not see the cancellation before it asks for its next call
        self._group.cancel_scope.cancel()
        self._parking.close()
        return await self._group.__aexit__(kind, error, trace)

    async def batches(self) -> AsyncIterator[list[Result]]:
        """Yield results as they finish, all that are there at a time; ends when the scheduler is done."""
        while True:
            if not self._outbox:
                if not self._working:
                    return
                self._consumer = asyncio.get_running_loop().create_future()
                await self._consumer
                continue
            batch = self.take()
            self._room.set()  # frees those who wait now, and
            self._room.clear()  # holds those who come later
            yield batch

    def stop(self, failure: Failure | None = None) -> None:
        """Send nothing more, for the reason given; what is in flight may finish."""
        self.scheduler.stop(failure)
        self._parking.wake_one()

    def hold(self) -> None:
        """Send nothing until `release`; what is in flight may finish."""
        self.scheduler.held = True

    def release(self) -> None:
        self.scheduler.held = False
        self._parking.wake_one()

    def waker(self) -> Callable[[], None]:
        """Return a function that any thread may call when something has arrived to be sent."""
        loop = asyncio.get_running_loop()

        def wake() -> None:
            with suppress(RuntimeError):  # the run is over and its loop closed
                loop.call_soon_threadsafe(self._parking.wake_one)

        return wake

    def take(self) -> list[Result]:
        """Return what has finished and was not yielded yet; after a cancellation these are paid for all the same."""
        results, self._outbox = self._outbox, []
        self._taken += 1
        return results

    async def _work(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        watch = self._watchdog.watch(task)
        try:
            while True:
                step = self.scheduler.next(now())
                if type(step) is Send:
                    self._call_another()
                    call, endpoint = step.call, step.endpoint
                    if self._ends(call, endpoint, await self._attempt(call, endpoint, watch)):
                        await self._until_taken()
                elif type(step) is Done:
                    return
                else:
                    await self._parking.wait(step.until)  # type: ignore[union-attr]  # what is neither Send nor Done is Wait
        finally:
            self._watchdog.release(watch)
            self._working -= 1
            self._parking.wake_one()
            self._wake_consumer()

    def _ends(self, call: Call, endpoint: Endpoint, attempt: Attempt) -> bool:
        """Do what becomes of a call after an attempt; true if its results are in the outbox."""
        verdict = self.scheduler.finished(call, attempt, now())
        if verdict is Verdict.ENDED or verdict is Verdict.FAILED:
            self._outbox.extend(results_of(call, endpoint, attempt, raw=self.raw))
            self._wake_consumer()
            return True
        if verdict is Verdict.SPLIT:
            self.scheduler.requeue(*packing.halves(call, endpoint.api))
        return False

    async def _attempt(self, call: Call, endpoint: Endpoint, watch: Watch) -> Attempt:
        """Make one exchange and read its answer to the proof that it is complete."""
        timing = Timing(started_at=time.time(), started=now(), waited=call.waited)
        attempt = Attempt(timing)
        last = timing.started + self.timeouts.total
        first = timing.started + self.timeouts.first_token if call.stream else last
        watch.begin(first, last, "first_token")
        reading: Reading | None = None
        try:
            exchange = await self.transport.post(endpoint, call.path, call.body)
            try:
                if exchange.status != 200:
                    await _refuse(exchange, call, attempt)
                if exchange.tells_limits:
                    attempt.hints = read(exchange.headers)
                reading = Reading(call, DIALECTS[call.path], exchange.content_type)
                attempt.completion = await self._read(exchange, reading, call, timing, watch)
            except BaseException:
                exchange.close()
                raise
        except AttemptError as error:
            attempt.failure = error.failure
        except asyncio.CancelledError:
            if not watch.took_the_cancel():
                raise
            attempt.failure = timed_out(watch.phase if watch.deadline < last else "total", self.timeouts, call)
        except Exception as error:  # noqa: BLE001 - a bug met by one answer must not cost the others
            attempt.failure = Failure(FailureClass.PERMANENT, "internal", f"{type(error).__name__}: {error}")
        finally:
            watch.end()
            timing.finished = timing.finished or now()
        if attempt.failure is not None and reading is not None:
            self._salvage(reading, attempt)
        return self._judged(call, attempt)

    async def _read(self, exchange: Exchange, reading: Reading, call: Call, timing: Timing, watch: Watch) -> Completion:
        """Read to the end, moving the deadline with each arrival of content; pings move nothing."""
        idle = self.timeouts.idle
        arrivals, guard = timing.arrivals, None
        while chunk := await exchange.read():
            if reading.feed(chunk):
                arrived = now()
                if guard is None:
                    guard = Guard(reading.completion, timing, self.timeouts)
                    self._begin(call, arrived)
                arrivals.append(arrived)
                watch.phase = "idle"
                watch.deadline = arrived + idle
                if arrived >= guard.due and not reading.done:
                    guard.look(arrived)
            if reading.done and watch.phase != "drain":
                watch.phase = "drain"
                timing.finished = now()
                watch.deadline = timing.finished + DRAIN
            if (reading.done or not arrivals) and exchange.is_over:
                break  # that spares a read
        if not arrivals:
            timing.finished = now()
            await _Turn()  # answers in one piece are all read first, and then decoded one after the other
        return reading.close()

    def _begin(self, call: Call, arrived: float) -> None:
        """The first content is there: the server has loaded the model, and more may go."""
        self.scheduler.answering(call, arrived)
        self._call_another()

    def _salvage(self, reading: Reading, attempt: Attempt) -> None:
        """Keep a complete answer whose connection broke after its end, and the partial text of any other."""
        if reading.done:
            try:
                attempt.completion, attempt.failure = reading.close(), None
            except AttemptError as error:
                attempt.failure = error.failure
        else:
            attempt.completion = reading.completion

    def _judged(self, call: Call, attempt: Attempt) -> Attempt:
        completion = attempt.completion
        if completion is None or attempt.failure is not None:
            return attempt
        if completion.vectors:
            attempt.failure = self._sizes.differs(call, completion.vectors)
        if attempt.failure is None and len(call.jobs) == 1:
            completion.parsed = answers.judge(call.jobs[0], completion)
            if self.fail_on and completion.flags:
                attempt.failure = answers.suspicion(completion, self.fail_on)
        return attempt

    def _call_another(self) -> None:
        """There may be more to send: wake a parked worker, or take on one more while more may be in flight."""
        if not self._parking.wake_one() and self._working < self._most and self._working < self.scheduler.allowed:
            self._hire()

    def _hire(self) -> None:
        self._working += 1
        self._group.start_soon(self._work)

    def _wake_consumer(self) -> None:
        if self._consumer is not None and not self._consumer.done():
            self._consumer.set_result(None)

    async def _until_taken(self) -> None:
        """Hold a worker until its results are taken: what is neither on its way to a file nor in flight can be lost.

        So a crash costs no more requests than may be in flight, and whoever takes results slowly slows the sending.
        Who takes them was woken just now, and nearly always has them after one turn of the event loop.
        """
        taken = self._taken
        await _Turn()
        while self._taken == taken:
            await self._room.wait()


class _Turn:
    """Gives everything that is ready its turn, as `asyncio.sleep(0)` does at thrice the price.

    What is done alike for many calls costs less if it is done for one after the other: it stays in the caches.
    """

    __slots__ = ()

    def __await__(self) -> Generator[None]:
        yield


async def _refuse(exchange: Exchange, call: Call, attempt: Attempt) -> NoReturn:
    """Raise AttemptError for an answer whose status is not 200."""
    body, headers = await exchange.body(), exchange.headers
    hints = attempt.hints = read(headers, body, time.time())
    raise AttemptError(classify(exchange.status, body, call.path, retry_after=hints.retry_after, headers=headers))
