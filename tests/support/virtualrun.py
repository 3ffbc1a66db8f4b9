"""A scheduler on a clock of plain numbers, and failures to feed it."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from batcher.failures import Exit, Failure, FailureClass, Scope
from batcher.model import Api, Call, Endpoint, Job, Kind
from batcher.outcome import Attempt, Timing
from batcher.policy.backlog import WINDOW, Backlog
from batcher.policy.breaker import Breaker
from batcher.policy.lane import Lane
from batcher.policy.limit.fixed import FixedLimit
from batcher.policy.pace.pacing import Pacing
from batcher.policy.quota import RetryQuota
from batcher.policy.retry import RetryPolicy
from batcher.policy.scheduler import Scheduler
from batcher.policy.steps import Done, Send, Wait

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from batcher.policy.judge import Verdict

HOSTED = Endpoint(root="http://127.0.0.1:8000", api=Api.OPENAI)
OTHER = Endpoint(root="http://127.0.0.1:8001", api=Api.OPENAI)
NATIVE = Endpoint(root="http://127.0.0.1:11434", api=Api.NATIVE)
NATIVE_TOO = Endpoint(root="http://127.0.0.1:11435", api=Api.NATIVE)
CRASH = Failure(FailureClass.TRANSIENT, "server_crash", "model runner has unexpectedly stopped", 500)
CUT = Failure(FailureClass.TRANSIENT, "cut", "the connection broke in the middle of the answer")
SICK = Failure(FailureClass.TRANSIENT, "http_500", "internal server error", 500)
ODD = Failure(FailureClass.TRANSIENT, "tool_call_unreadable", "failed to parse", 500)
BAD = Failure(FailureClass.PERMANENT, "bad_request", "option must be", 500)
EMPTY = Failure(FailureClass.SUSPECT, "empty", "the answer has no text")
REFUSED = Failure(FailureClass.CONNECTION, "refused", "connect call failed", exit=Exit.UNAVAILABLE)
HUNG_UP = Failure(FailureClass.TRANSIENT, "disconnected", "closed without an answer")
GATEWAY = Failure(FailureClass.TRANSIENT, "http_502", "bad gateway", 502)
NO_SOCKETS = Failure(FailureClass.LOCAL, "out_of_sockets", "too many open files")
NO_KEY = Failure(FailureClass.FATAL, "unauthorized", "no", 401, exit=Exit.REFUSED)
NO_MODEL = Failure(FailureClass.FATAL, "model_not_found", "model 'x' not found", 404, scope=Scope.MODEL)
NO_VECTORS = Failure(FailureClass.FATAL, "not_offered", "does not support", 501, scope=Scope.MODEL_ON_PATH)
NO_PATH = Failure(FailureClass.FATAL, "endpoint_not_found", "404 page not found", 404, scope=Scope.PATH)
LATE = Failure(FailureClass.TRANSIENT, "timeout_first_token", "no content within 600 s")
PAGE = Failure(FailureClass.TRANSIENT, "not_an_llm", "answered text/html: log in", 200)


def throttle(hint: float | None = None, code: str = "rate_limited") -> Failure:
    return Failure(FailureClass.THROTTLE, code, "wait", 429, retry_after=hint)


def call(number: int = 0, *, size: int = 1, model: str = "m", path: str = "/api/chat") -> Call:
    jobs = tuple(Job(id=f"{number}.{i}", seq=number, kind=Kind.CHAT) for i in range(size))
    return Call(jobs, path, b"{}", stream=True, model=model, group=model)


def calls(count: int) -> list[Call]:
    return [call(number) for number in range(count)]


@dataclass
class Run:
    """A scheduler with its clock. `send` must get a call; `end` reports how it went."""

    scheduler: Scheduler
    now: float = 0.0
    sent: list[Call] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        work: Iterable[Call | None],
        *servers: Endpoint,
        limit: int = 1,
        retries: int = 4,
        patience: float = 3600.0,
        first_patience: float = 15.0,
        window: int = WINDOW,
        stretch: int = 1,
        rpm: float | None = None,
    ) -> Run:
        lanes = [
            Lane(
                server,
                FixedLimit(limit),
                Breaker(patience=patience, first_patience=first_patience),
                Pacing(rpm=rpm),
            )
            for server in servers or (HOSTED,)
        ]
        backlog = Backlog(iter(work), window, stretch)
        return cls(Scheduler(backlog, lanes, RetryPolicy(retries=retries), RetryQuota(), random.Random(1)))

    @property
    def lane(self) -> Lane:
        """The first server's lane."""
        return self.scheduler.lanes[0]

    def send(self) -> Call:
        step = self.scheduler.next(self.now)
        assert isinstance(step, Send), step
        self.sent.append(step.call)
        return step.call

    def fill(self) -> int:
        """Send all that may go now; how many that are."""
        before = len(self.sent)
        while isinstance(step := self.scheduler.next(self.now), Send):
            self.sent.append(step.call)
        return len(self.sent) - before

    def send_when_due(self) -> Call:
        """Let time pass until something is to be sent; nothing may be in flight."""
        for _ in range(10_000):
            step = self.scheduler.next(self.now)
            if isinstance(step, Send):
                self.sent.append(step.call)
                return step.call
            assert isinstance(step, Wait), step
            assert self.now <= step.until < math.inf, step
            self.now = step.until
        raise AssertionError("nothing was ever sent")

    def drain(self, fate: Callable[[Call], Failure | None] = lambda _: None) -> Run:
        """Let everything be sent when it is due, and answered at once."""
        while not isinstance(step := self.scheduler.next(self.now), Done):
            if isinstance(step, Send):
                self.sent.append(step.call)
                self.end(step.call, fate(step.call))
            else:
                assert isinstance(step, Wait), step
                assert self.now < step.until < math.inf, step
                self.now = step.until
        return self

    def end(self, one: Call, failure: Failure | None = None, after: float = 0.0) -> Verdict:
        self.now += after
        return self.scheduler.finished(one, Attempt(Timing(finished=self.now), failure=failure), self.now)

    def waits(self) -> float:
        step = self.scheduler.next(self.now)
        assert isinstance(step, Wait), step
        return step.until

    def is_done(self) -> bool:
        return isinstance(self.scheduler.next(self.now), Done)
