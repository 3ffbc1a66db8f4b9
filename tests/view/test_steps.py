"""What a step measured, from requests on a virtual clock: the window, rates, goodput, marks."""

from __future__ import annotations

import heapq
from itertools import count

import pytest

from batcher.view.steps import Held, Point, Sample, both, capped, meets, point_of, quantile

HELD = Held()


def served(
    slots: int, concurrency: int, requests: int, *, took: float = 1.0, spread: float = 0.0, streams: bool = True
) -> list[Sample]:
    """Requests to a server that works on so many at once, each for `took` seconds, and lets the rest wait."""
    free = [0.0] * slots
    ready = [0.0] * concurrency  # when each of those in flight may send its next
    found = []
    for number in range(requests):
        sent = heapq.heappop(ready)
        begun = max(sent, heapq.heappop(free))
        ended = begun + took * (1 + spread * ((number * 7 % 11) / 5 - 1))
        found.append(Sample(sent, begun + 0.1 if streams else None, ended, tokens=20))
        heapq.heappush(free, ended)
        heapq.heappush(ready, ended)
    return found


@pytest.mark.parametrize("streams", [True, False])
@pytest.mark.parametrize("spread", [0.0, 0.4])
@pytest.mark.parametrize(("slots", "concurrency"), [(4, 1), (4, 4), (4, 6), (4, 16), (1, 8), (7, 7)])
def test_throughput_is_that_of_the_middle(slots: int, concurrency: int, spread: float, *, streams: bool) -> None:
    """Neither the start nor the end of a step counts, in waves or not, with a queue or without."""
    samples = served(slots, concurrency, 8 * concurrency + 16, spread=spread, streams=streams)
    point = point_of(samples, concurrency, HELD, {})
    best = min(slots, concurrency)
    assert point.answers_per_s == pytest.approx(best, rel=0.05 if not spread else 0.12)
    assert point.tokens_per_s == pytest.approx(20 * point.answers_per_s, rel=1e-9)
    assert not point.is_rough


def test_waves_that_are_not_quite_level() -> None:
    """The first wave is over when each slot has had its answer: four a second, whoever of them ends first."""
    waves = [
        Sample(wave + (lag if wave else 0.0), None, wave + 1 + lag)
        for wave in range(8)
        for lag in (0.0, 0.01, 0.02, 0.03)
    ]
    assert point_of(waves, 4, HELD, {}).answers_per_s == pytest.approx(4, rel=0.01)


def test_a_window_in_which_nothing_ends_is_none() -> None:
    """Two answers a slot, but between the first wave and the last request there is no time to speak of."""
    lags = (0.0, 0.01, 0.02, 0.03)
    waves = [Sample(wave + (lag if wave else 0.0), wave + lag + 0.1, wave + 1 + lag) for wave in (0, 1) for lag in lags]
    waves[-1] = Sample(1.05, 1.1, 2.05)
    point = point_of(waves, 4, HELD, {})
    assert point.is_rough
    assert point.answers_per_s == pytest.approx(8 / 2.05)


def test_too_few_answers_are_said() -> None:
    """With fewer than two answers a slot all the time counts, and the point says so."""
    point = point_of(served(4, 4, 7), 4, HELD, {})
    assert (point.is_rough, point.marks()) == (True, ["few answers"])
    assert point.answers_per_s == pytest.approx(7 / 2)
    none = point_of([], 4, HELD, {"ttft": 1.0})
    assert (none.requests, none.answers_per_s, none.tokens_per_s, none.good_per_s) == (0, 0.0, None, 0.0)
    assert not none.is_fair


def test_what_settles_counts_in_its_later_half() -> None:
    """One in flight for ten seconds, then four: what it found is what counts."""
    early = [Sample(float(at), at + 0.1, at + 1.0, 20) for at in range(10)]
    late = [Sample(10.0 + at, 10.1 + at, 11.0 + at, 20) for at in range(11) for _ in range(4)]
    assert point_of([*early, *late], 4, HELD, {}, settles=True).answers_per_s == pytest.approx(4, rel=0.05)


def test_a_window_counts_parts_of_answers() -> None:
    """What came in pieces by its pieces, what came whole by its end."""
    streamed, whole = Sample(0.0, 2.0, 6.0), Sample(0.0, None, 6.0)
    table = [((0, 10), 1.0, 1.0), ((3, 5), 0.5, 0.0), ((5, 6), 0.25, 1.0), ((6, 9), 0.0, 0.0), ((0, 2), 0.0, 0.0)]
    for (start, end), of_streamed, of_whole in table:
        assert (streamed.share(start, end), whole.share(start, end)) == (of_streamed, of_whole)


@pytest.mark.parametrize(
    ("slo", "kept"),
    [
        ({"ttft": 0.5}, True),
        ({"ttft": 0.4}, False),
        ({"latency": 2.0}, True),
        ({"latency": 1.9, "ttft": 0.5}, False),
        ({"itl": 0.05}, True),
        ({"itl": 0.04}, False),
    ],
)
def test_an_answer_keeps_to_all_that_was_asked(slo: dict[str, float], *, kept: bool) -> None:
    """A failure keeps to nothing, nor does an answer of which nobody knows."""
    sample = Sample(0.0, 0.5, 2.0, itl=0.05)
    assert meets(sample, slo) is kept
    assert not meets(sample._replace(ok=False), slo)
    assert meets(sample._replace(first=None, itl=None), slo) is (kept and set(slo) == {"latency"})


def test_goodput_is_what_was_in_time() -> None:
    """Four slots, eight in flight: all wait for one second, and none is there in half of one."""
    assert point_of(served(4, 4, 64), 4, HELD, {"ttft": 0.5}).good_per_s == pytest.approx(4, rel=0.05)
    assert point_of(served(4, 8, 64), 8, HELD, {"ttft": 0.5}).good_per_s == 0.0


def test_a_known_rate_is_the_most_that_counts() -> None:
    """A server that saved up requests for the first gives those that follow no more than its rate."""
    point = point_of(served(8, 8, 80), 8, Held(most=5.0, limited=1.0, elapsed=10.0), {"latency": 9.0})
    assert (point.requests_per_s, point.answers_per_s, point.good_per_s) == pytest.approx((5.0, 5.0, 5.0))
    assert point.tokens_per_s == pytest.approx(100.0)
    assert point.marks() == ["rate limit"]
    early = capped(point_of(served(4, 4, 40), 4, Held(), {}), 2.0)
    assert early.answers_per_s == pytest.approx(2.0)
    assert early.marks() == ["rate limit"]
    slow = point_of(served(1, 1, 40), 1, Held(), {})
    assert (capped(slow, 2.0).answers_per_s, capped(slow, 2.0).marks()) == (slow.answers_per_s, [])


def test_a_pack_is_one_request_of_many_answers() -> None:
    """Texts a second are those of all packs."""
    samples = [sample._replace(answers=32, tokens=None) for sample in served(2, 2, 40, streams=False)]
    point = point_of(samples, 2, HELD, {})
    assert (point.answers_per_s, point.requests_per_s) == pytest.approx((64.0, 2.0), rel=0.05)
    assert point.tokens_per_s is None


def test_of_a_pack_in_time_each_answer_counts() -> None:
    """Small packs make more requests of fewer texts: what is wanted in time are the texts."""
    small = [Sample(sent=at / 4, first=None, ended=at / 4 + 0.2, answers=2) for at in range(40)]
    large = [Sample(sent=float(at), first=None, ended=at + 0.8, answers=20) for at in range(10)]
    slow = [sample._replace(ended=sample.sent + 2.0) for sample in large]
    fair, best, late = (point_of(samples, 1, Held(), {"latency": 1.0}) for samples in (small, large, slow))
    assert fair.good_per_s == pytest.approx(fair.answers_per_s)
    assert best.good_per_s == pytest.approx(best.answers_per_s)
    assert (best.good_per_s or 0.0) > 2 * (fair.good_per_s or 0.0)
    assert late.good_per_s == 0.0


@pytest.mark.parametrize(
    ("held", "failed", "is_fair", "marks"),
    [
        (Held(elapsed=20.0), 0, True, []),
        (Held(elapsed=20.0, away=0.9, limited=0.9), 1, True, []),
        (Held(elapsed=20.0, away=1.1), 0, False, ["server away"]),
        (Held(elapsed=20.0, limited=1.1), 0, True, ["rate limit"]),
        (Held(elapsed=20.0, throttled=1), 0, True, ["rate limit"]),
        (Held(elapsed=20.0), 4, False, []),
        (Held(kept=False), 0, True, ["rows again"]),
    ],
)
def test_marks(held: Held, failed: int, marks: list[str], *, is_fair: bool) -> None:
    """What held a step up is told; one that an outage or failures spoilt is held against none."""
    numbers = count()
    samples = [sample._replace(ok=next(numbers) >= failed) for sample in served(2, 2, 40)]
    point = point_of(samples, 2, held, {})
    assert (point.is_fair, point.marks(), point.failed) == (is_fair, marks, failed)


def test_quantiles_are_nearest_ranks_of_what_is_known() -> None:
    """`None` is no number."""
    assert quantile([3.0, None, 1.0, 2.0], 0.5) == 2.0
    assert quantile([float(n) for n in range(1, 101)], 0.95) == 95.0
    assert quantile([None], 0.5) is None


def made(concurrency: int, rate: float, **more: object) -> Point:
    """A point of some throughput, for the rules of a sweep."""
    values: dict[str, object] = {"seconds": 10.0, "requests": 100, "failed": 0, "requests_per_s": rate, **more}
    return Point(concurrency=concurrency, answers_per_s=rate, **values)  # type: ignore[arg-type]  # as they are named


def test_two_steps_of_one_number() -> None:
    """Each counts by how long its window was; what only one of them knows is known."""
    one = made(4, 10.0, seconds=30.0, ttft_p50=1.0, tokens_per_s=100.0, failed=1)
    other = made(4, 20.0, seconds=10.0, tokens_per_s=140.0, itl_p95=0.2, held=Held(elapsed=5.0, throttled=2, most=50.0))
    found = both(one, other)
    assert (found.answers_per_s, found.requests_per_s, found.tokens_per_s) == (12.5, 12.5, 110.0)
    assert (found.seconds, found.requests, found.failed, found.looks) == (40.0, 200, 1, 2)
    assert (found.ttft_p50, found.itl_p95, found.good_per_s) == (1.0, 0.2, None)
    assert (found.held.throttled, found.held.most, found.held.kept) == (2, 50.0, True)
    assert found.marks() == ["rate limit", "mean of 2"]
    assert both(made(1, 0.0, seconds=0.0), made(1, 0.0, seconds=0.0)).answers_per_s == 0.0


def test_a_step_that_was_spoilt_takes_nothing_from_its_double() -> None:
    """Whichever of them came first."""
    fair, spoilt = made(4, 10.0), made(4, 2.0, held=Held(elapsed=10.0, away=9.0))
    assert both(fair, spoilt) == both(spoilt, fair) == fair
