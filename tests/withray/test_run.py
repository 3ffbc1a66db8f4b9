"""Holds runs by a real Ray on this machine to what they promise: nothing lost, keys unsaid, nobody left behind."""

from __future__ import annotations

import os
import signal
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support.commandline import ended
from withray.conftest import PATIENCE, RayDesk, until

from batcher.simulator import simulator_thread

pytestmark = pytest.mark.timeout(180)
CANARY = "sk-canary-41b7c2"
KEYS = (f"{CANARY}-old", f"{CANARY}-new")
STARTED_WITH = ("cmdline", "environ")
ENGINE = ("--engine", "ray", "--workers", "2", "-m", "simulator", "--no-progress")


def jobs(desk: RayDesk, count: int, directive: str = "tokens=20 delay=0.05") -> None:
    desk.write("jobs.jsonl", *({"id": f"j{n}", "prompt": f"[[sim id=j{n} {directive}]]"} for n in range(count)))


def results(desk: RayDesk) -> dict[str, dict[str, Any]]:
    lines = desk.lines()
    assert not [name for name, count in Counter(line["id"] for line in lines).items() if count > 1]
    return {line["id"]: line for line in lines}


def test_killed_workers_failures_and_keys_that_nobody_says(desk: RayDesk) -> None:
    """Two workers are killed in the midst of it, some answers fail, the key is replaced by another one, and neither is
    in any of Ray's files, or in what processes are started with.
    """
    jobs(desk, 150)
    with (desk.path / "jobs.jsonl").open("a") as more:
        for number in range(150, 160):
            more.write(f'{{"id":"j{number}","prompt":"[[sim id=j{number} status=400]]"}}\n')
    key = desk.sessions / "key"
    key.write_text(KEYS[0])
    with simulator_thread(look="openai", key=KEYS[0]) as sim:
        run = desk.start(
            *("run", "jobs.jsonl", "-o", "results.jsonl", "--base-url", sim.url, "-c", "8", "--retries", "1", "-v"),
            *("--api-key-file", key, *ENGINE),
        )
        for share, valid in zip((20, 60), reversed(KEYS), strict=True):
            until(partial(_is_on_its_way, desk, share), f"{share} results")
            assert desk.workers()
            assert not any(holds(Path(f"/proc/{pid}/{name}"), CANARY) for pid in desk.pids() for name in STARTED_WITH)
            os.kill(desk.workers()[0], signal.SIGKILL)
            key.write_text(valid)
            sim.settings = replace(sim.settings, key=valid)
        ran = ended(run, None, PATIENCE)
    key.unlink()
    assert ran.code == 3, ran.err
    assert sim.tally.refused["unauthorized"] > 0
    done = results(desk)
    assert set(done) == {f"j{n}" for n in range(150)}
    assert [line for line in done.values() if line["attempts"] != 1] == []
    assert {line["id"] for line in desk.lines("results.errors.jsonl")} == {f"j{n}" for n in range(150, 160)}
    assert ran.err.count("sent again, and another one") == 2
    until(lambda: not desk.pids(), "all processes are gone")
    said = [path for top in (desk.sessions, desk.path) for path in top.rglob("*") if holds(path, CANARY)]
    assert said == []
    assert any(path.suffix in (".log", ".out") for path in desk.sessions.rglob("*")), "Ray has kept no logs to look at"
    assert CANARY not in ran.err + ran.out


def test_runs_that_are_killed_or_stopped_leave_nobody(desk: RayDesk) -> None:
    """After `kill -9` the next run goes on; Ctrl-C is the run's own, and what is in flight may finish, or is cancelled
    by another one.
    """
    jobs(desk, 200)
    with simulator_thread(look="openai") as sim:
        command = ("--base-url", sim.url, "-c", "8", *ENGINE)
        short = ("run", "jobs.jsonl", "-o", "results.jsonl", *command)
        run = desk.start(*short)
        until(lambda: len(desk.lines()) > 8, "some results")
        run.kill()
        run.communicate()
        until(lambda: not desk.pids(), "all processes are gone")
        kept = len(desk.lines())
        run = desk.start(*short, start_new_session=True)
        until(lambda: len(desk.lines()) > kept, "more results")
        os.killpg(run.pid, signal.SIGINT)
        ran = ended(run, None, PATIENCE)
        assert ran.code == -signal.SIGINT, ran.err
        until(lambda: not desk.pids(), "all processes are gone")
        assert all(line["attempts"] == 1 for line in results(desk).values())
        assert sim.tally.aborted <= 8, "by the run that was killed alone"

        jobs(desk, 8, "tokens=3000 delay=0.1")
        aborted = sim.tally.aborted
        long = ("run", "jobs.jsonl", "-o", "long.jsonl", *command, "--grace", "10m")
        run = desk.start_aloud(*long, start_new_session=True)
        for what in (lambda: sim.tally.in_flight == 8, lambda: "once more to cancel" in desk.said()):
            until(what, "it is time")
            os.killpg(run.pid, signal.SIGINT)
        run.communicate(timeout=PATIENCE)
        assert run.returncode == -signal.SIGINT, desk.said()
        until(lambda: not desk.pids(), "all processes are gone")
        until(lambda: sim.tally.aborted == aborted + 8, "the server sees that they are gone")


def test_two_servers_on_the_workers(desk: RayDesk) -> None:
    """Each worker serves the model itself, as a lane of its own; one whose server dies is followed by another."""
    desk.write("jobs.jsonl", *({"id": f"j{n}", "prompt": f"Say {n}.", "max_tokens": 4} for n in range(16)))
    run = desk.start(
        *("run", "jobs.jsonl", "-o", "results.jsonl", "--local", "--engine", "ray", "--workers", "2"),
        *("--slots", "1", "--no-progress"),
    )
    until(lambda: len({line["server"] for line in desk.lines()}) == 2, "answers by both", 120.0)
    os.kill(desk.children(desk.workers()[0])[0], signal.SIGKILL)
    ran = ended(run, None, 120.0)
    assert ran.code == 0, ran.err
    done = results(desk)
    assert len(done) == 16
    assert {line["server"] for line in done.values()} == {"http://worker-1", "http://worker-2"}
    assert "llama.cpp server died" in ran.err
    until(lambda: not desk.pids(), "all processes are gone")


def _is_on_its_way(desk: RayDesk, share: int) -> bool:
    return len(desk.lines()) > share and len(desk.workers()) == 2


def holds(path: Path, words: str) -> bool:
    try:
        return path.is_file() and words.encode() in path.read_bytes()
    except OSError:  # of a process that has ended
        return False
