"""Holds the adaptive limit to the best fixed one, through the real scheduler on simulated servers and a virtual clock.

`make bench-pace` has the whole table, with a sweep of fixed numbers and more seeds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.virtualdoor import Door
from support.virtualload import Load, Work, first_p95, play
from support.virtualscenes import OTHERS, SHORT, TARGETS
from support.virtualserver import Batching

from batcher.policy.limit.concurrency import AdaptiveLimit
from batcher.policy.limit.fixed import FixedLimit

if TYPE_CHECKING:
    from support.virtualscenes import Scene
    from support.virtualserver import Clock

SEEDS = 3
SWING = 3
"""How many times the lowest limit of the second half of a run the highest may be."""
STEADY = {scene.name for scene in TARGETS}


def mean(loads: list[Load]) -> float:
    return sum(load.goodput() for load in loads) / len(loads)


def holds(scene: Scene, seeds: int) -> None:
    adaptive, fixed = [], []
    for seed in range(seeds):
        limit = AdaptiveLimit(least=scene.least, start=scene.start)
        adaptive.append(play(limit, scene.serve, scene.work, seed, scene.seconds))
        fixed.append(play(FixedLimit(scene.best), scene.serve, scene.work, seed, scene.seconds))
    assert mean(adaptive) >= scene.goodput * mean(fixed)
    if scene.first is not None:
        assert first_p95(adaptive) <= scene.first * first_p95(fixed)
    for load in adaptive:
        levels = load.allowed_between(scene.seconds / 2, scene.seconds)
        assert min(level for _, level in load.trace) >= scene.least
        assert max(levels) <= SWING * min(levels) or scene.name not in STEADY


@pytest.mark.parametrize("scene", TARGETS, ids=lambda scene: scene.name)
def test_it_is_as_good_as_the_best_fixed_limit(scene: Scene) -> None:
    """From a cold start over five minutes, at no more than three times its wait where slots are few."""
    holds(scene, min(scene.seeds, SEEDS) if scene.upto < 256 else 1)


@pytest.mark.parametrize("scene", SHORT, ids=lambda scene: scene.name)
def test_it_is_found_within_ten_seconds(scene: Scene) -> None:
    """Answers of a tenth of a second on one slot, and batches that are filled at once."""
    holds(scene, SEEDS)


@pytest.mark.slow
@pytest.mark.parametrize("scene", OTHERS, ids=lambda scene: scene.name)
def test_it_does_well_elsewhere(scene: Scene) -> None:
    """Where prompts are mixed, nothing is told, capacity comes and goes, answers are whole, tiny or endless."""
    holds(scene, min(scene.seeds, SEEDS))


def test_it_follows_what_another_client_leaves() -> None:
    """Half of the slots go at 100 s and come back at 200 s: the limit goes down within the first of these."""
    scene = next(scene for scene in OTHERS if scene.name == "16 slots, 8 for a while")
    load = play(AdaptiveLimit(), scene.serve, scene.work)
    assert 14 <= max(load.allowed_between(60, 100)) <= 22
    assert max(load.allowed_between(180, 200)) <= 11


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_a_queue_is_not_learnt_as_usual_where_a_round_has_hundreds_of_answers(share: float) -> None:
    """Eight slots, answers of 25 ms: a round lasts a second, and the limit stays near what is served at once."""
    work = Work(prompt=40, tokens=20, sigma=0.2, exact=True, trip_s=0.002)

    def serve(clock: Clock) -> Door:
        return Door(clock, Batching(clock, 8, 0.00125, 0.0, prompt_rate=1e6), share=share)

    load = play(AdaptiveLimit(), serve, work, seconds=18.0)
    assert 8 <= min(load.allowed_between(9.0, 18.0)) <= max(load.allowed_between(9.0, 18.0)) <= 16
