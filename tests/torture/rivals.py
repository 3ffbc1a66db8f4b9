"""Two and ten runs at once on one results file: one does the work, the others leave with 75, nothing is mixed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from support.commandline import Desk, ended, names, prompts, until
from torture.evidence import check_finished

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from random import Random

    from torture.budget import Budget


def rivals(place: Path, budget: Budget, rng: Random) -> Counter[str]:
    """Start two to ten runs at once. Raises AssertionError on a violation."""
    figures: Counter[str] = Counter()
    while budget.spend():
        many = 10 if budget.spent % 2 == 0 else rng.randint(2, 3)
        _compete(place / f"rivals{budget.spent}", many)
        figures["contests"] += 1
        figures["runs"] += many
    return figures


def _compete(place: Path, many: int) -> None:
    """The server stands still until all but one have left, so that the winner has the file all that time."""
    place.mkdir(parents=True)
    desk = Desk(place)
    desk.write("jobs.jsonl", *prompts(names(40)))
    with server() as (url, process):
        process.send_signal(signal.SIGSTOP)
        command = ("run", "jobs.jsonl", "-o", "results.jsonl", "-q", "--base-url", url, "--dialect", "native")
        runs = [desk.start(*command, "-m", "simulator", "-c", "2") for _ in range(many)]
        try:
            until(lambda: sum(run.poll() is None for run in runs) <= 1)
        finally:
            process.send_signal(signal.SIGCONT)
        codes = Counter(ended(run).code for run in runs)
        counts = json.loads(urllib.request.urlopen(f"{url}/_sim/counts").read())["counts"]
    assert codes == {0: 1, 75: many - 1}, codes
    assert counts == dict.fromkeys(names(40), 1), "a job was sent twice"
    check_finished(place / "results.jsonl", names(40))
    assert not (place / "results.quarantine").exists()


@contextmanager
def server() -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A simulator as a process of its own, which can be stopped."""
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-m", "batcher.simulator"], text=True, **pipes) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip(), process
        finally:
            process.kill()
