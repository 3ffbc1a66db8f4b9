"""The benchmark: what a job and a streamed record cost the client in CPU, beside bare loops on the same server.

CPU is user and system time of the client process, the median of several turns taken in rotation. A run of one job is
measured as well and subtracted on all sides, so that a figure is what one more job or record costs. Every answer is
compared with what the server sent before its turn counts. Exits with 1 if a figure does not count.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that it runs as a script, as `make bench` does

from bench import start
from bench.case import IN_FLIGHT, cases
from bench.clients import BATCHER, BEST, PLAIN
from bench.measure import Side, compare, ratios
from bench.process import cores
from bench.table import Row, Target, table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bench.case import Case

COLUMNS = ("batcher", "plain", "best", "beside")


def cost(case: Case, turns: int) -> Row:
    """CPU a unit beside both bare loops."""
    sides = [Side.of(client, case) for client in (BATCHER, PLAIN, BEST)]
    compare(sides, turns)
    batcher, plain, best = sides
    return Row(
        f"{case.name}, a {case.unit}",
        "CPU µs",
        {side.name: median(side.micros()) for side in sides},
        ratios(batcher, plain),
        "of plain",
        Target(case.at_most) if case.at_most else None,
        next((side.trouble for side in sides if side.trouble), ""),
        {
            "jobs": case.jobs,
            "of_best": round(median(ratios(batcher, best)), 3),
            "start_cpu_s": {side.name: round(side.start_cpu, 4) for side in sides},
            "client_load": {side.name: round(side.load, 3) for side in sides},
            "server_load": {side.name: round(side.server_load, 3) for side in sides},
        },
    )


def measures(scale: float, turns: int) -> Mapping[str, Callable[[], Row]]:
    """All of them by name."""
    costs = {case.name: partial(cost, case, turns) for case in cases(scale)}
    return costs | {name: partial(measure, 2 * turns) for name, measure in start.MEASURES.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="3 turns instead of 5")
    parser.add_argument("--turns", type=int, help="how often each side runs")
    parser.add_argument("--scale", type=float, default=1.0, help="times the usual number of jobs")
    parser.add_argument("--only", default="", help="measures with this in their names")
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    arguments = parser.parse_args()
    turns = arguments.turns or (3 if arguments.quick else 5)

    rows = []
    for name, measure in measures(arguments.scale, turns).items():
        if arguments.only in name:
            rows.append(measure())
            print(f"{name}: {rows[-1].value:.3f} {rows[-1].held}", file=sys.stderr, flush=True)

    placed = "on cores of their own" if cores() else "NOT on cores of their own"
    print(f"Python {platform.python_version()}, {platform.machine()}; {turns} turns in rotation")
    print(f"{IN_FLIGHT} in flight; client and server {placed}\n\n{table(rows, COLUMNS)}")
    if arguments.json:
        figures = {"turns": turns, "pinned": bool(cores()), "rows": [row.as_json() for row in rows]}
        arguments.json.write_text(json.dumps(figures, indent=2, ensure_ascii=False) + "\n")
    return 1 if any(row.trouble for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
