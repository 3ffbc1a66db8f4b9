"""Nobody waits for ever: readers that stopped, writers that never came, locks that are only looked at, long inputs."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from support.commandline import ended, names, prompts, running, until

from batcher.failures import LockedError
from batcher.inputs.source import Source
from batcher.ledger import lock
from batcher.ledger.ledger import Ledger
from batcher.simulator import simulator_thread
from batcher.view.observer import Silent

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.commandline import Desk

    from batcher.outcome import Result


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["--max-duration", "SIGTERM"])
def test_a_reader_that_stopped(desk: Desk, ending: str) -> None:
    """A run whose results nobody takes out of the pipe ends when its time is over, or by a signal."""
    desk.write("jobs.jsonl", *prompts(names(60), "tokens=900"))
    reading, writing = os.pipe()
    with simulator_thread() as sim:
        limits = ("--max-duration", "1s") if ending == "--max-duration" else ()
        args = ("run", "jobs.jsonl", "-o", "-", "--base-url", sim.url, "-m", "simulator", "--grace", "0.5s", *limits)
        with running(desk.start(*args, stdout=writing)) as process:
            os.close(writing)
            if not limits:
                until(lambda: sim.tally.counts.total() > 10)
                process.terminate()
            ran = ended(process)
    os.close(reading)
    assert ran.code == (4 if limits else -15), ran.err


@pytest.mark.slow
@pytest.mark.parametrize("more", [(), ("--dialect", "openai")])
def test_a_server_that_takes_no_part_in_tls(desk: Desk, more: tuple[str, ...]) -> None:
    """Who waits two seconds does not wait twenty for a handshake that a plain server never answers."""
    desk.write("jobs.jsonl", *prompts(names(1)))
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"https://127.0.0.1:{server.getsockname()[1]}/v1"
        ran = desk.run("run", "jobs.jsonl", "-o", "r.jsonl", "--base-url", url, "-m", "m", "--max-wait", "2s", *more)
    assert ran.code == 69, ran.err


@pytest.mark.slow
def test_a_fifo_that_nobody_writes_to(desk: Desk) -> None:
    """The run heeds its own time while it waits; where somebody writes in the end, it does its work."""
    os.mkfifo(desk.path / "jobs")
    with simulator_thread() as sim:
        args = ("run", "jobs", "-o", "results.jsonl", "--base-url", sim.url, "-m", "simulator")
        ran = desk.run(*args, "--max-duration", "0.3s")
        assert ran.code == 4, ran.err
        with running(desk.start(*args)) as process:
            desk.write("jobs", *prompts(names(3)))
            ran = ended(process)
    assert ran.code == 0, ran.err
    assert desk.ids() == names(3)


@pytest.mark.slow
def test_standard_input_that_is_closed(desk: Desk) -> None:
    """It is told as what it is, and not taken for an empty input or a bug."""
    command = desk.command("run", "-", "-o", "results.jsonl", "-m", "m", "--base-url", "http://127.0.0.1:9")
    ran = subprocess.run(
        ["sh", "-c", 'exec "$@" <&-', "sh", *command],
        check=False,
        cwd=desk.path,
        env=desk.env,
        capture_output=True,
        text=True,
    )
    assert (ran.returncode, "standard input is closed" in ran.stderr) == (65, True), ran.stderr


def test_an_input_that_cannot_be_read(desk: Desk) -> None:
    """An I/O error in the input ends the run as an input that cannot be used, and verify too."""
    with simulator_thread() as sim:
        ran = desk.call("run", "/proc/self/mem", "-o", "r.jsonl", "--base-url", sim.url, "-m", "m", "--no-progress")
    assert (ran.code, "the input broke off" in ran.err) == (65, True), ran.err
    ran = desk.call("verify", "/proc/self/mem", "r.jsonl", "-m", "m")
    assert (ran.code, "the input broke off" in ran.err) == (65, True), ran.err


@pytest.mark.parametrize("kind", [fcntl.LOCK_SH, fcntl.LOCK_EX])
def test_a_glance_at_the_lock_turns_no_run_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: int) -> None:
    """`verify` has the lock for a moment; a run that starts just then waits for that moment and no longer."""
    path = tmp_path / "results.jsonl"
    slept: list[float] = []
    with path.open("ab") as file:
        monkeypatch.setattr(lock, "time", type("Time", (), {"sleep": slept.append}))
        fcntl.flock(file, kind)
        with pytest.raises(LockedError):
            Ledger.open(path)
        assert sum(slept) < 1

        def end_glance(seconds: float) -> None:
            fcntl.flock(file, fcntl.LOCK_UN)

        monkeypatch.setattr(lock, "time", type("Time", (), {"sleep": end_glance}))
        Ledger.open(path).close()


class Watching(Silent):
    """Wants the total, and notes when the first answer is there."""

    wants_total = True

    def __init__(self) -> None:
        self.answered = threading.Event()

    def finished(self, result: Result) -> None:
        assert result.ok
        self.answered.set()


def test_the_first_request_does_not_wait_for_the_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody who watches is told the total when it is known: the work begins before that."""
    import anyio

    from batcher.options import Options
    from batcher.running.runner import Run

    watching = Watching()
    original = Source.count

    def count(source: Source, checkpoint: Callable[[], object], at_most: int | None = None) -> int:
        assert watching.answered.wait(20)
        return original(source, checkpoint, at_most)

    monkeypatch.setattr(Source, "count", count)
    monkeypatch.setattr("batcher.running.preparation.COUNTED", 0)  # one that takes no time is counted before
    path = tmp_path / "jobs.jsonl"
    path.write_text("".join(f'{{"id":"{name}","prompt":"hello"}}\n' for name in names(300)))
    with simulator_thread() as sim:
        options = Options.of({"base_url": (sim.url,), "model": "simulator", "concurrency": "1"})
        run = Run(str(path), tmp_path / "results.jsonl", options, {}, watching)
        summary = anyio.run(run.run)
    assert (summary.ok, run.jobs) == (300, (300, 300, False))


def test_progress_counts_what_was_done_before(tmp_path: Path) -> None:
    """Of a night's share the total is what was done before and that share, while the run goes on."""
    import anyio

    from batcher.options import Options
    from batcher.running.runner import Run

    seen = []

    class Looking(Silent):
        def finished(self, result: Result) -> None:
            assert result.ok
            seen.append((run.snapshot().skipped, run.snapshot().total))

    path = tmp_path / "jobs.jsonl"
    path.write_text("".join(f'{{"id":"{name}","prompt":"hello"}}\n' for name in names(5)))
    with simulator_thread() as sim:
        for _ in range(3):
            options = Options.of({"base_url": (sim.url,), "model": "simulator", "limit_new": 2})
            run = Run(str(path), tmp_path / "results.jsonl", options, {}, Looking())
            anyio.run(run.run)
    assert seen == [(0, 2), (0, 2), (2, 4), (2, 4), (4, 5)]


def test_verify_beside_runs_that_start(desk: Desk) -> None:
    """However often somebody verifies, a run that starts meanwhile is not told that another has the file."""
    desk.write("jobs.jsonl", *prompts(names(1)))
    stop = threading.Event()
    path = desk.path / "results.jsonl"

    def verify() -> None:
        with closing(open(path, "rb")) as file:  # noqa: PTH123 - as short as it can be
            while not stop.is_set():
                lock.is_locked(file)

    with simulator_thread() as sim:
        args = ("run", "jobs.jsonl", "-o", "results.jsonl", "--base-url", sim.url, "-m", "simulator", "--no-progress")
        assert desk.call(*args).code == 0
        thread = threading.Thread(target=verify)
        thread.start()
        try:
            assert [desk.call(*args).code for _ in range(10)] == [0] * 10
        finally:
            stop.set()
            thread.join()
