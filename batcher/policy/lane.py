"""One server as the scheduler sees it: what is in flight there, how much it is given, what holds it, what it lacks."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from batcher.failures import Exit, Failure, FailureClass, Scope
from batcher.model import Api
from batcher.policy import history
from batcher.policy.breaker import Breaker
from batcher.policy.evidence import Fault
from batcher.policy.pace.pacing import Pacing
from batcher.policy.service import Service

if TYPE_CHECKING:
    import random

    from batcher.attempt import Attempt
    from batcher.model import Call, Endpoint
    from batcher.policy.breakdown import Breakdown
    from batcher.policy.limit.concurrency import Limit
    from batcher.policy.retry import RetryPolicy
    from batcher.policy.setback import Setback

SLOW_START: Final = 4
"""After an outage a server is given this part of what it had, and one more for each first content and each success."""
CERTAIN: Final = 2
"""Gates in a row after which the limit is cut: the first may have closed by lot, unless it speaks of a rate."""
FRESH: Final = 2
"""New calls that go alone for each that waits."""
SHARED: Final = 2.0
"""How many times as long as one suspect was alone all others go before the next one is."""
REST: Final = 5.0
"""Seconds with nothing in flight after which a model may have gone, or been told by another client to go soon."""
SPREAD: Final = (0.8, 1.2)
"""Factors on the time to a probe, so that many runs do not probe one server in step."""


@dataclass(slots=True, eq=False)
class Lane:
    """A server with its limit, breaker and pacing, and what it is asked for: models behind paths.

    On Ollama a lane keeps to one group of calls, those that want the same model loaded in the same way. The first call
    of a group goes when nothing of another is in flight, and alone until it has an answer: the model is loaded once and
    not under a crowd. It says how long the model is to stay (`keep_alive`), and so does the first call after a rest;
    said with any other, that would keep the model from making way for one that another client waits for.
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
    group: str | None = None
    """What the server has loaded, or is loading."""
    is_draining: bool = False
    """Another group is to be loaded: nothing more of this one goes until what is in flight has ended."""
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
    requests: int = 0
    """How many were sent there."""
    throttles: int = 0
    """How many of them it answered with: wait."""
    services: dict[tuple[str | None, str], Service] = field(default_factory=dict)
    """By model and path."""
    missing_paths: dict[str, Failure] = field(default_factory=dict)
    is_partial: bool = False
    """There is something that it lacks."""
    _last: tuple[str | None, str, Service] | None = None
    """The service that was asked for last: calls of one follow each other."""
    _loaded: bool = False
    _loader: Call | None = None
    _is_told: bool = False
    """The server knows how long what it loads for us is to stay (`keep_alive`)."""
    _rests_since: float = math.inf
    """Since when nothing has been in flight, if nothing is."""
    _ramp: int | None = None

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
        if self.is_draining:
            return False
        if allowed == 1 or not self.in_flight:
            return self.fresh >= (1 if allowed == 1 else FRESH)
        return 2 * self.again < allowed

    @property
    def is_held(self) -> bool:
        """Whether anything that it is asked for is held."""
        return any(service.is_held for service in self.services.values())

    @property
    def is_sticky(self) -> bool:
        """Whether another model, or other load options, cost a load."""
        return self.endpoint.api is Api.NATIVE

    def opens(self) -> float:
        """The time before which nothing may be sent; infinity: not before something ends."""
        if self._loader is not None or self.solitary is not None or len(self.in_flight) >= self.allowed:
            return math.inf
        return self.breaker.opens()

    @property
    def is_waiting(self) -> bool:
        """Whether nothing is served there for now: it is away, or all that it is asked for is held."""
        if self.breaker.is_down:
            return True
        asked = [service for service in self.services.values() if service.lacking is None]
        return any(one.is_held for one in asked) and all(one.is_held or one.is_unknown for one in asked)

    def held_until(self, now: float) -> float:
        """Until when all of it is held; `now`, or before, if it is not, or a probe is out."""
        until = self.breaker.opens()
        if self.is_waiting and not self.breaker.is_down:
            until = max(until, min(service.opens() for service in self.services.values() if service.is_held))
        return until if until < math.inf else now

    def suits(self, call: Call) -> bool:
        """Whether the call can go without a load, as far as is known: a server that was away may have lost all.

        What is still in flight there may yet keep its model loaded.
        """
        if not self.is_sticky or self.group is None or self.group == call.group:
            return True
        return self.breaker.is_down and not self.in_flight

    def service(self, call: Call) -> Service:
        """What the call asks for."""
        last = self._last
        if last is not None and last[1] == call.path and last[0] == call.model:
            return last[2]
        key = (call.model, call.path)
        service = self.services.get(key)
        if service is None:
            service = Service(self.breaker.patience, self.breaker.first_patience)
            self.services[key] = service
        self._last = (call.model, call.path, service)
        return service

    def lacks(self, call: Call) -> bool:
        """Whether the server does not have what the call asks for."""
        return self.is_partial and (self.service(call).lacking is not None or call.path in self.missing_paths)

    def serves_others(self, service: Service) -> bool:
        """Whether it has served something else since this one fails."""
        return any(
            one is not service and one.ever_served and one.served_at >= service.since for one in self.services.values()
        )

    def has_others(self, service: Service, now: float) -> bool:
        """Whether it is asked for something else that is not given up."""
        return any(
            one is not service and one.lacking is None and not one.gives_up(now) for one in self.services.values()
        )

    def gives_up(self, call: Call, now: float) -> bool:
        """Whether the server has been away, or has failed what the call asks for, for too long."""
        service = self.service(call)
        return (
            self.breaker.gives_up(now)
            or self.lacks(call)
            or (service.gives_up(now) and not any(self.service(other) is service for other in self.in_flight))
        )

    def sends(self, call: Call, now: float) -> None:
        if self.breaker.is_down and self._ramp is None:
            self._ramp = max(1, self.limit.allowed // SLOW_START)
        if self.is_sticky:
            self.is_draining = False
            if self.group != call.group:
                self.group, self._loaded, self._is_told = call.group, False, False
            if not self._loaded:
                self._loader = call
            if not self.in_flight or call.loads:
                is_rested = not self._is_told or now - self._rests_since >= REST
                history.loads(call, may_load=is_rested and not self.in_flight)
                self._is_told |= call.loads
        self.lonely = None if self.in_flight else call
        self.was_suspect = self.solitary is call
        self.in_flight[call] = now
        self.requests += 1
        self.fresh = self.fresh + 1 if call.sent == 0 else 0
        self.again += call.sent > 0
        self.breaker.sent(call)
        service = self.service(call)
        if service.is_held:
            service.sends(call, now)
        self.pacing.take(call, now)
        history.sent(call, self.endpoint.root)

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
        self.service(call).heard(sent)
        self.limit.answering(now - sent, len(call.body), len(self.in_flight), now)
        self._has_loaded(call)
        if self._ramp is not None:
            self._climb(self._ramp)

    def lands(self, call: Call, attempt: Attempt, now: float, *, tells: bool = True) -> float:
        """An attempt has ended, in whichever way; an answer `tells` the limit something. Return when it was sent."""
        if tells or attempt.failure is not None:
            self.limit.finished(attempt, len(self.in_flight), now)
        self.pacing.settle(call, attempt, now)
        self.again -= call.sent > 0
        if self._loader is call:
            self._loader = None
            if attempt.failure is not None and attempt.failure.status is not None:
                self._is_told = False  # an answer that refuses: nothing may have been loaded
        sent = self.in_flight.pop(call)
        if not self.in_flight:
            self._rests_since = now
        return sent

    def frees(self, call: Call, sent: float, now: float) -> None:
        """What becomes of the call is decided: if it was to be alone, others may go again, and for longer than it."""
        if self.solitary is call:
            self.solitary = None
            self.shared_until = now + SHARED * (now - sent)

    def served(self, call: Call, sent: float, now: float) -> None:
        """The server did what was asked."""
        self.breaker.answered()
        self.service(call).served(sent, is_first=not call.sent)
        self._has_loaded(call)
        self.trouble = None
        self.served_until = now
        if self._ramp is not None:
            self._climb(self._ramp)

    def failed(self, setback: Setback, retry: RetryPolicy, rng: random.Random) -> None:
        """Take in what a failure says about the server, and say whose fault it is and what that makes of it."""
        call, failure, service = setback.call, setback.failure, self.service(setback.call)
        if failure.code == "not_an_llm" and not service.ever_served:  # a web page is what others than servers say
            setback.failure = replace(failure, kind=FailureClass.FATAL, exit=Exit.CONFIG)
        if setback.is_odd:
            self.tells_nothing(call)
            setback.fault = Fault.CALL
            return
        setback.fault = service.failed(setback, retry, rng)
        if failure.code == "disconnected" and self._is_gone(setback):
            setback.failure = replace(failure, kind=FailureClass.CONNECTION)
            service.acquit()
        self._looks_at(setback, rng)
        if failure.kind is FailureClass.THROTTLE:
            history.told_to_wait(call)
            self.throttles += 1
            is_certain = service.gates == (1 if failure.code == "rate_limited" else CERTAIN)
            if setback.fault is Fault.SERVER and is_certain and not self.pacing.paces(call):
                self.limit.throttled(setback.now)
        if self.breaker.is_down:
            self._loaded = self._is_told = False  # it may have to start anew
        if setback.fault is Fault.SERVER or self.breaker.is_down:
            self.trouble = setback.failure

    def _is_gone(self, setback: Setback) -> bool:
        """Who hangs up on nearly all is not there; on one that it failed before, it may be as well as ever."""
        return setback.fault is Fault.SERVER or (self.breaker.is_down and not setback.call.counted)

    def _looks_at(self, setback: Setback, rng: random.Random) -> None:
        """What a failure says about whether anybody is there."""
        call = setback.call
        match setback.failure.kind:
            case FailureClass.CONNECTION:
                is_hung_up = setback.failure.code == "disconnected"
                self._goes_down(setback.now)
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
        if any(service.ever_served for service in self.services.values()):  # else it may never have done otherwise
            self._goes_down(setback.now)
        self.acquits()
        self.service(setback.call).ends(setback.call)
        self.breaker.unreachable(setback.call, setback.now, rng.uniform(*SPREAD))
        self._loaded = self._is_told = False
        self.trouble = setback.failure

    def _goes_down(self, now: float) -> None:
        for service in self.services.values():
            service.goes_down(now)

    def tells_nothing(self, call: Call) -> None:
        """An attempt ended that is no evidence of anything."""
        self.service(call).ends(call)
        self.breaker.unanswered(call)

    def acquits(self) -> None:
        """Whatever was held may go."""
        for service in self.services.values():
            service.acquit()

    def refuses(self, call: Call, failure: Failure) -> None:
        """The server will not serve: at all, or not this model behind this path."""
        service = self.service(call)
        if failure.scope is Scope.ENDPOINT and not self.serves_others(service):
            self.out = failure
        elif failure.scope is Scope.PATH and not any(
            one.ever_served for (_, path), one in self.services.items() if path == call.path
        ):
            self.missing_paths.setdefault(call.path, failure)
        else:
            service.lacking = failure
        self.is_partial = True

    def gives_out(self, call: Call, failure: Failure) -> None:
        """What the call asks for has failed there for too long."""
        self.service(call).lacking = failure
        self.is_partial = True

    @property
    def refused(self) -> dict[tuple[Scope, str], Failure]:
        """Models and paths that the server does not have, or has failed for too long."""
        paths = {(Scope.PATH, path): why for path, why in self.missing_paths.items()}
        models = {
            (Scope.MODEL_ON_PATH, f"{model or ''} at {path}")
            if service.lacking.scope is Scope.MODEL_ON_PATH
            else (Scope.MODEL, model or ""): service.lacking
            for (model, path), service in self.services.items()
            if service.lacking is not None
        }
        return {**paths, **models}

    def _climb(self, ramp: int) -> None:
        """After an outage: one call more."""
        self._ramp = ramp + 1 if ramp + 1 < self.limit.allowed else None

    def _has_loaded(self, call: Call) -> None:
        if self.group == call.group:
            self._loaded = True
            self._loader = None
