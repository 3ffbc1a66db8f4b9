"""A load on a simulated server through the real scheduler and a limit, on a virtual clock, and what came of it."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from support.virtualserver import Clock, Request

from batcher.failures import FailureClass
from batcher.model import Api, Call, Endpoint, Job, Kind
from batcher.outcome import Attempt, Completion, ServerTimes, Timing, Usage
from batcher.policy.backlog import Backlog
from batcher.policy.lane import Lane
from batcher.policy.quota import RetryQuota
from batcher.policy.retry import RetryPolicy
from batcher.policy.scheduler import Scheduler
from batcher.policy.steps import Send, Wait

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.virtualserver import Server

    from batcher.failures import Failure
    from batcher.policy.limit.fixed import Limit


@dataclass(frozen=True, slots=True)
class Work:
    """What the jobs are like: mean tokens of prompt and answer, and how answers come.

    `exact`: the server tells its own durations, as Ollama does. `whole`: nothing arrives in pieces. Embeddings have
    no tokens of an answer. The lengths of answers are lognormal:
    with a `sigma` of 1 the longest of a thousand is twenty times the median.
    """

    prompt: float = 200.0
    prompt_sigma: float = 0.5
    tokens: float = 200.0
    sigma: float = 1.0
    exact: bool = False
    whole: bool = False
    jobs: int = 10**9
    trip_s: float = 0.005
    """From the end of an answer until the next request is with the server."""


class Load:
    """Jobs sent through a limit to a server, and what came back."""

    def __init__(self, clock: Clock, server: Server, limit: Limit, work: Work, seed: int) -> None:
        self.clock = clock
        self.limit = limit
        self.throttled = 0
        self.firsts: list[float] = []
        """Times to first token, in seconds."""
        self.ended: list[tuple[float, int]] = []
        """(time, tokens) of each complete answer."""
        self.trace: list[tuple[float, int]] = []
        """(time, allowed) at each change."""
        self._server = server
        self._work = work
        self._rng = random.Random(seed)
        self._lengths: dict[Call, tuple[int, int]] = {}
        self._alarm = math.inf
        endpoint = Endpoint(root="http://127.0.0.1:11434", api=Api.NATIVE if work.exact else Api.OPENAI)
        self._scheduler = Scheduler(
            Backlog(self._calls()),
            [Lane(endpoint, limit)],
            RetryPolicy(),
            RetryQuota(),
            random.Random(seed + 1),
        )

    def run(self, seconds: float) -> Load:
        self._pump()
        self.clock.run(self.clock.now + seconds)
        return self

    def _calls(self) -> Iterator[Call]:
        for seq in range(self._work.jobs):
            prompt = self._length(self._work.prompt, self._work.prompt_sigma)
            tokens = self._length(self._work.tokens, self._work.sigma)
            job = Job(id=str(seq), seq=seq, kind=Kind.CHAT)
            call = Call((job,), "/api/chat", bytes(4 * prompt), stream=not self._work.whole, model="m")
            self._lengths[call] = (prompt, tokens)
            yield call

    def _length(self, mean: float, sigma: float) -> int:
        return max(1, round(self._rng.lognormvariate(math.log(mean) - sigma**2 / 2, sigma))) if mean else 0

    def _pump(self) -> None:
        """Send what may be sent, as the workers do."""
        now = self.clock.now
        if not self.trace or self.trace[-1][1] != self.limit.allowed:
            self.trace.append((now, self.limit.allowed))
        while isinstance(step := self._scheduler.next(now), Send):
            self._send(step.call)
        if isinstance(step, Wait) and step.until < math.inf and not now < self._alarm <= step.until:
            self._alarm = step.until
            self.clock.at(step.until, self._pump)

    def _send(self, call: Call) -> None:
        timing = Timing(started=self.clock.now)

        def first() -> None:
            if not self._work.whole:
                timing.arrivals.append(self.clock.now)
                self.firsts.append(self.clock.now - timing.started)
                self._scheduler.answering(call, self.clock.now)
                self._pump()

        def ended(failure: Failure | None) -> None:
            self._end(call, request, timing, failure)

        request = Request(*self._lengths[call], first, ended)
        self.clock.at(self.clock.now + self._work.trip_s, lambda: self._server.accept(request))

    def _end(self, call: Call, request: Request, timing: Timing, failure: Failure | None) -> None:
        timing.finished = self.clock.now
        attempt = Attempt(timing, failure=failure)
        if failure is None:
            del self._lengths[call]
            self.ended.append((self.clock.now, request.tokens or request.prompt))
            times = ServerTimes(0.0, request.prompt_s, request.eval_s) if self._work.exact else None
            attempt.completion = Completion(usage=Usage(request.prompt, request.tokens or None), server=times)
        elif failure.kind is FailureClass.THROTTLE:
            self.throttled += 1
        self._scheduler.finished(call, attempt, self.clock.now)
        self._pump()

    def goodput(self) -> float:
        """Tokens of complete answers a second, until now or until the jobs ran out."""
        until = self.ended[-1][0] if len(self.ended) == self._work.jobs else self.clock.now
        return sum(tokens for _, tokens in self.ended) / until

    def allowed_between(self, since: float, until: float) -> list[int]:
        """Every limit that held in that time."""
        before = [allowed for when, allowed in self.trace if when < since]
        return before[-1:] + [allowed for when, allowed in self.trace if since <= when < until]


def first_p95(loads: list[Load]) -> float:
    """The 95th percentile of the times to first token in all these runs; not a number if nothing was streamed."""
    firsts = sorted(first for load in loads for first in load.firsts)
    return firsts[int(0.95 * len(firsts))] if firsts else math.nan


def play(limit: Limit, serve: Callable[[Clock], Server], work: Work, seed: int = 0, seconds: float = 300.0) -> Load:
    """Run jobs through a limit to a new server, from a cold start."""
    clock = Clock()
    return Load(clock, serve(clock), limit, work, seed).run(seconds)
