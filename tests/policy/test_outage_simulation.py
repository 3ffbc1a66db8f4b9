"""Holds goodput, waste and recovery to figures while servers refuse, storm, restart and freeze, on a virtual clock."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
from support.virtualdoor import Door, every
from support.virtualload import Load, Work, play
from support.virtualrun import Run, calls
from support.virtualscenes import FAR, PLAIN, TOLD, WHOLE, batch, slots
from support.virtualserver import Hosted
from support.virtualworld import Box, World

from batcher.policy.limit.concurrency import AdaptiveLimit
from batcher.policy.limit.fixed import FixedLimit

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.virtualdoor import Spans
    from support.virtualserver import Clock, Server

    from batcher.policy.limit.fixed import Limit

BACK = 0.9
"""The part of the undisturbed rate of answers that counts as recovered."""
BACK_S = 30.0
WINDOW_S = 10.0


def unlimited(clock: Clock) -> Hosted:
    return Hosted(clock, per_minute=1e12, burst=1e12)


SERVERS: dict[str, tuple[Callable[[Clock], Server], Work, Callable[[], Limit]]] = {
    "4 slots": (slots(4), TOLD, AdaptiveLimit),
    "4 slots, 4 in flight": (slots(4), TOLD, lambda: FixedLimit(4)),
    "64 slots": (batch(64), PLAIN, AdaptiveLimit),
    "64 slots, whole answers, 64 in flight": (batch(64), WHOLE, lambda: FixedLimit(64)),
    "hosted, 16 in flight": (unlimited, FAR, lambda: FixedLimit(16)),
    "hosted, 64 in flight": (unlimited, FAR, lambda: FixedLimit(64)),
}
ASKED_IN_VAIN = {
    "64 slots": 0.1,
    "64 slots, whole answers, 64 in flight": 0.1,
    "hosted, 16 in flight": 0.14,
    "hosted, 64 in flight": 0.1,
}
"""The largest part of the requests that storms may refuse. A storm costs some 16, however few are answered."""


@cache
def undisturbed(name: str, seconds: float) -> Load:
    serve, work, limit = SERVERS[name]
    return play(limit(), serve, work, seconds=seconds)


def behind(name: str, seconds: float, **trouble: Any) -> tuple[Load, Door]:
    """A run of so many seconds, and the door before the server."""
    doors: list[Door] = []
    serve, work, limit = SERVERS[name]

    def guarded(clock: Clock) -> Door:
        doors.append(Door(clock, serve(clock), **trouble))
        return doors[0]

    return play(limit(), guarded, work, seconds=seconds), doors[0]


def check_back(load: Load, name: str, spans: Spans, seconds: float) -> None:
    """After each span, some window of ten seconds that ends within thirty has nine tenths of the usual answers."""
    usual = len([when for when, _ in undisturbed(name, seconds).ended if when >= WINDOW_S]) / (seconds - WINDOW_S)
    for _, over in spans:
        if over + BACK_S > seconds:
            continue
        starts = (over + step for step in range(int(BACK_S - WINDOW_S) + 1))
        most = max(sum(start <= when < start + WINDOW_S for when, _ in load.ended) for start in starts)
        assert most >= BACK * usual * WINDOW_S, (name, over, most, usual * WINDOW_S)


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5])
@pytest.mark.parametrize("name", SERVERS)
def test_a_share_of_503s_costs_little(name: str, share: float) -> None:
    """A server that says busy to some by lot, and answers the others, is used as if it did not."""
    load, door = behind(name, 300.0, share=share)
    assert door.refused >= share * 0.5 * len(load.ended)
    assert load.goodput() >= (0.94 if share == 0.5 else 0.98) * undisturbed(name, 300.0).goodput()


@pytest.mark.parametrize("hint", [None, 2.0, 5.0])
@pytest.mark.parametrize("code", ["busy", "rate_limited"])
@pytest.mark.parametrize("name", ASKED_IN_VAIN)
def test_storms_are_waited_out(name: str, code: str, hint: float | None) -> None:
    """Twenty seconds of each minute all are told to wait: few ask in vain, and it is soon as before."""
    storms = every(60.0, 20.0, 5)
    load, door = behind(name, 300.0, storms=storms, code=code, hint=hint)
    assert 0 < door.refused <= ASKED_IN_VAIN[name] * door.seen
    check_back(load, name, storms, 300.0)


@pytest.mark.parametrize("name", SERVERS)
def test_a_freeze_costs_no_more_than_it_lasts(name: str) -> None:
    """Ten seconds without a byte, each two minutes: nothing is asked twice, and the limit is what it was."""
    freezes = every(120.0, 10.0, 5)
    load, _ = behind(name, 600.0, frozen=freezes)
    assert load.throttled == 0
    assert load.goodput() >= (1 - 50 / 600) * 0.95 * undisturbed(name, 600.0).goodput()
    check_back(load, name, freezes, 600.0)


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize(("takes", "jobs"), [(1.0, 28_500), (4.0, 8_000)])
def test_restarts_every_thirty_seconds_for_ten_minutes(takes: float, jobs: int, adaptive: bool) -> None:  # noqa: FBT001 - a column of the table
    """Five seconds away each time, 64 in flight: no job lost, none blamed, at most two requests more a call cut off."""
    work = calls(jobs)
    run = Run.of(work, limit=64)
    if adaptive:
        run.lane.limit = AdaptiveLimit(least=1, most=64, start=64)
    restarts = every(30.0, 5.0, 40)
    world = World(run, Box(takes=takes, away=list(restarts))).play()
    assert 600.0 <= run.now <= 1.5 * jobs * takes / 64 * 30.0 / 25.0
    assert world.ended == jobs
    assert all(one.counted == 0 for one in work)
    met = sum(begin <= run.now for begin, _ in restarts)
    assert sum(world.requests.values()) - jobs <= 2 * 64 * met


@pytest.mark.parametrize(("takes", "period", "away"), [(2.0, 15.0, 3.0), (5.0, 30.0, 5.0), (10.0, 60.0, 10.0)])
def test_restarts_that_meet_the_same_calls_again_convict_none(takes: float, period: float, away: float) -> None:
    """Calls that were there twice are suspects, asked alone until the server breaks down without them."""
    jobs = 2_000
    run = Run.of(calls(jobs), limit=64)
    world = World(run, Box(takes=takes, away=list(every(period, away, 200)))).play()
    assert world.ended == jobs
    assert run.now < 2.5 * jobs * takes / 64 * period / (period - away)
