"""What the adaptive limit reaches beside the best fixed number of calls in flight, on simulated servers.

Each server is tried from a cold start with every fixed number of a sweep and with the adaptive limit, with the same
jobs in the same order, through the real scheduler on a virtual clock. Goodput is tokens of complete answers. The best
fixed number is the smallest within 0.5 % of the highest goodput: more in flight would only queue. Exits with 1 if a
target is missed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that it runs as a script, as `make bench-pace` does

from support.virtualload import first_p95, play
from support.virtualscenes import OTHERS, SHORT, TARGETS

from batcher.policy.limit.concurrency import AdaptiveLimit
from batcher.policy.limit.fixed import FixedLimit

if TYPE_CHECKING:
    from support.virtualload import Load
    from support.virtualscenes import Scene

SWEEP = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 48, 63, 64, 65, 127, 128, 129, 255, 256)
TIE = 0.995
HEAD = f"{'server':28} {'goodput':>8} {'best':>8} {'at':>4} {'ratio':>6} {'worst':>6}"
FIRSTS = f"{'TTFT p95':>8} {'best':>6} {'ratio':>6}"


def runs(scene: Scene, fixed: int | None = None) -> list[Load]:
    return [
        play(
            FixedLimit(fixed) if fixed else AdaptiveLimit(start=scene.start),
            scene.serve,
            scene.work,
            seed,
            scene.seconds,
        )
        for seed in range(scene.seeds)
    ]


def mean(loads: list[Load]) -> float:
    return sum(load.goodput() for load in loads) / len(loads)


def compare(scene: Scene) -> bool:
    """Print a line; true if the targets are met."""
    sweep = {fixed: runs(scene, fixed) for fixed in SWEEP if fixed <= scene.upto}
    highest = max(map(mean, sweep.values()))
    best = next(fixed for fixed, loads in sweep.items() if mean(loads) >= TIE * highest)
    adaptive = runs(scene)
    ratio = mean(adaptive) / highest
    worst = min(load.goodput() / other.goodput() for load, other in zip(adaptive, sweep[best], strict=True))
    first, usual = first_p95(adaptive), first_p95(sweep[best])
    levels = [level for load in adaptive for level in load.allowed_between(scene.seconds / 2, scene.seconds)]
    missed = ratio < scene.goodput or (scene.first is not None and first > scene.first * usual)
    print(
        f"{scene.name:28} {mean(adaptive):8.0f} {highest:8.0f} {best:4} {ratio:6.3f} {worst:6.3f}  "
        f"{first:8.2f} {usual:6.2f} {first / usual:6.1f}  {min(levels):3}..{max(levels):<3} "
        f"{sum(load.throttled for load in adaptive) // len(adaptive):5}{'  MISSED' if missed else ''}",
        flush=True,
    )
    return not missed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="servers whose name contains this")
    parser.add_argument("--targets", action="store_true", help="leave out what has no target of its own")
    arguments = parser.parse_args()
    print(f"{HEAD}  {FIRSTS}  in flight  429s")
    scenes = TARGETS + SHORT if arguments.targets else TARGETS + SHORT + OTHERS
    met = [compare(scene) for scene in scenes if arguments.only in scene.name]
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
