"""Holds a run to its signals: drained by the first, cancelled by the second, ended by the same; asked by USR1."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from support.commandline import ended, names, next_words, prompts, running, until

from batcher.simulator import simulator_thread

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.commandline import Desk

    from batcher.simulator import BackgroundSimulator

RUN = ("run", "jobs.jsonl", "-o", "results.jsonl", "-m", "simulator")
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
NOBODY = "http://127.0.0.1:9"


@pytest.fixture
def sim() -> Iterator[BackgroundSimulator]:
    with simulator_thread() as server:
        yield server


@pytest.mark.slow
@pytest.mark.parametrize("number", ENDING, ids=lambda number: number.name)
def test_the_first_signal_drains(desk: Desk, sim: BackgroundSimulator, number: signal.Signals) -> None:
    """What is in flight is finished and kept, no more is sent, the process ends by the signal; the next run goes on."""
    wanted = names(40)
    desk.write("jobs.jsonl", *prompts(wanted, "ttft=0.15"))
    with running(desk.start(*RUN, "--base-url", sim.url, "-c", "4")) as process:
        until(lambda: sim.counts.total() >= 6)
        process.send_signal(number)
        ran = ended(process)
    assert ran.code == -number
    assert f"{number.name}: no new requests; waiting up to 20 s" in ran.err
    done = desk.ids()
    assert f"run the same command again for the {len(wanted) - len(done)} left" in ran.err
    assert done == sorted(sim.tally.answered)  # whatever was answered has its line
    assert len(done) == sim.counts.total() < len(wanted)
    assert desk.errors() == {}
    assert desk.run(*RUN, "--base-url", sim.url, "-c", "40").code == 0
    assert desk.ids() == wanted
    assert set(sim.counts.values()) == {1}


@pytest.mark.slow
@pytest.mark.parametrize("number", ENDING, ids=lambda number: number.name)
def test_the_second_signal_cancels(desk: Desk, sim: BackgroundSimulator, number: signal.Signals) -> None:
    """Requests in flight are dropped and their jobs stay pending; what had finished is in the results."""
    desk.write("jobs.jsonl", *prompts(["quick"]), *prompts(["stuck"], "do=silent"))
    with running(desk.start(*RUN, "--base-url", sim.url)) as process:
        until(lambda: sim.counts["stuck"] and desk.lines())
        process.send_signal(number)
        assert process.stderr is not None
        assert "no new requests" in next_words(process.stderr)
        process.send_signal(number)
        ran = ended(process)
    assert ran.code == -number
    assert desk.ids() == ["quick"]
    assert desk.errors() == {}
    assert "1 pending" in ran.err


@pytest.mark.slow
def test_the_grace_ends(desk: Desk, sim: BackgroundSimulator) -> None:
    """After --grace what is in flight is cancelled without a second signal."""
    desk.write("jobs.jsonl", *prompts(["quick"]), *prompts(["stuck"], "do=silent"))
    with running(desk.start(*RUN, "--base-url", sim.url, "--grace", "0.1s")) as process:
        until(lambda: sim.counts["stuck"] and desk.lines())
        process.send_signal(signal.SIGTERM)
        assert ended(process).code == -signal.SIGTERM
    assert desk.ids() == ["quick"]


@pytest.mark.slow
@pytest.mark.parametrize("url", [NOBODY, f"{NOBODY}/v1"], ids=["asking who it is", "sending"])
def test_a_signal_while_the_server_is_waited_for(desk: Desk, url: str) -> None:
    """There is nothing to wait for: the run ends at once by the signal, and USR1 says what it waited for."""
    desk.write("jobs.jsonl", *prompts(["q"]))
    with running(desk.start(*RUN, "--base-url", url, "--max-wait", "1h")) as process:
        assert process.stderr is not None
        assert "127.0.0.1:9" in next_words(process.stderr)
        process.send_signal(signal.SIGUSR1)
        assert re.search(
            r"state: 0(/1)? .*(no server has answered yet|the server is away).* in flight", next_words(process.stderr)
        )
        process.send_signal(signal.SIGTERM)
        ran = ended(process)
    assert ran.code == -signal.SIGTERM
    assert desk.errors() == {}


@pytest.mark.slow
def test_a_signal_while_all_is_parked(desk: Desk, sim: BackgroundSimulator) -> None:
    """Retries in their backoff hold nothing up: they stay pending, and the state names them while they wait."""
    desk.write("jobs.jsonl", *prompts(["good"]), *prompts(["later"], "status=500 times=1 retry_after=50"))
    with running(desk.start(*RUN, "--base-url", sim.url, "-q")) as process:
        until(lambda: sim.counts["later"] and desk.lines())
        stderr = process.stderr
        assert stderr is not None

        def parked() -> bool:
            process.send_signal(signal.SIGUSR1)
            state = next_words(stderr)
            assert state.startswith("batcher: state: 1/2 ")
            return "1 parked" in state

        until(parked)
        process.send_signal(signal.SIGINT)
        ran = ended(process)
    assert ran.code == -signal.SIGINT
    assert desk.ids() == ["good"]
    assert desk.errors() == {}
    assert ran.err.count("\n") == 1  # with -q
    assert "1 pending" in ran.err
    assert "ended by SIGINT" in ran.err


@pytest.mark.slow
def test_a_signal_after_the_end_costs_nothing(desk: Desk, sim: BackgroundSimulator) -> None:
    """While the last words wait for their reader all results are in the file, and the signal ends the process."""
    wanted = names(5)
    desk.write("jobs.jsonl", *prompts(wanted))
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writer, b"x" * 512)
    os.set_blocking(writer, True)
    process = desk.start(*RUN, "--base-url", sim.url, "--summary-json", "sums.json", stderr=writer)
    os.close(writer)
    with running(process):
        until(lambda: (path := desk.path / "results.state.json").exists() and b'"complete"' in path.read_bytes())
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == -signal.SIGTERM
    os.close(reader)
    assert desk.ids() == wanted


@pytest.mark.slow
def test_a_state_asked_for_again_and_again_disturbs_nothing(desk: Desk, sim: BackgroundSimulator) -> None:
    """A hundred SIGUSR1, from before the first request to after the last, and the run ends as without them."""
    wanted = names(60)
    desk.write("jobs.jsonl", *prompts(wanted, "delay=0.005"))
    with running(desk.start(*RUN, "--base-url", sim.url, "-q", "-c", "4")) as process:
        until(sim.counts.total)
        while process.poll() is None:
            process.send_signal(signal.SIGUSR1)
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.01)
        ran = ended(process)
    assert ran.code == 0
    lines = ran.err.splitlines()
    assert lines
    assert all(re.match(r"batcher: state: \d+.* · \d+/4 in flight", line) for line in lines), lines
    assert desk.ids() == wanted
    assert set(sim.counts.values()) == {1}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="strace is Linux's")
def test_a_signal_during_a_commit_lets_it_finish(desk: Desk, sim: BackgroundSimulator, tmp_path: Path) -> None:
    """While a line is being written the signal waits: the line is whole, and everything answered has its line."""
    from shutil import which

    if which("strace") is None:
        pytest.skip("strace is not installed")
    desk.write("jobs.jsonl", *prompts(names(30), "ttft=0.05"))
    (desk.path / "results.jsonl").touch()
    inject = ["strace", "-f", "-q", "-o", "/dev/null", "-P", str(desk.path / "results.jsonl")]
    inject += ["-e", "trace=write,pwrite64", "-e", "inject=write,pwrite64:delay_enter=200000"]
    probe = subprocess.run([*inject, "true"], capture_output=True, text=True, check=False)
    if probe.returncode:
        pytest.skip(f"strace may not trace here: {probe.stderr.strip()}")
    command = [*inject, *desk.command(*RUN, "--base-url", sim.url, "-c", "3")]
    with running(subprocess.Popen(command, cwd=desk.path, env=desk.env, stderr=subprocess.PIPE, text=True)) as process:
        until(lambda: sim.tally.answered.total() >= 6)
        os.kill(_child(process.pid), signal.SIGTERM)
        assert process.wait(20) == -signal.SIGTERM
    assert desk.ids() == sorted(sim.tally.answered)
    assert len(desk.ids()) >= 6


def _child(parent: int) -> int:
    from pathlib import Path

    return int(Path(f"/proc/{parent}/task/{parent}/children").read_text().split()[0])


@pytest.mark.real
@pytest.mark.skipif(sys.platform != "linux", reason="the child is found through /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_local_server_starts(desk: Desk, number: signal.Signals) -> None:
    """The run ends by the signal, and the embedded server with it."""
    desk.write("jobs.jsonl", *prompts(["q"]))
    with running(desk.start("run", "jobs.jsonl", "-o", "results.jsonl", "--local")) as process:
        assert process.stderr is not None
        assert "starting the embedded" in next_words(process.stderr)
        children: list[int] = []

        def started() -> bool:
            with suppress(IndexError):
                children.append(_child(process.pid))
            return bool(children)

        until(started)
        process.send_signal(number)
        assert ended(process).code == -number

    def gone() -> bool:
        try:
            os.kill(children[0], 0)
        except ProcessLookupError:
            return True
        return False

    until(gone)
