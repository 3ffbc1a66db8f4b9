"""The bottleneck: what is said of a run that was held up by one thing, and nothing of one that was by none."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
from support.commandline import names, prompts

from batcher.simulator import simulator_thread
from batcher.view.bottleneck import Bottleneck, Bound, Kind, Level, Measured, bottleneck

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.commandline import Desk

WORK = Measured(elapsed=100.0, answers=500, full=99.0, in_flight=8, latency=780.0, tokens=50_000, prompt_tokens=20_000)
"""A server at work all the time; what with, and why no more was in flight, is not known yet."""
FLAT = {2: Level(2, 4.0, 400), 4: Level(8, 400.0, 10_400)}
"""Four times as many in flight brought next to nothing."""
STEEP = {2: Level(2, 4.0, 400), 4: Level(8, 400.0, 36_000)}

CASES = {
    "outages": (replace(WORK, away=40.0), Kind.OUTAGES, "--base-url"),
    "a rate": (replace(WORK, full=5.0, kept_by_requests=80.0, a_minute=300.0), Kind.RATE, "of 300 requests a minute"),
    "told to wait": (replace(WORK, full=5.0, kept_by_requests=60.0), Kind.RATE, "--rpm"),
    "full, for most of the time": (replace(WORK, full=5.0, crowded=40.0, turned_away=90), Kind.SLOTS, "90 times"),
    "full, to as many as it answered": (
        replace(WORK, full=5.0, crowded=4.0, turned_away=500),
        Kind.SLOTS,
        "to 500 that it answered",
    ),
    "tokens a minute": (
        replace(WORK, full=5.0, kept_by_requests=5.0, kept_by_tokens=80.0, a_minute=60_000.0),
        Kind.TOKEN_RATE,
        "of 60,000 tokens a minute",
    ),
    "single jobs": (replace(WORK, alone=40.0), Kind.SINGLE, "--max-wait"),
    "a disk": (replace(WORK, disk=50.0), Kind.DISK, "--durability"),
    "CPU": (replace(WORK, cpu=97.0), Kind.CPU, "97 % of a core"),
    "prompts": (replace(WORK, prompts=500.0, queue=100.0), Kind.PROMPTS, "200 prompt tokens/s"),
    "a silent queue, found": (replace(WORK, bound=Bound.QUEUED), Kind.QUEUE, "OLLAMA_NUM_PARALLEL"),
    "a silent queue, asked for": (replace(WORK, bound=Bound.ASKED, queue=600.0), Kind.QUEUE, "1.20 s each"),
    "slots that it tells": (replace(WORK, bound=Bound.TOLD), Kind.SLOTS, "as many as the server says"),
    "slots that refuse": (replace(WORK, bound=Bound.REFUSED), Kind.SLOTS, "above which it says wait"),
    "slots that are asked for": (replace(WORK, bound=Bound.ASKED), Kind.SLOTS, "-c auto"),
    "generation": (replace(WORK, levels=FLAT), Kind.GENERATION, "500 tokens/s"),
    "generation, all at once": (
        replace(WORK, full=0.0, busy=99.0, levels=FLAT),
        Kind.GENERATION,
        "2 in flight as with",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_held_the_run_up(name: str) -> None:
    """Each is told by what was measured, with the setting that would help."""
    of, kind, words = CASES[name]
    found = bottleneck(of)
    assert found is not None
    assert found.kind is kind
    assert words in found.words


@pytest.mark.parametrize(
    "of",
    [
        Measured(elapsed=100.0, answers=500, full=30.0, latency=780.0, in_flight=8),  # the input, or its end
        replace(WORK, bound=Bound.FOUND),  # the limit was still growing
        replace(WORK, levels=STEEP),
        replace(WORK, levels={2: Level(2, 0.05, 5), 4: Level(8, 400.0, 10_400)}),  # five pieces are no level
        replace(WORK, levels={3: Level(7, 4.0, 400), 4: Level(8, 400.0, 35_000)}),  # too near
        replace(WORK, answers=5, bound=Bound.TOLD),
        replace(WORK, elapsed=2.0, full=2.0, bound=Bound.TOLD),
        replace(WORK, full=50.0, away=20.0, kept_by_requests=20.0, cpu=60.0, disk=20.0, bound=Bound.TOLD),
        Measured(elapsed=0.0),
        replace(WORK, full=5.0, crowded=4.0, turned_away=499),
        replace(WORK, full=20.0, busy=99.0, bound=Bound.QUEUED),  # at work, but not with all that it may be given
    ],
)
def test_silent_where_nothing_held_it_up(of: Measured) -> None:
    """A sentence that is wrong costs more than none."""
    assert bottleneck(of) is None


def test_what_lies_outside_is_told_first() -> None:
    """Whoever waits for a server, or for its allowance, gains nothing by more slots."""
    everything = replace(
        WORK, away=50.0, kept_by_requests=50.0, disk=50.0, cpu=99.0, prompts=700.0, bound=Bound.QUEUED, levels=FLAT
    )
    kinds = []
    for name in ("away", "kept_by_requests", "disk", "cpu", "prompts"):
        found = bottleneck(everything)
        assert found is not None
        kinds.append(found.kind)
        nothing: dict[str, Any] = {name: 0.0}
        everything = replace(everything, **nothing)
    assert kinds == [Kind.OUTAGES, Kind.RATE, Kind.DISK, Kind.CPU, Kind.PROMPTS]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "more", "jobs", "kind"),
    [
        ({"slots": 2, "speed": 50.0}, ("-c", "16"), 20, "queue"),
        ({}, ("--rpm", "120", "-c", "4"), 9, "rate"),
        ({"prompt_speed": 40.0}, ("-c", "2"), 24, "prompts"),
        ({"speed": 20.0}, ("-c", "2"), 8, "slots"),
        ({}, ("--tpm", "1200", "-c", "4"), 5, "token_rate"),
    ],
)
def test_said_by_a_run(
    desk: Desk, settings: dict[str, Any], more: tuple[str, ...], jobs: int, kind: str | None
) -> None:
    """On simulated servers made for it, in the block and for programs."""
    desk.write("jobs.jsonl", *prompts(names(jobs), "tokens=20"))
    with simulator_thread(**settings) as sim:
        args = ("run", "jobs.jsonl", "-o", "results.jsonl", "-m", "simulator", "--base-url", sim.url)
        ran = desk.run(*args, *more, "--summary-json", "s.json")
    told = json.loads((desk.path / "s.json").read_text())["bottleneck"]
    assert (told and told["kind"]) == kind, ran.err
    assert (f"\nbound by {told['words']}\n" in ran.err) if told else ("\nbound by " not in ran.err)


def said(desk: Desk, jobs: list[dict[str, Any]], *more: str, **settings: Any) -> tuple[Measured, dict[str, Any] | None]:
    """What a run within this process measured, and what it says that it was held up by, be it ever so short."""
    desk.write("jobs.jsonl", *jobs)
    seen: list[Measured] = []

    def asked(of: Measured) -> Bottleneck | None:
        seen.append(of)
        return bottleneck(of)

    with (
        simulator_thread(**settings) as sim,
        mock.patch("batcher.view.bottleneck.LEAST_S", 0.0),
        mock.patch("batcher.view.sums.bottleneck", asked),
    ):
        args = ("run", "jobs.jsonl", "-o", "results.jsonl", "-m", "simulator", "--base-url", sim.url)
        ran = desk.call(*args, *more, "--summary-json", "s.json")
    assert ran.code == 0, ran.err
    found: dict[str, Any] | None = json.loads((desk.path / "s.json").read_text())["bottleneck"]
    assert (f"\nbound by {found['words']}\n" in ran.err) if found else ("\nbound by " not in ran.err)
    return seen[-1], found


def hours() -> Callable[[], float]:
    """A clock on which an hour passes between two looks, however fast the machine is."""
    return partial(next, count(0.0, 3600.0))


@pytest.mark.slow
def test_a_slow_disk(desk: Desk) -> None:
    """A disk on which each sync takes hours by the writer's clock, and --durability each: what to change is said."""
    with mock.patch("batcher.ledger.writer.now", hours()):
        _, found = said(desk, prompts(names(12), "tokens=2"), "--durability", "each", "-c", "2")
    assert found is not None
    assert found["kind"] == "disk"
    assert "--durability batch" in found["words"]


@pytest.mark.slow
def test_a_busy_processor(desk: Desk) -> None:
    """By the clock of this process, on which hours of work are done meanwhile."""
    with mock.patch("batcher.running.runner.time.process_time", hours()):
        _, found = said(desk, prompts(names(12), "tokens=2"), "-c", "2")
    assert found is not None
    assert found["kind"] == "cpu"
    assert "--no-stream" in found["words"]


@pytest.mark.slow
def test_slots_that_are_refused(desk: Desk) -> None:
    """A server that says wait above three at once (503): that is no rate limit, and the sentence says so."""
    of, _ = said(desk, prompts(names(30), "tokens=10"), slots=2, max_queue=1, speed=100.0)
    assert of.crowded > of.kept_by_requests
    assert of.turned_away
    found = bottleneck(replace(WORK, full=5.0, crowded=60.0, turned_away=of.turned_away))  # how long: by the machine
    assert found is not None
    assert (found.kind, "it was full and said wait" in found.words) == (Kind.SLOTS, True)


@pytest.mark.slow
def test_nothing_is_said_of_a_server_that_had_room(desk: Desk) -> None:
    """The ninth: as many go as come, and the limit was still being found; how fast this machine is does not count."""
    of, _ = said(desk, prompts(names(24), "tokens=20 delay=0.01"))
    assert (of.away, of.kept_by_requests, of.kept_by_tokens, of.crowded, of.turned_away) == (0, 0, 0, 0, 0)
    assert (of.bound, of.answers) == (Bound.FOUND, 24)
    assert of.levels
    assert bottleneck(replace(of, cpu=0.0, disk=0.0, queue=0.0, prompts=0.0, levels=STEEP)) is None
