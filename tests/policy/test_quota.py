"""Holds the quota of retries to its prices: it slows down, and never stops anything for good."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.virtualrun import ODD, REFUSED, SICK, Run, call, calls, throttle

from batcher.policy.quota import RETRY, SIZE, SUCCESS, THROTTLED, TRICKLE, RetryQuota

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batcher.model import Call


def empty() -> RetryQuota:
    quota = RetryQuota()
    quota.opens(0.0, 0.0)
    quota.spend(call(), SIZE)
    return quota


def test_a_full_quota_opens_at_once() -> None:
    """So many retries go before anything is slowed down."""
    quota = RetryQuota()
    for _ in range(int(SIZE / RETRY)):
        assert quota.opens(RETRY, 5.0) == 5.0
        quota.spend(call(), RETRY)
    assert quota.opens(RETRY, 5.0) > 5.0


@pytest.mark.parametrize(("price", "wait"), [(RETRY, RETRY / TRICKLE), (THROTTLED, THROTTLED / TRICKLE), (0.0, 0.0)])
def test_an_empty_quota_opens_with_time(price: float, wait: float) -> None:
    """About one retry a second goes when nothing succeeds; what costs nothing does not wait."""
    quota = empty()
    assert quota.opens(price, 0.0) == pytest.approx(wait)
    assert quota.opens(price, wait) == pytest.approx(wait)


def test_successes_fill_it() -> None:
    """A first try earns one, a retry its price back, and a retry that fails nothing; never more than there is room."""
    quota = empty()
    quota.earn(call())
    assert quota.left == 1.0
    again, lost = call(), call()
    for one in (again, lost):
        quota.spend(one, RETRY)
    quota.earn(again)
    quota.lose(lost)
    quota.earn(lost)
    assert quota.left == 1.0 + RETRY - 2 * RETRY + 1.0
    quota.opens(0.0, 1e6)
    quota.earn(call())
    assert quota.left == SIZE


def test_a_run_of_failures_slows_to_about_a_retry_a_second() -> None:
    """When everything fails, attempts come at the rate of the trickle, and each job still has all of its own."""
    work = calls(200)

    def arrives() -> Iterator[Call | None]:
        yield from work
        while any(one.counted < 5 for one in work):  # others may come
            yield None

    run = Run.of(arrives(), limit=8, retries=4).drain(lambda _: ODD)
    assert {one.counted for one in run.sent} == {5}
    assert run.now == pytest.approx((800 * RETRY - SIZE) / TRICKLE, rel=0.05)


def test_when_nothing_but_retries_is_left_they_take_nothing_from_anybody() -> None:
    """Where others were served, what is left ends after its own waits; where nearly all fail, the quota holds."""
    run = Run.of(calls(500), limit=8).drain(lambda one: SICK if one.jobs[0].seq % 5 == 2 else None)
    assert {one.counted for one in run.sent} == {0, 5}
    assert run.now < 15.0


def test_a_throttle_costs_less_and_a_server_that_is_away_nothing() -> None:
    """Being told to wait is no failure, and nobody bears what nobody hears."""
    run = Run.of(calls(4), limit=4, patience=1e9)
    for one in [run.send() for _ in range(4)]:
        run.end(one, throttle(1.0))
    run.send_when_due()
    assert run.scheduler.quota.left == SIZE - THROTTLED
    run = Run.of(calls(9), limit=9, patience=1e9)
    first, *others = [run.send() for _ in range(9)]
    for one in others:
        run.end(one)
    run.end(first, throttle(1.0))
    assert run.send_when_due() is first
    assert run.scheduler.quota.left == SIZE


def test_a_retry_that_failed_gets_nothing_back_when_the_next_one_cost_nothing() -> None:
    """It is sent again for nothing, as nobody was there, and succeeds: that earns as much as any success."""
    run = Run.of(calls(1))
    run.scheduler.quota.left = SIZE / 2
    run.end(run.send(), SICK)
    run.end(run.send_when_due(), REFUSED)
    one = run.send_when_due()
    before = run.scheduler.quota.left
    run.end(one)
    assert run.scheduler.quota.left == before + SUCCESS
