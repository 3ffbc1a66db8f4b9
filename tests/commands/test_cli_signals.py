"""Signals to the real process: the first drains, the second cancels, and what is paid for is written both times."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.commandline import ended, names, next_words, prompts, running, until

from batcher.simulator import simulator_thread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.commandline import Desk

    from batcher.simulator import BackgroundSimulator

pytestmark = pytest.mark.slow

WANTED = names(30)
RUN = ("run", "jobs.jsonl", "-o", "results.jsonl", "-m", "simulator", "-c", "3")


@pytest.fixture
def sim() -> Iterator[BackgroundSimulator]:
    with simulator_thread() as simulator:
        yield simulator


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_first_signal_drains(desk: Desk, sim: BackgroundSimulator, number: signal.Signals) -> None:
    """Those in flight finish and are written, no other is sent, the process dies by the signal; the rest runs later."""
    desk.write("jobs.jsonl", *prompts(WANTED[:4]), *prompts(WANTED[4:], "ttft=0.2"))
    with running(desk.start(*RUN, "--base-url", sim.url, "--summary-json", "sums.json")) as process:
        until(lambda: len(desk.lines()) >= 4 and sim.tally.in_flight == 3)
        asked = set(sim.counts)
        process.send_signal(number)
        ran = ended(process)
    assert ran.code == -number  # as its parent sees one that died by the signal; a shell says 128 + number
    assert desk.ids() == sorted(asked)
    assert sim.counts == dict.fromkeys(asked, 1)
    assert sim.tally.aborted == 0
    assert f"{number.name}: no new requests" in ran.err
    assert f"{len(asked)} of {len(WANTED)} jobs done · {len(WANTED) - len(asked)} pending" in ran.err
    assert f'"signal": {int(number)}' in (desk.path / "sums.json").read_text()
    if number is signal.SIGINT:
        assert desk.run(*RUN, "--base-url", sim.url).code == 0
        assert desk.ids() == WANTED
        assert set(sim.counts.values()) == {1}


def test_a_second_signal_cancels_at_once(desk: Desk, sim: BackgroundSimulator) -> None:
    """The server sees its requests broken off, what was answered before is kept, and no job has failed."""
    desk.write("jobs.jsonl", *prompts(WANTED[:5]), *prompts(WANTED[5:], "ttft=30"))
    with running(desk.start(*RUN, "--base-url", sim.url)) as process:
        until(lambda: len(desk.lines()) == 5 and sim.tally.in_flight == 3)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        assert "no new requests" in next_words(process.stderr)
        process.send_signal(signal.SIGINT)
        ran = ended(process)
    assert ran.code == -signal.SIGINT
    until(lambda: sim.tally.aborted == 3)
    assert desk.ids() == WANTED[:5]
    assert desk.errors() == {}
    assert f"5 of {len(WANTED)} jobs done · {len(WANTED) - 5} pending" in ran.err


def test_the_grace_ends_a_drain(desk: Desk, sim: BackgroundSimulator) -> None:
    """Those that do not finish in time are left pending."""
    desk.write("jobs.jsonl", *prompts(WANTED, "delay=5"))
    with running(desk.start(*RUN, "--base-url", sim.url, "--grace", "100ms")) as process:
        until(lambda: sim.tally.in_flight == 3)
        process.send_signal(signal.SIGTERM)
        assert ended(process).code == -signal.SIGTERM
    assert desk.ids() == []
    assert sim.counts.total() == 3


@pytest.mark.parametrize("where", ["", "/v1"])
def test_a_signal_while_waiting_for_the_server_ends_the_wait(desk: Desk, sim: BackgroundSimulator, where: str) -> None:
    """Whether it waits to learn the API or to send a first job, one signal is enough, and nothing is lost."""
    desk.write("jobs.jsonl", *prompts(WANTED))
    sim.kill()
    with running(desk.start(*RUN, "--base-url", sim.url + where, "--max-wait", "1h")) as process:
        assert process.stderr is not None
        assert "waiting" in next_words(process.stderr)
        process.send_signal(signal.SIGINT)
        assert ended(process).code == -signal.SIGINT
    assert desk.ids() == []
    assert desk.errors() == {}


def test_commands_that_only_look_die_by_the_signal_too(desk: Desk, sim: BackgroundSimulator) -> None:
    """Ctrl-C in `models` is no bug and no traceback."""
    sim.kill()
    with running(desk.start("models", "--base-url", sim.url, "--max-wait", "1h")) as process:
        assert process.stderr is not None
        assert "waiting" in next_words(process.stderr)
        process.send_signal(signal.SIGINT)
        assert ended(process).code == -signal.SIGINT


@pytest.mark.skipif(sys.platform != "linux", reason="the child is found through /proc")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGHUP, 129), (signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_shell_sees_the_signal_in_the_code(
    desk: Desk, sim: BackgroundSimulator, number: signal.Signals, code: int
) -> None:
    """What `$?` is after it: 128 and the number of the signal."""
    desk.write("jobs.jsonl", *prompts(["q"], "do=silent"))
    command = desk.command(*RUN, "--base-url", sim.url, "--grace", "0s", "-q")
    shell = subprocess.Popen(
        ["/bin/sh", "-c", '"$@"; echo $?', "sh", *command],
        cwd=desk.path,
        env=desk.env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with running(shell):
        until(lambda: sim.tally.in_flight)
        [child] = Path(f"/proc/{shell.pid}/task/{shell.pid}/children").read_text().split()
        os.kill(int(child), number)
        ran = ended(shell)
    assert ran.out == f"{code}\n"
    assert f"ended by {number.name}" in ran.err


def test_an_endless_input_of_no_jobs_at_all_can_be_ended(desk: Desk, sim: BackgroundSimulator) -> None:
    """`yes | batcher run -`: each line is refused, none is sent, and a signal ends it as any other run."""
    command = ("run", "-", "--input-format", "jsonl", *RUN[2:], "--base-url", sim.url)
    with subprocess.Popen(["yes", "no job"], stdout=subprocess.PIPE) as endless:
        try:
            with running(desk.start(*command, stdin=endless.stdout)) as process:
                until((desk.path / "results.errors.jsonl").exists)
                process.send_signal(signal.SIGTERM)
                ran = ended(process)
        finally:
            endless.kill()
    assert ran.code == -signal.SIGTERM
    assert "no new requests" in ran.err
    assert not sim.counts
