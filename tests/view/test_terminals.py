"""Holds a run to what its terminal does: one that closes, stops its writers, or has no reader costs no result."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import termios
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from support.commandline import ended, names, prompts, running, until

from batcher.commands.console import print_json
from batcher.simulator import simulator_thread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.commandline import Desk

    from batcher.simulator import BackgroundSimulator

RUN = ("run", "jobs.jsonl", "-o", "results.jsonl", "-m", "simulator")
OWN_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)
"""Makes stdin the terminal of the session, as a shell's is, and becomes the command."""

pytestmark = pytest.mark.slow


@pytest.fixture
def sim() -> Iterator[BackgroundSimulator]:
    with simulator_thread() as server:
        yield server


def test_nohup_outlives_the_terminal(desk: Desk, sim: BackgroundSimulator) -> None:
    """A run that was started with SIGHUP ignored does not heed it."""
    wanted = names(20)
    desk.write("jobs.jsonl", *prompts(wanted, "ttft=0.05"))
    ignoring = ["/bin/sh", "-c", 'trap "" HUP; exec "$@"', "sh"]
    process = subprocess.Popen(
        [*ignoring, *desk.command(*RUN, "--base-url", sim.url, "-c", "2")],
        cwd=desk.path,
        env=desk.env,
        text=True,
        stderr=subprocess.PIPE,
    )
    with running(process):
        until(lambda: sim.counts.total() >= 2)
        process.send_signal(signal.SIGHUP)
        assert ended(process).code == 0
    assert desk.ids() == wanted


@pytest.mark.parametrize("extra", [(), ("-v",), ("-q",)], ids=["live line", "verbose", "quiet"])
def test_a_closed_terminal_costs_no_result(desk: Desk, sim: BackgroundSimulator, extra: tuple[str, ...]) -> None:
    """The terminal goes away in mid-run: the run is hung up, drains with nobody to tell it to, and ends by SIGHUP."""
    wanted = names(40)
    desk.write("jobs.jsonl", *prompts(wanted, "ttft=0.1"))
    main, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", OWN_TERMINAL, *desk.command(*RUN, "--base-url", sim.url, "-c", "4", *extra)],
        cwd=desk.path,
        env=desk.env,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        text=True,
        start_new_session=True,
    )
    os.close(terminal)
    with running(process):
        until(lambda: sim.counts.total() >= 6)
        os.close(main)
        assert process.wait(20) == -signal.SIGHUP
    assert desk.ids() == sorted(sim.tally.answered)
    assert len(desk.ids()) >= 4
    assert desk.run(*RUN, "--base-url", sim.url, "-c", "40").code == 0
    assert desk.ids() == wanted


def test_stderr_without_a_reader_costs_no_result(desk: Desk, sim: BackgroundSimulator) -> None:
    """`2>&1 | head`: once nobody reads what is said, the run goes on without a word and ends with its own code."""
    wanted = names(20)
    desk.write("jobs.jsonl", *prompts(wanted, "ttft=0.02"))
    with running(desk.start(*RUN, "--base-url", sim.url, "-v", "-c", "2")) as process:
        assert process.stderr is not None
        process.stderr.readline()
        process.stderr.close()
        assert process.wait(20) == 0
    assert desk.ids() == wanted


def test_a_run_in_the_background_may_write_to_its_terminal(desk: Desk, sim: BackgroundSimulator) -> None:
    """With `stty tostop` a background process that writes is stopped by SIGTTOU; a run is not."""
    desk.write("jobs.jsonl", *prompts(names(3)))
    program = f"""
import os, pty, signal, subprocess, sys, termios
pid, main = pty.fork()
if pid == 0:
    modes = termios.tcgetattr(0)
    modes[3] |= termios.TOSTOP
    termios.tcsetattr(0, termios.TCSANOW, modes)
    child = subprocess.Popen({desk.command(*RUN, "--base-url", sim.url, "-v", "--no-progress")!r}, process_group=0)
    _, status = os.waitpid(child.pid, os.WUNTRACED)
    child.kill()
    os._exit(17 if os.WIFSTOPPED(status) else os.waitstatus_to_exitcode(status))
while True:
    try:
        if not os.read(main, 4096): break
    except OSError: break
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=desk.path, env=desk.env, timeout=30, check=False)
    assert done.returncode == 0
    assert desk.ids() == names(3)


@pytest.mark.parametrize("kind", ["pipe", "terminal"])
def test_a_stderr_that_nobody_reads_holds_nothing_up(desk: Desk, sim: BackgroundSimulator, kind: str) -> None:
    """A full pipe or a terminal stopped with Ctrl-S costs words: they are counted, and all the answers are there."""
    wanted = names(50)
    desk.write("jobs.jsonl", *prompts(wanted))
    reader, writer = os.pipe() if kind == "pipe" else pty.openpty()
    if kind == "pipe":
        os.set_blocking(writer, False)
        with suppress(BlockingIOError):
            while True:
                os.write(writer, b"x" * 4096)
        os.set_blocking(writer, True)
    else:
        termios.tcflow(writer, termios.TCOOFF)
    with running(desk.start(*RUN, "--base-url", sim.url, "-v", "--no-progress", stderr=writer)) as process:
        until(lambda: desk.ids() == wanted)
        until(lambda: b'"complete"' in (desk.path / "results.state.json").read_bytes())
        if kind == "terminal":
            termios.tcflow(writer, termios.TCOON)
        os.close(writer)
        said = b""
        with suppress(OSError):  # what a terminal gives instead of the end
            while words := os.read(reader, 1 << 16):
                said += words
        assert process.wait(20) == 0
    os.close(reader)
    assert b"messages left out: nobody read them in time" in said
    assert b"50 of 50 jobs done" in said


def test_json_on_a_screen_has_nothing_that_it_obeys(capsys: pytest.CaptureFixture[str]) -> None:
    """What JSON need not escape stands escaped, and reads back as the same."""
    name = "m\x1b]0;t\x07\x7f\x85\x9b31m\u202eevil\u2028\u200b\ufeffgröße 🙂\r\n"
    print_json({"name": name})
    said = capsys.readouterr().out
    assert json.loads(said) == {"name": name}
    assert said.removesuffix("\n").isprintable()
    assert "größe 🙂" in said
