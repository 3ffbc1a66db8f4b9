"""Holds the backoff to its bounds."""

from __future__ import annotations

import random

import pytest

from batcher.policy.doubling import doubled
from batcher.policy.retry import RetryPolicy


@pytest.mark.parametrize(
    ("times", "found"), [(-1, 0.25), (0, 0.5), (3, 4.0), (8.0, 60.0), (1024.0, 60.0), (10**9, 60.0)]
)
def test_what_is_doubled_stays_within_its_bound(times: float, found: float) -> None:
    """However often: 2.0**1024 is beyond a float."""
    assert doubled(0.5, times, 60.0) == found


@pytest.mark.parametrize(
    ("counted", "ceiling"),
    [(1, 0.5), (2, 1.0), (3, 2.0), (4, 4.0), (8, 60.0), (40, 60.0), (5000, 60.0)],
)
def test_a_delay_lies_between_nothing_and_its_ceiling(counted: int, ceiling: float) -> None:
    """Full jitter: uniform from 0 to the doubling, capped ceiling, using the whole of it."""
    policy, rng = RetryPolicy(base=0.5, cap=60.0), random.Random(1)
    delays = [policy.delay(counted, rng) for _ in range(500)]
    assert 0 <= min(delays) < ceiling * 0.05
    assert ceiling * 0.95 < max(delays) <= ceiling


@pytest.mark.parametrize(("episode", "ceiling"), [(1, 1.0), (2, 2.0), (5, 16.0), (9, 16.0), (5000, 16.0)])
def test_a_throttle_holds_at_least_half_its_ceiling(episode: int, ceiling: float) -> None:
    """A gate that opened at once would provoke the next refusal."""
    policy, rng = RetryPolicy(throttle_base=1.0, throttle_cap=16.0), random.Random(2)
    delays = [policy.throttle_delay(episode, rng) for _ in range(500)]
    assert ceiling / 2 <= min(delays) < ceiling * 0.55
    assert ceiling * 0.95 < max(delays) <= ceiling


@pytest.mark.parametrize(("times", "ceiling"), [(1, 1.0), (2, 2.0), (3, 2.0), (5000, 2.0)])
def test_a_call_that_is_refused_among_others_waits_a_second_or_two(times: int, ceiling: float) -> None:
    """However often: at the end of a run the last calls are those that chance was hardest on."""
    policy, rng = RetryPolicy(throttle_base=1.0, lone_cap=2.0), random.Random(2)
    delays = [policy.lone_delay(times, rng) for _ in range(500)]
    assert ceiling / 2 <= min(delays) < max(delays) <= ceiling


def test_the_same_dice_give_the_same_delays() -> None:
    """Nothing but the given generator is drawn from."""
    policy = RetryPolicy()
    first, second = ([policy.delay(n, rng) for n in range(1, 9)] for rng in (random.Random(3), random.Random(3)))
    assert first == second


@pytest.mark.parametrize(
    ("retries", "counted", "allowed"), [(4, 4, True), (4, 5, False), (0, 1, False), (0, 0, True), (1, 1, True)]
)
def test_retries_count_the_attempts_after_the_first(retries: int, counted: int, allowed: bool) -> None:  # noqa: FBT001 - a column of the table
    """With N retries a call may use up N attempts and have one more."""
    assert RetryPolicy(retries=retries).allows(counted) is allowed
