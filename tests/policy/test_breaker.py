"""Holds what closes and opens the way to an endpoint, on a clock of plain numbers."""

from __future__ import annotations

import math

import pytest

from batcher.model import Call
from batcher.policy.breaker import (
    ASKING,
    DROPPED_CALLS,
    FAILED_CALLS,
    FAILING_COOLDOWN,
    FIRST_COOLDOWN,
    REFUSED_CALLS,
    Breaker,
)


def a_call() -> Call:
    return Call((), "/api/chat", b"{}", stream=True)


def down_since(now: float, *, first_patience: float = 15.0, cooldown_cap: float = 30.0) -> Breaker:
    breaker = Breaker(first_patience=first_patience, cooldown_cap=cooldown_cap)
    breaker.unreachable(a_call(), now)
    return breaker


def test_a_new_breaker_lets_everything_through() -> None:
    """Before anything is known, any time is past the time before which nothing may be sent."""
    assert Breaker().opens() == -math.inf
    assert not Breaker().gives_up(1e9)


def test_one_unreachable_attempt_closes_the_way_for_the_first_cooldown() -> None:
    """After a refused connection nothing is sent for half a second."""
    assert down_since(100.0).opens() == 100.0 + FIRST_COOLDOWN


def test_while_a_probe_is_out_nothing_else_may_go() -> None:
    """The server gets one call at a time until it answers."""
    breaker, probe = down_since(0.0), a_call()
    breaker.sent(probe, 1.0)
    assert breaker.opens() == math.inf
    breaker.answered()
    assert breaker.opens() <= FIRST_COOLDOWN
    assert not breaker.is_down


def test_probes_grow_rarer_up_to_the_cap() -> None:
    """Each probe in vain doubles the time to the next, up to the cap."""
    breaker, now, gaps = down_since(0.0, cooldown_cap=4.0, first_patience=1e6), 0.0, []
    for _ in range(6):
        gaps.append(breaker.opens() - now)
        now = breaker.opens()
        probe = a_call()
        breaker.sent(probe, now)
        breaker.unreachable(probe, now)
    assert gaps == [0.5, 1.0, 2.0, 4.0, 4.0, 4.0]


def test_stragglers_of_an_outage_change_nothing() -> None:
    """Calls sent before the outage was known neither lengthen the cooldown nor replace the probe that is out."""
    breaker, probe, straggler = down_since(0.0), a_call(), a_call()
    breaker.unreachable(straggler, 0.1)
    assert breaker.opens() == FIRST_COOLDOWN
    breaker.sent(probe, 1.0)
    breaker.unreachable(straggler, 0.7)
    assert breaker.opens() == math.inf
    breaker.unanswered(straggler)
    assert breaker.opens() == math.inf


def test_a_probe_that_tells_nothing_makes_way_for_another() -> None:
    """A probe that ended here, for want of sockets, must not block the run for ever."""
    breaker, probe = down_since(0.0), a_call()
    breaker.sent(probe, 1.0)
    breaker.unanswered(probe)
    assert breaker.opens() == FIRST_COOLDOWN
    assert breaker.is_down


def test_an_answer_resets_the_cooldown() -> None:
    """The next outage begins with the first cooldown again."""
    breaker = down_since(0.0)
    for now in (1.0, 2.0, 4.0):
        probe = a_call()
        breaker.sent(probe, now)
        breaker.unreachable(probe, now)
    breaker.answered()
    breaker.unreachable(a_call(), 50.0)
    assert breaker.opens() == 50.0 + FIRST_COOLDOWN


@pytest.mark.parametrize(
    ("answered", "now", "gives_up"),
    [(False, 114.9, False), (False, 115.0, True), (True, 115.0, False), (True, 400.0, True)],
)
def test_patience_before_and_after_the_first_answer(answered: bool, now: float, gives_up: bool) -> None:  # noqa: FBT001 - columns of the table
    """A server that was never there is waited for shorter than one that went away."""
    breaker = Breaker(patience=300.0, first_patience=15.0)
    if answered:
        breaker.answered()
    breaker.unreachable(a_call(), 100.0)
    assert breaker.gives_up(now) is gives_up


def test_the_last_probe_goes_when_patience_ends() -> None:
    """No cooldown reaches beyond the end of patience, so that a server back in time is found."""
    breaker = down_since(0.0, first_patience=0.3)
    assert breaker.opens() == 0.3
    assert breaker.gives_up(0.3)


def test_a_throttle_holds_for_as_long_as_it_says() -> None:
    """The longest of the waits asked for holds, whatever order they come in."""
    breaker = Breaker()
    breaker.throttled(10.0, 7.0)
    breaker.throttled(10.1, 2.0)
    assert breaker.opens() == 17.0
    assert not breaker.is_down


def test_refusals_while_the_endpoint_is_held_are_one_episode() -> None:
    """Sixty-four calls refused together count once; the next refusal after the gate opened counts again."""
    breaker = Breaker()
    for _ in range(64):
        assert breaker.episode(0.0) == 1
        breaker.refused(0.0, 64)
        breaker.throttled(0.0, 1.0)
    assert breaker.episode(0.5) == 1
    assert breaker.episode(1.0) == 2
    breaker.throttled(1.0, 1.0)
    assert breaker.episodes == 2
    breaker.served(1.5)
    assert breaker.episode(3.0) == 1


@pytest.mark.parametrize(
    ("delays", "gives_up"), [([299.0], False), ([301.0], True), ([100.0] * 3, False), ([100.0] * 4, True)]
)
def test_patience_with_refusals(delays: list[float], gives_up: bool) -> None:  # noqa: FBT001 - a column of the table
    """One long wait, or many short ones without a success between them, both end patience."""
    breaker, now = Breaker(patience=300.0), 0.0
    for delay in delays:
        breaker.refused(now, 1)
        breaker.throttled(now, delay)
        now = breaker.opens()
    assert breaker.gives_up(now) is gives_up


def test_a_success_between_refusals_renews_patience() -> None:
    """A server that throttles now and then is working."""
    breaker = Breaker(patience=300.0)
    for now in range(0, 2000, 100):
        breaker.refused(float(now), 1)
        breaker.throttled(float(now), 100.0)
        assert not breaker.gives_up(now)
        breaker.served(float(now))


def test_a_success_of_before_the_refusals_proves_nothing() -> None:
    """Calls that the server took before it began to refuse end well for a while; patience and episodes go on."""
    breaker = Breaker(patience=300.0)
    for now in (0.0, 100.0, 200.0, 300.0):
        breaker.refused(now, 1)
        breaker.throttled(now, 100.0)
        breaker.heard(-1.0)
        breaker.served(-1.0)
    assert breaker.episodes == 4
    assert breaker.gives_up(300.0)


@pytest.mark.parametrize(
    ("taken", "refused", "means_all"),
    [(0, REFUSED_CALLS - 1, False), (0, REFUSED_CALLS, True), (3, REFUSED_CALLS, True), (6, REFUSED_CALLS, False)],
)
def test_refusals_are_meant_for_all_when_nearly_all_are_refused(taken: int, refused: int, means_all: bool) -> None:  # noqa: FBT001 - columns of the table
    """Sixteen in a row, and four in five of the calls sent since the first of them. Then one a second may ask."""
    breaker = Breaker()
    for requests in range(1, refused + 1):
        breaker.refused(0.0, requests if requests == 1 else requests + taken)
    assert breaker.refuses_all is means_all
    breaker.sent(a_call(), 1.0)
    assert breaker.opens() == (1.0 + ASKING if means_all else -math.inf)
    breaker.heard(1.0)
    assert not breaker.refuses_all
    breaker.sent(a_call(), 5.0)
    assert breaker.opens() < 5.0


def test_hanging_up_on_enough_calls_is_an_outage() -> None:
    """One call that the server hangs up on again and again may be at fault; as many as this in a row are not."""
    breaker, poison = Breaker(), a_call()
    assert not any(breaker.hung_up(poison) for _ in range(10))
    others = [a_call() for _ in range(DROPPED_CALLS - 1)]
    assert [breaker.hung_up(call) for call in others] == [False] * (DROPPED_CALLS - 2) + [True]
    breaker.answered()
    assert not breaker.hung_up(poison)


def test_hanging_up_in_an_outage_belongs_to_it() -> None:
    """Once the server is known to be away, one hang-up is enough to know that it still is."""
    assert down_since(0.0).hung_up(a_call())


def failing_since(now: float) -> Breaker:
    breaker = Breaker()
    for _ in range(FAILED_CALLS):
        assert not breaker.is_down
        breaker.failed(a_call(), now)
    return breaker


def test_failing_on_enough_calls_is_an_outage() -> None:
    """Five calls that fail at the server's hands with nothing going well between them; one alone may be at fault."""
    breaker, poison = Breaker(), a_call()
    for _ in range(3 * FAILED_CALLS):
        breaker.failed(poison, 0.0)
    assert not breaker.is_down
    breaker.served(0.0)
    assert failing_since(100.0).opens() == 100.0 + FAILING_COOLDOWN


def test_probes_of_a_failing_server_grow_rarer_up_to_two_minutes() -> None:
    """Each answer that is a failure doubles the time to the next probe; `spread` makes it a little more or less."""
    breaker, now, gaps = failing_since(0.0), 0.0, []
    for _ in range(8):
        gaps.append(breaker.opens() - now)
        now = breaker.opens()
        probe = a_call()
        breaker.sent(probe, now)
        breaker.failed(probe, now)
    assert gaps == [2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 120.0, 120.0]
    probe = a_call()
    breaker.sent(probe, 1.0)
    breaker.failed(probe, now, 0.8)
    assert breaker.opens() == now + 120.0  # the gate that stands is not moved back


def test_a_failing_server_must_do_better_than_begin_to_answer() -> None:
    """The first content opens the way to a server that was not there, not to one that breaks its answers off."""
    away, failing = down_since(0.0), failing_since(0.0)
    for breaker, is_down in ((away, False), (failing, True)):
        breaker.sent(a_call(), 1.0)
        breaker.heard(1.0)
        assert breaker.is_down is is_down
    failing.served(1.0)
    assert not failing.is_down


def test_after_the_end_of_patience_probes_go_on_at_their_pace() -> None:
    """Where another server keeps the run alive, one that was given up is asked now and then, never without pause."""
    breaker, now = down_since(0.0, first_patience=15.0), 0.0
    for _ in range(20):
        now = breaker.opens()
        probe = a_call()
        breaker.sent(probe, now)
        breaker.unreachable(probe, now)
        assert breaker.opens() > now
    assert breaker.gives_up(now)
    assert now > 200.0


def test_the_spread_of_a_gate_does_not_count_against_patience() -> None:
    """A hint within patience is waited for, however the dice fall."""
    breaker = Breaker(patience=300.0)
    breaker.throttled(0.0, 299.0, 10.0)
    assert breaker.opens() == 309.0
    assert not breaker.gives_up(0.0)
