"""Holds refusals by lot apart from refusals by turns, by the runs in which they come."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given, strategies as st

from batcher.policy.pace.turns import REACH, Turns


def turns_of(refused: list[int]) -> Turns:
    turns = Turns()
    for number in refused:
        turns.add(number)
    return turns


@given(st.sets(st.integers(1, 300)), st.randoms(use_true_random=False))
def test_runs_are_counted_in_whatever_order_they_are_heard_of(refused: set[int], rng: random.Random) -> None:
    """As many as a look at all of them, in order, finds."""
    order = sorted(refused)
    rng.shuffle(order)
    runs = len(refused) - sum(after == before + 1 for before, after in pairwise(sorted(refused)))
    turns = turns_of(order)
    assert (turns.refused, turns.runs) == (len(refused), runs)


def test_what_is_overtaken_by_far_is_a_run_of_its_own() -> None:
    """Little is kept, however many there are."""
    assert turns_of([1, 2 + REACH, 2, 3 + REACH]).runs == 3
    assert turns_of([REACH, 1]).runs == 2


@pytest.mark.parametrize("share", [0.05, 0.1, 0.3, 0.5, 0.6])
def test_dice_look_like_dice(share: float) -> None:
    """Nearly always; in 370 tries once not."""
    seen = 0
    for seed in range(200):
        dice = random.Random(seed)
        refused = [number for number in range(1, 201) if dice.random() < share]
        seen += turns_of(refused).look_like_dice(200 - len(refused))
    assert seen >= 196


@pytest.mark.parametrize(
    ("refused", "granted"),
    [
        ([n for n in range(300) if n % 3 == 0], 200),
        ([n for n in range(300) if n % 2 == 0], 150),
        ([n for n in range(300) if n % 60 >= 50], 250),
        ([n for n in range(300) if n >= 250], 250),
        ([7], 100),
        ([], 100),
    ],
    ids=["every third", "every other", "ten in a row", "the last", "one", "none"],
)
def test_what_comes_by_turns_does_not(refused: list[int], granted: int) -> None:
    """A bucket that is empty, a window that is used up; of one or none nothing is said."""
    assert not turns_of(refused).look_like_dice(granted)
