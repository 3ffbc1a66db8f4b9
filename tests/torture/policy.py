"""Lives of the policy on a virtual clock, by seed: what fails holds nobody else up, and nothing waits for ever."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from support.virtuallives import Life, check

if TYPE_CHECKING:
    from pathlib import Path
    from random import Random

    from torture.budget import Budget


def lives_of_policy(_place: Path, budget: Budget, rng: Random) -> Counter[str]:
    """Live as many lives as the budget has turns; in one of three nothing takes as long as the last time.

    Raises AssertionError, with the seed, on a violation.
    """
    seen: Counter[str] = Counter()
    first = rng.randrange(2**40)
    print(f"lives of seeds {first} to {first + budget.turns - 1}", flush=True)
    while budget.spend():
        life = first + budget.spent - 1
        try:
            played = check(life, wobbles=life % 3 == 2)
        except AssertionError as error:
            raise AssertionError(f"the life of seed {life}: {error}") from error
        seen["lives"] += 1
        seen["jobs"] += len(played.work)
        seen["requests"] += played.requests.total()
        seen["jobs that always fail"] += sum(map(bool, Life.by(life).ways))
    return seen
