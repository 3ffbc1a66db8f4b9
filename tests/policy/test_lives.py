"""Holds the policy to its promises through whole lives: jobs that always fail among healthy ones, by seed.

Nothing waits for ever, every healthy job is served in good time and none is blamed, what waits is bounded, and all
counters are at zero in the end. `make torture ARGS="--only 'lives of policy'"` plays many more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.virtuallives import WAYS, Life, Played, check
from support.virtualrun import HOSTED, NATIVE

from batcher.model import Api
from batcher.policy.judge import Verdict

if TYPE_CHECKING:
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


@pytest.mark.parametrize("seed", [7000413, 7001567, 7001670, 7001800, 8000777])
def test_jobs_that_are_always_refused_are_no_rate(seed: int) -> None:
    """What a server grants is not measured by those that it refuses each time: nobody else would be slowed down."""
    check(seed)


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
