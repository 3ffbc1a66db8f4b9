"""One server as the scheduler sees it: what is in flight there, how much it is given, what holds it, what it lacks."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from batcher.failures import Exit, Failure, FailureClass, Scope
from batcher.model import Api
from batcher.policy import history
from batcher.policy.breakdown import NOBODY
from batcher.policy.breaker import Breaker
from batcher.policy.evidence import Fault
from batcher.policy.loading import Loading
from batcher.policy.offer import Offer
from batcher.policy.pace.pacing import Pacing

if TYPE_CHECKING:
    import random

    from batcher.model import Call, Endpoint
    from batcher.outcome import Attempt
    from batcher.policy.breakdown import Breakdown
    from batcher.policy.limit.fixed import Limit
    from batcher.policy.retry import RetryPolicy
    from batcher.policy.service import Service
    from batcher.policy.setback import Setback

SLOW_START: Final = 4
"""After an outage a server is given this part of what it had, and one more for each first content and each success."""
CERTAIN: Final = 2
"""Gates in a row after which the limit is cut: the first may have closed by lot, unless it speaks of a rate."""
FRESH: Final = 2
"""New calls that go alone for each that waits."""
SHARED: Final = 2.0
"""How many times as long as one suspect was alone all others go before the next one is."""
SPREAD: Final = (0.8, 1.2)
"""Factors on the time to a probe, so that many runs do not probe one server in step."""


@dataclass(slots=True, eq=False)
class Lane:
    """A server with its limit, breaker and pacing, and what it is asked for: models behind paths.

    On Ollama a lane keeps to one group of calls, those that want the same model loaded in the same way. The first call
    of a group goes when nothing of another is in flight.
    """

    endpoint: Endpoint
    limit: Limit
    breaker: Breaker = field(default_factory=Breaker)
    pacing: Pacing = field(default_factory=Pacing)
    in_flight: dict[Call, float] = field(default_factory=dict)
    """What is in flight, and since when."""
    again: int = 0
    """How many of those in flight are not sent for the first time."""
    fresh: int = FRESH
    """How many were sent there since the last that was not sent for the first time."""
    offer: Offer = field(init=False)
    is_sticky: bool = field(init=False)
    """Another model, or other load options, cost a load."""
    loading: Loading = field(default_factory=Loading)
    """What is loaded, where it is sticky."""
    solitary: Call | None = None
    """A call that is in flight alone: a suspect."""
    was_suspect: bool = False
    """The last that was sent there was to be alone."""
    shared_until: float = -math.inf
    """Before that, none is alone as long as there are others to be sent."""
    lonely: Call | None = None
    """The call that has had nothing beside it since it was sent."""
    breakdown: Breakdown | None = None
    """The last one."""
    breakdowns: list[Breakdown] = field(default_factory=list)
    """Those of which somebody in flight may tell more."""
    out: Failure | None = None
    """Why nothing will be sent there any more, if so."""
    trouble: Failure | None = None
    """The last failure that held the lane."""
    paced_until: float = -math.inf
    """When what was kept back last has its allowance."""
    served_until: float = -math.inf
    """When the last answer ended that it served."""
    seen_at: float = -math.inf
    """When somebody answered there who had been asked whether he is there, and that showed that he lives."""
    requests: int = 0
    throttles: int = 0
    """How many of them it answered with: wait."""
    is_shared: bool = False
    """Other runs have a part in its limit."""
    _ramp: int | None = None

    def __post_init__(self) -> None:
        self.offer = Offer(self.breaker.patience, self.breaker.first_patience)
        self.is_sticky = self.endpoint.api is Api.NATIVE

    @property
    def allowed(self) -> int:
        """How many may be in flight now."""
        allowed = self.limit.allowed
        return allowed if self._ramp is None else min(allowed, self._ramp)

    @property
    def load(self) -> float:
        return len(self.in_flight) / max(self.allowed, 1)

    @property
    def favours_retries(self) -> bool:
        """Whether a retry goes before a new call: they have half of the slots, and a single one every other time.

        Of those that go alone, as the probes of what is held and those that load a model, every third is one: new calls
        bring evidence, and one that waits may be what always fails.
        """
        allowed = self.allowed
        if self.loading.is_draining:
            return False
        if allowed == 1 or not self.in_flight:
            return self.fresh >= (1 if allowed == 1 else FRESH)
        return 2 * self.again < allowed

    def opens(self) -> float:
        """The time before which nothing may be sent; infinity: not before something ends."""
        if len(self.in_flight) >= self.allowed or self.loading.loader is not None or self.solitary is not None:
            return math.inf
        return self.breaker.opens()

    @property
    def lived_until(self) -> float:
        """When it showed last that it lives."""
        return max(self.served_until, self.seen_at)

    @property
    def is_waiting(self) -> bool:
        """Whether nothing is served there for now: it is away, or all that it is asked for is held."""
        return self.breaker.is_down or self.offer.is_waiting

    def held_until(self, now: float) -> float:
        """Until when all of it is held; `now`, or before, if it is not, or a probe is out."""
        until = self.breaker.opens()
        if self.is_waiting and not self.breaker.is_down:
            until = max(until, self.offer.opens())
        return until if until < math.inf else now

    def suits(self, call: Call) -> bool:
        """Whether the call can go without a load, as far as is known: a server that was away may have lost all.

        What is still in flight there may yet keep its model loaded.
        """
        group = self.loading.group
        if group == call.group or group is None or not self.is_sticky:
            return True
        return self.breaker.is_down and not self.in_flight

    def gives_up(self, call: Call, now: float) -> bool:
        """Whether the server has been away, or has failed what the call asks for, for too long."""
        service = self.offer.service(call)
        return (
            self.breaker.gives_up(now)
            or self.offer.lacks(call)
            or (service.gives_up(now) and not any(self.offer.service(other) is service for other in self.in_flight))
        )

    def sends(self, call: Call, now: float) -> None:
        if self.breaker.down_since is not None:
            self.breaker.probe = call
            if self._ramp is None:
                self._ramp = max(1, self.limit.allowed // SLOW_START)
        if self.is_sticky:
            self.loading.sends(call, now, is_idle=not self.in_flight)
        self.lonely = None if self.in_flight else call
        self.was_suspect = self.solitary is call
        self.in_flight[call] = now
        self.requests += 1
        if call.sent:
            self.fresh = 0
            self.again += 1
        else:
            self.fresh += 1
        if self.offer.is_troubled:
            self.offer.service(call).sends(call, now)
        self.pacing.take(call, now)
        history.sent(call, self.endpoint.root, len(self.in_flight) - 1)

    def repeats(self, call: Call, attempt: Attempt, now: float) -> None:
        """What was in flight is sent anew at once."""
        self.in_flight[call] = now
        self.requests += 1
        self.breaker.answered()
        self.pacing.settle(call, attempt, now)
        self.pacing.take(call, now)

    def heard(self, call: Call, now: float) -> None:
        """The first content has arrived: what was asked is loaded."""
        sent = self.in_flight[call]
        self.breaker.answered()
        if self.offer.is_troubled:
            self.offer.service(call).heard(sent)
        self.limit.answering(now - sent, len(call.body), len(self.in_flight), now)
        if self.is_sticky and not self.loading.is_loaded:
            self.loading.answers(call)
        if self._ramp is not None:
            self._climb(self._ramp)

    def lands(self, call: Call, attempt: Attempt, now: float, *, tells: bool = True) -> float:
        """An attempt has ended, in whichever way; an answer `tells` the limit something. Return when it was sent."""
        flying = len(self.in_flight)
        sent = self.in_flight.pop(call)
        if call.sent:
            self.again -= 1
        if self.is_sticky:
            if self.loading.loader is call:
                self.loading.lands(attempt)
            if not self.in_flight:
                self.loading.rests(now)
        if tells or attempt.failure is not None:
            self.limit.finished(attempt, flying, now)
        self.pacing.settle(call, attempt, now)
        return sent

    def frees(self, sent: float, now: float) -> None:
        """What becomes of the call that was to be alone is decided: others may go again, and for longer than it."""
        self.solitary = None
        self.shared_until = now + SHARED * (now - sent)

    def served(self, call: Call, sent: float, now: float) -> None:
        """The server did what was asked."""
        self.breaker.answered()
        if self.throttles:
            self.limit.granted(call.beside)
        self.offer.service(call).served(sent, is_first=not call.sent)
        if self.offer.is_troubled:
            if self.served_until == -math.inf:
                self.offer.begins()
            self.offer.recovers()
        if self.is_sticky and not self.loading.is_loaded:
            self.loading.answers(call)
        self.trouble = None
        self.served_until = now
        if self._ramp is not None:
            self._climb(self._ramp)

    def failed(self, setback: Setback, retry: RetryPolicy, rng: random.Random) -> None:
        """Take in what a failure says about the server, and say whose fault it is and what that makes of it."""
        call, failure, service = setback.call, setback.failure, self.offer.service(setback.call)
        if failure.code == "not_an_llm" and not service.ever_served:  # a web page is what others than servers say
            setback.failure = replace(failure, kind=FailureClass.FATAL, exit=Exit.CONFIG)
        if setback.is_odd:
            self.tells_nothing(call)
            setback.fault = Fault.CALL
            return
        first, is_young = min(service.since, setback.sent), service.evidence.is_young
        unheard = self.unheard(service, first) if is_young else 0  # failures are quick, and were the first to vote
        setback.fault = service.failed(setback, retry, rng, unheard)
        self.offer.is_troubled = True
        if setback.is_left or (failure.code == "disconnected" and self._is_gone(setback)):
            setback.failure = replace(failure, kind=FailureClass.CONNECTION)
            service.acquit()
        self._looks_at(setback, rng)
        if failure.kind is FailureClass.THROTTLE:
            history.told_to_wait(call, failure.retry_after or 0.0, setback.sent, setback.now, self.breaker.patience)
            self.throttles += 1
            is_certain = service.gates == (1 if failure.code == "rate_limited" else CERTAIN)
            if not self.pacing.paces(call):
                self.limit.refused(call.beside, setback.now)
                if setback.fault is Fault.SERVER and is_certain:
                    self.limit.throttled(setback.now)
        if self.breaker.is_down:
            self.loading.forgets()  # it may have to start anew
        if setback.fault is Fault.SERVER or self.breaker.is_down:
            self.trouble = setback.failure

    def unheard(self, service: Service, until: float = math.inf) -> int:
        """How many ask for this that may vote yet, and were sent by then."""
        return sum(
            not call.sent and sent <= until and self.offer.service(call) is service
            for call, sent in self.in_flight.items()
        )

    def _is_gone(self, setback: Setback) -> bool:
        """Who hangs up on nearly all is not there; on one that it failed before, it may be as well as ever."""
        return setback.fault is Fault.SERVER or (self.breaker.is_down and not setback.call.counted)

    def _looks_at(self, setback: Setback, rng: random.Random) -> None:
        """What a failure says about whether anybody is there."""
        call = setback.call
        match setback.failure.kind:
            case FailureClass.CONNECTION:
                is_hung_up = setback.failure.code in NOBODY
                self.offer.goes_down(setback.now)
                self.breaker.unreachable(call, setback.now, rng.uniform(*SPREAD), is_hung_up=is_hung_up)
            case FailureClass.LOCAL:
                self.breaker.unanswered(call)
                self._ramp = max(1, len(self.in_flight))  # what is in flight is as much as goes
            case FailureClass.TRANSIENT if setback.failure.code == "disconnected":
                if self.breaker.is_down:
                    self.breaker.unreachable(call, setback.now, rng.uniform(*SPREAD), is_hung_up=True)
            case _:
                self.breaker.answered()

    def breaks_down(self, setback: Setback, rng: random.Random) -> None:
        """It has died under all that were in flight: that is no evidence of how it serves any of them."""
        if self.offer.ever_served:  # else it may never have done otherwise
            self.offer.goes_down(setback.now)
        self.offer.acquits()
        self.offer.service(setback.call).ends(setback.call)
        self.breaker.unreachable(setback.call, setback.now, rng.uniform(*SPREAD))
        self.loading.forgets()
        self.trouble = setback.failure

    def tells_nothing(self, call: Call) -> None:
        """An attempt ended that is no evidence of anything."""
        self.offer.service(call).ends(call)
        self.breaker.unanswered(call)

    def refuses(self, call: Call, failure: Failure) -> None:
        """The server will not serve: at all, or not this model behind this path."""
        if failure.scope is Scope.ENDPOINT and not self.offer.serves_others(self.offer.service(call)):
            self.out = failure
            self.offer.is_partial = True
        else:
            self.offer.refuses(call, failure)

    def _climb(self, ramp: int) -> None:
        """After an outage: one call more."""
        self._ramp = ramp + 1 if ramp + 1 < self.limit.allowed else None
