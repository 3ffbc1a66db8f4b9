"""Whole runs against a server that restarts, refuses, storms, freezes and resets: no job lost, little done for nothing.

The server is a process of its own, and counts: what was asked how often, which answers it made, who broke them off.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import time
from calendar import timegm
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.request import urlopen

from support.commandline import Desk, names, prompts
from torture.evidence import check_finished

from batcher.simulator.notation import HINTS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from random import Random

    from torture.budget import Budget

AT_ONCE: Final = 4
"""Scenes that are played beside each other: they wait most of the time."""
TOKENS: Final = 10
ANSWER_S: Final = 0.5
SLOTS: Final = 16
"""What `-c auto` has to find; with a fixed number there are as many as that."""
PERIOD_S: Final = (10.0, 30.0)
"""The time between two outages: in a short scene, and at the scale of a night."""
WASTE: Final = {"storm": 0.1, "": 0.05}
"""The most of all answers that batcher may have had generated and not kept, through no fault of the server's."""
BACK: Final = 0.9
"""The part of the usual answers a second at which a server counts as used as before."""


@dataclass(frozen=True, slots=True)
class Outage:
    """A scene: what is wrong with the server, how many calls may be in flight, and for how many seconds' work."""

    name: str
    server: tuple[str, ...]
    seconds: float
    concurrency: str = "auto"
    kind: str = ""
    freeze: float = 0.0
    """Stop the server by SIGSTOP for so long, once, a third of the way."""

    def __str__(self) -> str:
        return self.name

    @property
    def in_flight(self) -> int:
        return SLOTS if self.concurrency == "auto" else int(self.concurrency)

    @property
    def jobs(self) -> int:
        return max(50, round(self.seconds * self.in_flight / ANSWER_S))


@dataclass(frozen=True, slots=True)
class Figures:
    """What came of it. Shares are of all answers that the server began to make, counted in tokens."""

    seconds: float
    outages: int
    again: int
    """Requests beyond one a job."""
    most: int
    """The most requests for one job."""
    refused: int
    broken: float
    """What the server itself broke off."""
    thrown_away: float
    """What batcher left, or had made twice."""
    back: float
    """Seconds until the rate was as before, at worst; 0 where there was nothing to come back from."""


def scenes(seconds: float, period: float) -> list[Outage]:
    """All of them, for about so long each; storms, of which there is one for each hint, a third of that."""
    away, storm, once = period / 6, period / 3, min(15.0, period / 2)
    restarts = ("--down-every", f"{period}", "--down-for", f"{away}")
    storms = ("--look", "openai", "--storm-every", f"{period}", "--storm-for", f"{storm}", "--hint")
    return [
        Outage("restarts", restarts, seconds),
        Outage("restarts, 64 in flight", restarts, seconds, "64"),
        Outage("one restart, 64 in flight", ("--down-every", f"{3 * once}", "--down-for", f"{once}"), 2.7 * once, "64"),
        Outage("50 % answered 503", ("--fault", "503=50%"), seconds),
        Outage("50 % answered 503, 64 in flight", ("--fault", "503=50%"), seconds, "64"),
        Outage("SIGSTOP", (), seconds, freeze=min(10.0, period / 2)),
        Outage("SIGSTOP, 64 in flight", (), seconds, "64", freeze=min(10.0, period / 2)),
        Outage("20 % reset in the stream", ("--fault", "reset=20%"), seconds),
        *(
            Outage(f"storms, hint {hint}", (*storms, hint), max(seconds / 3, 1.5 * period), kind="storm")
            for hint in HINTS
        ),
        Outage("storms, 64 in flight", (*storms, "none"), max(seconds / 3, 1.5 * period), "64", kind="storm"),
    ]


def outages(place: Path, budget: Budget, rng: Random) -> Counter[str]:
    """Play every scene for as many seconds as the budget has turns. Raises AssertionError on a violation."""
    total: Counter[str] = Counter()
    period = min(PERIOD_S[1], max(PERIOD_S[0], budget.turns / 4))
    seeds = {scene: rng.randrange(10**6) for scene in scenes(budget.turns, period)}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        played = pool.map(lambda scene: (scene, play(place / f"outage{seeds[scene]}", scene, seeds[scene])), seeds)
        for scene, figures in played:
            print(told(scene, figures), flush=True)
            total.update({"scenes": 1, "jobs": scene.jobs, "outages": figures.outages, "sent again": figures.again})
    return total


def told(scene: Outage, figures: Figures) -> str:
    return (
        f"  {scene.name:32} {scene.jobs:6} jobs {figures.seconds:4.0f} s {figures.outages:3} outages  "
        f"again {figures.again:6} (at most {figures.most:2}) refused {figures.refused:6}  "
        f"broken off {figures.broken:5.1%} thrown away {figures.thrown_away:5.1%} back after {figures.back:4.1f} s"
    )


def play(place: Path, scene: Outage, seed: int) -> Figures:
    """Play one scene, hold it to what is promised, and measure the rest."""
    place.mkdir(parents=True)
    desk, ids = Desk(place), names(scene.jobs)
    desk.write("jobs.jsonl", *prompts(ids))
    with _server(*scene.server, "--seed", str(seed), "--slots", str(scene.in_flight)) as (process, url):
        native = "openai" not in scene.server
        began = time.monotonic()
        run = desk.start(
            *("run", "jobs.jsonl", "-o", "results.jsonl", "-q", "--no-progress", "-m", "simulator"),
            *("--base-url", url if native else f"{url}/v1", "-c", scene.concurrency, "--retries", "20"),
        )
        recovered = [_freeze(process, scene)] if scene.freeze else []
        out, err = run.communicate(timeout=20 * scene.seconds + 120)
        took = time.monotonic() - began
        with urlopen(f"{url}/_sim/counts") as answer:  # the loopback server's own address
            seen = json.load(answer)
    assert run.returncode == 0, (scene.name, run.returncode, out, err)
    lines = check_finished(place / "results.jsonl", ids, TOKENS)
    figures = _measure(seen, lines, took, [*recovered, *seen["recovered"]])
    limit = WASTE[scene.kind]
    assert figures.thrown_away <= limit, f"{scene.name}: {figures.thrown_away:.1%} thrown away"
    if "restart" in scene.name:
        most = 2 * scene.in_flight * max(1, figures.outages)
        assert figures.again <= most, f"{scene.name}: {figures.again} requests too many, not {most}"
    return figures


@contextmanager
def _server(*options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A simulator as a process of its own, and its address."""
    command = [sys.executable, "-m", "batcher.simulator", "--keep", "0", "--tokens", str(TOKENS)]
    command += ["--token-delay", f"{ANSWER_S / TOKENS}", *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def _freeze(process: subprocess.Popen[str], scene: Outage) -> float:
    """Stop the server for a while; when it went on (Unix time)."""
    time.sleep(scene.seconds / 3)
    os.kill(process.pid, signal.SIGSTOP)
    try:
        time.sleep(scene.freeze)
    finally:
        os.kill(process.pid, signal.SIGCONT)
    return time.time()


def _measure(seen: dict[str, Any], lines: dict[str, bytes], took: float, recovered: list[float]) -> Figures:
    counts: dict[str, int] = seen["counts"]
    made = seen["generated"]
    twice = sum(times - 1 for times in seen["answered"].values()) * TOKENS
    ends = sorted(_ended(json.loads(line)["timing"]) for line in lines.values())
    return Figures(
        seconds=took,
        outages=len(recovered),
        again=sum(counts.values()) - len(lines),
        most=max(counts.values()),
        refused=sum(seen["refused"].values()),
        broken=(seen["wasted"] - seen["left"]) / made,
        thrown_away=(seen["left"] + twice) / made,
        back=max((_back(ends, when) for when in recovered if when < ends[-1] - 2 * ANSWER_S), default=0.0),
    )


def _ended(timing: dict[str, Any]) -> float:
    """When an answer was complete (Unix time)."""
    began = time.strptime(timing["started_at"][:19], "%Y-%m-%dT%H:%M:%S")
    return timegm(began) + float(timing["started_at"][19:-1]) + float(timing["total_s"])


def _back(ends: list[float], since: float) -> float:
    """Seconds from then until a second's answers were nine tenths of what a second usually brings."""
    per_second = Counter(int(end - ends[0]) for end in ends)
    usual = statistics.median(per_second.values())
    for start in range(int(since - ends[0]), int(ends[-1] - ends[0])):
        if per_second[start] >= BACK * usual:
            return max(0.0, start + 1 - (since - ends[0]))
    return ends[-1] - since
