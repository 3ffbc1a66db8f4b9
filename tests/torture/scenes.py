"""Plays all scenes of `support.scenes` by whole runs, and prints what came of each."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from support.sceneplay import play
from support.scenes import SCENES

if TYPE_CHECKING:
    from pathlib import Path
    from random import Random

    from torture.budget import Budget

AT_ONCE: Final = 3
"""They wait most of the time."""


def scenes(place: Path, budget: Budget, rng: Random) -> Counter[str]:
    """Play every scene. Raises AssertionError, after the last one, if any came out otherwise than it must."""
    chosen = [scene for scene in SCENES.values() if budget.spend()]
    rooms = {scene.name: place / f"scene{rng.randrange(10**9)}" for scene in chosen}
    figures: Counter[str] = Counter()
    failed = []
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for played in pool.map(lambda scene: play(scene, rooms[scene.name]), chosen):
            print(f"  {played}", flush=True)
            figures.update({"scenes": 1, "requests": played.requests, "results": played.results})
            failed += [f"{played.scene.name}: {', '.join(played.wrong)}"] if played.wrong else []
    assert not failed, "\n".join(failed)
    return figures
