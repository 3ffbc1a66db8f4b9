"""Obeys the scheduler: sends what may go, tells it how that ended, and hands on the results. It knows no file."""

from __future__ import annotations

import asyncio
import math
from contextlib import AsyncExitStack, suppress
from contextvars import copy_context
from dataclasses import dataclass, field
from time import monotonic as now
from typing import TYPE_CHECKING, Final, Self

from batcher.exchange import dialogue, packing
from batcher.exchange.overflow import Overflow
from batcher.exchange.seam import LOST
from batcher.failures import BatcherError, internal
from batcher.outputs.numbers import normalized
from batcher.policy.judge import ALIKE, Verdict
from batcher.policy.steps import Ask, Done, Send
from batcher.running.omissions import Omissions
from batcher.wire.dialects.vectors import Sizes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from types import TracebackType

    from batcher.exchange.seam import Exchanges
    from batcher.failures import Failure
    from batcher.model import Call, Endpoint
    from batcher.options import Options
    from batcher.outcome import Attempt, Result
    from batcher.policy.scheduler import Scheduler

UNAUTHORIZED: Final = 401
BURST: Final = 64
"""Calls that are sent at a stretch; then whatever else is ready has its turn."""


@dataclass(slots=True)
class Engine:
    """Runs a scheduler's calls. Use as an async context manager and iterate over `batches()` inside."""

    scheduler: Scheduler
    exchanges: Exchanges
    raw: bool = False
    schema_retries: int = 0
    """How often an answer that does not fit is asked again."""
    renew: Callable[[Endpoint], Endpoint | None] | None = None
    """Returns the endpoint with another key, if its key has changed since."""
    sizes: Sizes = field(default_factory=Sizes)
    """How long vectors are."""
    normalize: bool = False
    """All vectors get length 1."""
    overflow: Overflow = field(default_factory=Overflow)
    """What becomes of texts that are too long to be embedded."""
    _outbox: list[Result] = field(default_factory=list)
    _untaken: int = 0
    """Calls that have ended and whose results stand in the outbox."""
    _poked: bool = False
    """Whoever takes results is to have his turn, though there may be none."""
    _is_over: bool = False
    """Nothing more will be sent."""
    _is_open: bool = False
    _error: BaseException | None = None
    """What the input raised, or a bug: it ends the run."""
    _consumer: asyncio.Future[None] | None = None
    _timer: asyncio.TimerHandle | None = None
    _due: float = math.inf
    _bugs: int = 0
    """How many of the last calls each met one."""
    _omissions: Omissions = field(default_factory=Omissions)
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    @classmethod
    def of(
        cls,
        options: Options,
        scheduler: Scheduler,
        exchanges: Exchanges,
        renew: Callable[[Endpoint], Endpoint | None] | None,
    ) -> Self:
        """As a run is told."""
        return cls(
            scheduler,
            exchanges,
            raw=options.raw,
            schema_retries=options.schema_retries,
            renew=renew,
            overflow=Overflow(options.on_overflow, options.prefix),
            normalize=options.normalize,
        )

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self.exchanges.open(self))
        self._is_open = True
        self._fill()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        self._is_open = False
        if kind is not None:
            self.scheduler.stop()  # nobody sends more while what is in flight is broken off
        self._wait(math.inf)
        return await self._stack.__aexit__(kind, error, trace)

    async def batches(self) -> AsyncIterator[list[Result]]:
        """Yield results as they finish, all that are there at a time; none after `poke`. Ends with the scheduler.

        Raises what the input raised.
        """
        loop = asyncio.get_running_loop()
        while True:
            if self._error is not None:
                raise self._error
            if self._outbox or self._poked:
                self._poked = False
                batch = self.take()
                loop.call_soon(self._fill)  # whoever takes them has his turn first
                yield batch
            elif self._is_over and not self.scheduler.in_flight:
                return
            else:
                self._consumer = loop.create_future()
                await self._consumer

    def stop(self, failure: Failure | None = None) -> None:
        """Send nothing more, for the reason given; what is in flight may finish."""
        self.scheduler.stop(failure)
        self._fill()

    def poke(self) -> None:
        """Have `batches` yield, though nothing may have finished."""
        self._poked = True
        self._wake_consumer()

    def hold(self) -> None:
        """Send nothing until `release`; what is in flight may finish."""
        self.scheduler.held = True

    def release(self) -> None:
        self.scheduler.held = False
        self._fill()

    def more(self) -> None:
        """Send what may go now: there is room again. Before its block and after it that is nothing."""
        if self._is_open:
            self._fill()

    def waker(self) -> Callable[[], None]:
        """Return a function that any thread may call when something has arrived to be sent.

        One turn is on its way at most: whoever reads ahead calls for each line, and a turn takes thousands of them.
        """
        loop, context = asyncio.get_running_loop(), copy_context()
        waiting: list[None] = []

        def turn() -> None:
            waiting.clear()
            self._fill()

        def wake() -> None:
            if waiting:
                return
            waiting.append(None)
            with suppress(RuntimeError):  # the run is over and its loop closed
                # in the context of the run: where sniffio is installed, anyio knows by it that a loop runs at all
                loop.call_soon_threadsafe(turn, context=context)

        return wake

    def take(self) -> list[Result]:
        """Return what has finished and was not yielded yet; after a cancellation these are paid for all the same."""
        results, self._outbox, self._untaken = self._outbox, [], 0
        return results

    def begun(self, call: Call) -> None:
        """The first content is there: the server has loaded the model, and more may go."""
        self.scheduler.answering(call, now())
        self._fill()

    def told(self, endpoint: Endpoint, *, is_there: bool) -> None:
        """A server was asked whether anybody is there."""
        self.scheduler.told(endpoint, now(), is_there=is_there)
        self._fill()

    def ended(self, call: Call, endpoint: Endpoint, attempt: Attempt) -> None:
        """Do what becomes of a call after an attempt. A bug that it meets costs its own jobs their answers, no others.

        What raises a BatcherError is no bug; and one that is met by answer after answer is the run's.
        """
        try:
            self._ends(call, endpoint, attempt)
        except BatcherError:
            raise
        except Exception as error:
            self._bugs += 1
            if self._bugs >= ALIKE:
                raise
            attempt.completion, attempt.failure = None, internal(error)
            self.scheduler.drops(call, attempt, now())
            self._hand_on(call, endpoint, attempt)
            self._fill()
        else:
            self._bugs = 0

    def _ends(self, call: Call, endpoint: Endpoint, attempt: Attempt) -> None:
        if attempt.failure is None:
            self._omissions.served(call)
        elif not self.scheduler.stopped and self._omissions.takes_back(call, endpoint, attempt.failure):
            self.scheduler.repeats(call, attempt, now())
            self.exchanges.send(call, endpoint)
            return
        if attempt.failure is not None and self.overflow.refits(call, attempt.failure, endpoint.api):
            self._sends_on(call, attempt)
            return
        if attempt.failure is None and attempt.completion is not None and attempt.completion.vectors:
            attempt.failure = self.sizes.differs(call, attempt.completion.vectors)
        if attempt.failure is not None and self._says_nothing(attempt.failure, endpoint):
            self.scheduler.again(call, attempt, now())
            self._fill()
            return
        if self._goes_on(call, attempt):
            return
        verdict = self.scheduler.finished(call, attempt, now())
        if verdict is Verdict.ENDED or verdict is Verdict.FAILED:
            if call.pieces is not None or self.normalize:
                self._finish_vectors(call, attempt)
            self._hand_on(call, endpoint, attempt)
            return
        if verdict is Verdict.SPLIT:
            halves = packing.halves(call, endpoint.api)
            self.scheduler.packs.split(call, halves, attempt.failure)
            self.scheduler.requeue(*halves)
        self._fill()

    def _hand_on(self, call: Call, endpoint: Endpoint, attempt: Attempt) -> None:
        self._outbox.extend(packing.results_of(call, endpoint, attempt, raw=self.raw))
        self._untaken += 1
        self._wake_consumer()

    def _finish_vectors(self, call: Call, attempt: Attempt) -> None:
        """Make what was asked for of the vectors that came."""
        completion = attempt.completion
        attempt.failure = self.overflow.concludes(call, completion) or attempt.failure
        if self.normalize and attempt.failure is None and completion is not None and completion.vectors:
            completion.vectors = [normalized(vector) for vector in completion.vectors]

    def _goes_on(self, call: Call, attempt: Attempt) -> bool:
        """Whether an answer is not the last for its job: more is asked in its slot, or by the next run."""
        completion = attempt.completion
        if completion is None or (completion.mismatch is None and not call.jobs[0].turns):
            return False
        if not dialogue.goes_on(call, attempt, self.schema_retries):
            return False
        self._sends_on(call, attempt)
        return True

    def _sends_on(self, call: Call, attempt: Attempt) -> None:
        """Ask what a call asks now, in its slot, or leave it to the next run."""
        attempt.failure = None
        if self.scheduler.stop_failure is not None:  # nobody is to be asked any more
            self.scheduler.leaves(call, attempt, now())
            self._fill()
            return
        endpoint = self.scheduler.goes_on(call, attempt, now())
        self._omissions.heed(call, endpoint)
        self.exchanges.send(call, endpoint)

    def _says_nothing(self, failure: Failure, endpoint: Endpoint) -> bool:
        """Whether a failure is neither the call's nor the server's: its maker died, or the key was changed."""
        if failure.code == LOST:
            return True
        return failure.status == UNAUTHORIZED and self._has_changed_key(endpoint)

    def _has_changed_key(self, endpoint: Endpoint) -> bool:
        """Whether an answer was to a key that is not used any more: keys in files are replaced while a run goes on."""
        renewed = self.renew(endpoint) if self.renew is not None else None
        if renewed is not None:
            self.scheduler.renewed(renewed)
        return renewed is not None

    def _fill(self) -> None:
        """Send what may go now, and come back when more may.

        A call whose result was not taken has its slot still: what is neither on its way to a file nor in flight can be
        lost. So a crash costs no more requests than may be in flight, and whoever takes results slowly slows the
        sending.
        """
        try:
            self._send_what_may_go()
        except BaseException as error:  # noqa: BLE001 - it is raised where the run is awaited, not on the bare loop
            self._error = error
            self.scheduler.stop()
            self._wake_consumer()

    def _send_what_may_go(self) -> None:
        scheduler = self.scheduler
        for _ in range(BURST):
            if self._untaken and not scheduler.stopped and scheduler.in_flight + self._untaken >= scheduler.allowed:
                return
            step = scheduler.next(now())
            if type(step) is Send:
                if self._omissions.known:
                    self._omissions.heed(step.call, step.endpoint)
                self.exchanges.send(step.call, step.endpoint)
            elif type(step) is Done:
                self._is_over = True
                self._wake_consumer()
                return
            elif type(step) is Ask:
                self.exchanges.ask(step.endpoint)
            else:
                self._wait(step.until)  # type: ignore[union-attr]  # what is none of the others is Wait
                return
        self._wait(now())

    def _wait(self, until: float) -> None:
        """Have one timer for the earliest time that was asked for; infinity: none is needed."""
        if self._timer is not None:
            if until == self._due:
                return
            self._timer.cancel()
            self._timer = None
        self._due = until
        if until < math.inf:
            self._timer = asyncio.get_running_loop().call_later(max(0.0, until - now()), self._ring)

    def _ring(self) -> None:
        self._timer, self._due = None, math.inf
        self._fill()

    def _wake_consumer(self) -> None:
        if self._consumer is not None and not self._consumer.done():
            self._consumer.set_result(None)
