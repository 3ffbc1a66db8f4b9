"""Holds the policy to its promises through whole lives: jobs that always fail among healthy ones, by seed.

Nothing waits for ever, every healthy job is served in good time and none is blamed, what waits is bounded, and all
counters are at zero in the end. `make torture ARGS="--only 'lives of policy'"` plays many more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.virtuallives import KILLS, WAYS, Life, Played, check
from support.virtualrun import CUT, HOSTED, LATE, NATIVE, NO_KEY, NO_MODEL, SICK, Run, calls
from support.virtualworld import Box, World

from batcher.model import Api
from batcher.policy.judge import Verdict

if TYPE_CHECKING:
    from batcher.failures import Failure
    from batcher.model import Endpoint

LIVES = 250


@pytest.mark.parametrize("stretch", range(5))
def test_whatever_fails_nobody_else_is_held_up(stretch: int) -> None:
    """Groups, models, servers, cut limits, restarts, and jobs that fail in each way, by seed."""
    for seed in range(stretch * LIVES // 5, (stretch + 1) * LIVES // 5):
        try:
            check(seed)
        except AssertionError as error:
            raise AssertionError(f"the life of seed {seed}: {error}") from error


@pytest.mark.parametrize("seed", [7000413, 7001567, 7001670, 7001800, 8000777, 9803596])
def test_jobs_that_are_always_refused_are_no_rate(seed: int) -> None:
    """What a server grants is not measured by those that it refuses each time: nobody else would be slowed down."""
    check(seed)


@pytest.mark.parametrize(
    "seed",
    [
        *(9001402, 9106299, 9107020, 5000967),  # two models at once on Ollama, after an outage or a breakdown
        *(5002562, 5004027),  # the one that kills the server was the only probe
        *(302861, 300022, 301230),  # of a model that is held only those were asked that were sent before
        *(9100422, 9202736, 9300132, 9313525),  # what went down with the server was held against a model
        *(9203069, 9205186, 9205249),  # so many were asked alone that nobody else had a turn
        *(5002095, 5002166),  # one that was just ready spoke against those that broke off beside it
        *(9107275, 9109056, 9100650, 9101727, 9106101),  # one in five breaks off, and takes two seconds for it
        81019305,  # what was sent while those were heard that died together spoke against the last of them
        85009240,  # suspects that only fail were asked alone each time, before those that would be served
        82002259,  # eight were refused for good before anybody else could have an answer
        85014147,  # the first five of an input, and a server that is silent to them
        *(85014735, 85021426),  # three that failed within milliseconds were all the votes, and stayed so
        85021344,  # what broke down before a server had served anything was held against another model later
        86020434,  # those that break off had all their turns alone before others had their first
        604845374149,  # whom each flew beside that kills the server is asked alone
    ],
)
def test_lives_that_went_wrong_once(seed: int) -> None:
    """Each broke a promise before."""
    check(seed)


@pytest.mark.parametrize(
    "seed",
    [
        9611858,  # one that broke off long after others was taken for one of them
        9622283,  # those that break off were asked among each other for ten minutes
        85003634,  # the first that a model is asked for are told to wait each time: half a minute of that is no rate
    ],
)
def test_lives_that_went_wrong_where_nothing_takes_as_long_as_the_last(seed: int) -> None:
    check(seed, wobbles=True)


@pytest.mark.parametrize("retries", [0, 1, 4])
@pytest.mark.parametrize("limit", [1, 8])
@pytest.mark.parametrize("failure", [SICK, CUT, LATE, NO_KEY])
def test_nobody_is_blamed_where_nobody_was_ever_served(failure: Failure, limit: int, retries: int) -> None:
    """Three jobs and more, with as few tries as you like: all wait for the next run. Who is mute may be loading."""
    run = Run.of(calls(12), limit=limit, retries=retries)
    world = World(run, Box(takes=0.02, fate=lambda _call, _dice: failure)).play()
    assert not {Verdict.FAILED, Verdict.ENDED} & set(world.verdicts.values())
    assert run.scheduler.stop_failure is not None
    assert run.now <= (65.0 if failure is LATE else 20.0)


@pytest.mark.parametrize("failure", [NO_KEY, NO_MODEL])
@pytest.mark.parametrize("jobs", [1, 7, 40])
def test_what_is_refused_to_all_ends_within_a_short_patience(failure: Failure, jobs: int) -> None:
    """Eight have to be asked for that: with `--max-wait 1s` in a second or two, one at a time as well."""
    run = Run.of(calls(jobs), patience=1.0, first_patience=1.0)
    world = World(run, Box(takes=0.02, fate=lambda _call, _dice: failure)).play()
    assert not {Verdict.FAILED, Verdict.ENDED} & set(world.verdicts.values())
    assert run.now <= 5.0


@pytest.mark.parametrize("way", WAYS)
def test_one_job_in_five_that_always_fails(way: str) -> None:
    """Of 200 jobs of 20 ms, 8 in flight, the healthy ones are done in seconds, and each bad one has its error line."""
    life = Life(
        servers=[HOSTED], ways=[way if n % 5 == 2 else "" for n in range(200)], models=1, paths=1, limit=8, takes=0.02
    )
    played = Played(life).play()
    assert played.healthy_at() <= (25.0 if "Retry-After" in way else 10.0)
    assert sum(verdict is Verdict.ENDED for verdict in played.verdicts.values()) == 160
    assert sum(verdict is Verdict.FAILED for verdict in played.verdicts.values()) == 40


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("server", [HOSTED, NATIVE], ids=lambda one: str(one.api))
def test_one_job_of_forty_and_one_of_three(way: str, server: Endpoint) -> None:
    """It is found where there are many others, and where there are few."""
    for jobs, bad in ((40, 0), (40, 17), (40, 39), (3, 1)):
        life = Life(
            servers=[server], ways=[way if n == bad else "" for n in range(jobs)], models=1, paths=1, limit=4, takes=0.1
        )
        played = Played(life).play()
        assert played.verdicts[played.work[bad]] is Verdict.FAILED
        assert sum(verdict is Verdict.ENDED for verdict in played.verdicts.values()) == jobs - 1
        slow = 5.0 if server is NATIVE else 0.0
        assert played.healthy_at() <= 3 * jobs * 0.1 / 4 + slow + 3.0


@pytest.mark.parametrize("cut", [0.5, 3.0])
def test_two_models_and_a_limit_that_is_cut_while_many_wait(cut: float) -> None:
    """On Ollama retries of one model wait for their turn behind the other: none of them waits for ever."""
    ways = ["500" if n % 3 == 0 else "" for n in range(120)]
    life = Life(servers=[NATIVE], ways=ways, models=2, paths=1, limit=8, takes=0.02, cuts=((cut, 1),))
    played = Played(life).play()
    assert life.servers[0].api is Api.NATIVE
    assert set(played.verdicts.values()) == {Verdict.ENDED, Verdict.FAILED}


@pytest.mark.parametrize("retries", [0, 1, 4])
@pytest.mark.parametrize("limit", [2, 4, 8])
def test_whatever_flies_beside_one_that_kills_the_server_is_served(limit: int, retries: int) -> None:
    """Some break off, some are hung up on, some were just ready: it is never taken for their own fault."""
    for place in range(0, 30, 3):
        ways = [KILLS if n == place else "" for n in range(30)]
        life = Life(
            servers=[HOSTED], ways=ways, models=1, paths=1, limit=limit, takes=0.02, retries=retries, lot=limit + place
        )
        played = Played(life).play()
        fates = {one.jobs[0].seq: verdict for one, verdict in played.verdicts.items()}
        assert fates == {n: Verdict.FAILED if n == place else Verdict.ENDED for n in range(30)}, place


@pytest.mark.parametrize("lot", range(12))
def test_the_last_ones_that_are_hung_up_on_each_time_keep_no_run_waiting(lot: int) -> None:
    """The server was there when it hung up on them before: it is not waited for as one that has gone."""
    life = Life(
        servers=[HOSTED],
        ways=["hung up" if n % 5 == 2 else "" for n in range(200)],
        models=1,
        paths=1,
        limit=2,
        takes=0.02,
        retries=1 if lot % 2 else 4,
        lot=lot,
        wobbles=True,
    )
    played = Played(life).play()
    assert played.run.now <= 90.0
    assert set(map(played.verdicts.get, played.work)) == {Verdict.ENDED, Verdict.FAILED}


@pytest.mark.parametrize("way", ["cut", "crash"])
def test_what_breaks_off_among_others_that_do_is_soon_asked_alone(way: str) -> None:
    """Sixteen in flight, of which each breaks off: that nobody can tell whose fault it is costs no more than twice."""
    ways = [way if n % 5 == 2 else "" for n in range(300)]
    life = Life(servers=[HOSTED], ways=ways, models=3, paths=1, limit=16, takes=2.0, wobbles=True)
    played = Played(life).play()
    assert set(map(played.verdicts.get, played.work)) == {Verdict.ENDED, Verdict.FAILED}
    assert max(played.requests.values()) <= 16
