"""The benchmark: what a job and a streamed record cost the client in CPU, beside bare loops on the same server.

CPU is user and system time of the client process, the median of several turns taken in rotation. A run of one job is
measured as well and subtracted on all sides, so that a figure is what one more job or record costs. Every answer is
compared with what the server sent before its turn counts. Exits with 1 if a figure does not count.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that it runs as a script, as `make bench` does

from bench import memory, slots, start, streams
from bench.case import IN_FLIGHT, cases
from bench.clients import BATCHER, BEST, PLAIN
from bench.measure import Side, compare, ratios
from bench.table import Row, Target, report

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bench.case import Case

COLUMNS = ("batcher", "plain", "best", "beside")


def cost(case: Case, turns: int) -> list[Row]:
    """CPU a unit beside both bare loops."""
    sides = [Side.of(client, case) for client in (BATCHER, PLAIN, BEST)]
    compare(sides, turns)
    batcher, plain, best = sides
    return [
        Row(
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
    ]


def measures(arguments: argparse.Namespace) -> Mapping[str, Callable[[], list[Row]]]:
    """All of them by name. Those that take a minute a turn, and hardly vary, are done once if nothing else is said."""
    turns, once = arguments.turns or (3 if arguments.quick else 5), arguments.turns or 1
    sizes = (*memory.SIZES, memory.LARGE) if arguments.large else memory.SIZES
    return {
        **{case.name: partial(cost, case, turns) for case in cases(arguments.scale)},
        "streams": partial(streams.measure, turns, arguments.scale),
        "slots": partial(slots.measure, once, arguments.scale),
        "start: help": partial(start.help_text, 2 * turns),
        "start: run": partial(start.first_request, 2 * turns),
        "start: check": partial(start.check, 2 * turns),
        "memory": partial(memory.measure, once, tuple(max(2, round(jobs * arguments.scale)) for jobs in sizes)),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="3 turns instead of 5")
    parser.add_argument("--turns", type=int, help="how often each side runs; else slots and memory run once")
    parser.add_argument("--scale", type=float, default=1.0, help="times the usual number of jobs")
    parser.add_argument("--only", default="", help="measures with this in their names")
    parser.add_argument("--large", action="store_true", help=f"memory at {memory.LARGE:,} jobs too")
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    arguments = parser.parse_args()

    rows: list[Row] = []
    for name, measure in measures(arguments).items():
        if arguments.only in name:
            print(name, end=": ", file=sys.stderr, flush=True)
            found = measure()
            print(", ".join(f"{row.value:.3f} {row.held}" for row in found), file=sys.stderr, flush=True)
            rows += found

    return report(rows, COLUMNS, f"{IN_FLIGHT} in flight where nothing else is said", arguments.json)


if __name__ == "__main__":
    sys.exit(main())
