"""Holds what closes and opens the way to an endpoint, on a clock of plain numbers."""

from __future__ import annotations

import math

import pytest

from batcher.model import Call
from batcher.policy.breaker import FIRST_COOLDOWN, LAST_S, Breaker


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
    breaker.sent(probe)
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
        breaker.sent(probe)
        breaker.unreachable(probe, now)
    assert gaps == [0.5, 1.0, 2.0, 4.0, 4.0, 4.0]


def test_a_server_may_be_away_for_as_long_as_patience_is() -> None:
    """A week of probes, each at the cap from the last."""
    breaker, now = down_since(0.0, first_patience=1e9), 0.0
    for _ in range(2000):
        now, probe = breaker.opens(), a_call()
        breaker.sent(probe)
        breaker.unreachable(probe, now)
    assert breaker.opens() == now + 30.0


def test_stragglers_of_an_outage_change_nothing() -> None:
    """Calls sent before the outage was known neither lengthen the cooldown nor replace the probe that is out."""
    breaker, probe, straggler = down_since(0.0), a_call(), a_call()
    breaker.unreachable(straggler, 0.1)
    assert breaker.opens() == FIRST_COOLDOWN
    breaker.sent(probe)
    breaker.unreachable(straggler, 0.7)
    assert breaker.opens() == math.inf
    breaker.unanswered(straggler)
    assert breaker.opens() == math.inf


def test_a_probe_that_tells_nothing_makes_way_for_another() -> None:
    """A probe that ended here, for want of sockets, must not block the run for ever."""
    breaker, probe = down_since(0.0), a_call()
    breaker.sent(probe)
    breaker.unanswered(probe)
    assert breaker.opens() == FIRST_COOLDOWN
    assert breaker.is_down


def test_an_answer_resets_the_cooldown() -> None:
    """The next outage begins with the first cooldown again."""
    breaker = down_since(0.0)
    for now in (1.0, 2.0, 4.0):
        probe = a_call()
        breaker.sent(probe)
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


def test_after_the_end_of_patience_probes_go_on_at_their_pace() -> None:
    """Where another server keeps the run alive, one that was given up is asked now and then, never without pause."""
    breaker, now = down_since(0.0, first_patience=15.0), 0.0
    for _ in range(20):
        now = breaker.opens()
        probe = a_call()
        breaker.sent(probe)
        breaker.unreachable(probe, now)
        assert breaker.opens() > now
    assert breaker.gives_up(now)
    assert now > 200.0


@pytest.mark.parametrize(
    ("was_heard", "expected"), [(True, [0.5, 1.0, 2.0, 4.0, 4.0, 4.0]), (False, [0.5, 1.0, 1.0, 1.0, 1.0, 1.0])]
)
def test_where_somebody_hangs_up_probes_go_on_often(was_heard: bool, expected: list[float]) -> None:  # noqa: FBT001 - a column of the table
    """It may be well, and hang up on the probe for its own sake; from the start that is to be known soon."""
    breaker, now, gaps = down_since(0.0, first_patience=1e6), 0.0, []
    breaker.ever_answered, breaker.patience = was_heard, 1e6
    for _ in range(6):
        gaps.append(breaker.opens() - now)
        now = breaker.opens()
        probe = a_call()
        breaker.sent(probe)
        breaker.unreachable(probe, now, is_hung_up=True)
    assert gaps == expected


def test_who_is_asked_while_a_probe_hangs_is_asked_ever_less_often() -> None:
    """What broke off beside the probe has it asked whether anybody is there: a gateway says no within milliseconds."""
    breaker, probe = down_since(0.0, first_patience=1e6), a_call()
    breaker.ever_answered, breaker.patience = True, 1e6
    breaker.sent(probe)
    breaker.is_doubted, now, gaps = True, breaker.held_until, []
    for _ in range(6):
        breaker.told(now, 1.0, is_there=False)
        gaps.append(breaker.held_until - now)
        now = breaker.held_until
        assert breaker.opens() == math.inf
    assert gaps == [1.0, 2.0, 4.0, 4.0, 4.0, 4.0]
    assert breaker.probe is probe


def test_how_long_somebody_answers_and_does_nothing_else_is_counted_from_the_last_silence() -> None:
    """A server that was away for ten minutes is given its five after that, and all of patience before."""
    breaker = Breaker(ever_answered=True)
    breaker.unreachable(a_call(), 0.0, is_hung_up=True)
    breaker.is_doubted = True
    assert breaker.opens() == math.inf
    breaker.told(600.0, 1.0, is_there=False)
    assert not breaker.gives_up(899.0, LAST_S)
    assert breaker.gives_up(900.0, LAST_S)
    breaker.told(620.0, 1.0, is_there=True)
    assert breaker.opens() == 620.0
    assert breaker.is_down
    assert not breaker.gives_up(3599.0)
    assert breaker.gives_up(3600.0)
