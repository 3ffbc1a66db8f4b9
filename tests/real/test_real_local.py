"""`batcher run --local` as its users have it: interrupted, and robbed of its server, it keeps what is done."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from support.commandline import PROJECT, Desk, ended, running, until

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.real, pytest.mark.timeout(120)]

JOBS = [{"id": f"q{number:02d}", "prompt": f"Tell a story of {number} cats.", "max_tokens": 16} for number in range(40)]
MANY = 10
ARGS = ("run", "jobs.jsonl", "-o", "results.jsonl", "--local", "-c", "2")


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def finished(desk: Desk) -> int:
    """How many lines of results there are so far."""
    path = desk.path / "results.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def server_of(pid: int) -> int:
    """The process of the embedded server that the process `pid` has started."""
    listing = subprocess.run(
        ["ps", "-A", "-ww", "-o", "pid=,ppid=,args="], capture_output=True, text=True, check=True
    ).stdout
    rows = [line.split(None, 2) for line in listing.splitlines()]
    [found] = [int(row[0]) for row in rows if int(row[1]) == pid and "batcher.servers.llamacpp" in row[-1]]
    return found


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_ctrl_c_lets_the_embedded_server_finish_what_is_in_flight(desk: Desk) -> None:
    """A terminal's Ctrl-C, which the whole process group gets, drains: answers still come, then the server goes too."""
    desk.write("jobs.jsonl", *JOBS)
    with running(desk.start(*ARGS, start_new_session=True)) as process:
        until(lambda: finished(desk) >= 2)
        before, server = finished(desk), server_of(process.pid)
        os.killpg(process.pid, signal.SIGINT)
        ran = ended(process)
    assert ran.code == -signal.SIGINT
    assert before < finished(desk) < len(JOBS)
    assert desk.lines("results.errors.jsonl") == []
    assert "SIGINT: no new requests" in ran.err
    assert not alive(server)


def test_without_its_server_a_run_ends_and_the_next_one_finishes(desk: Desk) -> None:
    """When the embedded server is killed the run ends with 69 and its last words; what is not done stays pending."""
    too_long: dict[str, Any] = {"id": "long", "prompt": "word " * 5000}
    desk.write("jobs.jsonl", too_long, *JOBS[:MANY])
    with running(desk.start(*ARGS, "--summary-json", "summary.json")) as process:
        until(lambda: finished(desk) >= 1)
        server = server_of(process.pid)
        until(lambda: finished(desk) >= 2)
        os.kill(server, signal.SIGKILL)
        ran = ended(process)
    assert ran.code == 69
    assert "the embedded server died" in ran.err
    assert "pending" in ran.err
    done = desk.ids()
    assert 2 <= len(done) < MANY
    assert desk.errors() == {"long": "context_overflow"}
    assert "exceeds the available context" in json.loads((desk.path / "summary.json").read_text())["stop"]["message"]
    again = desk.run(*ARGS)
    assert again.code == 3
    assert desk.ids() == [job["id"] for job in JOBS[:MANY]]
    assert desk.errors() == {"long": "context_overflow"}


def test_the_sample_runs_locally(desk: Desk) -> None:
    """`batcher run --config jobs/nightly.toml --local` is a whole command that needs nothing else."""
    for name in ("nightly.toml", "hello.jsonl"):
        shutil.copy(PROJECT / "jobs" / name, desk.path)
    process = desk.start("run", "--config", "nightly.toml", "--local", "-c", "2")
    out, err = process.communicate(timeout=55)
    assert (process.returncode, out) == (0, ""), err
    assert len(desk.lines("nightly.results.jsonl")) == (PROJECT / "jobs/hello.jsonl").read_text().count("\n")
