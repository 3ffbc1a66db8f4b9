"""Holds the one retry loop to its rules, each told as a story on a clock of plain numbers."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from support.virtualrun import BAD, CRASH, EMPTY, NO_KEY, NO_SOCKETS, PAGE, REFUSED, SICK, Run, call, calls, throttle

from batcher.failures import Exit, Failure, FailureClass
from batcher.outcome import Attempt, Completion, Timing
from batcher.policy import judge
from batcher.policy.backlog import size_of
from batcher.policy.evidence import SEVERAL
from batcher.policy.judge import ALIKE, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batcher.model import Call


def test_no_more_are_in_flight_than_allowed() -> None:
    """With a limit of three, a fourth worker waits until one of the three is back."""
    run = Run.of(calls(5), limit=3)
    first, _, _ = run.send(), run.send(), run.send()
    assert run.waits() == math.inf
    assert run.scheduler.in_flight == 3
    run.end(first)
    run.send()
    assert run.waits() == math.inf


def test_calls_go_out_in_the_order_of_the_input() -> None:
    """What nothing holds back is sent first come, first served."""
    work = calls(6)
    run = Run.of(work)
    for one in work:
        assert run.send() is one
        assert run.end(one) is Verdict.ENDED
    assert run.is_done()


def test_the_end_comes_only_when_nothing_is_in_flight() -> None:
    """A worker without work waits while another's call may still come back to be sent again."""
    run = Run.of(calls(1), limit=2)
    one = run.send()
    assert run.waits() == math.inf
    run.end(one, CRASH)
    assert run.waits() < math.inf
    run.end(run.send_when_due())
    assert run.is_done()


def test_an_input_that_has_nothing_yet_is_asked_again() -> None:
    """A pipe that is slow is not a pipe that ended."""
    one = call()
    run = Run.of([None, one, None])
    assert run.waits() == math.inf
    assert run.send() is one
    run.end(one)
    assert run.waits() == math.inf
    assert run.is_done()


def test_a_transient_failure_uses_attempts_until_none_is_left() -> None:
    """With two retries the third failure is the last; each wait lies within its ceiling."""
    run, one = Run.of([call()], retries=2), call()
    for ceiling in (0.5, 1.0):
        before = run.now
        one = run.send_when_due()
        assert run.end(one, CRASH) is Verdict.PARKED
        assert run.scheduler.parked == 1
        assert before <= run.waits() <= run.now + ceiling
    assert run.end(run.send_when_due(), CRASH) is Verdict.FAILED
    assert (one.sent, one.counted) == (3, 3)
    assert run.is_done()


def test_without_retries_the_first_failure_is_the_last() -> None:
    """`--retries 0` means one attempt."""
    run = Run.of([call()], retries=0)
    assert run.end(run.send(), CRASH) is Verdict.FAILED


@pytest.mark.parametrize("failure", [BAD, EMPTY])
def test_what_will_not_get_better_is_not_tried_again(failure: Failure) -> None:
    """A permanent failure and a rejected answer end their job at once."""
    run = Run.of([call()])
    one = run.send()
    assert run.end(one, failure) is Verdict.FAILED
    assert one.sent == 1
    assert run.is_done()


def test_a_waiting_retry_holds_no_slot() -> None:
    """While a call waits for its next attempt, its slot serves others."""
    first, second = calls(2)
    run = Run.of([first, second])
    run.end(run.send(), CRASH)
    assert run.send() is second


def test_what_waits_is_bounded_by_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading goes on however many wait; what there is no room for goes to the end of the input, or stays pending."""
    monkeypatch.setattr(judge, "ROOM", 10 * size_of(call()))
    run = Run.of(calls(100), limit=4, patience=1e6)
    reading: list[tuple[int, int]] = []

    def reread(wanted: Iterator[tuple[int, int]]) -> Iterator[tuple[Call, int] | None]:
        for seq, times in wanted:
            reading.append((seq, times))
            yield call(seq), times

    run.scheduler.look.reread = reread
    run.drain(lambda one: throttle(3.0, "busy") if one.jobs[0].seq % 2 and run.now < 100.0 else None)
    assert len({one.jobs[0].seq for one in run.sent}) == 100
    assert not run.scheduler.pending
    assert reading
    assert all(times > 0 for _, times in reading)
    assert run.scheduler.backlog.kept == run.scheduler.look.kept == 0
    run = Run.of(calls(100), limit=4, patience=1e6)
    run.drain(lambda one: throttle(3.0, "busy") if one.jobs[0].seq % 2 and run.now < 100.0 else None)
    assert 0 < run.scheduler.pending < 50


def test_a_hint_lengthens_the_wait_of_a_transient_failure() -> None:
    """A 502 with Retry-After is tried again no sooner than it says, and no later than the cap."""
    for hint, least in ((20.0, 20.0), (1e12, 60.0)):
        run = Run.of([call()])
        run.end(run.send(), Failure(FailureClass.TRANSIENT, "http_502", "", 502, retry_after=hint))
        assert run.waits() == least


def test_the_halves_of_a_pack_go_first() -> None:
    """What was split is sent before anything new, so that few packs are open at a time."""
    run = Run.of([call(0, size=4), call(3)])
    run.end(run.send(), BAD)
    left, right = call(1, size=2), call(2, size=2)
    run.scheduler.requeue(left, right)
    for _ in range(3):
        run.end(run.send())
    assert [one.jobs[0].seq for one in run.sent] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("failures", "verdicts"),
    [
        ([BAD], [Verdict.SPLIT]),
        ([CRASH, CRASH], [Verdict.PARKED, Verdict.SPLIT]),
        ([REFUSED, CRASH, throttle(0.0), CRASH], [Verdict.PARKED, Verdict.PARKED, Verdict.PARKED, Verdict.SPLIT]),
    ],
)
def test_what_becomes_of_a_pack(failures: list[Failure], verdicts: list[Verdict]) -> None:
    """A pack is never failed as a whole: it is halved until the job at fault stands alone."""
    run = Run.of([call(0, size=4)])
    assert [run.end(run.send_when_due(), failure) for failure in failures] == verdicts
    left, right = call(1, size=2), call(2, size=2)
    run.scheduler.requeue(left, right)
    assert (run.send_when_due(), run.end(left)) == (left, Verdict.ENDED)
    assert (run.send_when_due(), run.end(right)) == (right, Verdict.ENDED)
    assert run.is_done()


def test_a_pack_that_was_whole_twice_is_halved_though_its_server_fails_everything() -> None:
    """It may be well, and they too large for it: smaller ones are tried before patience is gone."""
    run, verdicts = Run.of([call(number, size=4) for number in range(16)], limit=8), list[Verdict]()
    pack = call()
    while Verdict.SPLIT not in verdicts and Verdict.PENDING not in verdicts:
        pack = run.send_when_due()
        verdicts.append(run.end(pack, SICK))
    assert verdicts[-1] is Verdict.SPLIT
    assert pack.sent == 2


def test_halves_that_come_back_after_the_end_stay_pending() -> None:
    """A pack that was in flight when the run was stopped loses no job."""
    run = Run.of([call(0, size=4)])
    pack = run.send()
    run.scheduler.stop()
    assert run.end(pack, BAD) is Verdict.SPLIT
    run.scheduler.requeue(call(1, size=2), call(2, size=2))
    assert run.scheduler.pending == 4
    assert run.is_done()


def _fail_alike(run: Run, count: int, failure: Failure) -> None:
    for _ in range(count):
        assert run.end(run.send_when_due(), failure) is Verdict.FAILED


def test_the_same_mistake_from_the_start_stops_the_run() -> None:
    """When the first twenty jobs all fail with the same words, the settings are wrong: exit 78, the rest pending."""
    run = Run.of(calls(100))
    _fail_alike(run, ALIKE, BAD)
    assert run.is_done()
    assert run.scheduler.stop_failure is not None
    assert (run.scheduler.stop_failure.exit, run.scheduler.stop_failure.message) == (Exit.CONFIG, BAD.message)


def test_a_server_that_begins_with_pages_is_none_of_ours() -> None:
    """Nothing but web pages before any answer: exit 78, and nothing failed for it. Later ones are the call's."""
    run = Run.of(calls(100)).drain(lambda _: PAGE)
    assert run.now < 30.0
    assert len({one for one in run.sent if one.sent}) == SEVERAL
    assert run.scheduler.stop_failure is not None
    assert run.scheduler.stop_failure.exit is Exit.CONFIG
    run = Run.of(calls(100)).drain(lambda one: PAGE if one.jobs[0].seq == 50 else None)
    assert not run.scheduler.stopped
    assert len(run.sent) == 100 + 4


def test_a_success_or_other_words_clear_the_suspicion() -> None:
    """Once a job was served, or the failures differ, any number of failures are the jobs' own."""
    run = Run.of(calls(100))
    _fail_alike(run, ALIKE - 1, BAD)
    run.end(run.send())
    _fail_alike(run, ALIKE + 1, BAD)
    run = Run.of(calls(100))
    for number in range(2 * ALIKE):
        _fail_alike(run, 1, replace(BAD, message=f"job {number} is wrong"))
    run = Run.of(calls(100))
    _fail_alike(run, ALIKE + 1, EMPTY)
    assert not run.scheduler.stopped


def test_stopping_leaves_parked_calls_pending_and_lets_the_rest_finish() -> None:
    """After a signal nothing new is sent; what is in flight may still succeed."""
    run = Run.of(calls(9), limit=2)
    parked, flying = run.send(), run.send()
    run.end(parked, CRASH)
    run.scheduler.stop()
    run.scheduler.stop(NO_KEY)
    assert run.is_done()
    assert (run.scheduler.pending, run.scheduler.stop_failure) == (1, None)
    assert run.end(flying) is Verdict.ENDED
    assert run.scheduler.pending == 1


def test_what_a_call_has_been_through_is_counted() -> None:
    """Attempts, those that count, throttles and the seconds waited are the call's own record."""
    run = Run.of([call()], patience=1e6)
    for failure in (CRASH, throttle(10.0), REFUSED, NO_SOCKETS, CRASH):
        run.end(run.send_when_due(), failure, after=2.0)
    one = run.send_when_due()
    assert run.end(one, after=2.0) is Verdict.ENDED
    assert (one.sent, one.counted, one.throttled) == (6, 2, 1)
    assert one.waited == pytest.approx(run.now - 6 * 2.0)


def test_while_there_is_no_room_for_results_nothing_is_sent() -> None:
    """A run that is held sends nothing, new or again, keeps what it has, and can be stopped."""
    run = Run.of(calls(3), limit=2)
    one = run.send()
    run.scheduler.held = True
    assert run.waits() == math.inf
    assert run.end(one, CRASH) is Verdict.PARKED
    run.now += 3600.0
    assert run.waits() == math.inf
    run.scheduler.held = False
    assert run.send() is one
    run.scheduler.held = True
    assert run.end(one) is Verdict.ENDED
    run.scheduler.stop()
    assert run.is_done()


def test_what_this_machine_lacked_is_forgotten_with_the_next_success() -> None:
    """Patience is for one time of want, and not for all of a night's together."""
    run = Run.of(calls(4), patience=10.0)
    run.end(run.send(), NO_SOCKETS)
    run.end(run.send_when_due())
    run.now += 20.0
    assert run.end(run.send_when_due(), NO_SOCKETS) is Verdict.PARKED
    assert not run.scheduler.stopped


def test_a_call_that_asks_on_keeps_its_slot() -> None:
    """Each answer counts as one, none as a retry; when it has ended nothing of it is left."""
    run = Run.of(calls(3), limit=1)
    one = run.send()
    for exchanges in (1, 2):
        assert run.scheduler.goes_on(one, answered(run), run.now) is run.scheduler.lanes[0].endpoint
        assert (one.sent, one.counted, run.scheduler.in_flight) == (exchanges, 0, 1)
        assert run.waits() == math.inf
    assert run.end(one, CRASH) is Verdict.PARKED
    again = run.send_when_due()
    assert run.scheduler.goes_on(again, answered(run), run.now) is not None
    assert run.end(again) is Verdict.ENDED
    for _ in range(2):
        run.end(run.send_when_due())
    assert run.is_done()
    lane = run.scheduler.lanes[0]
    assert (run.scheduler.in_flight, lane.again, len(lane.in_flight), lane.requests) == (0, 0, 0, 7)


def test_a_call_that_would_ask_on_stays_without_a_line_where_nothing_is_sent() -> None:
    run = Run.of(calls(2), limit=1)
    one = run.send()
    run.scheduler.stop(NO_KEY)
    run.scheduler.leaves(one, answered(run), run.now)
    assert (run.scheduler.pending, run.scheduler.in_flight, len(run.scheduler.lanes[0].in_flight)) == (1, 0, 0)
    assert run.is_done()


def answered(run: Run) -> Attempt:
    return Attempt(Timing(started=run.now, finished=run.now), Completion())


def test_a_call_that_a_bug_met_holds_up_nobody() -> None:
    """Whatever it was in for: alone, as a probe, waiting for another attempt, or as one that may be at fault."""
    run = Run.of(calls(4), limit=4)
    run.fill()
    alone, parked, probe, _ = run.sent
    run.lane.solitary = alone
    run.scheduler.drops(alone, Attempt(Timing(), failure=SICK), run.now)
    assert run.lane.solitary is None
    assert run.end(parked, SICK) is Verdict.PARKED
    run.scheduler.drops(parked, Attempt(Timing(), failure=SICK), run.now)
    assert run.scheduler.parked == 0
    run.lane.breaker.down_since, run.lane.breaker.probe = run.now, probe
    run.scheduler.drops(probe, Attempt(Timing(), failure=SICK), run.now)
    assert run.lane.breaker.opens() < math.inf
    assert (run.scheduler.in_flight, len(run.lane.in_flight)) == (1, 1)
