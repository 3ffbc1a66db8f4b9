"""Which call goes to which endpoint now, or how long to wait. Pure policy: no await, no clock, no dice of its own.

Workers ask `next(now)` and tell `finished(call, failure, now)`. A call that waits for its next attempt is parked in a
heap and holds no slot; the heap is bounded, and when it is full no new call is taken in.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from itertools import count
from typing import TYPE_CHECKING, Final, TypeAlias

from batcher.failures import Exit, Failure, FailureClass, Scope

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

    from batcher.breaker import Breaker
    from batcher.concurrency import FixedLimit
    from batcher.model import Call, Endpoint
    from batcher.retry import RetryPolicy


@dataclass(frozen=True, slots=True)
class Send:
    """Send this call to this endpoint now."""

    call: Call
    endpoint: Endpoint


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to send before `until`; infinity: not before something finishes or arrives."""

    until: float


@dataclass(frozen=True, slots=True)
class Done:
    """Nothing will ever be sent again."""


Step: TypeAlias = Send | Wait | Done


class Verdict(Enum):
    """What becomes of a call after an attempt."""

    ENDED = auto()  # it succeeded
    FAILED = auto()  # its jobs get error lines
    PARKED = auto()  # it will be sent again
    SPLIT = auto()  # a pack: its halves are to be requeued
    PENDING = auto()  # its jobs stay without a line


PARKED_PER_SLOT: Final = 4
SKIPS_PER_STEP: Final = 512
LOCAL_PAUSE: Final = 1.0
UNANSWERED: Final = ("disconnected", "timeout_first_token", "timeout_total")
"""Failures of an attempt that say nothing about whether the server is there."""
ALIKE: Final = 20
"""When the first this many jobs all fail permanently with the same words, the mistake is in the settings."""


@dataclass(slots=True)
class Scheduler:
    """One endpoint, a fixed limit, retries parked by time. `intake` yields calls, or None when none has arrived yet."""

    intake: Iterator[Call | None]
    endpoint: Endpoint
    limit: FixedLimit
    retry: RetryPolicy
    breaker: Breaker
    rng: random.Random
    in_flight: int = 0
    pending: int = 0
    """Jobs that were taken in and given back without a line."""
    proven: bool = False
    """There are results for these settings already: jobs that fail alike do so for themselves."""
    held: bool = False
    """Nothing is sent for now: there is no room for results."""
    stopped: bool = False
    stop_failure: Failure | None = None
    """The failure that stopped the run, if one did; its `exit` says how the run ends."""
    refused: dict[tuple[Scope, str], Failure] = field(default_factory=dict)
    """Models and paths that the server does not have."""
    _trouble: Failure | None = None
    """The last failure that held everything up."""
    _exhausted: bool = False
    _skipping: bool = False
    _ready: deque[Call] = field(default_factory=deque)
    _parked: list[tuple[float, int, float, Call]] = field(default_factory=list)
    """(due, order, parked at, call), as a heap."""
    _order: Iterator[int] = field(default_factory=count)
    _alike: tuple[str, int] | None = ("", 0)

    def next(self, now: float) -> Step:
        """Say what a free worker does now."""
        if self.stopped:
            return Done()
        if self.held or self.in_flight >= self.limit.allowed:
            return Wait(math.inf)
        held = self.breaker.opens()
        if held > now:
            return self._idle(held)
        call = self._take(now)
        if call is None:
            return self._idle(self._due(now))
        self.in_flight += 1
        self.breaker.sent(call)
        return Send(call, self.endpoint)

    def stop(self, failure: Failure | None = None) -> None:
        """Send nothing more; what is in flight may finish. What is parked stays pending."""
        if not self.stopped:
            self.stopped = True
            self.stop_failure = failure
            self._give_back(*(entry[-1] for entry in self._parked), *self._ready)
            self._parked.clear()
            self._ready.clear()

    def requeue(self, *calls: Call) -> None:
        """Put calls in front of all others: the halves of a pack."""
        if self.stopped:
            self._give_back(*calls)
        else:
            self._ready.extend(calls)

    def finished(self, call: Call, failure: Failure | None, now: float) -> Verdict:
        """Take in how an attempt ended and say what becomes of the call."""
        self.in_flight -= 1
        call.sent += 1
        if failure is None:
            self.breaker.answered()
            self.breaker.served()
            self._alike = None
            return Verdict.ENDED
        failure = self._tell_breaker(call, failure, now)
        verdict = self._judge(call, failure, now)
        if verdict is Verdict.PENDING:
            self._give_back(call)
        return verdict

    @property
    def parked(self) -> int:
        return len(self._parked)

    @property
    def exhausted(self) -> bool:
        """Whether the input was read to its end."""
        return self._exhausted

    def waits_for(self, now: float) -> str:
        """Say what holds everything up, if something does."""
        words = self._trouble.message if self._trouble else ""
        if self.breaker.is_down:
            return f"waiting for {self.endpoint.root}: {words}"
        if self.breaker.opens() > now:
            return f"waiting, as {self.endpoint.root} asks: {words}"
        return ""

    def _take(self, now: float) -> Call | None:
        self._skipping = False
        if self._ready:
            return self._ready.popleft()
        if self._parked and self._parked[0][0] <= now:
            _, _, since, parked = heapq.heappop(self._parked)
            parked.waited += now - since
            return parked
        if self._exhausted or len(self._parked) >= PARKED_PER_SLOT * self.limit.allowed:
            return None
        for _ in range(SKIPS_PER_STEP):
            try:
                call = next(self.intake)
            except StopIteration:
                self._exhausted = True
                return None
            if call is None or not self._is_refused(call):
                return call
            self._give_back(call)
        self._skipping = True
        return None

    def _is_refused(self, call: Call) -> bool:
        return bool(self.refused) and (
            (Scope.PATH, call.path) in self.refused or (Scope.MODEL, call.model or "") in self.refused
        )

    def _due(self, now: float) -> float:
        """When there may be something to send: now if jobs are being skipped, else when the next call is due."""
        if self._skipping:
            return now
        return self._parked[0][0] if self._parked else math.inf

    def _idle(self, until: float) -> Step:
        if self._exhausted and not self._ready and not self._parked:
            return Wait(math.inf) if self.in_flight else Done()
        return Wait(until)

    def _tell_breaker(self, call: Call, failure: Failure, now: float) -> Failure:
        """Tell what the failure says about the server, and return what the server's state says about the failure."""
        if failure.code == "disconnected" and self.breaker.hung_up(call):
            failure = replace(failure, kind=FailureClass.CONNECTION)
        if failure.kind is FailureClass.CONNECTION:
            self.breaker.unreachable(call, now)
        elif failure.kind is FailureClass.LOCAL or failure.code in UNANSWERED:
            self.breaker.unanswered(call)
        else:
            self.breaker.answered()
        if failure.kind in (FailureClass.CONNECTION, FailureClass.THROTTLE):
            self._trouble = failure
        if failure.kind is FailureClass.THROTTLE:
            call.throttled += 1
            # a hint of 0 s is none: taken at its word, it would be a storm
            delay = failure.retry_after or self.retry.throttle_delay(self.breaker.episode(now), self.rng)
            self.breaker.throttled(now, delay)
        return failure

    def _judge(self, call: Call, failure: Failure, now: float) -> Verdict:
        match failure.kind:
            case FailureClass.FATAL:
                return self._refuse(call, failure)
            case FailureClass.PERMANENT | FailureClass.SUSPECT:
                return self._fail(call, failure)
            case FailureClass.THROTTLE | FailureClass.CONNECTION:
                if self.breaker.gives_up(now):
                    self.stop(_out_of_patience(failure))
                    return Verdict.PENDING
                return self._park(call, now, now)
            case FailureClass.LOCAL:
                return self._park(call, now, now + LOCAL_PAUSE)
            case FailureClass.TRANSIENT:
                return self._try_again(call, failure, now)

    def _try_again(self, call: Call, failure: Failure, now: float) -> Verdict:
        if failure.code == "disconnected" and not call.resent:
            call.resent = True  # a keep-alive connection that the server closed as it was reused: nobody's fault,
            call.sent -= 1  # and no attempt
            return self._park(call, now, now)
        call.counted += 1
        if len(call.jobs) > 1 and call.counted > 1:
            return Verdict.SPLIT
        if not self.retry.allows(call.counted):
            return self._fail(call, failure)
        delay = max(self.retry.delay(call.counted, self.rng), min(failure.retry_after or 0.0, self.retry.cap))
        return self._park(call, now, now + delay)

    def _fail(self, call: Call, failure: Failure) -> Verdict:
        if len(call.jobs) > 1 and failure.kind is not FailureClass.SUSPECT:
            return Verdict.SPLIT
        if self._alike is not None:
            words = f"{failure.code}: {failure.message}"
            same = self._alike[1] + 1 if words == self._alike[0] else 1
            self._alike = (words, same)
            permanent = failure.kind is FailureClass.PERMANENT and not self.proven
            if same >= ALIKE and (permanent or failure.code == "not_an_llm"):
                self.stop(Failure(FailureClass.FATAL, failure.code, failure.message, failure.status, exit=Exit.CONFIG))
        return Verdict.FAILED

    def _refuse(self, call: Call, failure: Failure) -> Verdict:
        if failure.scope is Scope.ENDPOINT:
            self.stop(failure)
        else:
            name = call.path if failure.scope is Scope.PATH else call.model or ""
            self.refused.setdefault((failure.scope, name), failure)
        return Verdict.PENDING

    def _park(self, call: Call, now: float, until: float) -> Verdict:
        if self.stopped:
            return Verdict.PENDING
        heapq.heappush(self._parked, (until, next(self._order), now, call))
        return Verdict.PARKED

    def _give_back(self, *calls: Call) -> None:
        self.pending += sum(len(call.jobs) for call in calls)


def _out_of_patience(failure: Failure) -> Failure:
    """The run ends because the server stayed away (69), or because it says wait for too long (4)."""
    away = failure.kind is FailureClass.CONNECTION or failure.code in ("busy", "overloaded")
    return replace(failure, exit=Exit.UNAVAILABLE if away else Exit.STOPPED)
