"""Holds who is blamed for a server that breaks down to its numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.virtualrun import (
    CRASH,
    CUT,
    GATEWAY,
    HUNG_UP,
    NATIVE,
    NO_KEY,
    NO_SOCKETS,
    ODD,
    REFUSED,
    SICK,
    Run,
    call,
    calls,
    throttle,
)

from batcher.policy.breakdown import AT_ONCE, Breakdown
from batcher.policy.suspects import Suspects

if TYPE_CHECKING:
    from batcher.failures import Failure


@pytest.mark.parametrize(("took", "others_until"), [(0.0, 10.0), (0.5, 11.0), (8.0, 26.0)])
def test_after_one_that_was_alone_the_others_go_for_twice_as_long(took: float, others_until: float) -> None:
    """Else a line of suspects that take their time would have the server for itself."""
    run = Run.of(calls(4), limit=4)
    run.fill()
    run.lane.solitary = run.sent[0]
    run.lane.frees(10.0 - took, 10.0)
    assert run.lane.solitary is None
    assert run.lane.shared_until == others_until


@pytest.mark.parametrize(("without", "needed"), [(0, 3), (1, 3), (2, 4), (4, 5), (20, 8)])
def test_one_that_is_asked_alone_is_convicted_the_later_the_more_breaks_down_without_it(
    without: int, needed: int
) -> None:
    """Three times, one more for every two breakdowns it had no part in, and never more than eight."""
    suspects, one = Suspects(), call()
    assert not suspects.broke_down_alone(one)
    for number in range(without):
        others = [call(2 * number + 1), call(2 * number + 2)]
        known = None
        for other in others:
            known = suspects.broke_down(other, [each for each in others if each is not other], known, 10.0 * number)
        assert known is not None
        assert known.is_collective
    verdicts = [suspects.broke_down_alone(one) for _ in range(needed - 1)]
    assert verdicts == [False] * (needed - 2) + [True]


@pytest.mark.parametrize(
    ("blamed", "failed", "is_collective"),
    [(0, 1, False), (0, 2, False), (0, 4, True), (2, 2, True), (3, 1, False), (4, 0, False)],
)
def test_a_breakdown_is_told_by_those_with_nothing_against_them(
    blamed: int,
    failed: int,
    is_collective: bool,  # noqa: FBT001 - a column of the table
) -> None:
    """Four are in flight. What has failed before may always do so; of the rest nearly all have to fail at once."""
    suspects, members = Suspects(), calls(4)
    for one in members[:blamed]:
        one.counted = 1
    known = None
    for one in members[: blamed + failed]:
        known = suspects.broke_down(one, [each for each in members if each is not one], known, 0.0)
    assert known is not None
    assert known.is_collective is is_collective
    later = suspects.broke_down(members[0], members[1:], known, AT_ONCE + 0.1)
    assert later is not known


def test_a_breakdown_that_most_have_survived_is_over() -> None:
    """Who breaks off then does so for another reason, and pays for nothing yet."""
    suspects, members = Suspects(), calls(5)
    first = suspects.broke_down(members[0], members[1:], None, 0.0)
    for one in members[:3]:
        first.lands(one, is_answered=one is not members[0])
    assert not first.is_witnessed
    assert first.takes(members[4], 0.1)
    first.lands(members[3], is_answered=True)
    assert first.is_witnessed
    assert suspects.broke_down(members[4], [], first, 0.1) is not first


@pytest.mark.parametrize(
    ("fates", "pays"),
    [
        ("x", False),  # nobody beside it: nobody can tell
        ("xs", True),
        ("xss", True),
        ("xsss", True),
        ("xs..", False),  # the others may still break off
        ("xss.", True),
        ("xsx", False),
        ("xssx", False),  # most had survived: it breaks off by itself, with nobody left beside it
        ("xsxx", False),
        ("xxs", False),
        ("xfs", False),
        ("xff", False),
        ("xg", False),
        ("xgs", True),  # what failed before tells nothing
        ("xggs", True),
        ("xggg", False),
    ],
)
def test_who_breaks_off_pays_when_most_of_the_others_are_served(fates: str, pays: bool) -> None:  # noqa: FBT001 - a column of the table
    """x breaks off, s is served, f is hung up on for the first time, g fails as it did before, . is in flight still."""
    suspects, members = Suspects(), calls(len(fates))
    for one, fate in zip(members, fates, strict=True):
        one.counted = fate == "g"
    known: Breakdown | None = None
    for number, (one, fate) in enumerate(zip(members, fates, strict=True)):
        if fate in "xfg":
            known = suspects.broke_down(one, members[number + 1 :], known, 0.0, is_free=fate == "f")
        if known is not None and fate != ".":
            known.lands(one, is_answered=fate == "s")
    assert known is not None
    assert known.is_witnessed == pays


@pytest.mark.parametrize(
    ("hung_up", "broken", "is_collective"), [(4, 0, False), (3, 1, True), (1, 3, True), (1, 1, False), (0, 4, True)]
)
def test_who_is_hung_up_on_for_the_first_time_belongs_to_a_breakdown_and_makes_none(
    hung_up: int,
    broken: int,
    is_collective: bool,  # noqa: FBT001 - a column of the table
) -> None:
    """Servers close connections that they keep; one that dies does so with those that it has said nothing on."""
    suspects, members = Suspects(), calls(4)
    known = None
    for number, one in enumerate(members[: hung_up + broken]):
        others = [each for each in members if each is not one]
        known = suspects.broke_down(one, others, known, 0.0, is_free=number < hung_up)
    assert known is not None
    assert known.is_collective is is_collective


def test_a_model_is_loaded_anew_after_the_server_was_away() -> None:
    """Where the probe shows that somebody is there, and not that the model is, one call goes before the others."""
    run = Run.of(calls(60), NATIVE, limit=16)
    run.end(run.send())
    for one in [run.send() for _ in range(16)]:
        run.end(one, CRASH)
    assert run.lane.breaker.is_down
    run.end(run.send_when_due(), ODD)
    assert not run.lane.breaker.is_down
    run.now += 10.0
    assert run.fill() == 1


def test_a_model_is_loaded_anew_after_nobody_was_there() -> None:
    """Who answers after connections were refused may have been started anew, and has nothing loaded."""
    run = Run.of(calls(60), NATIVE, limit=16)
    run.end(run.send())
    run.end(run.send(), REFUSED)
    assert run.lane.breaker.is_down
    run.end(run.send_when_due(), ODD)
    assert not run.lane.breaker.is_down
    run.now += 10.0
    assert run.fill() == 1


def test_who_is_hung_up_on_as_others_break_off_was_there_as_well() -> None:
    """Three have had nothing yet, the fourth was in the middle: the server broke down under all, and none pays."""
    run = Run.of(calls(4), limit=4, retries=0)
    flying = [run.send() for _ in range(4)]
    for one in flying[:3]:
        run.end(one, HUNG_UP)
    assert not run.lane.breaker.is_down
    run.end(flying[3], CUT)
    assert run.lane.breaker.is_down
    assert not any(one.counted for one in flying)


def test_what_is_sent_while_those_are_heard_that_died_together_tells_nothing() -> None:
    """One had just crashed by itself, and the one in its place died with the others: those sent since are served."""
    run = Run.of(calls(30), limit=6, retries=0)
    for _ in range(16):
        run.end(run.send())
    flying = [run.send() for _ in range(6)]
    run.end(flying[0], CRASH, after=1.0)
    flying.append(run.send())
    late = []
    for one in flying[1:4]:
        run.end(one, CUT, after=0.001)
        late.append(run.send())
    for one in (flying[6], *flying[4:6]):
        run.end(one, CUT, after=0.001)
    for one in late:
        run.end(one)
    assert not any(one.counted for one in flying[1:])


def test_who_was_alone_once_comes_first_and_who_was_often_last() -> None:
    """It may have met an outage. One that has not done it needs one turn; one that has would else have all before."""
    suspects = Suspects()
    a, b, c, d, e = (call(number, model=model) for number, model in enumerate("mnmnm"))
    for one, times in ((a, 2), (b, 3)):
        for _ in range(times):
            suspects.broke_down_alone(one)
    for one in (a, b, c, d, e):
        suspects.line_up(one)
    assert list(suspects.line) == [a, c, e, d, b]


@pytest.mark.parametrize(
    ("failure", "is_alone", "is_cleared"),
    [
        (SICK, True, True),
        (throttle(), True, True),
        (NO_KEY, True, True),
        (SICK, False, False),
        (CRASH, True, False),
        (CUT, True, False),
        (HUNG_UP, True, False),
        (GATEWAY, True, False),
        (REFUSED, True, False),
        (NO_SOCKETS, True, False),
    ],
)
def test_who_fails_alone_at_a_server_that_lives_is_a_suspect_no_longer(
    failure: Failure,
    is_alone: bool,  # noqa: FBT001 - a column of the table
    is_cleared: bool,  # noqa: FBT001 - a column of the table
) -> None:
    """Not who fails among others, and not who meets nobody, or a server that breaks off."""
    run = Run.of(calls(1))
    one = run.send()
    suspects = run.scheduler.suspects
    suspects.broke_down(one, [], None, 0.0)
    suspects.broke_down(one, [], None, 0.0)
    run.lane.solitary = one if is_alone else None
    run.end(one, failure)
    assert suspects.suspects(one, is_out_of_attempts=True) is not is_cleared
