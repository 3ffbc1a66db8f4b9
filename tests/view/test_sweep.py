"""Which concurrency a sweep tries, where its knee is, and how that is shown: tables of numbers."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING

import pytest
from view.test_steps import made

from batcher.view.curve import as_dict, curve, spent, table, verdict
from batcher.view.steps import Held, Point, both
from batcher.view.sweep import (
    beside,
    best_pack,
    best_under_slo,
    contenders,
    doubled,
    is_contender,
    knee,
    middles,
    rate_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from batcher.view.steps import Slo


def swept(rate: Callable[[int], float], most: int = 64) -> list[Point]:
    """All the points of a sweep over a server whose throughput is known."""
    points: list[Point] = []
    while (level := doubled(points, most)) is not None:
        points.append(made(level, rate(level)))
    return points + [made(level, rate(level)) for level in middles(points)]


def slots(n: int) -> Callable[[int], float]:
    return lambda level: 10.0 * min(level, n)


def saturating(half: float) -> Callable[[int], float]:
    return lambda level: 600.0 * level / (level + half)


def thrashing(best: int) -> Callable[[int], float]:
    return lambda level: 10.0 * level if level <= best else 10.0 * best * 0.8


@pytest.mark.parametrize(
    "rate",
    [*map(slots, range(1, 70)), *map(saturating, (0.1, 1.0, 5.0, 10.0, 40.0)), *map(thrashing, (1, 2, 4, 8, 16))],
)
def test_the_knee_is_within_a_twentieth_of_the_best(rate: Callable[[int], float]) -> None:
    """Of all fixed concurrencies that might have been tried."""
    found = knee(swept(rate))
    assert found is not None
    assert found.answers_per_s >= 0.95 * max(map(rate, range(1, 65))) - 1e-9


def flat_from_two(level: int) -> float:
    """As a llama.cpp server on two cores has it: most is there with two in flight, and a bit more with six."""
    return {1: 38.0, 2: 45.0, 3: 47.0, 4: 47.5, 5: 48.0}.get(level, 49.0)


@pytest.mark.parametrize(
    ("rate", "share"),
    [(slots(4), 1.0), (slots(16), 1.0), (saturating(1.0), 0.9), (saturating(40.0), 0.95), (flat_from_two, 0.97)],
)
def test_the_knee_is_found_in_noise(rate: Callable[[int], float], share: float) -> None:
    """Steps that differ by 3 % by chance (a standard deviation) cost no more than a twentieth in so many of 300 sweeps.

    Named by one look and 95 %, it was 0.77 of them on a curve that rises slowly, and 0.86 on llama.cpp's.
    """
    chance = Random(11)

    def measured(level: int) -> Point:
        return made(level, rate(level) * chance.gauss(1.0, 0.03))

    best, near, sweeps = max(map(rate, range(1, 65))), 0, 300
    for _ in range(sweeps):
        points: list[Point] = []
        while (level := doubled(points, 64)) is not None:
            points.append(measured(level))
        points += [measured(level) for level in middles(points)]
        for first in contenders(points, {}):
            again = measured(first.concurrency)
            points = [both(point, again) if point.way == again.way else point for point in points]
        found = knee(points)
        assert found is not None
        near += rate(found.concurrency) >= 0.95 * best
    assert near >= share * sweeps


@pytest.mark.parametrize(
    ("points", "slo", "again"),
    [
        ([(1, 50), (2, 91), (4, 98), (8, 100)], {}, [8, 4, 2]),  # the best, the knee, and what is close
        ([(1, 50), (2, 89), (4, 98), (8, 100)], {}, [8, 4]),
        ([(1, 50), (2, 100), (4, 89)], {}, []),  # nothing comes close
        ([(1, 10)], {}, []),
        ([], {}, []),
        ([(1, 100), (2, 95), (4, 92)], {}, []),  # less with more in flight: the best is the least as well
    ],
)
def test_what_is_measured_twice(points: list[tuple[int, float]], slo: Slo, again: list[int]) -> None:
    """Those between which the choice lies, most in flight first."""
    assert [point.concurrency for point in contenders([made(*point) for point in points], slo)] == again


def test_auto_is_measured_twice_where_it_would_be_chosen() -> None:
    """Not where a number is as good, where what is in time chooses, or where a rate limit is met."""
    points = [made(4, 100.0, good_per_s=90.0), made(8, 101.0, good_per_s=0.0)]
    assert is_contender(made(6, 110.0), points, {})
    assert not is_contender(made(6, 105.0), points, {})
    assert not is_contender(made(6, 110.0), points, {"ttft": 1.0})
    assert is_contender(made(6, 110.0), [made(4, 100.0, good_per_s=0.0)], {"ttft": 1.0})
    assert not is_contender(made(6, 110.0, held=Held(throttled=1)), points, {})


def test_what_is_not_measured_twice() -> None:
    """A rate limit would be met again; a step that an outage has spoilt is no contender; in time is what counts."""
    limited = made(4, 100.0, held=Held(throttled=1))
    assert contenders([made(2, 96.0), limited], {}) == [made(2, 96.0)]
    away = made(8, 120.0, held=Held(elapsed=10.0, away=5.0))
    assert contenders([made(2, 50.0), made(4, 100.0), away], {}) == []
    in_time = [made(1, 10.0, good_per_s=9.5), made(2, 20.0, good_per_s=10.0), made(4, 40.0, good_per_s=1.0)]
    assert [point.concurrency for point in contenders(in_time, {"ttft": 1.0})] == [2, 1]
    none = [made(1, 10.0, good_per_s=0.0), made(2, 10.2, good_per_s=0.0)]
    assert [point.concurrency for point in contenders(none, {"ttft": 1.0})] == [2, 1]


def test_the_knee_is_no_more_than_needed() -> None:
    """Beyond slots more in flight only wait: half as many more than there are is the most that is said."""
    for n in range(1, 50):
        found = knee(swept(slots(n)))
        assert found is not None
        assert found.concurrency <= max(n, 1.5 * n)


@pytest.mark.parametrize(
    ("points", "most", "then"),
    [
        ([], 64, 1),
        ([(1, 10)], 64, 2),
        ([(1, 10)], 1, None),
        ([(1, 10), (2, 20), (4, 40)], 6, 6),
        ([(1, 10), (2, 20), (4, 40), (6, 60)], 6, None),
        ([(1, 10), (2, 10)], 64, 4),  # one may have had bad luck
        ([(1, 10), (2, 10), (4, 10.4)], 64, None),
        ([(1, 10), (2, 10), (4, 11)], 64, 8),
        ([(1, 0), (2, 0), (4, 0)], 64, 8),
    ],
)
def test_doubling(points: list[tuple[int, float]], most: int, then: int | None) -> None:
    """It goes on until two in a row bring no twentieth more, or to the most that is allowed."""
    assert doubled([made(*point) for point in points], most) == then


def test_a_rate_limit_ends_the_doubling() -> None:
    """More in flight bring no more requests a minute."""
    assert doubled([made(1, 5.0), made(2, 5.0, held=Held(throttled=3))], 64) is None


def test_middles_lie_beside_the_knee() -> None:
    """Between neighbours of which something lies between."""
    assert middles([made(1, 10), made(2, 20), made(4, 40), made(8, 60), made(16, 60), made(32, 60)]) == [6, 12]
    assert middles([made(1, 10), made(2, 10), made(4, 10)]) == []
    assert middles([made(1, 0.0, requests=0)]) == []


def test_what_was_spoilt_is_held_against_nothing() -> None:
    """Unless there is nothing else."""
    spoilt = made(8, 90.0, failed=50)
    assert knee([made(4, 40.0), spoilt]) == made(4, 40.0)
    assert knee([spoilt]) == spoilt
    assert knee([made(1, 0.0, requests=0)]) is None


def test_tokens_count_where_all_are_counted() -> None:
    """Long answers are no slower than short ones."""
    with_tokens = [made(1, 10.0, tokens_per_s=100.0), made(2, 9.0, tokens_per_s=200.0)]
    found = knee(with_tokens)
    assert found is not None
    assert (found.concurrency, rate_of(with_tokens)[1]) == (2, "tokens/s")
    assert rate_of([*with_tokens, made(4, 10.0)])[1] == "answers/s"


def test_under_an_slo_the_most_in_time_counts() -> None:
    """Throughput that comes too late is none."""
    points = [made(1, 10.0, good_per_s=10.0), made(2, 20.0, good_per_s=20.0), made(4, 40.0, good_per_s=3.0)]
    found = best_under_slo(points)
    assert found is not None
    assert found.concurrency == 2
    assert best_under_slo([made(1, 10.0, good_per_s=0.0)]) is None


def test_what_is_shown() -> None:
    """A row and a bar for each, the knee marked, `auto` below, and the line for the config file last."""
    points = [made(1, 10.0), made(4, 40.0, held=Held(throttled=1)), made(2, 20.0, held=Held(kept=False))]
    auto = made(4, 38.0)
    shown = list(table(points, auto, {}))
    assert [row.split()[0] for row in shown] == ["in", "1", "2", "4", "auto"]
    assert shown[2].endswith("rows again")
    assert shown[3].endswith("rate limit")
    bars = list(curve(points, auto))
    assert [bar.count("█") for bar in bars] == [10, 20, 40, 38]
    assert [bar.endswith("the knee") for bar in bars] == [False, False, True, False]
    words = list(verdict(points, auto, {}))
    assert words[-1] == "concurrency = 4"
    assert "auto: 38.0 answers/s, 95% of the most" in "\n".join(words)
    assert list(curve([made(1, 0.0, requests=0)], None)) == []
    none = "nothing was answered, so there is nothing to choose by"
    assert list(verdict([made(1, 0.0, requests=0, failed=3)], None, {})) == [none]
    slow = f"{none}; answers may take longer than a step (--seconds)"
    assert list(verdict([made(1, 0.0, requests=0)], None, {})) == [slow]


def test_what_is_told_of_a_sweep_that_did_not_see_the_end() -> None:
    """A knee at the most that was tried may be none."""
    assert any("--up-to" in line for line in verdict([made(1, 10.0), made(2, 20.0)], None, {}))
    near = [made(32, 480.0), made(48, 517.0), made(64, 537.0)]
    assert any("--up-to" in line for line in verdict(near, None, {}))
    assert list(verdict(near, made(256, 593.0), {}))[-1] == 'concurrency = "auto"'
    assert list(verdict(near, made(256, 550.0), {}))[-1] == "concurrency = 64"
    assert not any("--up-to" in line for line in verdict([made(1, 10.0), made(2, 10.1)], None, {}))
    limited = made(2, 20.0, held=Held(throttled=1))
    assert not any("--up-to" in line for line in verdict([made(1, 10.0), limited], None, {}))


def test_an_slo_chooses_the_line_for_the_config_file() -> None:
    """The knee is told beside it; an SLO that nothing kept to leaves it."""
    points = [made(1, 10.0, good_per_s=10.0), made(2, 20.0, good_per_s=1.0)]
    slo = {"ttft": 0.5}
    assert list(verdict(points, None, slo))[-1] == "concurrency = 1"
    found = as_dict(points, None, slo, "out.jsonl")
    assert (found["knee"], found["best_under_slo"], found["config"]) == (2, 1, "concurrency = 1")
    none = [made(1, 10.0, good_per_s=0.0, ttft_p50=0.6)]
    assert list(verdict(none, None, slo))[-2:] == ["in time (ttft ≤ 500 ms): none of the answers", "concurrency = 1"]


def test_an_slo_that_nobody_can_hold_says_why() -> None:
    """What comes in one piece has neither a TTFT nor gaps: embeddings, and answers that are not streamed."""
    point = made(1, 10.0, good_per_s=0.0, latency_p50=0.1)
    whole = "none of the answers, as all came in one piece, of which {} cannot be told"
    for slo, names in (({"ttft": 0.5}, "ttft"), ({"itl": 0.5, "latency": 1.0, "ttft": 1.0}, "itl and ttft")):
        assert list(verdict([point], None, slo))[-2].endswith(whole.format(names))
    assert list(verdict([point], None, {"latency": 0.05}))[-2].endswith(": none of the answers")


@pytest.mark.parametrize(
    ("cost", "unpriced", "told"),
    [
        (None, 0, []),
        (0.25, 0, ["cost of the sweep: 0.25"]),
        (0.25, 3, ["cost of the sweep: 0.25 and that of 3 answers whose price is not known"]),
        (None, 1, ["cost of the sweep: that of 1 answer whose price is not known"]),
    ],
)
def test_what_a_sweep_cost(cost: float | None, unpriced: int, told: list[str]) -> None:
    """As far as it is known; nothing without prices."""
    assert list(spent(cost, unpriced)) == told


def test_a_sweep_that_an_outage_has_spoilt_says_nothing() -> None:
    """Where the server was away in each step there is no knee, no number and no line for the config file."""
    away = Held(elapsed=10.0, away=5.0)
    points = [made(1, 10.0, held=away), made(2, 20.0, held=away), made(4, 0.0, requests=0)]
    assert (knee(points), best_under_slo(points)) == (None, None)
    words = list(verdict(points, made(4, 30.0), {}))
    assert len(words) == 1
    assert words[0].startswith("nothing was measured")
    assert as_dict(points, None, {}, "r.jsonl")["config"] is None
    assert knee([*points, made(8, 5.0)]) is not None  # one step in which it stayed tells something


def test_where_some_always_fail_the_rest_is_measured() -> None:
    """Rows that a server refuses each time are in all steps alike, and that is said."""
    points = [made(1, 10.0, failed=20), made(2, 20.0, failed=20)]
    assert (found := knee(points)) is not None
    assert found.concurrency == 2
    words = list(verdict(points, None, {}))
    assert "failed" in words[1]
    assert words[-1] == "concurrency = 2"


def test_packs_are_chosen_by_what_is_in_flight() -> None:
    """Of points that are as good the one with the fewest texts on the way, and both numbers are told."""
    points = [made(4, 100.0, pack=256), made(4, 97.5, pack=64), made(8, 98.0, pack=64), made(4, 40.0, pack=16)]
    assert best_pack(points) == 64
    assert (beside(64, [256, 16, 64]), beside(16, [16]), beside(None, [1, 2])) == ([16, 256], [], [])
    assert list(verdict(points, made(4, 90.0), {}))[-2:] == ["concurrency = 4", "pack = 64"]
    assert list(verdict(points, made(4, 120.0), {}))[-2:] == ['concurrency = "auto"', 'pack = "auto"']
    shown = list(table(points, made(4, 90.0), {}))
    assert shown[0].split()[2] == "pack"
    assert [row.split()[1] for row in shown[1:-1]] == ["16", "64", "64", "256"]
    found = as_dict(points, None, {}, "r.jsonl")
    assert (found["knee"], found["knee_pack"], found["config"]) == (4, 64, "concurrency = 4\npack = 64")


def test_of_equal_load_the_faster_is_chosen() -> None:
    """Few large packs and many small ones are as much on the way: what is measured again is what may be chosen."""
    packs = [
        replace(made(8, 97.5), pack=4), replace(made(4, 100.0), pack=8),
        replace(made(2, 91.0), pack=8), replace(made(1, 50.0), pack=8),
    ]  # fmt: skip
    found = knee(packs)
    assert found is not None
    assert found.way == (4, 8)
    assert [point.way for point in contenders(packs, {})] == [(4, 8), (2, 8)]
