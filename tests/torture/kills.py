"""`kill -9` of a real run at random moments: nothing lost, nothing twice, little sent again."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import TYPE_CHECKING

from support.commandline import until
from torture.evidence import check_accounted, check_kept, results_in, whole_lines
from torture.scene import Scene

from batcher.simulator import simulator_thread

if TYPE_CHECKING:
    from pathlib import Path
    from random import Random

    from torture.budget import Budget

    from batcher.simulator import BackgroundSimulator

STARTING = 0.6
"""Seconds in which a kill meets a process that starts, opens and mends."""
WORKING = 0.15
"""Seconds after the first request in which a kill meets one that works."""


def kills(place: Path, budget: Budget, rng: Random) -> Counter[str]:
    """Kill runs until the budget is spent, finishing each file undisturbed. Raises AssertionError on a violation."""
    figures: Counter[str] = Counter()
    with simulator_thread(token_delay=0.004, keep=0) as sim:
        while not budget.over:
            figures["files"] += 1
            scene = Scene(place / f"kills{figures['files']}", sim, f"k{figures['files']}", jobs=60)
            _torment(scene, budget, rng, figures)
    return figures


def _torment(scene: Scene, budget: Budget, rng: Random, figures: Counter[str]) -> None:
    """Kill this run again and again, and finish it when the budget is spent or nothing is left to do."""
    known: dict[str, bytes] = {}
    killed = 0
    while len(known) < scene.jobs and not budget.over:
        sent = scene.sent()
        if not _killed_run(scene, rng, working=rng.random() < 0.8):
            break
        budget.spend()
        killed += 1
        settle(scene.sim)
        left = scene.results.read_bytes() if scene.results.exists() else b""
        figures["torn"] += left != b"" and not left.endswith(b"\n")
        lines = whole_lines(left)
        lost = scene.sent() - sent - (len(lines) - len(known))
        figures["most lost in flight"] = max(figures["most lost in flight"], lost)
        assert lost <= scene.concurrency, f"{lost} requests without a line, {scene.concurrency} in flight at most"
        assert set(known.values()) <= set(lines), "a line is gone"
        known = {**known, **{_ident(line): line for line in lines}}
        assert len(known) == len(lines), "an id has two lines"
    before = scene.results.read_bytes() if scene.results.exists() else b""
    found = scene.finish()
    check_kept(known, found)
    check_accounted(before, scene.results)
    again = scene.sent() - scene.jobs
    assert again <= killed * scene.concurrency, f"{again} requests too many after {killed} kills"
    figures.update({"kills": killed, "jobs": scene.jobs, "sent again": again})
    assert results_in(scene.results).keys() == set(scene.ids)


def _killed_run(scene: Scene, rng: Random, *, working: bool) -> bool:
    """Start a run and kill it at some moment; false if it ended before that."""
    sent = scene.sent()
    with scene.start() as process:
        if working:
            until(lambda: scene.sent() > sent or process.poll() is not None)
            time.sleep(rng.uniform(0, WORKING))
        else:
            time.sleep(rng.uniform(0, STARTING))
        process.kill()
        process.communicate()
    return process.returncode == -9


def settle(sim: BackgroundSimulator) -> None:
    """Wait until the server has seen all that the killed process had sent."""
    for _ in range(3):
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0.002), sim.loop).result(10)
    until(lambda: sim.tally.in_flight == 0)


def _ident(line: bytes) -> str:
    """The id of a line that batcher wrote; torture's own ids have nothing to escape in them."""
    return line.split(b'"', 4)[3].decode()
