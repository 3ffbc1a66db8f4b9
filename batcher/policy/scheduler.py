"""Which call goes to which endpoint now, or how long to wait. Pure policy: no await, no clock, no dice of its own.

Workers ask `next(now)` and tell `finished(call, attempt, now)`. A call that waits for its next attempt is parked in a
heap and holds no slot; the heap is bounded, and when it is full no new call is taken in.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import TYPE_CHECKING, Final, TypeAlias

from batcher.failures import Exit, Failure, FailureClass, Scope
from batcher.policy.dispatch import Dispatch
from batcher.policy.quarantine import CRASHES, Quarantine, convicted
from batcher.policy.quota import RETRY, THROTTLED

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from batcher.attempt import Attempt
    from batcher.model import Call, Endpoint
    from batcher.policy.backlog import Backlog
    from batcher.policy.lane import Lane
    from batcher.policy.quarantine import Breakdown
    from batcher.policy.quota import RetryQuota
    from batcher.policy.retry import RetryPolicy


@dataclass(slots=True)
class Send:
    """Send this call to this endpoint now."""

    call: Call
    endpoint: Endpoint


@dataclass(slots=True)
class Wait:
    """Nothing to send before `until`; infinity: not before something finishes or arrives."""

    until: float


@dataclass(slots=True)
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


LOCAL_PAUSE: Final = 1.0
ALIKE: Final = 20
"""When the first this many jobs all fail permanently with the same words, the mistake is in the settings."""


@dataclass(slots=True)
class Scheduler:
    """Several servers, each with its lane; one backlog, one quota of retries, one line of suspects."""

    backlog: Backlog
    lanes: list[Lane]
    retry: RetryPolicy
    quota: RetryQuota
    rng: random.Random
    pending: int = 0
    """Jobs that were taken in and given back without a line."""
    proven: bool = False
    """There are results for these settings already: jobs that fail alike do so for themselves."""
    held: bool = False
    """Nothing is sent for now: there is no room for results."""
    stopped: bool = False
    stop_failure: Failure | None = None
    """The failure that stopped the run, if one did; its `exit` says how the run ends."""
    quarantine: Quarantine = field(default_factory=Quarantine)
    _flying: dict[Call, Lane] = field(default_factory=dict)
    _alike: tuple[str, int] | None = ("", 0)
    _short_since: float | None = None
    """Since when this machine has lacked something, with nothing sent in between."""
    _dispatch: Dispatch = field(init=False)

    def __post_init__(self) -> None:
        self._dispatch = Dispatch(self.backlog, self.lanes, self.retry, self.quota, self.quarantine, self._drop)

    def next(self, now: float) -> Step:
        """Say what a free worker does now."""
        if self.stopped:
            return Done()
        if self.held:
            return Wait(math.inf)
        chosen = self._dispatch.choose(now)
        if chosen is not None:
            lane, call = chosen
            lane.sends(call, now)
            self._flying[call] = lane
            return Send(call, lane.endpoint)
        if self.backlog.is_empty and not self.quarantine.line:
            return Wait(math.inf) if self._flying else Done()
        return Wait(self._dispatch.later)

    def stop(self, failure: Failure | None = None) -> None:
        """Send nothing more; what is in flight may finish. What is parked stays pending."""
        if not self.stopped:
            self.stopped = True
            self.stop_failure = failure
            self._clear(self._give_back)

    def requeue(self, *calls: Call) -> None:
        """Put calls in front of their groups: the halves of a pack."""
        for call in reversed(calls):
            if self.stopped:
                self._give_back(call)
            elif not self._drop(call):
                self.backlog.set_aside(call)

    def answering(self, call: Call, now: float) -> None:
        """The first content of a streamed answer has arrived."""
        self._flying[call].heard(call, now)

    def repeats(self, call: Call, attempt: Attempt, now: float) -> None:
        """A call goes once more in its slot, said otherwise: a request more, and no attempt."""
        self._flying[call].repeats(call, attempt, now)

    def finished(self, call: Call, attempt: Attempt, now: float) -> Verdict:
        """Take in how an attempt ended and say what becomes of the call."""
        lane = self._flying.pop(call)
        sent = lane.lands(call, attempt, now)
        call.sent += 1
        if attempt.failure is None:
            lane.served(call, sent)
            self.quota.earn(call)
            self._alike = self._short_since = None
            verdict = Verdict.ENDED
        else:
            self.quota.lose(call)
            failure = lane.failed(call, attempt.failure, now, self.retry, self.rng)
            verdict = self._failed(lane, call, attempt, failure, now)
        lane.frees(call)
        if verdict is not Verdict.PARKED:
            self.quarantine.forget(call)
        if verdict is Verdict.PENDING:
            self._give_back(call)
        return verdict

    @property
    def allowed(self) -> int:
        """How many calls may be in flight now, on all servers together."""
        return self._dispatch.allowed

    @property
    def in_flight(self) -> int:
        return len(self._flying)

    @property
    def parked(self) -> int:
        return self._dispatch.parked

    @property
    def exhausted(self) -> bool:
        """Whether the input was read to its end."""
        return self.backlog.is_exhausted

    @property
    def refused(self) -> dict[tuple[Scope, str], Failure]:
        """Models and paths that no server has."""
        first, *others = self._dispatch.live or self.lanes
        return {what: why for what, why in first.refused.items() if all(what in other.refused for other in others)}

    def waits_for(self, now: float) -> str:
        """Say what holds everything up, if something does, or which servers the run goes on without."""
        held = [lane for lane in self._dispatch.live if lane.breaker.is_down or lane.breaker.opens() > now]
        without = [lane for lane in self.lanes if lane.out is not None]
        if len(held) < len(self._dispatch.live):
            without, held = without + held, []
        return "; ".join(
            [_words(lane, "going on without {}") for lane in without]
            + [_words(lane, "waiting for {}" if lane.breaker.is_down else "waiting, as {} asks") for lane in held]
        )

    def _failed(self, lane: Lane, call: Call, attempt: Attempt, failure: Failure, now: float) -> Verdict:
        breakdown = None
        if failure.code in CRASHES and lane.lonely is not call:
            breakdown = self._dispatch.broke_down(lane, call, now)
        match failure.kind:
            case FailureClass.FATAL:
                return self._refuse(lane, call, failure, now)
            case FailureClass.PERMANENT | FailureClass.SUSPECT:
                return self._fail(call, failure)
            case FailureClass.LOCAL:
                return self._wait_for_room(call, failure, now)
            case FailureClass.THROTTLE | FailureClass.CONNECTION | FailureClass.TRANSIENT:
                if all(one.breaker.gives_up(now) for one in self._dispatch.live):
                    self.stop(_out_of_patience(failure, lane.breaker.patience))
                    return Verdict.PENDING
                if failure.kind is FailureClass.TRANSIENT:
                    return self._try_again(call, failure, attempt, breakdown, now, is_alone=lane.solitary is call)
                if failure.kind is FailureClass.CONNECTION or lane.breaker.opens() > now:
                    return self._park(call, now, now, THROTTLED if failure.kind is FailureClass.THROTTLE else 0.0)
                return self._park(call, now, now + self.retry.lone_delay(call.throttled, self.rng))

    def _try_again(
        self, call: Call, failure: Failure, attempt: Attempt, breakdown: Breakdown | None, now: float, *, is_alone: bool
    ) -> Verdict:
        if failure.code == "disconnected" and not call.resent:
            call.resent = True  # a keep-alive connection that the server closed as it was reused: nobody's fault,
            call.sent -= 1  # and no attempt
            return self._park(call, now, now)
        is_tried = is_alone and failure.code in CRASHES
        if is_tried and self._dispatch.broke_down_alone(call):
            attempt.failure = convicted(failure)
            return self._fail(call, attempt.failure)
        if not is_tried and (breakdown is None or not breakdown.is_collective):
            call.counted += 1
            if breakdown is not None:
                breakdown.charged.append(call)
        is_out_of_attempts = not self.retry.allows(call.counted)
        if len(call.jobs) > 1 and (call.counted > 1 or self.quarantine.suspects(call, is_out_of_attempts=False)):
            return Verdict.SPLIT
        if is_out_of_attempts and breakdown is None and not is_tried:
            return self._fail(call, failure)
        delay = max(self.retry.delay(max(1, call.counted), self.rng), min(failure.retry_after or 0.0, self.retry.cap))
        is_outage = breakdown is not None and breakdown.is_collective
        return self._park(call, now, now + delay, 0.0 if is_outage else RETRY)

    def _fail(self, call: Call, failure: Failure) -> Verdict:
        if len(call.jobs) > 1 and failure.kind is not FailureClass.SUSPECT:
            return Verdict.SPLIT
        if self._alike is not None:
            words = f"{failure.code}: {failure.message}"
            same = self._alike[1] + 1 if words == self._alike[0] else 1
            self._alike = (words, same)
            if same >= ALIKE and failure.kind is FailureClass.PERMANENT and not self.proven:
                self.stop(Failure(FailureClass.FATAL, failure.code, failure.message, failure.status, exit=Exit.CONFIG))
        return Verdict.FAILED

    def _refuse(self, lane: Lane, call: Call, failure: Failure, now: float) -> Verdict:
        """A server will not serve: at all, or not this model or path. Others may."""
        lane.refuses(call, failure)
        if lane.out is not None and lane in self._dispatch.live:
            self._dispatch.live.remove(lane)
        if not self._dispatch.live:
            self.stop(failure)
        self._clear(self._drop)
        return self._park(call, now, now)

    def _wait_for_room(self, call: Call, failure: Failure, now: float) -> Verdict:
        """This machine lacks something: no fault of the job's, and no reason to wait for ever."""
        if self._short_since is None:
            self._short_since = now
        if now - self._short_since > self.lanes[0].breaker.patience:
            self.stop(replace(failure, exit=Exit.STOPPED))
            return Verdict.PENDING
        return self._park(call, now, now + LOCAL_PAUSE)

    def _park(self, call: Call, now: float, until: float, price: float = 0.0) -> Verdict:
        if self.stopped or self._is_refused(call):
            return Verdict.PENDING
        self.backlog.park(call, now, until, price)
        return Verdict.PARKED

    def _clear(self, drop: Callable[[Call], bool]) -> None:
        self.backlog.clear(drop)
        self.quarantine.clear(drop)

    def _is_refused(self, call: Call) -> bool:
        """Whether no server will serve the call."""
        for lane in self._dispatch.live:  # noqa: SIM110 - asked of each call, a generator costs more than the answer
            if not lane.lacks(call):
                return False
        return True

    def _drop(self, call: Call) -> bool:
        return self._is_refused(call) and self._give_back(call)

    def _give_back(self, call: Call) -> bool:
        self.pending += len(call.jobs)
        return True


def _out_of_patience(failure: Failure, patience: float) -> Failure:
    """The run ends because no server was well for too long (69), or because one says wait for too long (4)."""
    is_told = failure.kind is FailureClass.THROTTLE and (failure.retry_after or 0.0) > patience
    is_away = failure.kind is not FailureClass.THROTTLE or (failure.code in ("busy", "overloaded") and not is_told)
    return replace(failure, exit=Exit.UNAVAILABLE if is_away else Exit.STOPPED)


def _words(lane: Lane, words: str) -> str:
    why = lane.out or lane.trouble
    return f"{words.format(lane.endpoint.root)}: {why.message if why else ''}"
