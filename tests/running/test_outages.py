"""Holds what a run does while the server refuses, is away or lacks something, on a clock of plain numbers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
from support.virtualrun import (
    CRASH,
    HOSTED,
    HUNG_UP,
    LATE,
    NATIVE,
    NO_KEY,
    NO_MODEL,
    NO_PATH,
    NO_SOCKETS,
    REFUSED,
    Run,
    call,
    calls,
    throttle,
)
from support.virtualworld import Box, World

from batcher.failures import Exit, Failure, FailureClass
from batcher.policy.dispatch import READS_PER_STEP
from batcher.policy.evidence import SEVERAL
from batcher.policy.judge import LOCAL_PAUSE, Verdict
from batcher.policy.limit.concurrency import AdaptiveLimit
from batcher.policy.quota import SIZE
from batcher.policy.service import ASKING
from batcher.policy.steps import Send, Wait
from batcher.running.stops import stops

if TYPE_CHECKING:
    from batcher.model import Call, Endpoint

USED_UP = Failure(
    FailureClass.FATAL, "usage_limit", "so many requests per day", 429, retry_after=36.0, exit=Exit.STOPPED
)
"""What Google says beside a day's limit is when a minute's is over."""


def test_a_throttle_of_all_gates_them_and_uses_no_attempt() -> None:
    """All wait as long as the server said, and a little of their own; then one goes, again and again."""
    run = Run.of(calls(4), limit=4)
    for one in [run.send() for _ in range(4)]:
        assert run.end(one, throttle(7.0)) is Verdict.PARKED
    for _ in range(9):
        assert run.now + 7.0 <= run.waits() <= run.now + 7.0 + 0.7 + 0.5
        one = run.send_when_due()
        assert run.end(one, throttle(7.0)) is Verdict.PARKED
        assert one.counted == 0
    assert sum(one.throttled for one in set(run.sent)) == 4 + 9
    run.drain()
    assert {one.counted for one in run.sent} == {0}


def test_a_call_that_is_refused_while_others_are_taken_waits_alone() -> None:
    """A server that is busy for one call in four holds nobody else up, is given as much, and nobody pays for it."""
    run = Run.of(calls(400), limit=16)
    run.lane.limit = limit = AdaptiveLimit(most=16, start=16)
    flying = [run.send() for _ in range(16)]
    for turn in range(200):
        run.now += 0.1
        one = flying.pop(0)
        verdict = run.end(one, throttle(code="busy") if turn % 4 == 0 and not one.sent else None)
        assert verdict is (Verdict.PARKED if turn % 4 == 0 and one.sent == 1 else Verdict.ENDED)
        flying.append(run.send())
    assert limit.allowed == 16
    assert run.scheduler.quota.left == SIZE
    refused = [one for one in run.sent if one.throttled and one.waited]
    assert refused
    assert all(one.waited >= 0.5 for one in refused)


def test_a_server_that_refuses_all_is_asked_by_one_call_a_second() -> None:
    """After the gate it is not stormed: a second call goes a second later, all go when one that went then is heard."""
    run = Run.of(calls(100), limit=32)
    for one in [run.send() for _ in range(32)]:
        run.end(one, throttle(code="busy"))
    assert 0.5 <= run.waits() <= 1.0
    first = run.send_when_due()
    assert run.fill() == 0
    assert run.waits() == run.now + ASKING
    run.now += ASKING
    assert run.fill() == 1
    run.scheduler.answering(first, run.now)
    assert run.fill() == 30


@pytest.mark.parametrize("hint", [None, 0.0])
def test_a_throttle_without_a_hint_backs_off_by_the_episode(hint: float | None) -> None:
    """Calls refused together hold the gate as one refusal would; the next episode holds it longer. 0 s is no hint."""
    run = Run.of(calls(8), limit=8)
    batch = [run.send() for _ in range(8)]
    for one in batch:
        run.end(one, throttle(hint))
    assert 0.5 <= run.waits() <= 1.0
    run.now = run.waits()
    run.end(run.send(), throttle(hint))
    assert run.now + 1.0 <= run.waits() <= run.now + 2.0


@pytest.mark.parametrize("code", ["rate_limited", "busy", "overloaded"])
def test_a_throttle_beyond_patience_stops_the_run(code: str) -> None:
    """A limit that resets tomorrow is no reason to wait today: everything stays pending, and it is known till when."""
    for jobs in (1, 5):
        run = Run.of(calls(jobs), limit=2).drain(lambda _: throttle(7200.0, code))
        assert run.now < 10.0
        assert run.scheduler.stop_failure is not None
        assert run.scheduler.stop_failure.exit is Exit.STOPPED
        assert (run.scheduler.pending, run.scheduler.parked) == (min(jobs, 3), 0)


@pytest.mark.parametrize(
    ("why", "said", "wait"),
    [
        (throttle(7200.0), "it asks to wait 2h 00m, which is longer than --max-wait: come back after ", 7200.0),
        (throttle(600.0), "it has asked to wait again and again, for longer than --max-wait", 600.0),
        (throttle(600.0, "busy"), "wait", 600.0),
        (throttle(), "wait", None),
        (USED_UP, "so many requests per day", None),
    ],
)
def test_the_end_says_what_the_server_said(why: Failure, said: str, wait: float | None) -> None:
    """One wait that is too long, many that add up, a server that is busy for too long; of a day's limit no minute's."""
    run = Run.of(calls(1))
    while not run.scheduler.stopped:
        run.end(run.send_when_due(), why)
    told, _ = stops(run.scheduler, str)
    assert told is not None
    assert told.message.removeprefix("wait; ").startswith(said)
    assert told.retry_after == wait


@pytest.mark.parametrize("server", [HOSTED, NATIVE])
def test_a_call_that_is_told_to_wait_again_and_again_holds_up_no_other(server: Endpoint) -> None:
    """With one slot, the others are served while it waits; it is asked at last, when all else has ended, and fails."""
    run = Run.of(calls(9), server)
    first = run.send()
    run.end(first, throttle())
    for _ in range(8):
        run.end(run.send())
    assert run.now == 0.0
    run.drain(lambda _: throttle())
    assert set(run.sent[9:]) == {first}
    assert first.sent > 2 * run.scheduler.retry.retries
    assert 15.0 <= run.now < 60.0


def test_a_refused_connection_uses_no_attempt() -> None:
    """A server that restarts costs nobody a try, however long it takes within patience."""
    run = Run.of(calls(1), retries=0)
    run.end(run.send(), throttle(0.0))
    for _ in range(20):
        one = run.send_when_due()
        assert run.end(one, REFUSED) is Verdict.PARKED
    one = run.send_when_due()
    assert one.counted == 0
    assert run.end(one) is Verdict.ENDED
    assert one.waited == pytest.approx(run.now)


def test_while_the_server_is_away_one_call_at_a_time_is_sent() -> None:
    """Eight workers meet a refused connection; then each cooldown sends one probe alone, until one is answered."""
    run = Run.of(calls(20), limit=8)
    for one in [run.send() for _ in range(8)]:
        run.end(one, REFUSED)
    for _ in range(3):
        probe = run.send_when_due()
        assert run.waits() == math.inf
        run.end(probe, REFUSED, after=0.01)
    run.end(run.send_when_due())
    assert run.fill() == 3


@pytest.mark.parametrize(("answered", "lasted"), [(False, 15.0), (True, 300.0)])
def test_a_server_that_stays_away_ends_the_run(answered: bool, lasted: float) -> None:  # noqa: FBT001 - a column of the table
    """After `first_patience` if it was never there, `patience` if it was: exit 69, nothing failed, all pending."""
    run = Run.of(calls(9), patience=300.0)
    if answered:
        run.end(run.send())
    verdict = Verdict.PARKED
    while verdict is Verdict.PARKED:
        verdict = run.end(run.send_when_due(), REFUSED)
    assert verdict is Verdict.PENDING
    assert run.now == pytest.approx(lasted)
    assert run.scheduler.stop_failure is not None
    assert run.scheduler.stop_failure.exit is Exit.UNAVAILABLE
    assert run.is_done()


def test_a_connection_closed_as_it_was_reused_costs_nothing_once() -> None:
    """The first hang-up of a call is nobody's fault: it goes again at once; the next one counts."""
    run = Run.of([call()])
    one = run.send()
    assert run.end(one, HUNG_UP) is Verdict.PARKED
    assert run.send() is one
    assert one.counted == 0
    run.end(one, HUNG_UP)
    assert one.counted == 1


def test_one_call_that_the_server_hangs_up_on_fails_alone() -> None:
    """A job that kills the server is out after its attempts, and the others are served."""
    poison, *others = calls(4)
    run = Run.of([poison, *others], retries=2)
    verdicts: dict[Call, Verdict] = {}
    while len(verdicts) < 4 or Verdict.PARKED in verdicts.values():
        one = run.send_when_due()
        verdicts[one] = run.end(one, HUNG_UP if one is poison else None)
    assert verdicts == {poison: Verdict.FAILED} | dict.fromkeys(others, Verdict.ENDED)
    assert poison.sent == 3  # the free resend is no attempt


def test_a_server_that_hangs_up_on_one_job_each_time_is_not_away() -> None:
    """Nor is it when it was, and nothing but that job is left to show that it is back."""
    poison, *others = calls(9)
    run = Run.of([poison, *others], limit=4)
    run.fill()
    run.end(poison, HUNG_UP)
    for _ in range(8):
        run.end(next(one for one in run.lane.in_flight if one is not poison))
        run.fill()
    while poison.counted < 2:
        run.end(run.send_when_due() if poison not in run.lane.in_flight else poison, HUNG_UP)
    run.end(run.send_when_due(), REFUSED)
    run.drain(lambda _: HUNG_UP)
    assert run.scheduler.stop_failure is None
    assert run.scheduler.pending == 0
    assert poison.counted == 5


def test_a_port_that_hangs_up_on_everybody_is_an_outage() -> None:
    """A forwarder whose server is still starting accepts and closes: calls wait, none fails."""
    run = Run.of(calls(8), limit=4, retries=1, first_patience=900.0)
    for one in [run.send() for _ in range(4)]:
        assert run.end(one, HUNG_UP) is Verdict.PARKED
    for _ in range(20):
        assert run.end(run.send_when_due(), HUNG_UP) is Verdict.PARKED
    for _ in range(8):
        one = run.send_when_due()
        assert run.end(one) is Verdict.ENDED
        assert one.counted <= 1
    assert run.is_done()


@pytest.mark.parametrize("failure", [NO_SOCKETS, HUNG_UP, LATE])
def test_a_probe_that_tells_nothing_does_not_block_the_run(failure: Failure) -> None:
    """Whatever ends the probe, another is sent until one is answered."""
    run = Run.of(calls(3), retries=9)
    run.end(run.send(), REFUSED)
    run.end(run.send_when_due(), failure)
    for _ in range(3):
        assert run.end(run.send_when_due()) is Verdict.ENDED
    assert run.is_done()


def test_want_of_sockets_here_is_not_the_jobs_fault() -> None:
    """The call waits a moment, loses no attempt, and the server is not blamed."""
    run = Run.of([call()], retries=0)
    one = run.send()
    assert run.end(one, NO_SOCKETS) is Verdict.PARKED
    assert run.waits() == LOCAL_PAUSE
    assert one.counted == 0
    assert not run.lane.breaker.is_down


def test_a_refused_key_stops_the_run_and_leaves_everything_pending() -> None:
    """No million error lines for one wrong key: what is parked, and what comes back later, stays pending."""
    run = Run.of(calls(100), limit=SEVERAL + 1)
    *refused, last = [run.send() for _ in range(SEVERAL + 1)]
    assert [run.end(one, NO_KEY) for one in refused] == [Verdict.PARKED] * (SEVERAL - 1) + [Verdict.PENDING]
    assert run.is_done()
    assert run.end(last, CRASH) is Verdict.PENDING
    assert run.scheduler.stop_failure is NO_KEY
    assert (run.scheduler.pending, run.scheduler.parked, run.scheduler.in_flight) == (SEVERAL + 1, 0, 0)


@pytest.mark.parametrize("failure", [NO_KEY, NO_MODEL, NO_PATH])
def test_one_job_that_is_refused_for_good_fails_alone(failure: Failure) -> None:
    """Where others are served it is the job's; a stray refusal is only asked again; one of many first ones waits."""
    for stray in (True, False):
        work = calls(40)
        run = Run.of(work, limit=4)
        meets = {work[0], work[20]}

        def fate(one: Call, meets: set[Call] = meets, *, stray: bool = stray) -> Failure | None:
            return failure if one in meets and not (stray and one.sent) else None

        World(run, Box(takes=0.1, fate=lambda one, _: fate(one))).play()
        assert run.scheduler.stop_failure is None
        assert run.scheduler.pending == 0


@pytest.mark.parametrize("failure", [NO_MODEL, NO_PATH])
def test_a_model_or_path_that_is_not_there_spares_the_others(failure: Failure) -> None:
    """Only the jobs of that model, or of that path, stay pending, and no more than several are sent."""
    gone = {"path": "/gone"} if failure is NO_PATH else {"model": "gone"}
    work = [call(n) if n % 2 else call(n, **gone) for n in range(60)]  # type: ignore[arg-type]  # mypy cannot tell which
    run = Run.of(work).drain(lambda one: failure if one in work[::2] else None)
    assert run.scheduler.pending == 30
    assert len({one for one in run.sent if one in work[::2]}) == SEVERAL
    assert run.scheduler.stop_failure is None
    assert len(run.scheduler.refused) == 1


def test_skipping_many_jobs_gives_others_a_turn() -> None:
    """A million jobs of a missing model are skipped in steps, not in one breath."""
    gone = [call(n, model="gone") for n in range(READS_PER_STEP + 100)]
    last = call(9999)
    run = Run.of([*gone, last])
    turns = 0
    while (step := run.scheduler.next(run.now)) != Send(last, HOSTED):
        if isinstance(step, Send):
            run.end(step.call, NO_MODEL)
        else:
            assert isinstance(step, Wait)
            turns += step.until == run.now
            run.now = step.until
    assert turns == 1
    assert run.scheduler.pending == len(gone)
