"""The benchmark: what a job and a streamed record cost the client in CPU, beside a bare loop on the same server.

CPU is user and system time of the client process, the median of several turns taken in alternation. A run of one job is
measured as well and subtracted on both sides, so that a figure is what one more job or record costs; the CPU of the
start stands in a column of its own. Every answer is compared with what the server sent before its turn counts.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that it runs as a script, as `make bench` does

from bench.case import IN_FLIGHT, cases
from bench.measure import SIDES, Comparison, compare, cores, help_walls

TARGET = 1.6
"""CPU of batcher over CPU of the bare loop."""
HELP_TARGET = 2.5
"""Wall time of `batcher --help` over that of an interpreter that imports click."""
HEADINGS = ("what", "batcher µs", "bare µs", "ratio", "min-max", "≤", "start s", "server")


def as_json(comparison: Comparison) -> dict[str, Any]:
    case = comparison.case
    ratios = comparison.ratios()
    return {
        "name": case.name,
        "unit": case.unit,
        "jobs": case.jobs,
        "records_per_job": case.units_per_job if case.stream else None,
        "cpu_us": {side: round(comparison.micros(side), 3) for side in SIDES},
        "start_cpu_s": {side: round(comparison.sides[side].start_cpu, 4) for side in SIDES},
        "ratio": round(comparison.ratio, 3),
        "ratio_min": round(ratios[0], 3),
        "ratio_max": round(ratios[-1], 3),
        "target": TARGET,
        "server_load": {side: round(comparison.server_load(side), 3) for side in SIDES},
        "server_kept_up": comparison.server_kept_up,
    }


def row(comparison: Comparison) -> tuple[str, ...]:
    figures = as_json(comparison)
    cpu, start, load = figures["cpu_us"], figures["start_cpu_s"], figures["server_load"]
    return (
        f"{figures['name']}, a {figures['unit']}",
        f"{cpu['batcher']:.2f}",
        f"{cpu['bare']:.2f}",
        f"{figures['ratio']:.2f}",
        f"{figures['ratio_min']:.2f}-{figures['ratio_max']:.2f}",
        f"{TARGET}{'' if figures['ratio'] <= TARGET else '  OVER'}",
        f"{start['batcher']:.2f} / {start['bare']:.2f}",
        f"{max(load.values()):.0%}{'' if figures['server_kept_up'] else '  TOO SLOW'}",
    )


def measure_help(turns: int) -> dict[str, Any]:
    ours, theirs = help_walls(turns)
    ratios = sorted(a / b for a, b in zip(ours, theirs, strict=True))
    return {
        "wall_ms": {"batcher --help": round(1e3 * median(ours), 1), "import click": round(1e3 * median(theirs), 1)},
        "ratio": round(median(ratios), 3),
        "ratio_min": round(ratios[0], 3),
        "ratio_max": round(ratios[-1], 3),
        "target": HELP_TARGET,
    }


def help_sentence(figures: dict[str, Any]) -> str:
    ours, theirs = figures["wall_ms"].values()
    verdict = "" if figures["ratio"] <= HELP_TARGET else "  OVER"
    return (
        f"batcher --help {ours} ms, python -c 'import click' {theirs} ms: {figures['ratio']:.2f} times "
        f"({figures['ratio_min']:.2f}-{figures['ratio_max']:.2f}; ≤ {HELP_TARGET}{verdict})"
    )


def table(rows: list[tuple[str, ...]]) -> str:
    """Columns as wide as their widest cell; words to the left, figures to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        [
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        for cells in rows
    )
    return "\n".join("  ".join(line).rstrip() for line in lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="3 turns instead of 5")
    parser.add_argument("--turns", type=int, help="how often each side runs")
    parser.add_argument("--scale", type=float, default=1.0, help="times the usual number of jobs")
    parser.add_argument("--only", default="", help="cases with this in their names")
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    arguments = parser.parse_args()
    turns = arguments.turns or (3 if arguments.quick else 5)

    chosen = [case for case in cases(arguments.scale) if arguments.only in case.name]
    comparisons = []
    for case in chosen:
        print(f"{case.name}: {case.jobs} jobs, {turns} turns", end="", file=sys.stderr, flush=True)
        comparisons.append(compare(case, turns))
        print(f": {comparisons[-1].ratio:.2f}", file=sys.stderr)
    startup = measure_help(2 * turns)

    placed = "on cores of their own" if cores() else "NOT on cores of their own"
    print(f"CPU of the client, {IN_FLIGHT} in flight, {turns} turns, client and server {placed}")
    print(
        f"Python {platform.python_version()}, {platform.machine()}; start: CPU s of a run of one job, batcher / bare\n"
    )
    print(table([HEADINGS, *map(row, comparisons)]))
    print(f"\n{help_sentence(startup)}")
    if arguments.json:
        figures = {"turns": turns, "in_flight": IN_FLIGHT, "pinned": bool(cores()), "help": startup}
        figures["cases"] = [as_json(comparison) for comparison in comparisons]
        arguments.json.write_text(json.dumps(figures, indent=2, ensure_ascii=False) + "\n")
    return 0 if all(comparison.server_kept_up for comparison in comparisons) else 1


if __name__ == "__main__":
    sys.exit(main())
