"""Plays one cell of the fault matrix: a run of four jobs against a server of its own, held against its outcome."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias
from unittest import mock

import anyio
from support import faultevidence
from support.commandline import Desk
from support.faultmatrix import EMBEDDINGS, ROWS, Fault, Way
from support.faultoutcomes import MANY, RESPONSES_STREAM, Fate, outcomes
from support.rawhttp import body_for

from batcher.model import Api
from batcher.options import Options
from batcher.policy.retry import RetryPolicy
from batcher.running.runner import Run
from batcher.simulator import simulator_thread, text, vector
from batcher.simulator.behaviours import parse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from support.faultoutcomes import Outcome

    from batcher.simulator import BackgroundSimulator
    from batcher.view.summary import Summary

JOBS: Final = ("before", "once", "always", "after")
FILLER: Final = " word" * 300
"""Makes prompts longer than the context to which `prompt_tokens=256` says that they were cut."""
BESIDE: Final = "beside it"
"""A second input of each embedding job: order and count of vectors mean nothing with one."""
SILENCE: Final = 1.5
"""Seconds until a silent server is left, where one is silent; elsewhere nothing may run out of time."""
AT_ONCE: Final = 24
"""Cells that wait together: what they cost is their waiting."""

OUTAGES: Final = "the server goes away again and again"
QUEUE: Final = "a silent queue"
SLOWLY: Final = {OUTAGES: "ttft=0.1", QUEUE: "ttft=0.02"}
"""What is asked beside, so that the jobs last until they meet what the settings do."""
SAID: Final = {
    "do=empty": "",
    "do=big": "big " * 327_680,
    "do=loop tokens=1000": " again" * 1000,
    "do=spaces tokens=1500": " \n" * 1500,
    "say=a%00b": "a\0b",
}
"""Answers that do not follow from the job's id."""


class Cell(NamedTuple):
    row: Fault
    way: Way

    def __str__(self) -> str:
        return f"{self.row.name} | {self.way.path} {'stream' if self.way.streamed else 'whole'}"

    @property
    def outcome(self) -> Outcome:
        [outcome] = outcomes(self.row, self.way)
        return outcome

    @property
    def lasts(self) -> bool:
        """Whether it takes more than a moment: something is waited for, or many megabytes are sent."""
        waits = self.outcome.stop.startswith(("throttle", "connection"))
        return waits or self.row.heavy or self.row.end == "held" or not self.outcome.is_exact


Played: TypeAlias = int | AssertionError
"""How many requests a cell made, or what was wrong."""


class Seen(NamedTuple):
    """What came of a cell: how the run ended, and what became of each job."""

    exit: int
    stop: str
    jobs: dict[str, Fate]


CELLS: Final = [Cell(row, way) for row in ROWS for way in sorted(row.ways)]
SAMPLE: Final = [Cell(row, sorted(row.ways)[place % len(row.ways)]) for place, row in enumerate(ROWS)]
"""Each row once, the ways in turn."""


def play_all(cells: Iterable[Cell], place: Path, is_over: Callable[[], bool] = bool) -> dict[Cell, Played]:
    """Play cells, none once it is over; several at a time, and by twos those that send many megabytes."""
    found: dict[Cell, Played] = {}
    chosen = sorted(cells, key=lambda cell: cell.row.end != "held")  # the longest waits go first, and go together

    def tried(cell: Cell) -> None:
        if not is_over():
            try:
                found[cell] = play(cell, place)
            except AssertionError as violation:
                found[cell] = violation

    with turns(), faultevidence.listening():
        for at_once, is_heavy in ((AT_ONCE, False), (2, True)):
            with ThreadPoolExecutor(at_once) as pool:
                list(pool.map(tried, [cell for cell in chosen if cell.row.heavy is is_heavy]))  # raises what they raise
    return found


def play(cell: Cell, place: Path) -> int:
    """Play a cell in a directory of its own below `place`. Raises AssertionError; returns the requests made."""
    row = cell.row
    desk = Desk(place / f"{ROWS.index(row)}-{sorted(row.ways).index(cell.way)}")
    desk.path.mkdir(parents=True)
    faultevidence.begin()
    jobs = [_job(name, _prompt(row, name), cell.way) for name in JOBS]
    with simulator_thread(**row.settings) as sim:
        if row.act:
            getattr(sim, row.act)()
        began = time.time()
        run = Run(str(desk.write("jobs.jsonl", *jobs)), desk.path / "results.jsonl", _options(cell, sim.url), {})
        summary = anyio.run(run.run)
        ended = time.time()
        seen = _seen(desk, summary, sim)
    expected = _expected(cell.outcome, seen)
    assert seen == expected, f"{seen} instead of {expected}; {faultevidence.evidence(sim)}"
    for line in desk.lines():
        _check_answer(row, cell.way, line)
    for line in desk.lines("results.errors.jsonl"):
        assert text(line["id"]).startswith(line.get("partial", "")), line
    if (hint := cell.outcome.hint) is not None:
        assert summary.come_back is not None
        assert began - 1.5 < summary.come_back - hint < ended + 1.5  # dates have no fractions
    return sum(fate.requests for fate in seen.jobs.values())


@contextmanager
def short_waits() -> Iterator[None]:
    """Backoff, holds, probes and the wait for the end of a body take hundredths of seconds.

    A connection has its ten seconds, however short the run's patience is: many cells share two cores.
    """
    with _instead(
        {
            "running.wiring.RetryPolicy": partial(
                RetryPolicy, base=0.002, throttle_base=0.01, lone_cap=0.02, failing_base=0.02
            ),
            "policy.breaker.FIRST_COOLDOWN": 0.02,
            "policy.service.ASKING": 0.01,
            "policy.pace.statement.MINUTE": 0.05,
            "policy.lastlook.LEAST_S": 0.2,
            "policy.lastlook.WAITS": (0.02, 0.1),
            "exchange.workers.DRAIN": 0.05,
            "servers.contact.LEAST_WAIT": 10.0,
            "servers.settling.LEAST_WAIT": 10.0,
        }
    ):
        yield


@contextmanager
def turns() -> Iterator[None]:
    """As `short_waits`; what waits alone is due at once, and connections are used again from the start.

    Whether it goes before the next new call is by turns then, and not by chance.
    """
    at_once = partial(RetryPolicy, base=0.0, throttle_base=0.01, lone_cap=0.0, failing_base=0.02)
    with (
        short_waits(),
        _instead(
            {
                "running.wiring.RetryPolicy": at_once,
                "wire.connections.TRIALS": 0,
                "wire.connections.QUIET": 0.0,
            }
        ),
    ):
        yield


@contextmanager
def _instead(values: dict[str, Any]) -> Iterator[None]:
    """For a while, names of batcher have other values."""
    with ExitStack() as stack:
        for name, value in values.items():
            stack.enter_context(mock.patch(f"batcher.{name}", value))
        yield


def _prompt(row: Fault, name: str) -> str:
    """The directive of the job: two meet the fault, one of them in its first request alone."""
    directive = SLOWLY.get(row.name, "")
    if name in ("once", "always"):
        directive = row.directive
        if name == "once" and "times=" not in directive:
            directive += " times=1"
    return f"[[sim id={name} {directive}]]{FILLER}"


def _job(name: str, prompt: str, way: Way) -> dict[str, Any]:
    body = body_for(way.path, prompt)
    if way in EMBEDDINGS:
        body["input"] = [prompt, BESIDE]
    return body | {"id": name}


def _options(cell: Cell, url: str) -> Options:
    row, way = cell.row, cell.way
    given: dict[str, Any] = {
        "base_url": url,
        "dialect": Api.NATIVE if way.path.startswith("/api/") else Api.OPENAI,
        "endpoint": way.path,
        "stream": way.streamed,
        "concurrency": len(JOBS) if row.name == QUEUE else 1,
        "retries": cell.outcome.retries,
        "max_wait": cell.outcome.max_wait,
        "durability": "off",
    }
    if row.end == "held":
        given |= {"first_token_timeout": SILENCE, "idle_timeout": SILENCE}
        if not way.streamed:
            given["timeout"] = SILENCE
    return Options.of(given)


def _seen(desk: Desk, summary: Summary, sim: BackgroundSimulator) -> Seen:
    """What the files, the summary and the server's own counts say; each job has one line at most."""
    results, errors = desk.lines(), desk.lines("results.errors.jsonl")
    assert len({line["id"] for line in (*results, *errors)}) == len(results) + len(errors)
    assert (summary.ok, summary.failed) == (len(results), len(errors))
    fates = dict.fromkeys(JOBS, Fate("none", attempts=0))
    for line in results:
        fates[line["id"]] = Fate("result", attempts=line["attempts"], flags=tuple(line.get("flags", ())))
    for line in errors:
        error = line["error"]
        fates[line["id"]] = Fate("error", attempts=line["attempts"], kind=error["class"], code=error["code"])
    why = summary.stop or next(iter(summary.refused), None)
    return Seen(
        summary.exit_code(),
        f"{why.kind} {why.code}" if why else "",
        {name: fate._replace(requests=sim.tally.counts[name]) for name, fate in fates.items()},
    )


def _expected(outcome: Outcome, seen: Seen) -> Seen:
    """What must be seen. Where a number is left to time, the one that was seen stands in its place, if it may be."""
    jobs = {}
    for name in JOBS:
        fate: Fate = getattr(outcome, name)
        found = seen.jobs[name]
        if not outcome.is_exact:
            fate = fate._replace(requests=found.requests, attempts=found.attempts)
        elif fate.requests == MANY and found.requests > outcome.retries + 1:
            fate = fate._replace(requests=found.requests)
            if fate.attempts == MANY:
                fate = fate._replace(attempts=found.requests)
        jobs[name] = fate
    return Seen(outcome.exit, outcome.stop, jobs)


def _check_answer(row: Fault, way: Way, line: dict[str, Any]) -> None:
    """The answer is what the simulator said to this job and no other, with what the row changes about it."""
    name = line["id"]
    if way in EMBEDDINGS:
        assert line["embeddings"] == [vector(_prompt(row, name)), vector(BESIDE)]
        return
    meets = name in ("once", "always")
    behaviour = parse(row.directive)
    said = text(name) if behaviour.tokens is None or not meets else text(name, behaviour.tokens)
    if meets and row.directive in SAID:
        said = SAID[row.directive]
    if "bad_utf8" in behaviour.do and meets and way not in RESPONSES_STREAM:  # its last event says all again
        said = f"\ufffd{said}"
    assert line["text"] == said
