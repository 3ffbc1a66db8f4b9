"""Readers of `-o -` that leave, early or late, or stop reading."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest
from support.commandline import names, prompts, running, until
from support.outputrun import SLOTS, arguments, sent

from batcher.simulator import simulator_thread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.commandline import Desk

    from batcher.simulator import Simulator

pytestmark = pytest.mark.slow

PIPE = 141


@pytest.fixture
def sim() -> Iterator[Simulator]:
    with simulator_thread() as server:
        yield server


def test_the_reader_leaves(desk: Desk, sim: Simulator) -> None:
    """When the reader of -o - has gone the run ends with 141 and without a word; what was in flight is cancelled."""
    everyone = names(200)
    desk.write("jobs.jsonl", *prompts(everyone, "delay=0.01"))
    with running(desk.start(*arguments(sim, "-q", output="-"))) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith('{"id":"q')
        process.stdout.close()
        assert process.wait() == PIPE
        assert process.stderr.read() == ""
    until(lambda: not sim.tally.in_flight)
    assert sent(sim) < len(everyone)


def test_the_reader_leaves_before_the_first_answer(desk: Desk, sim: Simulator) -> None:
    """Nobody waits, or pays, for an answer that nobody will read."""
    desk.write("jobs.jsonl", *prompts(names(9), "do=silent"))
    with running(desk.start(*arguments(sim, "-q", output="-"))) as process:
        assert process.stdout is not None
        until(lambda: sim.tally.in_flight)
        process.stdout.close()
        assert process.wait() == PIPE
    assert sent(sim) == 1  # the model is not known to be loaded before the first answer


def test_a_reader_who_stopped_reading(desk: Desk, sim: Simulator) -> None:
    """A reader who does not read stops the sending, and does not keep the run from ending by its signal."""
    everyone = names(50)
    desk.write("jobs.jsonl", *prompts(everyone, "tokens=20000"))
    with running(desk.start(*arguments(sim, "-q", "--grace", "0.1s", output="-"))) as process:
        assert process.stdout is not None
        until(lambda: sim.tally.answered.total() > SLOTS and not sim.tally.in_flight)
        process.send_signal(signal.SIGTERM)
        assert process.wait() == -signal.SIGTERM
        lines = process.stdout.read().split("\n")
    assert all(line.startswith('{"id":"q') for line in lines if line)
    assert sent(sim) <= 2 * SLOTS
