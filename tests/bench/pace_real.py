"""How soon a file is done on a real llama.cpp server with `-c auto`, beside fixed numbers of calls in flight.

Real processes, one at a time: the server has four slots, each turn runs `batcher run` from a cold start on the same
jobs to their end. So what counts is what a user waits for, and nobody wins by what was in flight when time was up, nor
by longer answers. Goodput is tokens of complete answers over the seconds of the whole process, less those in which the
thread of llama.cpp that computes was ready and got no core: that was other work on this machine (Linux tells it, and
only one thread computes). The settings take turns, in another order each round; the best fixed number is the one with
the highest median. Exits with 1 if `auto` has less than its target of that one's goodput, in the median of the rounds.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeAlias

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that it runs as a script, as the Makefile does

from support.commandline import Desk, running
from support.realserver import MODEL, SLOTS, server_process

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TARGET = 0.93
"""Of the goodput of the best fixed number."""
SETTINGS = ("auto", "2", "4", "8")
CALIBRATION = 24
"""Jobs that tell how many fill a turn."""
LATE = 4
"""How many times its length a turn may take before it is given up."""
THINGS = ("a bee", "the moon", "rain", "a bridge", "bread", "a compass", "the sea", "a clock", "salt", "a library")
ASKS = ("What is {}?", "Describe {} to a child.", "Write three sentences about {}.", "Name some uses of {}.")
PADDING = "The following notes were taken on a walk and need not be heeded. "


def jobs(count: int) -> list[dict[str, Any]]:
    """Prompts of 10 to some 200 tokens, answers of at most 8 to 72."""
    return [
        {
            "id": f"p{number}",
            "prompt": PADDING * (number * 7 % 13) + ASKS[number % len(ASKS)].format(THINGS[number % len(THINGS)]),
            "max_tokens": 8 + number * 29 % 65,
            "temperature": 0,
        }
        for number in range(count)
    ]


def p95(seconds: Sequence[float]) -> float:
    return quantiles(seconds, n=20)[-1]


@dataclass(frozen=True)
class Turn:
    """One run to the end of its jobs."""

    setting: str
    seconds: float
    hindered: float
    """How many of them the server could not compute for want of a core."""
    tokens: int
    firsts: tuple[float, ...]
    """Times to first token, in seconds."""
    settled: str = ""

    @property
    def goodput(self) -> float:
        return self.tokens / (self.seconds - self.hindered)

    @property
    def first_p95(self) -> float:
        return p95(self.firsts)


Threads: TypeAlias = "dict[str, tuple[int, int]]"
"""Nanoseconds of CPU time that each thread of a process has had, and how long it was ready and waited for a core."""


def threads(pid: int) -> Threads:
    folder = Path(f"/proc/{pid}/task")
    found = ((path.parent.name, path.read_text().split()) for path in folder.glob("*/schedstat"))
    return {name: (int(cpu), int(waited)) for name, (cpu, waited, _) in found}


def waited_for_a_core(before: Threads, after: Threads) -> float:
    """Seconds that the thread which computed most has waited."""
    none = (0, 0)
    spent = [(cpu - before.get(name, none)[0], late - before.get(name, none)[1]) for name, (cpu, late) in after.items()]
    return max(spent, default=none)[1] / 1e9


def play(server: tuple[str, int], work: Sequence[Mapping[str, Any]], setting: str, patience: float) -> Turn:
    """Run all jobs; every one must have its one answer, or there is no figure."""
    url, pid = server
    with TemporaryDirectory() as folder:
        desk = Desk(Path(folder))
        source = desk.write("jobs.jsonl", *map(dict, work))
        args = ("run", source, "--base-url", url, "-m", MODEL, "-c", setting, "--summary-json", "summary.json")
        began, before = time.perf_counter(), threads(pid)
        with running(desk.start(*args, "-o", "results.jsonl")) as process:
            _, said = process.communicate(timeout=patience)
        seconds, hindered = time.perf_counter() - began, waited_for_a_core(before, threads(pid))
        lines = desk.lines()
        if process.returncode or desk.ids() != sorted(job["id"] for job in work):
            raise RuntimeError(f"-c {setting}: {len(lines)} of {len(work)} jobs done; it said:\n{said}")
        caps = {job["id"]: job["max_tokens"] for job in work}
        for line in lines:
            if not line["text"] or not 0 < line["usage"]["completion_tokens"] <= caps[line["id"]]:
                raise RuntimeError(f"-c {setting}: this is no answer: {line}")
        [sums] = json.loads((desk.path / "summary.json").read_text())["servers"]
    tokens = sum(line["usage"]["completion_tokens"] for line in lines)
    firsts = tuple(line["timing"]["ttft_s"] for line in lines)
    return Turn(setting, seconds, hindered, tokens, firsts, sums["limit"])


@dataclass(frozen=True)
class Comparison:
    """All rounds, each with one turn of every setting."""

    rounds: list[dict[str, Turn]]

    def goodput(self, setting: str) -> float:
        return median(turns[setting].goodput for turns in self.rounds)

    @property
    def best(self) -> str:
        """The fixed number with the highest median."""
        return max(SETTINGS[1:], key=self.goodput)

    def ratios(self, setting: str) -> list[float]:
        """Goodput over that of the best fixed number, round by round, ascending."""
        return sorted(turns[setting].goodput / turns[self.best].goodput for turns in self.rounds)

    def first_p95(self, setting: str) -> float:
        return p95([first for turns in self.rounds for first in turns[setting].firsts])

    def as_json(self) -> dict[str, Any]:
        return {
            "slots": SLOTS,
            "target": TARGET,
            "best": self.best,
            "ratio": round(median(self.ratios("auto")), 3),
            "settings": [
                {
                    "setting": setting,
                    "goodput": round(self.goodput(setting), 2),
                    "ratio_min": round(self.ratios(setting)[0], 3),
                    "ratio_max": round(self.ratios(setting)[-1], 3),
                    "ttft_p95_s": round(self.first_p95(setting), 3),
                    "turns": [
                        {
                            "seconds": round(turn.seconds, 2),
                            "hindered_s": round(turn.hindered, 2),
                            "tokens": turn.tokens,
                            "ttft_p95_s": round(turn.first_p95, 3),
                            "limit": turn.settled,
                        }
                        for turn in (turns[setting] for turns in self.rounds)
                    ],
                }
                for setting in SETTINGS
            ],
        }


def table(compared: Comparison) -> str:
    rows = [f"{'-c':>4} {'tokens/s':>8} {'of best':>7}  {'min-max':9}  {'TTFT p95':>8}  seconds (hindered)"]
    for setting in SETTINGS:
        ratios, turns = compared.ratios(setting), [one[setting] for one in compared.rounds]
        rows.append(
            f"{setting:>4} {compared.goodput(setting):8.1f} {median(ratios):7.2f}  {ratios[0]:.2f}-{ratios[-1]:.2f}  "
            f"{compared.first_p95(setting):6.2f} s  "
            + ", ".join(f"{turn.seconds:.0f} ({turn.hindered:.0f})" for turn in turns)
        )
    return "\n".join(rows + [f"auto: {turns['auto'].settled}" for turns in compared.rounds])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="length of a turn, about")
    parser.add_argument("--jobs", type=int, help="jobs of a turn, instead of as many as fill it")
    parser.add_argument("--rounds", type=int, default=3, help="how often each setting runs")
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    arguments = parser.parse_args()

    rounds: list[dict[str, Turn]] = []
    with server_process() as server:
        patience = LATE * max(arguments.seconds, 30.0)
        work = jobs(arguments.jobs or CALIBRATION)
        if not arguments.jobs:
            trial = play(server, work, "4", patience)
            work = jobs(max(CALIBRATION, round(CALIBRATION * arguments.seconds / trial.seconds)))
        print(f"{SLOTS} slots, {len(work)} jobs a turn, {arguments.rounds} rounds", file=sys.stderr, flush=True)
        for number in range(arguments.rounds):
            first = number % len(SETTINGS)
            rounds.append({})
            for setting in SETTINGS[first:] + SETTINGS[:first]:
                turn = rounds[-1][setting] = play(server, work, setting, patience)
                print(
                    f"-c {setting}: {turn.seconds:.1f} s ({turn.hindered:.1f}), {turn.goodput:.1f} tokens/s",
                    file=sys.stderr,
                    flush=True,
                )
    compared = Comparison(rounds)
    print(table(compared))
    figures = compared.as_json()
    print(f"auto has {figures['ratio']:.2f} of the goodput of -c {compared.best}; at least {TARGET} is wanted")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0 if figures["ratio"] >= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
