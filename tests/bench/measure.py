"""Measures: fresh processes on cores of their own, their CPU and wall seconds, and what follows from several turns."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from bench.case import HERE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.case import Case

SERVER_LIMIT = 0.8
CLIENT_BUSY = 0.9
SIDES = ("batcher", "bare")


@dataclass(frozen=True)
class Cost:
    """What one process took, in seconds. `server` is the CPU time of the load server meanwhile."""

    cpu: float
    wall: float
    server: float = 0.0

    def __sub__(self, other: Cost) -> Cost:
        return Cost(self.cpu - other.cpu, self.wall - other.wall, self.server - other.server)


@dataclass
class Side:
    """One client's turns with one job and with all; the difference is what the jobs cost without the start."""

    start: list[Cost] = field(default_factory=list)
    full: list[Cost] = field(default_factory=list)

    @property
    def start_cpu(self) -> float:
        return median(cost.cpu for cost in self.start)

    def net(self) -> list[Cost]:
        """The turns in order, each without the start."""
        start = Cost(self.start_cpu, median(c.wall for c in self.start), median(c.server for c in self.start))
        return [cost - start for cost in self.full]


@dataclass(frozen=True)
class Comparison:
    """Both sides of one case."""

    case: Case
    sides: dict[str, Side]

    def micros(self, side: str) -> float:
        """CPU µs a unit, the median of the turns."""
        units = (self.case.jobs - 1) * self.case.units_per_job
        return 1e6 * median(cost.cpu for cost in self.sides[side].net()) / units

    @property
    def ratio(self) -> float:
        return median(self.ratios())

    def ratios(self) -> list[float]:
        """CPU of batcher over CPU of the bare loop, turn by turn, ascending."""
        batcher, bare = (self.sides[side].net() for side in SIDES)
        return sorted(a.cpu / b.cpu for a, b in zip(batcher, bare, strict=True))

    def server_load(self, side: str) -> float:
        """How much of its core the server used, 0 to 1."""
        return median(cost.server / cost.wall for cost in self.sides[side].net())

    @property
    def server_kept_up(self) -> bool:
        """Whether the client waited for nothing: the server had time to spare, or the client had none."""
        return all(
            self.server_load(side) < SERVER_LIMIT
            or median(cost.cpu / cost.wall for cost in self.sides[side].net()) > CLIENT_BUSY
            for side in SIDES
        )


class LoadServer:
    """The load server in a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.root = f"http://127.0.0.1:{self._line()}"

    def cpu(self) -> float:
        """CPU seconds so far."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return float(self._line())

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the load server has ended; its error is above")
        return line.strip()


def cores() -> tuple[int, int] | None:
    """The cores for server and client; None where processes cannot be pinned or there is but one core."""
    if sys.platform == "linux":
        allowed = sorted(os.sched_getaffinity(0))
        if len(allowed) > 1:
            return allowed[0], allowed[-1]
    return None


@contextmanager
def _pinned(place: int) -> Iterator[None]:
    """Processes started inside run on the server's core (0) or on the client's (1)."""
    chosen = cores()
    if chosen is None or sys.platform != "linux":
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {chosen[place]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def load_server(words: int, step: float | None) -> Iterator[LoadServer]:
    command = [sys.executable, str(HERE / "server.py"), "--words", str(words)]
    command += [] if step is None else ["--step", str(step)]
    with _pinned(0):
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process:  # closes its stdin, which ends it, and waits
        yield LoadServer(process)


def run(command: Sequence[str], directory: Path) -> Cost:
    """Run a command to its end. Raises RuntimeError with its words if it fails."""
    log = directory / "client.log"
    with log.open("wb") as output:
        began = time.perf_counter()
        with _pinned(1):
            process = subprocess.Popen(command, cwd=directory, env=_environ(), stdout=output, stderr=output)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}: {log.read_text()[-2000:]}")
    return Cost(usage.ru_utime + usage.ru_stime, wall)


def _environ() -> dict[str, str]:
    """The environment without what would change a run."""
    ours = ("BATCHER_", "OPENAI_", "OLLAMA_", "LLM_ENDPOINT", "MODEL", "PYTHONDEVMODE", "COVERAGE_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def compare(case: Case, turns: int) -> Comparison:
    """Run both sides in turn, each in fresh processes, and check every answer."""
    comparison = Comparison(case, {side: Side() for side in SIDES})
    with TemporaryDirectory(prefix="batcher-bench-") as name, load_server(case.words, case.step) as server:
        directory = Path(name)
        for turn in range(turns):
            for side in SIDES if turn % 2 == 0 else SIDES[::-1]:
                measured = comparison.sides[side]
                measured.start.append(_turn(case.of(1), side, server, directory))
                measured.full.append(_turn(case, side, server, directory))
    return comparison


def _turn(case: Case, side: str, server: LoadServer, directory: Path) -> Cost:
    source, results = directory / "jobs.jsonl", directory / "results.jsonl"
    case.write_input(source)
    for leftover in directory.glob("results*"):
        leftover.unlink()
    command = (case.batcher if side == "batcher" else case.bare)(source, results, server.root)
    before = server.cpu()
    cost = run(command, directory)
    served = server.cpu() - before
    case.verify(results)
    return Cost(cost.cpu, cost.wall, served)


def help_walls(turns: int) -> tuple[list[float], list[float]]:
    """Wall seconds of `batcher --help` and of an interpreter that imports click, turn by turn."""
    with TemporaryDirectory(prefix="batcher-bench-") as name:
        directory = Path(name)
        script = Path(sys.executable).with_name("batcher")
        ours = [str(script)] if script.exists() else [sys.executable, "-m", "batcher"]
        pairs = [
            (run([*ours, "--help"], directory).wall, run([sys.executable, "-c", "import click"], directory).wall)
            for _ in range(turns + 1)
        ][1:]  # the first turn fills the caches
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]
