"""Simulated servers on a virtual clock: slots, batches, silent queues, small caches, rate limits. Pure Python events.

A server is given requests and calls back with the first token and the end of each. Nothing here waits: a run of five
simulated minutes takes as long as its events take to count.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Protocol

from batcher.failures import Failure, FailureClass

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Clock:
    """The virtual clock: what is to happen, in order of time."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()

    def at(self, when: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._events, (max(when, self.now), next(self._order), what))

    def run(self, until: float) -> None:
        events = self._events
        while events and events[0][0] <= until:
            self.now, _, what = heapq.heappop(events)
            what()
        self.now = until


@dataclass(eq=False, slots=True)
class Request:
    """One exchange as the server sees it; `left` is what it still has to say, `first` is called once."""

    prompt: int
    tokens: int
    first: Callable[[], None]
    ended: Callable[[Failure | None], None]
    arrived: float = 0.0
    prompt_s: float = 0.0
    eval_s: float = 0.0
    left: float = 0.0
    begun: float = 0.0
    prompts: int = 0
    """How often its prompt was read: more than once when it was put out of the cache."""


class Server(Protocol):
    """What the client of a simulation talks to."""

    def accept(self, request: Request) -> None: ...


@dataclass
class Batching:
    """A server that works on up to `slots` sequences at once and lets the others queue in silence.

    All running sequences gain a token in `step_s + member_s * running` seconds. Prompts are read one after another, at
    `prompt_rate` tokens a second. With `cache` tokens of memory for what runs, the youngest sequence is put back into
    the queue, and its prompt read again, when there is no room for one more token each (vLLM's recomputation).
    `jitter` is the sigma of a lognormal delay with a median of 0.3 s that each request meets before it queues.
    """

    clock: Clock
    slots: int
    step_s: float
    member_s: float
    prompt_rate: float = 5_000.0
    cache: float = math.inf
    jitter: float = 0.0
    rng: random.Random = field(default_factory=lambda: random.Random(7))
    preempted: int = 0
    _queue: deque[Request] = field(default_factory=deque)
    _reading: deque[Request] = field(default_factory=deque)
    _running: list[tuple[float, int, Request]] = field(default_factory=list)
    """(virtual end, order, request), as a heap: the virtual clock counts tokens of one sequence."""
    _tokens: float = 0.0
    _since: float = 0.0
    _held: float = 0.0
    _due: int = 0
    _order: Iterator[int] = field(default_factory=count)

    def accept(self, request: Request) -> None:
        if self.jitter:
            self.clock.at(
                self.clock.now + self.rng.lognormvariate(math.log(0.3), self.jitter), lambda: self._enqueue(request)
            )
        else:
            self._enqueue(request)

    def resize(self, slots: int) -> None:
        """Another client takes slots, or gives them back; what runs runs on."""
        self.slots = slots
        self._admit()

    def _enqueue(self, request: Request) -> None:
        request.arrived = self.clock.now
        request.left = float(request.tokens)
        self._queue.append(request)
        self._admit()

    def _admit(self) -> None:
        while self._queue and len(self._reading) + len(self._running) < self.slots:
            size = self._queue[0].prompt + self._queue[0].tokens - self._queue[0].left
            if self._held + size + len(self._running) > self.cache and self._held > 0:
                return
            request = self._queue.popleft()
            self._advance()
            self._held += size
            self._reading.append(request)
            if len(self._reading) == 1:
                self._read()

    def _read(self) -> None:
        request = self._reading[0]
        size = request.prompt + request.tokens - request.left
        took = size / self.prompt_rate
        request.prompt_s += took
        self.clock.at(self.clock.now + took, self._was_read)

    def _was_read(self) -> None:
        request = self._reading.popleft()
        self._advance()
        request.begun = self.clock.now
        heapq.heappush(self._running, (self._tokens + request.left, next(self._order), request))
        if not request.prompts:
            request.first()
        request.prompts += 1
        if self._reading:
            self._read()
        self._plan()

    def _advance(self) -> None:
        """Bring the virtual clock to now."""
        running = len(self._running)
        if running:
            gained = (self.clock.now - self._since) / (self.step_s + self.member_s * running)
            self._tokens += gained
            self._held += gained * running
        self._since = self.clock.now

    def _plan(self) -> None:
        """Set the alarm for the next end, or for the cache being full."""
        self._due += 1
        if not self._running:
            return
        running = len(self._running)
        tokens = min(self._running[0][0] - self._tokens, (self.cache - self._held) / running)
        due = self._due
        pace = self.step_s + self.member_s * running
        self.clock.at(self.clock.now + max(tokens, 0.0) * pace, lambda: self._alarm(due))

    def _alarm(self, due: int) -> None:
        if due != self._due:
            return
        self._advance()
        ended = []
        while self._running and self._running[0][0] <= self._tokens + 1e-6:
            ended.append(heapq.heappop(self._running)[2])
        for request in ended:
            self._held -= request.prompt + request.tokens
            request.eval_s += self.clock.now - request.begun
        if not ended and self._held >= self.cache - 1e-6 and len(self._running) > 1:
            self._preempt()
        self._admit()
        self._plan()
        for request in ended:
            request.ended(None)

    def _preempt(self) -> None:
        place = max(range(len(self._running)), key=lambda one: self._running[one][1])
        end, _, youngest = self._running.pop(place)
        heapq.heapify(self._running)
        youngest.left = max(end - self._tokens, 1.0)
        youngest.eval_s += self.clock.now - youngest.begun
        self._held -= youngest.prompt + youngest.tokens - youngest.left
        self._queue.appendleft(youngest)
        self.preempted += 1


@dataclass
class Hosted:
    """A hosted API with room for all and a limit of requests a minute, held by a bucket of `burst` requests.

    What comes above it is refused; with `hints`, the refusal says when there is room again.
    """

    clock: Clock
    token_s: float = 0.015
    first_s: float = 0.4
    per_minute: float = 300.0
    burst: float = 20.0
    hints: bool = False
    refused: int = 0
    window: bool = False
    """Count in whole minutes, as some providers do, and not in a bucket."""
    _level: float = math.nan
    _since: float = 0.0

    def accept(self, request: Request) -> None:
        now = self.clock.now
        if math.isnan(self._level):
            self._level = self.per_minute if self.window else self.burst
        if self.window:
            if now // 60 != self._since // 60:
                self._level = self.per_minute
        else:
            self._level = min(self.burst, self._level + (now - self._since) * self.per_minute / 60)
        self._since = now
        if self._level < 1:
            self.refused += 1
            again = 60 - now % 60 if self.window else (1 - self._level) * 60 / self.per_minute
            hint = max(1.0, math.ceil(again)) if self.hints else None
            refusal = Failure(FailureClass.THROTTLE, "rate_limited", "slow down", 429, retry_after=hint)
            self.clock.at(now + 0.05, lambda: request.ended(refusal))
            return
        self._level -= 1
        request.prompt_s = self.first_s
        request.eval_s = request.tokens * self.token_s
        self.clock.at(now + self.first_s, request.first)
        self.clock.at(now + self.first_s + request.eval_s, lambda: request.ended(None))
