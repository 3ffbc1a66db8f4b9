"""Holds --max-duration to its word: what is in flight is finished, the code is 4, and the next run goes on."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import anyio
import pytest
from support.commandline import names, prompts

from batcher.failures import Exit, Failure
from batcher.running.signals import Signals
from batcher.simulator import simulator_thread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.commandline import Desk

    from batcher.simulator import BackgroundSimulator

RUN = ("run", "jobs.jsonl", "-o", "results.jsonl", "-m", "simulator")
NOBODY = "http://127.0.0.1:9"


@pytest.fixture
def sim() -> Iterator[BackgroundSimulator]:
    with simulator_thread() as server:
        yield server


class Heard:
    """Signals of a run that notes what is done to it."""

    def __init__(self, *, drains: bool = True) -> None:
        self.notes: list[str] = []
        self.drained: list[Failure | None] = []
        self.scope = anyio.CancelScope()
        self.signals = Signals(self.scope, self.notes.append, 20.0, lambda: None)
        if drains:
            self.signals.drain = self.drained.append


@pytest.mark.anyio
async def test_the_end_of_the_time_drains_like_a_signal() -> None:
    """What is in flight gets the grace, the failure says why and ends with 4, and the scope is not cancelled."""
    heard = Heard()
    before = anyio.current_time()
    await heard.signals.expire(0.0)
    assert not heard.scope.cancel_called
    assert heard.scope.deadline >= before + 20.0
    [failure] = heard.drained
    assert failure is heard.signals.expired
    assert failure is not None
    assert (failure.code, failure.exit) == ("max_duration", Exit.STOPPED)
    assert "--max-duration (0.0 s) is over" in heard.notes[0]


@pytest.mark.anyio
async def test_the_end_of_the_time_before_there_is_anything_to_drain_cancels() -> None:
    """A run that still waits for its server has nothing in flight to wait for."""
    heard = Heard(drains=False)
    await heard.signals.expire(0.0)
    assert heard.scope.cancel_called
    assert heard.signals.expired is not None


@pytest.mark.anyio
async def test_a_run_that_was_signalled_does_not_expire() -> None:
    """The signal is why it ends; the grace that it gave is not moved."""
    heard = Heard()
    heard.signals.received = signal.SIGTERM
    await heard.signals.expire(0.0)
    assert heard.signals.expired is None
    assert heard.drained == []


@pytest.mark.slow
def test_max_duration_drains_and_is_4(desk: Desk, sim: BackgroundSimulator) -> None:
    """What is in flight when the time is over is finished and kept; the code is 4, and the next run does the rest."""
    wanted = names(60)
    desk.write("jobs.jsonl", *prompts(wanted, "ttft=0.15"))
    ran = desk.call(*RUN, "--base-url", sim.url, "-c", "2", "--max-duration", "1s")
    assert ran.code == 4
    assert "--max-duration (1.0 s) is over: no new requests" in ran.err
    assert "stopped  max_duration" in ran.err
    assert "run the same command again" in ran.err
    done = desk.ids()
    assert done == sorted(sim.tally.answered) == sorted(sim.counts)
    assert len(done) < len(wanted)
    again = desk.call(*RUN, "--base-url", sim.url, "-c", "60", "--max-duration", "1h")
    assert again.code == 0, again.err
    assert desk.ids() == wanted
    assert set(sim.counts.values()) == {1}


@pytest.mark.slow
def test_max_duration_cancels_after_the_grace(desk: Desk, sim: BackgroundSimulator) -> None:
    """An answer that does not come is not waited for longer; its job stays pending."""
    desk.write("jobs.jsonl", *prompts(["quick"]), *prompts(["stuck"], "do=silent"))
    ran = desk.call(*RUN, "--base-url", sim.url, "--max-duration", "1s", "--grace", "0.1s", "-q")
    assert ran.code == 4
    assert ran.err.count("\n") == 1
    assert "max_duration" in ran.err
    assert "1 pending" in ran.err
    assert desk.ids() == ["quick"]


@pytest.mark.slow
def test_max_duration_holds_while_the_server_is_waited_for(desk: Desk) -> None:
    """The time runs from the start of the run, not from the first answer."""
    desk.write("jobs.jsonl", *prompts(["q"]))
    ran = desk.call(*RUN, "--base-url", NOBODY, "--max-wait", "1h", "--max-duration", "0.5s")
    assert ran.code == 4
    assert "max_duration" in ran.err


@pytest.mark.slow
def test_a_run_that_is_done_in_its_last_seconds_is_done(desk: Desk, sim: BackgroundSimulator) -> None:
    """When all that is left is in flight as the time ends, and gets its answer, every job has a result: 0."""
    desk.write("jobs.jsonl", *prompts(["long"], "ttft=1.5"))
    ran = desk.call(*RUN, "--base-url", sim.url, "--max-duration", "0.7s", "-c", "2")
    assert sim.counts["long"] == 1
    assert ran.code == 0, ran.err
    assert "is over" in ran.err
