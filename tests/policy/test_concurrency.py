"""Holds each rule of the limits to a table of numbers; whole runs are in test_pace_simulation.py."""

from __future__ import annotations

import pytest

from batcher.failures import Failure, FailureClass
from batcher.outcome import Attempt, Completion, ServerTimes, Timing, Usage
from batcher.policy.limit.concurrency import AdaptiveLimit
from batcher.policy.limit.fixed import FixedLimit
from batcher.policy.limit.plateau import Plateau
from batcher.policy.limit.queueing import QueueGuard

THROTTLE = Failure(FailureClass.THROTTLE, "rate_limited", "slow down", 429)
MEMORY = Failure(FailureClass.TRANSIENT, "out_of_memory", "CUDA error: out of memory", 500)
LATE = Failure(FailureClass.TRANSIENT, "timeout_first_token", "no content within 600 s")
CRASH = Failure(FailureClass.TRANSIENT, "server_crash", "model runner has unexpectedly stopped", 500)
REFUSED = Failure(FailureClass.CONNECTION, "refused", "connect call failed")
SOCKETS = Failure(FailureClass.LOCAL, "out_of_sockets", "too many open files")
BAD = Failure(FailureClass.PERMANENT, "bad_request", "no")
EMPTY = Failure(FailureClass.SUSPECT, "empty", "the answer has no text")


def answer(
    sent: float, took: float = 10.0, first: float | None = 0.2, *, prompt: int = 100, times: ServerTimes | None = None
) -> Attempt:
    timing = Timing(started=sent, finished=sent + took, arrivals=[] if first is None else [sent + first])
    return Attempt(timing, Completion(usage=Usage(prompt, 200), server=times))


def failed(failure: Failure, sent: float = 0.0) -> Attempt:
    return Attempt(Timing(started=sent, finished=sent + 1), failure=failure)


def refuse(limit: AdaptiveLimit, granted: int, now: float) -> None:
    """All that may be in flight is sent, so many are granted, the others refused within a tenth of a second."""
    for left in range(limit.allowed, granted, -1):
        limit.finished(Attempt(Timing(started=now - 0.1, finished=now), failure=THROTTLE), left, now)
        limit.throttled(now)


def settled_at(level: int) -> AdaptiveLimit:
    """A limit that has left slow start at this level, by refusals at 0 s."""
    limit = AdaptiveLimit(start=min(2 * level, level + 4 + level // 2))
    refuse(limit, level, 0.0)
    assert limit.allowed == level
    return limit


def serve(limit: AdaptiveLimit, count: int, now: float, *, first: float | None = 0.2, in_flight: int = 0) -> float:
    """Let as many answers end, a tenth of a second apart, with the limit used up; return when."""
    for _ in range(count):
        now += 0.1
        limit.finished(answer(now - 10.0, first=first), in_flight or limit.allowed, now)
    return now


def test_a_fixed_limit_stays() -> None:
    limit = FixedLimit(7)
    limit.answering(99.0, 10, 7, 1.0)
    limit.finished(failed(CRASH), 7, 1.0)
    limit.throttled(2.0)
    assert (limit.allowed, limit.most, limit.settled()) == (7, 7, "7 in flight, as asked for")


@pytest.mark.parametrize(
    ("least", "most", "start", "allowed"), [(1, 256, 2, 2), (4, 256, 2, 4), (1, 1, 2, 1), (1, 6, 8, 6), (9, 6, 2, 6)]
)
def test_it_starts_between_its_bounds(least: int, most: int, start: int, allowed: int) -> None:
    assert AdaptiveLimit(least=least, most=most, start=start).allowed == allowed


def test_first_tokens_in_time_raise_it_to_the_most_within_seconds() -> None:
    """Slow start does not wait for answers: it doubles with each round of first tokens."""
    limit, now, waiting = AdaptiveLimit(most=100), 0.0, 2
    rounds = 0
    while limit.allowed < 100:
        rounds += 1
        now += 0.2
        before = limit.allowed
        for _ in range(waiting):
            limit.answering(0.2, 500, limit.allowed, now)
        waiting = limit.allowed - before
        assert rounds < 15
    limit.answering(0.2, 500, 100, now)
    assert limit.allowed == 100


def test_what_is_not_used_does_not_grow() -> None:
    """A limit that pacing or want of jobs keeps from being reached says nothing about the server."""
    limit = AdaptiveLimit(start=20)
    for second in range(50):
        limit.answering(0.2, 500, 15, float(second))
    serve(limit, 100, 50.0, in_flight=15)
    assert limit.allowed == 20


def test_a_round_grows_by_a_tenth_after_slow_start() -> None:
    limit = settled_at(40)
    now = serve(limit, 40, 20.0)
    assert limit.allowed == 44
    serve(limit, 44, now + 10.0)
    assert limit.allowed == 48


@pytest.mark.parametrize(("granted", "allowed"), [(60, 60), (16, 40), (3, 40), (75, 80)])
def test_refusals_cut_it_to_what_was_granted_beside_them(granted: int, allowed: int) -> None:
    """To half of it at most, and not for two or three of them."""
    limit = AdaptiveLimit(start=80)
    refuse(limit, granted, 0.0)
    assert limit.allowed == allowed


@pytest.mark.parametrize(("when", "allowed"), [(14.9, 40), (15.1, 20)], ids=["the same episode", "the next one"])
def test_refusals_halve_it_once_an_episode(when: float, allowed: int) -> None:
    limit = AdaptiveLimit(start=80)
    refuse(limit, 2, 0.0)
    refuse(limit, 2, when)
    assert limit.allowed == allowed
    assert limit.settled() == f"{allowed} in flight: above that the server said wait"


def test_refusals_by_lot_leave_it_nearly_as_it_is() -> None:
    """Three in ten are refused within 10 ms, and others are in flight at once."""
    limit, now = AdaptiveLimit(most=64, start=64), 0.0
    for _ in range(1_000):
        now += 1 / 27
        limit.finished(Attempt(Timing(started=now - 0.01, finished=now), failure=THROTTLE), 64, now)
        limit.throttled(now)
    assert limit.allowed == 64


def test_calls_that_are_refused_alone_say_nothing_of_how_many() -> None:
    """In the dead time of a window all are refused, whatever is in flight."""
    limit = AdaptiveLimit(start=8)
    for second in range(100):
        refuse(limit, 0, 20.0 * second)
        assert limit.allowed >= 4


def test_a_reason_is_told_no_longer_than_it_holds() -> None:
    """What grew past the level at which it was cut has nothing that speaks against more."""
    limit = AdaptiveLimit(start=44)
    refuse(limit, 40, 0.0)
    assert limit.settled() == "40 in flight: above that the server said wait"
    now = serve(limit, 40, 20.0)
    assert limit.settled() == "44 in flight"
    serve(limit, 44, now + 10.0)
    assert limit.settled() == "48 in flight"


def test_answers_to_calls_from_before_a_cut_do_not_count() -> None:
    limit = settled_at(40)
    for _ in range(100):
        limit.finished(answer(-1.0), 40, 20.0)
    assert limit.allowed == 40


@pytest.mark.parametrize(
    ("failure", "grows"), [(CRASH, False), (BAD, True), (THROTTLE, True), (REFUSED, True), (EMPTY, True)]
)
def test_a_failure_of_the_servers_pauses_growth(failure: Failure, grows: bool) -> None:  # noqa: FBT001 - a table
    """What is the job's own fault, or the breaker's business, does not."""
    limit = settled_at(40)
    limit.finished(failed(failure, 20.0), 40, 21.0)
    serve(limit, 40, 21.0)
    assert (limit.allowed > 40) == grows


def test_out_of_memory_halves_and_is_remembered_for_ten_minutes() -> None:
    limit = settled_at(40)
    for _ in range(5):  # all that were in flight fail together
        limit.finished(failed(MEMORY, 5.0), 40, 10.0)
    assert limit.allowed == 20
    assert limit.settled() == "20 in flight: with more the server ran out of memory"
    now = serve(limit, 1_000, 20.0)
    assert now < 600
    assert limit.allowed == 39
    serve(limit, 100, 620.0)
    assert limit.allowed > 40


def test_what_this_machine_lacks_caps_it_at_what_was_in_flight() -> None:
    limit = settled_at(40)
    limit.finished(failed(SOCKETS, 5.0), 31, 5.0)
    assert limit.allowed == 30
    serve(limit, 300, 20.0)
    assert limit.allowed == 30


@pytest.mark.parametrize(("between", "allowed"), [(False, 20), (True, 40)])
def test_first_tokens_that_never_came_halve_it(between: bool, allowed: int) -> None:  # noqa: FBT001 - a table
    """Three of them, if no answer came between."""
    limit = settled_at(40)
    limit.finished(failed(LATE, 1.0), 40, 601.0)
    limit.finished(failed(LATE, 1.0), 40, 601.0)
    if between:
        limit.finished(answer(591.0), 40, 601.0)
    limit.finished(failed(LATE, 1.0), 40, 601.0)
    assert limit.allowed == allowed


def test_nothing_takes_it_below_the_least() -> None:
    limit = AdaptiveLimit(least=5, start=6)
    for second in range(0, 2_000, 20):
        limit.throttled(second)
        for failure in (MEMORY, LATE, LATE, LATE, SOCKETS):
            limit.finished(failed(failure, second), 1, second)
        limit.answering(500.0, 100, 5, second)
    assert limit.allowed == 5


def told(ttft: float, load: float = 0.0, prompt: float = 0.0) -> Attempt:
    return answer(0.0, first=ttft, times=ServerTimes(load, prompt, 9.0, 10.0))


@pytest.mark.parametrize(
    ("attempt", "queued"),
    [
        pytest.param(told(3.0), 2, id="silence"),
        pytest.param(told(3.0, load=2.9), 0, id="loading"),
        pytest.param(told(3.0, prompt=2.9), 0, id="reading a long prompt"),
        pytest.param(answer(0.0, first=3.0), 2, id="nothing told"),
        pytest.param(answer(0.0, first=3.0, prompt=3_000), 0, id="a prompt of 30 times the length"),
        pytest.param(answer(0.0, 10.0, None, times=ServerTimes(0.0, 0.1, 6.9)), 2, id="whole, and told"),
        pytest.param(answer(0.0, 60.0, 0.4), 0, id="a long answer"),
    ],
)
def test_only_unexplained_delay_is_queueing(attempt: Attempt, queued: int) -> None:
    """Two of eight in flight wait if each waits a quarter of its time."""
    guard = QueueGuard()
    for _ in range(8):
        guard.add(told(0.1), 8)
        guard.add(answer(0.0, first=0.1), 8)
        guard.add(answer(0.0, first=0.1), 8)
    guard.restart()
    for _ in range(8):
        guard.add(attempt, 8)
    assert guard.queued(guard.ended) == pytest.approx(queued, abs=0.5)


@pytest.mark.parametrize(("slow", "least"), [(0, 1.0), (1, 1.0), (2, 1.0), (5, 0.0)])
def test_the_first_of_the_first_tokens_may_have_waited_for_a_model(slow: int, least: float) -> None:
    """The least of the first five is usual, so that a queue shows behind them; five that are slow are a slow server."""
    guard = QueueGuard()
    for _ in range(slow):
        guard.add(answer(0.0, 17.8, first=8.0), 2)
    for _ in range(5 - slow):
        guard.add(answer(0.0, first=0.2), 2)
    guard.restart()
    for _ in range(8):
        guard.add(answer(0.0, 12.8, first=3.0), 8)
    assert least <= guard.queued(guard.ended) <= 2 * least


@pytest.mark.parametrize(
    ("attempt", "is_sure"),
    [(told(0.1), True), (answer(0.0), False), (answer(0.0, first=None), False), (Attempt(Timing()), False)],
)
def test_a_queue_is_sure_where_the_server_tells_its_part(attempt: Attempt, is_sure: bool) -> None:  # noqa: FBT001 - a table
    assert QueueGuard().add(attempt, 8) is is_sure


def test_a_server_that_is_slower_for_good_becomes_the_baseline() -> None:
    """First tokens that take ten times as long whatever the limit is are no queue of ours: it recovers by itself."""
    limit, now = settled_at(20), 0.0
    for _ in range(100):
        now += 1.0
        limit.finished(answer(now - 10, 10.0, 0.3), limit.allowed, now)
    before, lowest = limit.allowed, limit.allowed
    for _ in range(900):
        now += 1.0
        limit.finished(answer(now - 13, 13.0, 3.0), limit.allowed, now)
        lowest = min(lowest, limit.allowed)
    assert lowest < before
    assert limit.allowed > before


@pytest.mark.parametrize(
    ("slots", "expected"), [(1, [False, True]), (4, [False, False, True]), (6, [False, False, False, True])]
)
def test_a_plateau_is_where_more_calls_bring_no_more(slots: int, expected: list[bool]) -> None:
    plateau = Plateau()
    found = []
    for level in (2, 4, 8, 16)[: len(expected)]:
        for _ in range(8):
            plateau.add(answer(0.0, 5.0 * max(1.0, level / slots), None), level)
        found.append(plateau.is_reached(level))
        plateau.restart()
    assert found == expected


def test_whole_answers_settle_where_they_came_no_faster() -> None:
    """Four slots, and nothing is known but how long calls took."""
    limit, now = AdaptiveLimit(), 0.0
    for _ in range(60):
        now += 1.0
        took = 5.0 * max(1.0, limit.allowed / 4)
        limit.finished(answer(now, took, None), limit.allowed, now)
    assert limit.settled() == "4 in flight: above that answers came no faster"


@pytest.mark.parametrize(("tells", "allowed"), [(False, 4), (True, 7)])
def test_a_queue_that_passes_for_a_slow_server_shows_in_the_rate(tells: bool, allowed: int) -> None:  # noqa: FBT001 - a table
    """First tokens take hardly longer with each level; a server that says this is its own work is believed."""
    limit, now = settled_at(4), 20.0
    for _ in range(36):
        now += 1.0
        took = 2.0 * max(1.0, limit.allowed / 4)
        times = ServerTimes(0.0, took - 1.0, 1.0) if tells else None
        limit.finished(answer(now - took, took, took - 1.0, times=times), limit.allowed, now)
    assert limit.allowed == allowed
    assert ("answers came no faster" in limit.settled()) is not tells


def test_the_summary_says_why() -> None:
    limit = AdaptiveLimit(start=6)
    limit.finished(answer(0.0), 6, 10.0)
    for second in range(11, 14):
        limit.answering(0.2 if second == 11 else 6.0, 500, 6, float(second))
    assert limit.settled() == "5 in flight: above that calls queued at the server (median wait 4.8 s)"
    assert AdaptiveLimit(most=2).settled() == "2 in flight: no more are allowed"
    assert AdaptiveLimit().settled() == "2 in flight"
