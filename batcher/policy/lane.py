"""One server as the scheduler sees it: what is in flight there, how much it is given, what holds it, what it lacks."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from batcher.failures import Exit, Failure, FailureClass, Scope
from batcher.model import Api
from batcher.policy.breaker import Breaker
from batcher.policy.pace.pacing import Pacing

if TYPE_CHECKING:
    import random

    from batcher.attempt import Attempt
    from batcher.model import Call, Endpoint
    from batcher.policy.limit.concurrency import Limit
    from batcher.policy.quarantine import Breakdown
    from batcher.policy.retry import RetryPolicy

SLOW_START: Final = 4
"""After an outage a server is given this part of what it had, and one more for each first content and each success."""
SPREAD: Final = (0.8, 1.2)
"""Factors on the time to a probe, so that many runs do not probe one server in step."""
PAGES: Final = 3
"""When a server's first answers are this many web pages, it is no server for us."""
ITS_OWN: Final = frozenset({"tool_call_unreadable", "timeout_total", "too_slow"})
"""Transient failures that are about what the model wrote: the server is well."""


@dataclass(slots=True, eq=False)
class Lane:
    """A server with its limit, breaker and pacing.

    On Ollama a lane keeps to one group of calls, those that want the same model loaded in the same way, and sends only
    one of them until the first has an answer: the model is loaded once, and not under a crowd.
    """

    endpoint: Endpoint
    limit: Limit
    breaker: Breaker = field(default_factory=Breaker)
    pacing: Pacing = field(default_factory=Pacing)
    flying: dict[Call, float] = field(default_factory=dict)
    """What is in flight, and since when."""
    again: int = 0
    """How many of those in flight are not sent for the first time."""
    was_again: bool = False
    """The last that was sent there was not sent for the first time."""
    group: str | None = None
    """What the server has loaded, or is loading."""
    solitary: Call | None = None
    """A call that is in flight alone: a suspect."""
    lonely: Call | None = None
    """The call that has had nothing beside it since it was sent."""
    breakdown: Breakdown | None = None
    out: Failure | None = None
    """Why nothing will be sent there any more, if so."""
    refused: dict[tuple[Scope, str], Failure] = field(default_factory=dict)
    """Models and paths that the server does not have."""
    trouble: Failure | None = None
    """The last failure that held the lane."""
    pages: int | None = 0
    """Answers that were web pages; None once the server has proved to be one of models."""
    requests: int = 0
    """How many were sent there."""
    throttles: int = 0
    """How many of them it answered with: wait."""
    _loaded: bool = False
    _loader: Call | None = None
    _ramp: int | None = None

    @property
    def allowed(self) -> int:
        """How many may be in flight now."""
        allowed = self.limit.allowed
        return allowed if self._ramp is None else min(allowed, self._ramp)

    @property
    def load(self) -> float:
        return len(self.flying) / self.allowed

    @property
    def favours_retries(self) -> bool:
        """Whether a retry goes before a new call: they have half of the slots, and a single slot every other time."""
        return not self.was_again if self.allowed == 1 else 2 * self.again < self.allowed

    @property
    def is_sticky(self) -> bool:
        """Whether another model, or other load options, cost a load."""
        return self.endpoint.api is Api.NATIVE

    def opens(self) -> float:
        """The time before which nothing may be sent; infinity: not before something ends."""
        if self._loader is not None or self.solitary is not None or len(self.flying) >= self.allowed:
            return math.inf
        return self.breaker.opens()

    def suits(self, call: Call) -> bool:
        """Whether the call can go without a load."""
        return not self.is_sticky or self.group is None or self.group == call.group

    def lacks(self, call: Call) -> bool:
        """Whether the server does not have what the call asks for."""
        return bool(self.refused) and (
            (Scope.PATH, call.path) in self.refused or (Scope.MODEL, call.model or "") in self.refused
        )

    def sends(self, call: Call, now: float) -> None:
        if self.breaker.is_down and self._ramp is None:
            self._ramp = max(1, self.limit.allowed // SLOW_START)
        if self.is_sticky:
            if self.group != call.group:
                self.group, self._loaded = call.group, False
            if not self._loaded:
                self._loader = call
        self.lonely = None if self.flying else call
        self.flying[call] = now
        self.requests += 1
        self.was_again = call.sent > 0
        self.again += self.was_again
        self.breaker.sent(call, now)
        self.pacing.take(call, now)
        call.server = self.endpoint.root

    def heard(self, call: Call, now: float) -> None:
        """The first content has arrived: what was asked is loaded."""
        sent = self.flying[call]
        self.breaker.heard(sent)
        self.limit.answering(now - sent, len(call.body), len(self.flying), now)
        self._has_loaded(call)
        if self._ramp is not None:
            self._climb(self._ramp)

    def lands(self, call: Call, attempt: Attempt, now: float) -> float:
        """An attempt has ended, in whichever way. Return when the call was sent."""
        self.limit.finished(attempt, len(self.flying), now)
        self.pacing.settle(call, attempt, now)
        self.again -= call.sent > 0
        if self._loader is call:
            self._loader = None
        sent = self.flying.pop(call)
        if attempt.failure is not None and attempt.failure.kind is FailureClass.THROTTLE:
            self.breaker.refused(sent, self.requests)
        return sent

    def frees(self, call: Call) -> None:
        """What becomes of the call is decided: if it was to be alone, others may go again."""
        if self.solitary is call:
            self.solitary = None

    def served(self, call: Call, sent: float) -> None:
        """The server did what was asked."""
        self.breaker.served(sent)
        self._has_loaded(call)
        self.pages = None
        self.trouble = None
        if self._ramp is not None:
            self._climb(self._ramp)

    def failed(self, call: Call, failure: Failure, now: float, retry: RetryPolicy, rng: random.Random) -> Failure:
        """Take in what a failure says about the server; return what the server's state says about the failure."""
        failure = self._seen_from_here(call, failure)
        match failure.kind:
            case FailureClass.CONNECTION:
                self.breaker.unreachable(call, now, rng.uniform(*SPREAD))
            case FailureClass.LOCAL:
                self.breaker.unanswered(call)
                self._ramp = max(1, len(self.flying))  # what is in flight is as much as goes
            case FailureClass.TRANSIENT if failure.code == "disconnected":
                self.breaker.unanswered(call)
            case FailureClass.TRANSIENT if failure.code not in ITS_OWN:
                self.breaker.failed(call, now, rng.uniform(*SPREAD))
            case _:
                self.breaker.answered()
        if failure.kind is FailureClass.THROTTLE:
            self._throttled(call, failure, now, retry, rng)
        if self.breaker.is_down:
            self._loaded = False  # it may have to start anew
        if failure.kind is FailureClass.THROTTLE or self.breaker.is_down:
            self.trouble = failure
        return failure

    def _seen_from_here(self, call: Call, failure: Failure) -> Failure:
        """One call that is hung up on is its own affair, several are an outage; so it is with pages."""
        if failure.code == "disconnected" and self.breaker.hung_up(call):
            return replace(failure, kind=FailureClass.CONNECTION)
        if failure.code == "not_an_llm" and self.pages is not None:
            self.pages += 1
            if self.pages >= PAGES:
                return replace(failure, kind=FailureClass.FATAL, exit=Exit.CONFIG)
        return failure

    def refuses(self, call: Call, failure: Failure) -> None:
        """The server will not serve: at all, or not this model or path."""
        if failure.scope is Scope.ENDPOINT:
            self.out = failure
        else:
            name = call.path if failure.scope is Scope.PATH else call.model or ""
            self.refused.setdefault((failure.scope, name), failure)

    def _throttled(self, call: Call, failure: Failure, now: float, retry: RetryPolicy, rng: random.Random) -> None:
        """The server said wait. Who says for how long, or speaks of a rate, means all; else it may be this call alone.

        A hint of 0 s is none: taken at its word, it would be a storm.
        """
        hint = failure.retry_after
        call.throttled += 1
        self.throttles += 1
        if hint:
            self.breaker.throttled(now, hint, rng.uniform(0, min(0.1 * hint + 0.5, 10.0)), is_told=True)
        elif self.breaker.refuses_all or failure.code == "rate_limited":
            self.breaker.throttled(now, retry.throttle_delay(self.breaker.episode(now), rng))
        if self.breaker.episodes == 1 and not self.pacing.paces(call):  # later ones meet calls that go one by one
            self.limit.throttled(now)

    def _climb(self, ramp: int) -> None:
        """After an outage: one call more."""
        self._ramp = ramp + 1 if ramp + 1 < self.limit.allowed else None

    def _has_loaded(self, call: Call) -> None:
        if self.group == call.group:
            self._loaded = True
            self._loader = None
