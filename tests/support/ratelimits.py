"""Servers that keep to rate limits, each in its own way, and a load that is paced against them, on a virtual clock."""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from dataclasses import dataclass, field, replace
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from support.virtualrun import HOSTED

from batcher.failures import Failure, FailureClass
from batcher.model import Call, Job, Kind
from batcher.outcome import NO_HINTS, Allowance, Attempt, Completion, Hints, Timing, Usage
from batcher.policy.backlog import Backlog
from batcher.policy.breaker import Breaker
from batcher.policy.judge import Verdict
from batcher.policy.lane import Lane
from batcher.policy.limit.fixed import FixedLimit
from batcher.policy.quota import RetryQuota
from batcher.policy.retry import RetryPolicy
from batcher.policy.scheduler import Scheduler
from batcher.policy.steps import Send, Wait

if TYPE_CHECKING:
    from batcher.policy.pace.pacing import Pacing

WARM = 120.0
"""Seconds until the figures count."""
REFUSED = Failure(FailureClass.THROTTLE, "rate_limited", "slow down", 429)


class Server(Protocol):
    """Admits a request of so many tokens, or not; counts the tokens of its answer; says what is left."""

    def admits(self, tokens: float, now: float) -> bool: ...
    def answered(self, tokens: float, now: float) -> None: ...
    def hints(self, now: float) -> Hints: ...


class Silent:
    """Says nothing of its limits, and does not count answers."""

    def answered(self, tokens: float, now: float) -> None: ...

    def hints(self, now: float) -> Hints:  # noqa: ARG002 - the protocol's signature
        return NO_HINTS


@dataclass
class Sliding(Silent):
    """The strictest kind: no span of `window` seconds, wherever it begins, sees more than its share of the limits.

    A request counts with its prompt and its `max_tokens`; without one, its answer counts when it has been given.
    """

    rpm: float = math.inf
    tpm: float = math.inf
    window: float = 60.0
    _requests: deque[float] = field(default_factory=deque)
    _tokens: deque[tuple[float, float]] = field(default_factory=deque)
    _sum: float = 0.0

    def admits(self, tokens: float, now: float) -> bool:
        while self._requests and self._requests[0] <= now - self.window:
            self._requests.popleft()
        while self._tokens and self._tokens[0][0] <= now - self.window:
            self._sum -= self._tokens.popleft()[1]
        share = self.window / 60
        if len(self._requests) + 1 > self.rpm * share + 0.999 or self._sum + tokens > self.tpm * share:
            return False
        self._requests.append(now)
        self.answered(tokens, now)
        return True

    def answered(self, tokens: float, now: float) -> None:
        self._tokens.append((now, tokens))
        self._sum += tokens


@dataclass
class Several(Silent):
    """As several servers at once: a limit that is applied over shorter times too."""

    servers: tuple[Sliding, ...]

    def admits(self, tokens: float, now: float) -> bool:
        return sum(server.admits(tokens, now) for server in self.servers) == len(self.servers)


@dataclass
class Bucket(Silent):
    """As OpenAI, Groq and Anthropic do: it fills all the time, and its reset says when it will be whole."""

    rpm: float
    period: float = 60.0
    others: float = 0.0
    """Requests a second of other programs with the same key."""
    _left: float = field(init=False)
    _at: float = 0.0

    def __post_init__(self) -> None:
        self._left = self.rpm

    def admits(self, tokens: float, now: float) -> bool:  # noqa: ARG002 - the protocol's signature
        self._fill(now)
        if self._left < 1:
            return False
        self._left -= 1
        return True

    def hints(self, now: float) -> Hints:
        self._fill(now)
        rate = self.rpm / self.period
        after = None if self._left >= 1 else (1 - self._left) / rate
        return Hints(after, Allowance(self.rpm, math.floor(self._left), (self.rpm - self._left) / rate))

    def _fill(self, now: float) -> None:
        gained = (now - self._at) * (self.rpm / self.period - self.others)
        self._left, self._at = max(0.0, min(self.rpm, self._left + gained)), now


@dataclass
class Windows(Silent):
    """As gateways do: so many in each window, which begins anew for all at once."""

    limit: float
    window: float = 60.0
    tells_reset: bool = True
    _used: int = 0
    _number: int = 0

    def admits(self, tokens: float, now: float) -> bool:  # noqa: ARG002 - the protocol's signature
        self._turn(now)
        self._used += 1
        return self._used <= self.limit

    def hints(self, now: float) -> Hints:
        self._turn(now)
        reset = (self._number + 1) * self.window - now if self.tells_reset else None
        return Hints(reset, Allowance(self.limit, max(0.0, self.limit - self._used), reset))

    def _turn(self, now: float) -> None:
        if now // self.window != self._number:
            self._number, self._used = int(now // self.window), 0


class Figures(NamedTuple):
    """After warm-up, a minute: requests and tokens that were served; and the part of all requests that were refused."""

    requests: float
    tokens: float
    refused: float


@dataclass(frozen=True)
class Traffic:
    """What the jobs and the network are like. Lengths of answers are lognormal; `most` is every job's `max_tokens`."""

    prompt: tuple[int, int] = (100, 600)
    answer: float = 200.0
    sigma: float = 1.0
    most: int | None = None
    speed: float = 50.0
    latency: float = 0.03
    jitter: float = 0.01
    late: float = 0.002
    """How late a timer may be."""
    in_flight: int = 256


class World:
    """Jobs sent as a pacing allows, with nothing else in the way but what a scheduler does about a refusal."""

    def __init__(self, server: Server, pacing: Pacing, traffic: Traffic = Traffic(), seed: int = 1) -> None:
        self.server, self.pacing, self.traffic = server, pacing, traffic
        self._rng = random.Random(seed)
        self._order = count()
        self._events: list[tuple[float, int, Any]] = []
        self._sizes: dict[Call, tuple[int, int]] = {}
        self._again: deque[Call] = deque()
        self._served = [0, 0]
        self._sent = self._refused = self._flying = 0
        self._gate = 0.0
        self._now = 0.0

    def run(self, seconds: float) -> Figures:
        call = self._job()
        while self._now < seconds:
            opens = math.inf
            while self._flying < self.traffic.in_flight:
                opens = max(self._gate, self.pacing.opens(call, self._now))
                assert opens < math.inf
                if opens > self._now:
                    break
                self._send(call)
                call = self._again.popleft() if self._again else self._job()
            else:
                opens = math.inf
            if self._events and self._events[0][0] <= opens:
                self._now, _, event = heapq.heappop(self._events)
                event()
            else:
                self._now = opens + self._rng.uniform(0, self.traffic.late)
        return self._figures(seconds)

    def _figures(self, seconds: float) -> Figures:
        minutes = (seconds - WARM) / 60
        return Figures(self._served[0] / minutes, self._served[1] / minutes, self._refused / max(1, self._sent))

    def _job(self) -> Call:
        traffic = self.traffic
        prompt = self._rng.randint(*traffic.prompt)
        answer = max(1, round(self._rng.lognormvariate(math.log(traffic.answer) - traffic.sigma**2 / 2, traffic.sigma)))
        params = {} if traffic.most is None else {"max_tokens": traffic.most}
        job = Job(id=str(next(self._order)), seq=0, kind=Kind.CHAT, params=params)
        call = Call((job,), "/v1/chat/completions", b"x" * round(prompt * 4.2), stream=True, model="m")
        self._sizes[call] = (prompt, min(answer, traffic.most or answer))
        return call

    def _at(self, when: float, event: Any) -> None:
        heapq.heappush(self._events, (when, next(self._order), event))

    def _send(self, call: Call) -> None:
        self.pacing.take(call, self._now)
        self._flying += 1
        self._fly(call)

    def _fly(self, call: Call) -> None:
        trip = self.traffic.latency + abs(self._rng.gauss(0, self.traffic.jitter))
        self._at(self._now + trip, lambda: self._arrive(call))

    def _arrive(self, call: Call) -> None:
        prompt, answer = self._sizes[call]
        is_served = self.server.admits(prompt + (self.traffic.most or 0), self._now)
        hints = self.server.hints(self._now)
        if is_served:
            took = 0.3 + answer / self.traffic.speed
            attempt = Attempt(Timing(), Completion(usage=Usage(prompt, answer)), hints=hints)
        else:
            took = self.traffic.latency
            attempt = Attempt(Timing(), failure=REFUSED, hints=hints)
        if self._now > WARM:
            self._sent += 1
            self._refused += not is_served
            if is_served:
                self._served[0] += 1
                self._served[1] += prompt + (self.traffic.most or answer)
        self._at(self._now + took, lambda: self._end(call, attempt))

    def _end(self, call: Call, attempt: Attempt) -> None:
        self._flying -= 1
        self.pacing.settle(call, attempt, self._now)
        if attempt.failure is None:
            self._answered(call)
        else:
            self._again.append(call)
            self._gate = max(self._gate, self._now + (attempt.hints.retry_after or self._rng.uniform(0.5, 1.0)))

    def _answered(self, call: Call) -> None:
        _, answer = self._sizes.pop(call)
        if self.traffic.most is None:
            self.server.answered(answer, self._now)


class ScheduledWorld(World):
    """The same jobs sent by the scheduler itself, with its gates, its quota of retries and a fixed limit."""

    def run(self, seconds: float) -> Figures:
        lane = Lane(HOSTED, FixedLimit(self.traffic.in_flight), Breaker(), self.pacing)
        jobs = (self._job() for _ in count())
        self._scheduler = Scheduler(Backlog(jobs), [lane], RetryPolicy(), RetryQuota(), random.Random(2))
        while self._now < seconds:
            step = self._scheduler.next(self._now)
            if isinstance(step, Send):
                self._fly(step.call)
                continue
            assert isinstance(step, Wait)
            if self._events and self._events[0][0] <= step.until:
                self._now, _, event = heapq.heappop(self._events)
                event()
            else:
                assert step.until < math.inf
                self._now = step.until + self._rng.uniform(0, self.traffic.late)
        return self._figures(seconds)

    def _end(self, call: Call, attempt: Attempt) -> None:
        if attempt.failure is not None:
            attempt.failure = replace(attempt.failure, retry_after=attempt.hints.retry_after)
        verdict = self._scheduler.finished(call, attempt, self._now)
        assert verdict is (Verdict.ENDED if attempt.failure is None else Verdict.PARKED)
        if attempt.failure is None:
            self._answered(call)
