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

from batcher.failures import Exit, Failure, FailureClass
from batcher.policy.breaker import ASKING
from batcher.policy.dispatch import READS_PER_STEP
from batcher.policy.limit.concurrency import AdaptiveLimit
from batcher.policy.quota import SIZE
from batcher.policy.scheduler import LOCAL_PAUSE, Verdict
from batcher.running.stops import stops

if TYPE_CHECKING:
    from batcher.model import Call, Endpoint

USED_UP = Failure(
    FailureClass.FATAL, "usage_limit", "so many requests per day", 429, retry_after=36.0, exit=Exit.STOPPED
)
"""What Google says beside a day's limit is when a minute's is over."""


def test_a_throttle_gates_the_endpoint_and_uses_no_attempt() -> None:
    """All workers wait as long as the server said, and a little of their own; the call goes again, however often."""
    run = Run.of(calls(2), limit=2)
    one = run.send()
    for _ in range(9):
        assert run.end(one, throttle(7.0)) is Verdict.PARKED
        assert run.now + 7.0 <= run.waits() <= run.now + 7.0 + 0.7 + 0.5
        assert run.send_when_due() is one
    assert (one.sent, one.counted, one.throttled) == (9, 0, 9)
    assert one.waited == pytest.approx(run.now)


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
    run = Run.of(calls(5), limit=2)
    first, second = run.send(), run.send()
    assert run.end(first, throttle(7200.0, code)) is Verdict.PENDING
    assert run.scheduler.stop_failure is not None
    assert run.scheduler.stop_failure.exit is Exit.STOPPED
    assert run.end(second, CRASH) is Verdict.PENDING
    assert run.is_done()
    assert (run.scheduler.pending, run.scheduler.parked) == (2, 0)


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
    """With one slot, retries and new calls take turns."""
    run = Run.of(calls(4), server)
    first = run.send()
    run.end(first, throttle())
    for _ in range(6):
        one = run.send_when_due()
        run.end(one, throttle() if one is first else None)
    assert [one is first for one in run.sent] == [True, True, False, True, False, True, False]


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
        assert one.counted == 0
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
    run = Run.of(calls(100), limit=3)
    first, second, third = run.send(), run.send(), run.send()
    run.end(first, CRASH)
    assert run.end(second, NO_KEY) is Verdict.PENDING
    assert run.is_done()
    assert run.end(third, CRASH) is Verdict.PENDING
    assert run.scheduler.stop_failure is NO_KEY
    assert (run.scheduler.pending, run.scheduler.parked, run.scheduler.in_flight) == (3, 0, 0)


@pytest.mark.parametrize("failure", [NO_MODEL, NO_PATH])
def test_a_model_or_path_that_is_not_there_spares_the_others(failure: Failure) -> None:
    """Only the jobs of that model, or of that path, stay pending, and no second one is sent."""
    there, gone = call(0), call(1, path="/gone") if failure is NO_PATH else call(1, model="gone")
    more = call(2, path=gone.path, model=gone.model or "")
    run = Run.of([gone, there, more])
    assert run.end(run.send(), failure) is Verdict.PENDING
    assert run.send() is there
    run.end(there)
    assert run.is_done()
    assert run.scheduler.pending == 2
    assert run.scheduler.stop_failure is None


def test_skipping_many_jobs_gives_others_a_turn() -> None:
    """A million jobs of a missing model are skipped in steps, not in one breath."""
    gone = [call(n, model="gone") for n in range(READS_PER_STEP + 2)]
    last = call(9999)
    run = Run.of([*gone, last])
    run.end(run.send(), NO_MODEL)
    assert run.waits() == run.now
    assert run.send() is last
    assert run.scheduler.pending == len(gone)
