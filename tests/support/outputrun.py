"""Runs whose output is what a test is about: their arguments, what they sent, and what they say while they run."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from support.commandline import running

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator

    from support.commandline import Desk

    from batcher.simulator import Simulator

SLOTS = 4
"""Requests in flight."""


def arguments(sim: Simulator, *more: str, output: str = "results.jsonl") -> list[str]:
    return ["run", "jobs.jsonl", "-o", output, "--base-url", sim.url, "-m", "simulator", "-c", str(SLOTS), *more]


def sent(sim: Simulator) -> int:
    return sim.tally.counts.total()


@contextmanager
def watched(desk: Desk, *args: str, **settings: Any) -> Iterator[tuple[subprocess.Popen[str], Callable[[], str]]]:
    """A run, and a function that reads what it has said so far."""
    log = desk.path / "stderr"
    with log.open("w") as file, running(desk.start(*args, stderr=file, **settings)) as process:
        yield process, log.read_text
