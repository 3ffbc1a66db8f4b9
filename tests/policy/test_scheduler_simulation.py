"""Holds the scheduler to its bounds whatever happens: random outcomes, random delays, on a clock of plain numbers."""

from __future__ import annotations

import heapq
import math
from collections import Counter
from itertools import count
from typing import TYPE_CHECKING

from hypothesis import given, settings, strategies as st
from support.virtualrun import (
    BAD,
    CRASH,
    CUT,
    EMPTY,
    HOSTED,
    HUNG_UP,
    LATE,
    NATIVE,
    NATIVE_TOO,
    NO_KEY,
    NO_MODEL,
    NO_PATH,
    NO_SOCKETS,
    ODD,
    OTHER,
    PAGE,
    REFUSED,
    Run,
    call,
    throttle,
)

from batcher.policy.judge import Verdict
from batcher.policy.lastlook import ROOM
from batcher.policy.steps import Done, Send, Wait

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batcher.failures import Failure
    from batcher.model import Call, Endpoint
    from batcher.policy.backlog import Backlog

SERVERS = st.sampled_from([[HOSTED], [HOSTED, OTHER], [NATIVE], [NATIVE, NATIVE_TOO]])
GOOD_DAYS: list[Failure | None] = [None, None, None, CRASH, HUNG_UP, throttle(0.5), throttle(), REFUSED, NO_SOCKETS]
BAD_DAYS = [*GOOD_DAYS, BAD, CUT, EMPTY, LATE, NO_KEY, NO_MODEL, NO_PATH, ODD, PAGE, throttle(50.0), throttle(9000.0)]
STEPS = 4_000


class World:
    """A server that ends each call as the script says, after the delay it says; the script repeats."""

    def __init__(self, run: Run, script: list[tuple[Failure | None, float]]) -> None:
        self.run = run
        self.fates: Counter[Call] = Counter()
        self.verdicts: dict[Call, Verdict] = {}
        self.largest = 1  # jobs in a call: halves of what was read go beyond the bound on reading
        self._script = script
        self._last: Wait | None = None
        self._order = count()
        self._flying: list[tuple[float, int, Call]] = []

    def play(self, limit: int, steps: int = STEPS) -> bool:
        """Run, checking the bounds on the way; true if the end was reached in that many steps."""
        scheduler = self.run.scheduler
        limit *= len(scheduler.lanes)
        for _ in range(steps):
            step = scheduler.next(self.run.now)
            assert step != self._last, "nothing has changed, and it is asked to wait for what is past"
            self._last = step if isinstance(step, Wait) and step.until <= self.run.now else None
            if isinstance(step, Send):
                self._look(step)
                _, delay = self._script[len(self.run.sent) % len(self._script)]
                heapq.heappush(self._flying, (self.run.now + delay, next(self._order), step.call))
                self.run.sent.append(step.call)
            elif isinstance(step, Done) and not self._flying:
                return True
            else:
                self._advance(step.until if isinstance(step, Wait) else math.inf)
            assert scheduler.in_flight == len(self._flying) <= limit
            assert scheduler.backlog.kept + scheduler.look.kept <= ROOM
        return False

    def _look(self, step: Send) -> None:
        """What is true of whatever is sent."""
        lane = next(lane for lane in self.run.scheduler.lanes if lane.endpoint is step.endpoint)
        assert lane.out is None
        assert not lane.offer.lacks(step.call)
        assert len(lane.in_flight) <= lane.limit.allowed
        assert lane.solitary in (None, step.call)
        assert len(lane.in_flight) == 1 or lane.solitary is None
        if lane.is_sticky:
            assert lane.loading.group == step.call.group

    def _advance(self, until: float) -> None:
        """Let time pass to whatever is next: the end of a call, or what the scheduler waits for."""
        if not self._flying or until < self._flying[0][0]:
            assert until < math.inf, "everybody waits and nothing will happen"
            self.run.now = max(self.run.now, until)
            return
        self.run.now, order, one = heapq.heappop(self._flying)
        failure, _ = self._script[order % len(self._script)]
        verdict = self.run.end(one, failure)
        if verdict is Verdict.SPLIT:
            self._split(one)
        elif verdict is not Verdict.PARKED:
            self.fates[one] += 1
            self.verdicts[one] = verdict

    def _split(self, one: Call) -> None:
        seq, size = one.jobs[0].seq, len(one.jobs)
        self.run.scheduler.requeue(call(seq, size=size // 2), call(seq, size=size - size // 2))


def left(backlog: Backlog) -> Iterator[Call]:
    """What was not read: calls that were made to see whether the input goes on, and those that were not."""
    yield from backlog.made
    yield from filter(None, backlog.intake)


def scripts(outcomes: list[Failure | None]) -> st.SearchStrategy[list[tuple[Failure | None, float]]]:
    steps = st.tuples(st.sampled_from(outcomes), st.sampled_from([0.0, 0.01, 1.0, 30.0]))
    return st.lists(steps, min_size=1, max_size=30)


@settings(max_examples=100, deadline=None)
@given(
    script=scripts(BAD_DAYS),
    limit=st.integers(1, 5),
    jobs=st.integers(0, 40),
    retries=st.integers(0, 3),
    patience=st.sampled_from([20.0, 300.0]),
    servers=SERVERS,
    rpm=st.sampled_from([None, None, 60.0]),
)
def test_every_call_meets_one_fate(
    *,
    script: list[tuple[Failure | None, float]],
    servers: list[Endpoint],
    limit: int,
    jobs: int,
    retries: int,
    patience: float,
    rpm: float | None,
) -> None:
    """Whatever the server does, the run ends, and each call ended, failed or stayed pending: never two of them."""
    work = [call(number, model=f"m{number % 2}", path=f"/{number % 3}") for number in range(jobs)]
    run = Run.of(iter(work), *servers, limit=limit, retries=retries, patience=patience, window=10, rpm=rpm)
    world = World(run, [*script, (CRASH, 0.0)])
    assert world.play(limit)
    assert all(fate == 1 for fate in world.fates.values())
    fates = Counter(world.verdicts.values())
    unread = sum(len(one.jobs) for one in left(run.scheduler.backlog))
    assert fates[Verdict.ENDED] + fates[Verdict.FAILED] + run.scheduler.pending + unread == jobs
    assert unread == 0 or run.scheduler.stopped
    assert all(one.counted <= retries + 2 for one in work)  # a suspect has one more, alone


@settings(max_examples=60, deadline=None)
@given(
    script=scripts([*GOOD_DAYS, BAD]),
    sizes=st.lists(st.integers(1, 9), max_size=8),
    limit=st.integers(1, 4),
    servers=SERVERS,
)
def test_packs_lose_no_job(
    script: list[tuple[Failure | None, float]], sizes: list[int], limit: int, servers: list[Endpoint]
) -> None:
    """However often packs are halved, the jobs that ended, failed or stayed pending are all jobs."""
    run = Run.of((call(number, size=size) for number, size in enumerate(sizes)), *servers, limit=limit, patience=300.0)
    world = World(run, [*script, (None, 0.0)])
    world.largest = max(sizes, default=1)
    assert world.play(limit)
    told = sum(len(one.jobs) for one, verdict in world.verdicts.items() if verdict is not Verdict.PENDING)
    unread = sum(len(one.jobs) for one in left(run.scheduler.backlog))
    assert told + run.scheduler.pending + unread == sum(sizes)


@settings(max_examples=60, deadline=None)
@given(script=scripts(GOOD_DAYS), limit=st.integers(1, 5), stop=st.integers(0, 40))
def test_a_stop_at_any_moment_keeps_the_account_straight(
    script: list[tuple[Failure | None, float]], limit: int, stop: int
) -> None:
    """After a stop nothing is sent, and what was taken in is either told or pending."""
    run = Run.of(map(call, range(40)), limit=limit, patience=300.0)
    world = World(run, script)
    world.play(limit, steps=stop)
    run.scheduler.stop()
    sent = len(run.sent)
    assert world.play(limit)
    assert len(run.sent) == sent
    told = sum(1 for verdict in world.verdicts.values() if verdict is not Verdict.PENDING)
    unread = sum(len(one.jobs) for one in left(run.scheduler.backlog))
    assert told + run.scheduler.pending + unread == 40
