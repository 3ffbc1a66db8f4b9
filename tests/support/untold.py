"""Servers that refuse for reasons they do not tell, and a load that meets them, on a virtual clock.

A refusal is an HTTP 429, with `Retry-After` in whole seconds or with nothing. Why it comes is the server's own: so many
requests or tokens in any minute or each minute, a bucket, a second, so many at once, or the dice.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from support.ratelimits import Sliding
from support.virtualrun import HOSTED

from batcher.failures import Failure, FailureClass
from batcher.model import Call, Job, Kind
from batcher.outcome import Attempt, Completion, Hints, Timing, Usage
from batcher.policy.backlog import Backlog
from batcher.policy.breaker import Breaker
from batcher.policy.judge import Verdict
from batcher.policy.lane import Lane
from batcher.policy.quota import RetryQuota
from batcher.policy.retry import RetryPolicy
from batcher.policy.scheduler import Scheduler
from batcher.policy.steps import Done, Send, Wait

if TYPE_CHECKING:
    from batcher.policy.limit.fixed import Limit
    from batcher.policy.pace.pacing import Pacing

MINUTE = 60.0
REFUSAL_S = 0.02
TRIP_S = 0.02


class Server(Protocol):
    """Grants a request of so many tokens or refuses it; says in how many seconds one may come again."""

    def admits(self, call: Call, tokens: float, now: float) -> bool: ...
    def again(self, tokens: float, now: float) -> float: ...
    def left(self) -> None: ...


class Loose:
    """What most have in common: they count nobody who is in service."""

    def left(self) -> None: ...


@dataclass
class AnySpan(Loose):
    """No span of `window` seconds, wherever it begins, sees more than its share: the simulator's own way."""

    rpm: float = math.inf
    tpm: float = math.inf
    window: float = 60.0
    grows: tuple[float, float] = (math.inf, 1.0)
    """From when on the limits are so many times as high."""

    def __post_init__(self) -> None:
        self._inner = Sliding(self.rpm, self.tpm, self.window)

    def admits(self, _call: Call, tokens: float, now: float) -> bool:
        if now >= self.grows[0]:
            self._inner.rpm, self._inner.tpm = self.rpm * self.grows[1], self.tpm * self.grows[1]
        return self._inner.admits(tokens, now)

    def again(self, tokens: float, now: float) -> float:
        inner, share = self._inner, self.window / MINUTE
        wait = inner._requests[0] + self.window - now if len(inner._requests) + 1 > inner.rpm * share else 0.0
        lacks = inner._sum + tokens - inner.tpm * share
        for when, taken in inner._tokens:
            if lacks <= 0:
                break
            lacks -= taken
            wait = max(wait, when + self.window - now)
        return wait


@dataclass
class EachMinute(Loose):
    """So many in each minute of the clock, the first of which begins `early` seconds before the run."""

    rpm: float
    early: float = 0.0
    _number: int = -1
    _used: int = 0

    def admits(self, _call: Call, _tokens: float, now: float) -> bool:
        if (now + self.early) // MINUTE != self._number:
            self._number, self._used = int((now + self.early) // MINUTE), 0
        self._used += 1
        return self._used <= self.rpm

    def again(self, _tokens: float, now: float) -> float:
        return MINUTE - (now + self.early) % MINUTE


@dataclass
class Filling(Loose):
    """A bucket that fills evenly, full at first."""

    rpm: float
    holds: float
    _level: float = math.nan
    _at: float = 0.0

    def admits(self, _call: Call, _tokens: float, now: float) -> bool:
        self._level = min(self.holds, (self.holds if math.isnan(self._level) else self._level) + self._gained(now))
        self._at = now
        if self._level < 1:
            return False
        self._level -= 1
        return True

    def again(self, _tokens: float, _now: float) -> float:
        return (1 - self._level) * MINUTE / self.rpm

    def _gained(self, now: float) -> float:
        return (now - self._at) * self.rpm / MINUTE


@dataclass
class AtOnce:
    """So many at once, and no more."""

    slots: int
    _busy: int = 0

    def admits(self, _call: Call, _tokens: float, _now: float) -> bool:
        if self._busy >= self.slots:
            return False
        self._busy += 1
        return True

    def again(self, _tokens: float, _now: float) -> float:
        return 1.0

    def left(self) -> None:
        self._busy -= 1


@dataclass
class ByLot(Loose):
    """A share of all, whatever they are and however many."""

    share: float
    rng: random.Random = field(default_factory=lambda: random.Random(5))

    def admits(self, _call: Call, _tokens: float, _now: float) -> bool:
        return self.rng.random() >= self.share

    def again(self, _tokens: float, _now: float) -> float:
        return 1.0


@dataclass
class NeverThese(Loose):
    """Every so-many-th job is refused each time it is asked."""

    each: int

    def admits(self, call: Call, _tokens: float, _now: float) -> bool:
        return call.jobs[0].seq % self.each > 0

    def again(self, _tokens: float, _now: float) -> float:
        return 1.0


class Figures(NamedTuple):
    """From some time on: requests and tokens granted a minute, part refused; and when all was done."""

    requests: float
    tokens: float
    refused: float
    ended: float


@dataclass(frozen=True)
class Traffic:
    """Jobs: tokens of prompts, of answers (lognormal), and how long an answer takes: `first_s`, then by the token."""

    prompt: int = 20
    answer: float = 100.0
    sigma: float = 0.0
    first_s: float = 0.3
    token_s: float = 0.01
    hint: bool = True
    """Whether refusals say when to come back."""
    words: str = "slow down"
    usage: bool = True
    """Whether answers tell their tokens."""
    jobs: int = 10**9
    code: str = "rate_limited"
    streamed: bool = True


class Meeting:
    """Jobs sent through a limit and a pacing to a server. How refused calls wait is for those who come after to say."""

    def __init__(self, server: Server, limit: Limit, pacing: Pacing, traffic: Traffic, seed: int = 1) -> None:
        self.server, self.limit, self.pacing, self.traffic = server, limit, pacing, traffic
        self.now = 0.0
        self.levels: list[tuple[float, int]] = []
        self.log: list[tuple[float, bool, int]] = []
        """(time, granted, tokens) of each request."""
        self._rng = random.Random(seed)
        self._order = count()
        self._events: list[tuple[float, int, Any]] = []
        self._sizes: dict[Call, int] = {}
        self.done = 0
        self.done_at = 0.0

    def figures(self, since: float = MINUTE) -> Figures:
        late = [(granted, tokens) for when, granted, tokens in self.log if when >= since]
        minutes = (self.now - since) / MINUTE
        granted = [tokens for was_granted, tokens in late if was_granted]
        refused = 1 - len(granted) / max(1, len(late))
        return Figures(len(granted) / minutes, sum(granted) / minutes, refused, self.done_at)

    def job(self, seq: int) -> Call:
        traffic = self.traffic
        mean = math.log(traffic.answer) - traffic.sigma**2 / 2
        answer = max(1, round(self._rng.lognormvariate(mean, traffic.sigma)))
        job = Job(id=str(seq), seq=seq, kind=Kind.CHAT)
        call = Call((job,), "/v1/chat/completions", b"x" * (traffic.prompt * 4), stream=True, model="m")
        self._sizes[call] = answer
        return call

    def at(self, when: float, event: Any) -> None:
        heapq.heappush(self._events, (when, next(self._order), event))

    def fly(self, call: Call) -> None:
        sent = self.now
        self.at(sent + TRIP_S * self._rng.uniform(0.5, 1.5), lambda: self._arrive(call, sent))

    def _arrive(self, call: Call, sent: float) -> None:
        traffic, answer = self.traffic, self._sizes[call]
        tokens = traffic.prompt + answer
        granted = self.server.admits(call, tokens, self.now)
        self.log.append((self.now, granted, tokens))
        if not granted:
            hint = max(1.0, math.ceil(self.server.again(tokens, self.now))) if traffic.hint else None
            failure = Failure(FailureClass.THROTTLE, traffic.code, traffic.words, 429, retry_after=hint)
            attempt = Attempt(Timing(started=sent), failure=failure, hints=Hints(hint))
            self.at(self.now + REFUSAL_S, lambda: self._end(call, attempt))
            return
        first = self.now + traffic.first_s
        timing = Timing(started=sent, arrivals=[first] if traffic.streamed else [])
        usage = Usage(traffic.prompt, answer) if traffic.usage else None
        if traffic.streamed:
            self.at(first, lambda: self.heard(call))
        self.at(first + answer * traffic.token_s, lambda: self._end(call, Attempt(timing, Completion(usage=usage))))

    def _end(self, call: Call, attempt: Attempt) -> None:
        attempt.timing.finished = self.now
        if attempt.failure is None:
            self.server.left()
            self.done += 1
            self.done_at = self.now
            del self._sizes[call]
        self.ended(call, attempt)
        if not self.levels or self.levels[-1][1] != self.limit.allowed:
            self.levels.append((self.now, self.limit.allowed))

    def run(self, seconds: float) -> Meeting:
        raise NotImplementedError

    def heard(self, call: Call) -> None:
        raise NotImplementedError

    def ended(self, call: Call, attempt: Attempt) -> None:
        raise NotImplementedError


class Scheduled(Meeting):
    """Through the scheduler, with all its gates."""

    def run(self, seconds: float) -> Meeting:
        lane = Lane(HOSTED, self.limit, Breaker(), self.pacing)
        jobs = (self.job(seq) for seq in range(self.traffic.jobs))
        self._scheduler = scheduler = Scheduler(Backlog(jobs), [lane], RetryPolicy(), RetryQuota(), random.Random(2))
        while self.now < seconds:
            step = scheduler.next(self.now)
            if isinstance(step, Send):
                self.fly(step.call)
                continue
            if isinstance(step, Done):
                return self
            assert isinstance(step, Wait)
            if self._events and self._events[0][0] <= step.until:
                self.now, _, event = heapq.heappop(self._events)
                event()
            else:
                self.now = step.until + self._rng.uniform(0, 0.002)
        return self

    def heard(self, call: Call) -> None:
        self._scheduler.answering(call, self.now)

    def ended(self, call: Call, attempt: Attempt) -> None:
        verdict = self._scheduler.finished(call, attempt, self.now)
        assert verdict is (Verdict.ENDED if attempt.failure is None else Verdict.PARKED)


class Alone(Meeting):
    """Each refused call waits for itself, and holds up nobody: retries and new calls go by turns.

    Only if four in five of the last 16 first attempts were refused, all wait, and one asks at a time.
    """

    def run(self, seconds: float) -> Meeting:
        self._flying: dict[Call, float] = {}
        self._parked: list[tuple[float, int, Call]] = []
        fresh: deque[Call] = deque()
        jobs = (self.job(seq) for seq in range(self.traffic.jobs))
        self._votes: deque[bool] = deque(maxlen=16)
        self._gate, self._gates = 0.0, 0
        was_again = False
        while self.now < seconds:
            if not fresh and (call := next(jobs, None)) is not None:
                fresh.append(call)
            if not fresh and not self._parked and not self._flying:
                return self
            due = bool(self._parked) and self._parked[0][0] <= self.now
            until = math.inf
            if len(self._flying) < self.limit.allowed and (fresh or due):
                again = due and (not was_again or not fresh)
                call = self._parked[0][2] if again else fresh[0]
                until = max(self.pacing.opens(call, self.now), self._gate)
                if self._is_shut() and self._flying and max(self._flying.values()) >= self._gate:
                    until = math.inf
                if until <= self.now:
                    _ = heapq.heappop(self._parked) if again else fresh.popleft()
                    was_again = again
                    self.pacing.take(call, self.now)
                    self._flying[call] = self.now
                    self.fly(call)
                    continue
            elif self._parked and not due:
                until = self._parked[0][0]
            if self._events and self._events[0][0] <= until:
                self.now, _, event = heapq.heappop(self._events)
                event()
            else:
                self.now = until + self._rng.uniform(0, 0.002)
        return self

    def _is_shut(self) -> bool:
        return len(self._votes) == 16 and sum(self._votes) >= 13

    def heard(self, call: Call) -> None:
        self._relent(self._flying[call])
        self.limit.answering(self.now - self._flying[call], len(call.body), len(self._flying), self.now)

    def ended(self, call: Call, attempt: Attempt) -> None:
        self.limit.finished(attempt, len(self._flying), self.now)
        self.pacing.settle(call, attempt, self.now)
        sent = self._flying.pop(call)
        if not call.sent:
            self._votes.append(attempt.failure is not None)
        call.sent += 1
        if attempt.failure is None:
            self._relent(sent)
        else:
            call.throttled += 1
            if not self.pacing.paces(call):
                self.limit.throttled(self.now)
            wait = attempt.failure.retry_after or RetryPolicy().lone_delay(call.throttled, self._rng)
            if self._is_shut() and self.now >= self._gate:
                self._gates = min(self._gates + 1, 5)
                self._gate = self.now + (
                    attempt.failure.retry_after or self._rng.uniform(0.5, 1.0) * 2 ** (self._gates - 1)
                )
            heapq.heappush(self._parked, (self.now + wait, next(self._order), call))

    def _relent(self, sent: float) -> None:
        if sent >= self._gate and self._is_shut():
            self._votes.clear()
            self._gates = 0
