"""How busy a client keeps a server that has few slots: the time for all jobs beside that of a queue never empty.

Such runs wait nearly all of their time, so those of one turn run at once, each with a server of its own, and begin a
little apart. What they use of both cores is measured: figures count only if there was time to spare.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from bench.answers import V1
from bench.case import Case
from bench.clients import BATCHER, PLAIN
from bench.process import Process, load_server
from bench.table import Row, Target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.clients import Client
    from bench.process import Ended, LoadServer

CASE = Case("slots", V1, jobs=2000, stream=True, words=20, step=0.01, slots=8, in_flight=8)
APART = 0.5
"""Seconds between the starts of two runs."""
BUSY = 0.6
"""Of a core, by all clients or all servers together."""


@dataclass(frozen=True)
class Contest:
    """One client that runs the case some times over."""

    name: str
    client: Client
    case: Case
    target: Target | None = None


def ideal(case: Case) -> float:
    """Seconds for all jobs with never a slot empty."""
    assert case.step is not None
    assert case.slots is not None
    return case.jobs * case.words * case.step / case.slots


class Run:
    """One run against a server of its own."""

    def __init__(self, contest: Contest, server: LoadServer, directory: Path) -> None:
        self._case, self._server = contest.case, server
        source, self._results = directory / "jobs.jsonl", directory / "results.jsonl"
        self._case.write_input(source)
        self._process = Process(contest.client.command(self._case, source, self._results, server.root), directory)

    def wait(self) -> Ended:
        return self._process.wait()

    def taken(self, ended: Ended) -> tuple[float, float, float]:
        """Seconds from the first request until the process had ended; CPU seconds of client and of server."""
        seen = self._server.seen()
        assert seen.first is not None
        self._case.verify(self._results)
        return ended.ended - seen.first, ended.cpu, seen.cpu


def measure(turns: int, scale: float = 1.0) -> list[Row]:
    case = CASE.of(max(16, round(CASE.jobs * scale)))
    contests = [
        Contest("8 slots, -c 8, all jobs", BATCHER, case, Target(0.99, least=True)),
        Contest("8 slots, -c auto, all jobs", BATCHER, replace(case, in_flight=None), Target(0.97, least=True)),
        Contest("plain", PLAIN, case),
    ]
    turned = [_turn(contests) for _ in range(turns)]
    taken = {contest.name: [walls[contest.name] for walls, _ in turned] for contest in contests}
    load = median(load for _, load in turned)
    plain = median(taken["plain"])
    return [
        Row(
            f"{contest.name}; beside: ideal",
            "wall s",
            {"batcher": median(taken[contest.name]), "plain": plain, "beside": ideal(case)},
            [ideal(case) / wall for wall in taken[contest.name]],
            "of ideal",
            contest.target,
            "CORES TOO BUSY" if load > BUSY else "",
            {"jobs": case.jobs, "load": round(load, 3)},
        )
        for contest in contests
        if contest.target
    ]


def _turn(contests: Sequence[Contest]) -> tuple[dict[str, float], float]:
    """Seconds by contest, and how much of the busier core all of them used."""
    with TemporaryDirectory(prefix="batcher-bench-") as name, ExitStack() as stack:
        began, runs = time.monotonic(), []
        for place, contest in enumerate(contests):
            directory = Path(name, str(place))
            directory.mkdir()
            runs.append(Run(contest, stack.enter_context(load_server(contest.case)), directory))
            time.sleep(APART)
        with ThreadPoolExecutor(len(runs)) as waiters:  # whichever ends first
            ends = list(waiters.map(Run.wait, runs))
        whole = time.monotonic() - began
        taken = [run.taken(ended) for run, ended in zip(runs, ends, strict=True)]
    busier = max(sum(client for _, client, _ in taken), sum(server for *_, server in taken))
    return {contest.name: wall for contest, (wall, _, _) in zip(contests, taken, strict=True)}, busier / whole
