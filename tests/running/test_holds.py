"""What is said while a run waits: once when it begins and once when it is over, and of several servers which one."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from support.virtualrun import Run, calls

from batcher.failures import Failure, FailureClass
from batcher.figures import span
from batcher.model import Api, Call, Endpoint
from batcher.policy.backlog import Backlog
from batcher.policy.breaker import Breaker
from batcher.policy.evidence import LEAST
from batcher.policy.holding import ends_after, holds_of
from batcher.policy.lane import Lane
from batcher.policy.limit.fixed import FixedLimit
from batcher.policy.quota import RetryQuota
from batcher.policy.retry import RetryPolicy
from batcher.policy.scheduler import Scheduler
from batcher.policy.setback import Setback
from batcher.running.holds import Holds, words_of_alone
from batcher.running.journal import Journal
from batcher.running.standing import snapshot_of
from batcher.view.bottleneck import Kind
from batcher.view.pace import Pace
from batcher.view.snapshot import Snapshot
from batcher.view.summary import Summary

A, B = "http://a:1", "http://b:1"
REFUSED = Failure(FailureClass.CONNECTION, "refused", "connection refused")
WAIT = Failure(FailureClass.THROTTLE, "rate_limited", "slow down", 429, 30.0)
BROKEN = Failure(FailureClass.TRANSIENT, "server_error", "oops", 500)
FORBIDDEN = Failure(FailureClass.FATAL, "unauthorized", "no such key", 401)


class Still(random.Random):
    """Dice that fall on the least."""

    def uniform(self, a: float, b: float) -> float:  # noqa: ARG002 - the signature is that of the dice
        return a


class Watch:
    """A scheduler whose lanes are put into states by hand, and what is said of them."""

    def __init__(self, *roots: str) -> None:
        self.lanes = [Lane(Endpoint(root=root, api=Api.OPENAI), FixedLimit(4), Breaker()) for root in roots]
        self.scheduler = Scheduler(Backlog(iter(())), self.lanes, RetryPolicy(), RetryQuota(), random.Random(1))
        self.notes: list[str] = []
        self.summary = Summary(started=0.0)
        self.holds = Holds(self.notes.append, self.summary)

    def look(self, now: float) -> list[str]:
        """What is said at this moment."""
        self.holds.look(self.scheduler, now)
        said, self.notes[:] = list(self.notes), []
        return said

    def down(self, place: int, now: float) -> None:
        self._fail(place, REFUSED, now)

    def throttle(self, place: int, seconds: float, now: float) -> None:
        self.fail(place, replace(WAIT, retry_after=seconds), now)

    def fail(self, place: int, failure: Failure, now: float) -> None:
        for _ in range(LEAST):
            self._fail(place, failure, now)

    def _fail(self, place: int, failure: Failure, now: float) -> None:
        setback = Setback(_call(), failure, now, now)
        self.lanes[place].failed(setback, RetryPolicy(), Still())

    def up(self, place: int) -> None:
        self.lanes[place].breaker.answered()


def _call() -> Call:
    return Call(jobs=(), path="/v1/chat/completions", body=b"{}", stream=True)


def test_a_wait_is_said_once_and_added_up() -> None:
    """One server that goes and comes back: two sentences, and the time between them."""
    watch = Watch(A)
    assert watch.look(0.0) == []
    watch.down(0, 1.0)
    assert watch.look(1.0) == [f"waiting for {A}: connection refused"]
    assert watch.look(3.0) == []
    watch.up(0)
    assert watch.look(5.0) == ["going on after 4.0 s"]
    assert watch.look(9.0) == []
    assert watch.summary.servers[A].away_s == pytest.approx(4.0, abs=2.0)


def test_being_told_to_wait_is_told_apart() -> None:
    """A gate counts as held, not as away."""
    watch = Watch(A)
    watch.look(0.0)
    watch.throttle(0, 5.0, 0.0)
    assert watch.look(0.0) == [f"waiting, as {A} asks: slow down"]
    watch.look(10.0)
    sums = watch.summary.servers[A]
    assert (sums.away_s, sums.held_s) == (0.0, 10.0)


@pytest.mark.parametrize(
    ("failure", "words", "times"),
    [
        (BROKEN, f"waiting, as {A} fails: oops", (10.0, 0.0)),
        (FORBIDDEN, f"looking whether {A} refuses all jobs: no such key", (0.0, 10.0)),
    ],
)
def test_failing_and_refusing_are_no_rate_limit(failure: Failure, words: str, times: tuple[float, float]) -> None:
    """Who fails or refuses whatever it is asked did not say wait: it is told and added up as what it is."""
    watch = Watch(A)
    watch.look(0.0)
    watch.fail(0, failure, 0.0)
    assert watch.look(0.0) == [words]
    watch.look(10.0)
    sums = watch.summary.servers[A]
    assert (sums.away_s, sums.failing_s, sums.refusing_s, sums.held_s) == (0.0, *times, 0.0)
    watch.summary.finished = watch.summary.started + 10.0
    bound = watch.summary.bottleneck  # whoever refuses for good need not be kept up
    assert (bound is not None and bound.kind is Kind.OUTAGES) == (failure is BROKEN)


def test_what_ended_in_a_refusal_does_not_go_on() -> None:
    """The wait is over, and so is the run."""
    watch = Watch(A)
    watch.fail(0, FORBIDDEN, 0.0)
    watch.look(0.0)
    watch.lanes[0].refuses(_call(), FORBIDDEN)
    assert watch.look(3.0) == []


def test_of_several_servers_one_is_told() -> None:
    """The others go on, and nobody is said to wait; when all are gone it is."""
    watch = Watch(A, B)
    watch.down(0, 1.0)
    [said] = watch.look(1.0)
    assert said.startswith(f"{A} is away: connection refused; the others go on")
    assert watch.look(2.0) == []
    watch.down(1, 3.0)
    [said] = watch.look(3.0)
    assert said.startswith("waiting for")
    assert A in said
    assert B in said
    watch.up(1)
    assert watch.look(4.0) == ["going on after 1.0 s"]
    watch.up(0)
    assert watch.look(5.0) == [f"{A} is back after 4.0 s"]


def test_of_several_servers_one_that_says_wait_is_told() -> None:
    """Once, and again when it asks for a wait that is longer by far; when all wait, that is said instead."""
    watch = Watch(A, B)
    watch.throttle(0, 10.0, 0.0)
    assert watch.look(0.0) == [f"{A} asks to wait 10 s: slow down; the others go on"]
    assert watch.look(5.0) == []
    watch.throttle(0, 12.0, 11.0)
    assert watch.look(11.0) == []
    watch.throttle(0, 300.0, 30.0)
    assert watch.look(30.0) == [f"{A} asks to wait 5m 00s: slow down; the others go on"]
    watch.throttle(1, 60.0, 40.0)
    assert watch.look(40.0) == [f"waiting, as {A} asks: slow down; waiting, as {B} asks: slow down"]


def test_a_server_that_refuses_is_left_out() -> None:
    """The run goes on without it, and says so once."""
    watch = Watch(A, B)
    watch.lanes[1].refuses(_call(), FORBIDDEN)
    assert watch.look(1.0) == [f"going on without {B}: no such key"]
    assert watch.look(2.0) == []


def test_a_wait_for_an_allowance_is_told_once() -> None:
    """Only if nothing is in flight meanwhile, and again only if it is twice as long: it is as often as limits are."""
    watch = Watch(A)
    [lane] = watch.lanes
    assert watch.look(0.0) == []
    lane.paced_until = 4.0
    assert watch.look(1.0) == []
    lane.paced_until = 30.0
    one = _call()
    lane.in_flight[one] = 1.0
    assert watch.look(2.0) == []
    del lane.in_flight[one]
    assert watch.look(3.0) == ["keeping to the rate limit: the next request goes in 27 s"]
    assert watch.look(4.0) == []
    lane.paced_until = 90.0
    assert watch.look(35.0) == ["keeping to the rate limit: the next request goes in 55 s"]


def test_who_is_waited_for_alone_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is told to wait while others are served, when all else is done: in words, sums and journal."""
    told = replace(WAIT, retry_after=30.0)
    run = Run.of(calls(20), limit=4)
    monkeypatch.setattr("batcher.running.standing.now", lambda: run.now)
    watch, journal = Watch(), Journal()
    watch.scheduler = run.scheduler
    while run.fill():
        for one in list(run.lane.in_flight):
            run.end(one, told if one.jobs[0].seq == 0 else None, 0.1)
            watch.summary.ok += one.jobs[0].seq != 0
    said, etas = [], []
    pace = Pace()
    pace.add(shown := Snapshot(elapsed=0.0))
    start = run.now
    while run.now < 20.0:
        said += watch.look(run.now)
        journal.look(run.scheduler, watch.summary, run.now)
        shown = snapshot_of(watch.summary, run.scheduler, 20, str)
        pace.add(shown)
        etas.append((pace.remaining() or 0.0) + run.now)
        run.now += 0.5
    assert said == [f"waiting: '0.0' is asked again in {span(run.scheduler.waits_until - start)}, as the server says"]
    assert f"waiting: {shown.note}" == said[0].replace(span(run.scheduler.waits_until - start), span(shown.wait))
    assert min(etas) >= run.scheduler.waits_until >= 30.0
    assert watch.summary.work.alone == watch.summary.held_s == pytest.approx(run.now - start - 0.5)
    [event] = journal.to_json()
    assert isinstance(event, dict)
    assert (event["kind"], event["end"], event["words"]) == ("alone", None, said[0].removeprefix("waiting: "))


def test_of_several_who_wait_alone_their_number_is_told() -> None:
    """Nobody says until when: they failed."""
    run = Run.of(calls(12), limit=4)
    for _ in range(3):
        run.fill()
        for one in list(run.lane.in_flight):
            run.end(one, BROKEN if one.jobs[0].seq in (3, 7, 11) else None)
    run.fill()
    [hold] = holds_of(run.scheduler, run.now)
    assert hold is not None
    assert words_of_alone(hold, run.now).startswith("3 requests are sent again, the first in ")
    assert "server says" not in words_of_alone(hold, run.now)


def test_what_is_asked_again_late_is_no_sooner_done() -> None:
    """Also while others are in flight."""
    run = Run.of(calls(9), limit=2)
    one, _ = run.send(), run.send()
    for other in run.sent[1:]:
        run.end(other)
    for _ in range(4):
        run.end(run.send())
    run.end(one, replace(WAIT, retry_after=600.0))
    run.fill()
    assert 600.0 <= ends_after(run.scheduler) <= 660.0
    assert holds_of(run.scheduler, run.now) == [None]
