"""Plays the fault matrix: every fault in every way in which it applies, each cell a run of its own."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from support.faultcells import CELLS, play_all

if TYPE_CHECKING:
    import random
    from pathlib import Path

    from torture.budget import Budget


def fault_matrix(place: Path, budget: Budget, rng: random.Random) -> Counter[str]:
    """Play cells in any order. Raises AssertionError at a cell that comes out otherwise than the table says."""
    room = place / "matrix"
    room.mkdir()
    cells = [cell for cell in rng.sample(CELLS, len(CELLS)) if budget.spend()]
    figures: Counter[str] = Counter()
    for cell, played in play_all(cells, room, lambda: budget.late).items():
        assert isinstance(played, int), f"{cell}: {played}"
        figures += Counter({"cells": 1, "requests": played})
    return figures
