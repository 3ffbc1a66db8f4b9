"""CPU of clients beside each other: fresh processes in alternation, and what follows from several turns."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from bench.process import load_server, run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.case import Case
    from bench.clients import Client
    from bench.process import LoadServer

SERVER_LIMIT = 0.8
CLIENT_BUSY = 0.9


@dataclass(frozen=True)
class Cost:
    """What one process took, in seconds. `server` is the CPU time of the load server meanwhile."""

    cpu: float
    wall: float
    server: float

    def __sub__(self, other: Cost) -> Cost:
        return Cost(self.cpu - other.cpu, self.wall - other.wall, self.server - other.server)


@dataclass
class Side:
    """One client's turns at the jobs of `case`, and at those of `base`; the difference is what is measured."""

    name: str
    client: Client
    case: Case
    base: Case
    start: list[Cost] = field(default_factory=list)
    full: list[Cost] = field(default_factory=list)

    @classmethod
    def of(cls, client: Client, case: Case) -> Side:
        """What jobs cost without the start: a run of one job is taken off."""
        return cls(client.name, client, case, case.of(1))

    @property
    def start_cpu(self) -> float:
        return median(cost.cpu for cost in self.start)

    def net(self) -> list[Cost]:
        """The turns in order, each without the base."""
        start = Cost(self.start_cpu, median(c.wall for c in self.start), median(c.server for c in self.start))
        return [cost - start for cost in self.full]

    def micros(self) -> list[float]:
        """CPU µs a unit, turn by turn."""
        units = self.case.units - self.base.units
        return [1e6 * cost.cpu / units for cost in self.net()]

    @property
    def server_load(self) -> float:
        """How much of its core the server used, 0 to 1."""
        return median(cost.server / cost.wall for cost in self.net())

    @property
    def load(self) -> float:
        """How much of its core the client used, 0 to 1."""
        return median(cost.cpu / cost.wall for cost in self.net())

    @property
    def trouble(self) -> str:
        """Why the figure does not count; empty if it does."""
        if self.server_load > SERVER_LIMIT and self.load < CLIENT_BUSY:
            return "SERVER TOO SLOW"  # unless the client had no time to spare either
        if self.case.step is not None and self.load > CLIENT_BUSY:
            return "CLIENT FULL"  # it fell behind, and records came several at a time
        return ""


def compare(sides: Sequence[Side], turns: int) -> None:
    """Run all sides in rotation, each in fresh processes, and check every answer."""
    with TemporaryDirectory(prefix="batcher-bench-") as name, ExitStack() as stack:
        servers: dict[tuple[object, ...], LoadServer] = {}
        for side in sides:
            for case in (side.case, side.base):
                if _kind(case) not in servers:
                    servers[_kind(case)] = stack.enter_context(load_server(case))
        for turn in range(turns):
            first = turn % len(sides)
            for side in [*sides[first:], *sides[:first]]:
                for case, costs in ((side.base, side.start), (side.case, side.full)):
                    costs.append(_turn(case, side.client, servers[_kind(case)], Path(name)))


def _kind(case: Case) -> tuple[object, ...]:
    """Cases of one kind have one server."""
    return case.words, case.step, case.slots


def ratios(side: Side, other: Side) -> list[float]:
    """CPU a unit of one side over that of the other, turn by turn."""
    return [a / b for a, b in zip(side.micros(), other.micros(), strict=True)]


def _turn(case: Case, client: Client, server: LoadServer, directory: Path) -> Cost:
    source, results = directory / "jobs.jsonl", directory / "results.jsonl"
    case.write_input(source)
    remove_results(results)
    before = server.seen()
    ended = run(client.command(case, source, results, server.root), directory)
    served = server.seen().cpu - before.cpu
    case.verify(results)
    return Cost(ended.cpu, ended.wall, served)


def remove_results(results: Path) -> None:
    """With what stands beside them: the next run is to begin anew."""
    for leftover in results.parent.glob(f"{results.stem}*"):
        leftover.unlink()
