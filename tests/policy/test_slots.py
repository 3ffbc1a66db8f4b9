"""Slots that refuse what finds them taken: told from lot and from rates, and kept to."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from support.virtualdoor import Door
from support.virtualload import Work, play
from support.virtualserver import Batching

from batcher.policy.limit.concurrency import AdaptiveLimit
from batcher.policy.limit.slots import EVERY, FEW, MANY, Slots

if TYPE_CHECKING:
    from support.virtualserver import Clock


def told(*runs: tuple[int, int, bool]) -> int | None:
    """What is found at the last refusal, after so many calls beside so many others: granted, or refused."""
    slots, found = Slots(), None
    for times, beside, was_refused in runs:
        for _ in range(times):
            if was_refused:
                found = slots.refused(beside)
            else:
                slots.granted(beside)
    return found


@pytest.mark.parametrize(
    ("runs", "found"),
    [
        ([(FEW, 7, False), (MANY, 8, True)], 8),
        ([(FEW, 0, False), (MANY, 1, True)], 1),
        ([(FEW, 7, False), (MANY, 90, True)], 90),  # how many there are between is found out below that
        ([(FEW - 1, 7, False), (MANY, 8, True)], None),
        ([(FEW, 7, False), (MANY - EVERY, 8, True)], None),
        ([(FEW, 7, False), (MANY + 1, 8, True)], None),  # looked at each fourth time
        ([(FEW, 8, False), (MANY, 8, True)], None),
        ([(FEW, 9, False), (MANY, 8, True)], None),
        ([(MANY, 8, True)], None),
        ([(FEW, 7, False), (1, 9, False), (MANY, 8, True)], None),  # some found as many, and were granted
        ([(2 * FEW - 1, 7, False), (1, 9, False), (MANY, 8, True)], 8),
        ([(FEW, 7, False), (4, 3, True), (MANY, 8, True)], None),  # some found fewer, and were refused
        ([(FEW, 7, False), (3, 3, True), (2 * MANY - 3, 8, True)], 8),
        ([(2 * FEW, 9, False), (2 * FEW, 7, False), (MANY, 8, True)], 8),  # the first are long ago
    ],
)
def test_slots_are_told_by_what_was_granted_beside_fewer(runs: list[tuple[int, int, bool]], found: int | None) -> None:
    assert told(*runs) == found


@pytest.mark.parametrize("share", [0.05, 0.3, 0.5, 0.8, 0.95])
@pytest.mark.parametrize("most", [4, 64])
def test_lot_is_no_number_of_slots(share: float, most: int) -> None:
    """A share that is refused is refused beside few as beside many."""
    slots, rng = Slots(), random.Random(3)
    for _ in range(5_000):
        beside = rng.randrange(most)
        if rng.random() < share:
            assert slots.refused(beside) is None
        else:
            slots.granted(beside)


@pytest.mark.parametrize(
    ("count", "way", "hint"),
    [(1, "streamed", None), (2, "whole", 1.0), (8, "streamed", 1.0), (32, "whole", None), (100, "streamed", None)],
)
def test_slots_that_refuse_are_used_and_few_ask_in_vain(count: int, way: str, hint: float | None) -> None:
    """They are found within half a minute, whatever the server says of when to come back."""
    doors = []

    def serve(clock: Clock) -> Door:
        doors.append(Door(clock, Batching(clock, count, 0.02, 0.0, prompt_rate=1e5), full=count, hint=hint))
        return doors[-1]

    load = play(AdaptiveLimit(), serve, Work(tokens=20, sigma=0.3, trip_s=0.002, whole=way == "whole"), seconds=120.0)
    (door,) = doors
    assert max(load.allowed_between(30.0, 120.0)) <= 1.25 * count + 2
    assert door.refused <= 80 + 0.2 * door.seen, (door.refused, door.seen)
