"""A second run on the same results: refused, left alone or waited for, as it was told."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest
from support.commandline import prompts, until
from support.outputrun import arguments, sent, watched

from batcher.ledger.ledger import Ledger
from batcher.simulator import simulator_thread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.commandline import Desk

    from batcher.simulator import Simulator

pytestmark = pytest.mark.slow

LOCKED = 75


@pytest.fixture
def sim() -> Iterator[Simulator]:
    with simulator_thread() as server:
        yield server


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        ((), LOCKED, "another run is writing this file"),
        (("-q",), LOCKED, "another run is writing this file"),
        (("--if-locked", "skip"), 0, ": left to it"),
        (("--if-locked", "skip", "-q"), 0, None),
        (("--wait-lock", "0.1s", "-q"), LOCKED, "another run is writing this file"),
        (("--wait-lock", "0.1s", "--if-locked", "skip", "-q"), 0, None),
    ],
)
def test_a_second_run(desk: Desk, sim: Simulator, more: tuple[str, ...], code: int, said: str | None) -> None:
    """A run on results that another one writes sends nothing, and says and returns what it was told to."""
    desk.write("jobs.jsonl", *prompts(["a"]))
    with Ledger.open(desk.path / "results.jsonl"):
        ran = desk.run(*arguments(sim, *more))
    assert (ran.code, ran.out, sent(sim)) == (code, "", 0)
    if said is None:
        assert ran.err == ""
    else:
        assert said in ran.err
        assert ran.err.count("\n") == 1


def test_waiting_for_another_run(desk: Desk, sim: Simulator) -> None:
    """With --wait-lock a second run begins when the first has ended, and knows what that one did."""
    desk.write("jobs.jsonl", *prompts(["a", "b"]))
    assert desk.run(*arguments(sim, "-q", "-n", "1")).code == 0
    with (
        Ledger.open(desk.path / "results.jsonl") as ledger,
        watched(desk, *arguments(sim, "--wait-lock", "20s")) as (process, said),
    ):
        until(lambda: "waiting up to 20 s for another run" in said())
        assert sent(sim) == 1
        ledger.close()
        assert process.wait() == 0
    assert desk.ids() == ["a", "b"]
    assert set(sim.tally.counts.values()) == {1}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_nobody_has_to_wait_for_a_lock(desk: Desk, sim: Simulator, number: signal.Signals) -> None:
    """Who waits for another run can be told to stop, and dies of that signal."""
    desk.write("jobs.jsonl", *prompts(["a"]))
    with (
        Ledger.open(desk.path / "results.jsonl"),
        watched(desk, *arguments(sim, "--wait-lock", "1h")) as (process, said),
    ):
        until(lambda: "waiting up to" in said())
        process.send_signal(number)
        assert process.wait() == -number, said()
    assert "Traceback" not in said()
