"""A run to be tortured: a file of jobs, a server that counts, and `batcher run` as a process of its own."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio
from support.commandline import Desk, Ran, ended, names, prompts
from torture.evidence import check_finished

from batcher.model import Api
from batcher.options import Options
from batcher.running.runner import Run
from batcher.view.observer import Silent

if TYPE_CHECKING:
    from batcher.simulator import BackgroundSimulator
    from batcher.view.observer import Observer
    from batcher.view.summary import Summary

KNOWN: Final = {option.name for option in fields(Options)}


@dataclass(slots=True)
class Scene:
    """One file of jobs and its results. The ids begin with `name`, so that many scenes can share a server."""

    place: Path
    sim: BackgroundSimulator
    name: str
    jobs: int = 24
    concurrency: int = 4
    extra: tuple[str, ...] = ()
    results: Path = field(init=False)
    desk: Desk = field(init=False)
    ids: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self.place.mkdir(parents=True, exist_ok=True)
        self.results = self.place / "results.jsonl"
        self.desk = Desk(self.place)
        self.ids = [f"{self.name}-{name}" for name in names(self.jobs)]
        self.desk.write("jobs.jsonl", *prompts(self.ids))

    @property
    def arguments(self) -> tuple[str, ...]:
        return (
            *("run", str(self.place / "jobs.jsonl"), "-o", str(self.results), "-q", "--no-progress"),
            *("--base-url", self.sim.url, "--dialect", "native", "-m", "simulator", "-c", str(self.concurrency)),
            *self.extra,
        )

    def start(self, *before: str) -> subprocess.Popen[str]:
        """Start the run; `before` is a command to start it with, such as strace."""
        return subprocess.Popen(
            [*before, *self.desk.command(*self.arguments)],
            cwd=self.place,
            env=self.desk.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *before: str) -> Ran:
        return ended(self.start(*before))

    def sent(self) -> int:
        """Requests for jobs of this scene so far."""
        counts = dict(self.sim.counts)
        return sum(counts.get(ident, 0) for ident in self.ids)

    def finish(self) -> dict[str, bytes]:
        """Run it once more, undisturbed: it must end well and with every job done."""
        ran = self.run()
        assert ran.code == 0, ran
        return check_finished(self.results, self.ids)


def shelf() -> Path | None:
    """Where small files that are synced by the thousand are best kept: in memory, where that is possible."""
    memory = Path("/dev/shm")
    return memory if os.access(memory, os.W_OK) else None


def run_here(
    jobs: Path, results: Path, url: str, observer: Observer | None = None, *, signals: bool = False, **options: Any
) -> Summary:
    """Do a run in this process. Raises what `Run.run` raises."""
    settings: dict[str, Any] = {"base_url": url, "dialect": Api.NATIVE, "model": "simulator"} | options
    run = Run(str(jobs), results, Options.of(settings), {}, observer or Silent(), handle_signals=signals)
    return anyio.run(run.run)
