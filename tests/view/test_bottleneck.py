"""The bottleneck: what is said of a run that was held up by one thing, and nothing of one that was by none."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from support.commandline import names, prompts

from batcher.simulator import simulator_thread
from batcher.view.bottleneck import Bound, Kind, Level, Measured, bottleneck

if TYPE_CHECKING:
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
    "tokens a minute": (
        replace(WORK, full=5.0, kept_by_requests=5.0, kept_by_tokens=80.0, a_minute=60_000.0),
        Kind.TOKEN_RATE,
        "of 60,000 tokens a minute",
    ),
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
        ({}, (), 20, None),
    ],
)
def test_said_by_a_run(
    desk: Desk, settings: dict[str, Any], more: tuple[str, ...], jobs: int, kind: str | None
) -> None:
    """On simulated servers made for it, in the block and for programs; of a run that nothing held up nothing."""
    desk.write("jobs.jsonl", *prompts(names(jobs), "tokens=20"))
    with simulator_thread(**settings) as sim:
        args = ("run", "jobs.jsonl", "-o", "results.jsonl", "-m", "simulator", "--base-url", sim.url)
        ran = desk.run(*args, *more, "--summary-json", "s.json")
    told = json.loads((desk.path / "s.json").read_text())["bottleneck"]
    assert (told and told["kind"]) == kind, ran.err
    assert (f"\nbound by {told['words']}\n" in ran.err) if told else ("\nbound by " not in ran.err)
