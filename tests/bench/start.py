"""How long a command takes to start: until `--help` is written, and until the first request is at the server."""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from bench.answers import V1
from bench.case import Case
from bench.clients import BATCHER, BEST, PLAIN, batcher, server_options
from bench.measure import remove_results
from bench.process import load_server, run
from bench.table import Row, Target

if TYPE_CHECKING:
    from bench.process import LoadServer

HELP = Target(1.4)
"""Wall time over that of an interpreter that imports click."""
FIRST_REQUEST = Target(0.30)
"""Seconds."""
CASE = Case("one job", V1, jobs=1)


def help_text(turns: int) -> list[Row]:
    """Wall time of `batcher --help`; a first turn fills the caches."""
    commands = {"batcher": [*batcher(), "--help"], "beside": [sys.executable, "-c", "import click"]}
    with TemporaryDirectory(prefix="batcher-bench-") as name:
        walls = [{side: run(command, Path(name)).wall for side, command in commands.items()} for _ in range(turns + 1)]
    return [
        Row(
            "batcher --help; beside: import click",
            "wall ms",
            {side: 1e3 * median(turn[side] for turn in walls[1:]) for side in commands},
            [turn["batcher"] / turn["beside"] for turn in walls[1:]],
            "of beside",
            HELP,
        )
    ]


def first_request(turns: int) -> list[Row]:
    """Seconds from the start of the process until its first request has arrived."""
    sides = (BATCHER, PLAIN, BEST)
    with TemporaryDirectory(prefix="batcher-bench-") as name, load_server(CASE) as server:
        source, results = Path(name, "jobs.jsonl"), Path(name, "results.jsonl")
        CASE.write_input(source)
        arrivals: dict[str, list[float]] = {side.name: [] for side in sides}
        for _ in range(turns):
            for side in sides:
                remove_results(results)
                arrivals[side.name].append(_arrival(side.command(CASE, source, results, server.root), source, server))
                CASE.verify(results)
    return [
        Row(
            "batcher run, to its first request",
            "wall ms",
            {side: 1e3 * median(seconds) for side, seconds in arrivals.items()},
            arrivals["batcher"],
            "seconds",
            FIRST_REQUEST,
        )
    ]


def check(turns: int) -> list[Row]:
    """The same of `batcher check`."""
    with TemporaryDirectory(prefix="batcher-bench-") as name, load_server(CASE) as server:
        source = Path(name, "jobs.jsonl")
        CASE.write_input(source)
        command = [*batcher(), "check", str(source), *server_options(CASE, server.root)]
        arrivals = [_arrival(command, source, server) for _ in range(turns)]
    figures = {"batcher": 1e3 * median(arrivals)}
    return [Row("batcher check, to its first request", "wall ms", figures, arrivals, "seconds", FIRST_REQUEST)]


def _arrival(command: list[str], source: Path, server: LoadServer) -> float:
    server.seen()
    ended = run(command, source.parent)
    first = server.seen().first
    if first is None:
        raise RuntimeError(f"{' '.join(command)} has asked nothing")
    return first - ended.began
