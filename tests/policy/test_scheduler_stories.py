"""Holds a whole run to its promises while servers restart, crash, refuse and flicker, on a clock of plain numbers."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from support.virtualrun import CRASH, CUT, HOSTED, HUNG_UP, NATIVE, NO_VECTORS, OTHER, SICK, Run, call, calls, throttle
from support.virtualworld import Box, World

from batcher.failures import Exit, Scope
from batcher.policy.judge import Verdict
from batcher.policy.limit.concurrency import AdaptiveLimit

if TYPE_CHECKING:
    from batcher.failures import Failure
    from batcher.model import Call


@pytest.mark.parametrize("adaptive", [False, True])
def test_a_restart_costs_each_call_in_flight_at_most_two_requests(adaptive: bool) -> None:  # noqa: FBT001 - a column of the table
    """Fifteen seconds away with 64 in flight: no job is lost, no attempt used, and 64 calls go at most twice more."""
    work = calls(2000)
    run = Run.of(work, limit=64)
    if adaptive:
        run.lane.limit = AdaptiveLimit(least=1, most=64, start=64)
    box = Box(away=[(21.0, 36.0)])
    world = World(run, box).play()
    assert world.ended == 2000
    assert box.peak == 64
    assert all(one.counted == 0 for one in work)
    again = [one for one in work if world.requests[one] > 1]
    assert 64 <= len(again) <= 64 + 8
    assert sum(world.requests.values()) - 2000 <= 2 * 64
    assert max(world.requests.values()) <= 1 + 3


def test_after_an_outage_a_server_is_given_a_quarter_and_then_ever_more() -> None:
    """One probe, then 16 of 64, and one more for each success until all is as before."""
    run = Run.of(calls(500), limit=64)
    for one in [run.send() for _ in range(64)]:
        run.end(one, CUT)
    assert run.lane.breaker.is_down
    probe = run.send_when_due()
    assert run.fill() == 0
    run.end(probe)
    assert (run.lane.allowed, run.fill()) == (17, 17)
    for ended, one in enumerate(run.sent[-17:], 18):
        run.end(one)
        assert run.lane.allowed == ended
    while run.lane.allowed < 64:
        run.end(run.send())
    run.end(run.send())
    assert run.lane.allowed == 64


def test_a_server_that_never_comes_back_leaves_everything_pending() -> None:
    """It was well for a while, then away longer than patience: exit 69, nothing failed."""
    work = calls(1000)
    run = Run.of(work, limit=8, patience=600.0)
    world = World(run, Box(away=[(50.0, 1e9)])).play()
    assert run.scheduler.stop_failure is not None
    assert run.scheduler.stop_failure.exit is Exit.UNAVAILABLE
    assert set(world.verdicts.values()) <= {Verdict.ENDED, Verdict.PENDING}
    assert 650.0 <= run.now <= 651.0


def test_one_of_two_servers_dies_and_costs_only_time() -> None:
    """Its calls go to the other at once, and the run ends well without it."""
    work = calls(400)
    run = Run.of(work, HOSTED, OTHER, limit=8, patience=30.0)
    dying, living = Box(HOSTED, away=[(21.0, 1e9)]), Box(OTHER)
    world = World(run, dying, living).play()
    assert world.ended == 400
    assert run.scheduler.stop_failure is None
    served_by_both, the_rest = 2 * 8 * 10, 400 - 2 * 8 * 10
    assert served_by_both
    assert run.now <= 20.0 + the_rest / 8 * 2.0 + 6.0
    assert all(one.counted == 0 for one in work)


def test_both_servers_away_for_too_long_end_the_run() -> None:
    """The run waits as long as one of them may still come back."""
    run = Run.of(calls(4000), HOSTED, OTHER, limit=2, patience=100.0)
    World(run, Box(HOSTED, away=[(10.0, 1e9)]), Box(OTHER, away=[(500.0, 1e9)])).play()
    assert run.scheduler.stop_failure is not None
    assert run.scheduler.stop_failure.exit is Exit.UNAVAILABLE
    assert 600.0 <= run.now <= 630.0


def test_a_job_that_kills_the_server_is_found_among_64() -> None:
    """It fails with the name of what it does; nobody else fails, and the server dies a bounded number of times."""
    work = calls(600)
    run = Run.of(work, limit=64, retries=2)
    box = Box(poison={work[70]})
    world = World(run, box).play()
    assert (world.verdicts[work[70]], world.codes[work[70]]) == (Verdict.FAILED, "crashes_server")
    assert world.ended == 599
    assert box.crashes <= 2 + 3 + 1  # among others, alone, and perhaps once as the probe
    assert run.scheduler.stop_failure is None


def test_several_that_kill_the_server_are_found_one_after_another() -> None:
    """Five among two hundred: five fail."""
    work = calls(200)
    poison = {work[number] for number in (0, 17, 18, 90, 199)}
    run = Run.of(work, limit=16, retries=1)
    world = World(run, Box(poison=poison)).play()
    assert {one for one, verdict in world.verdicts.items() if verdict is Verdict.FAILED} == poison
    assert world.ended == 195


@pytest.mark.parametrize("failure", [CUT, HUNG_UP])
def test_a_network_that_breaks_one_in_ten_does_not_serialise_the_run(failure: Failure) -> None:
    """Everything ends well, in less than twice the time that undisturbed calls would take."""

    def fate(_call: Call, dice: random.Random) -> Failure | None:
        return failure if dice.random() < 0.1 else None

    run = Run.of(calls(3000), limit=64)
    world = World(run, Box(fate=fate)).play()
    assert world.ended == 3000
    assert run.now < 2 * 3000 / 64 * 2.0


@pytest.mark.parametrize("failure", [throttle(code="busy"), SICK])
def test_a_server_that_refuses_every_other_call_loses_none(failure: Failure) -> None:
    """With half of all answers 503 or 500, no job is lost."""

    def fate(_call: Call, dice: random.Random) -> Failure | None:
        return failure if dice.random() < 0.5 else None

    run = Run.of(calls(500), limit=16, retries=20)
    world = World(run, Box(fate=fate)).play()
    assert world.ended == 500
    assert sum(world.requests.values()) < 500 * 2.5


def test_a_server_that_crashes_under_any_load_gets_its_jobs_one_by_one() -> None:
    """Whatever runs beside another is killed: no job is blamed for it, and each is answered alone."""

    run = Run.of(calls(20), limit=4, retries=0)

    def fate(_call: Call, _dice: random.Random) -> Failure | None:
        return CRASH if run.scheduler.in_flight > 1 else None

    world = World(run, Box(fate=fate)).play()
    assert world.ended == 20


class Fixed(random.Random):
    """Dice that always fall on so many seconds, where they may."""

    seconds = 0.0

    def uniform(self, a: float, b: float) -> float:
        return min(max(a, self.seconds), b)


@pytest.mark.parametrize(("backoff", "second"), [(0.0, "/api/embed"), (0.5, "/api/chat")])
def test_an_embedding_for_a_chat_model_costs_the_chat_nothing_whichever_goes_second(
    backoff: float, second: str
) -> None:
    """One at a time, and no answer before: whether it is asked again first is a matter of its backoff."""
    work = [call(0, path="/api/embed"), call(1, path="/api/chat")]
    run = Run.of(work, NATIVE)
    run.scheduler._judge.rng = dice = Fixed()
    dice.seconds = backoff
    run.drain(lambda one: NO_VECTORS if one.path == "/api/embed" else None)
    assert run.sent[1].path == second
    assert (run.sent.count(work[1]), run.scheduler.pending) == (1, 1)
    assert set(run.scheduler.refused) == {(Scope.MODEL_ON_PATH, "m at /api/embed")}
