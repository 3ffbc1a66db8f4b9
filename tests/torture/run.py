"""Tortures runs and their results file, and prints what it did and what came of it; ends at the first violation.

Each part is bounded in turns and in time, and takes its random numbers from --seed.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

sys.path.insert(0, str(Path(__file__).absolute().parents[1]))  # so that it runs as a script, as `make torture` does

from support.faultcells import CELLS
from support.scenes import SCENES
from torture.budget import Budget
from torture.fates import fates
from torture.fulldisk import full_disks
from torture.kills import kills
from torture.machine import lives
from torture.matrix import fault_matrix
from torture.outages import outages
from torture.policy import lives_of_policy
from torture.powercut import power_cuts, power_cuts_of_runs
from torture.rivals import rivals
from torture.scene import shelf
from torture.scenes import scenes
from torture.surgery import surgery, truncations
from torture.swaps import swaps
from torture.syscalls import syscalls
from torture.vectors import vectors

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    Part = Callable[[Path, Budget, random.Random], Counter[str]]

PARTS: Final[dict[str, tuple[Part, int]]] = {
    "kills": (kills, 200),
    "truncations": (truncations, 100_000),
    "surgery": (surgery, 20_000),
    "full disks": (full_disks, 20),
    "rivals": (rivals, 20),
    "swaps": (swaps, 80),
    "lives": (lives, 300),
    "power cuts": (power_cuts, 20_000),
    "power cuts of runs": (power_cuts_of_runs, 4_000),
    "syscalls": (syscalls, 600),
    "vectors": (vectors, 240),
    "fault matrix": (fault_matrix, len(CELLS)),
    "outages": (outages, 24),
    "lives of policy": (lives_of_policy, 20_000),
    "scenes": (scenes, len(SCENES)),
    "fates": (fates, 60),
}
"""What there is, and its turns when nothing else is said."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", choices=PARTS, help="this part alone; repeatable")
    parser.add_argument("--scale", type=float, default=1.0, help="times the usual number of turns")
    parser.add_argument("--seconds", type=float, default=300.0, help="at most so long for each part")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    arguments = parser.parse_args()
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # the server need not say that clients die
    print(f"seed {arguments.seed}", flush=True)
    with tempfile.TemporaryDirectory(dir=shelf(), prefix="torture-") as place:
        for name in arguments.only or PARTS:
            part, turns = PARTS[name]
            began = time.monotonic()
            budget = Budget(max(1, round(turns * arguments.scale)), arguments.seconds)
            figures = part(Path(place), budget, random.Random(f"{arguments.seed} {name}"))
            said = ", ".join(f"{what} {count}" for what, count in figures.items())
            print(f"{name}: {said}; 0 violations; {time.monotonic() - began:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
