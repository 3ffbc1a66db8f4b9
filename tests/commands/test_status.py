"""`batcher status`: a run seen from another terminal, while it goes on, after its end, and after it was killed."""

from __future__ import annotations

import json
import re
import signal
from typing import TYPE_CHECKING

import pytest
from support.commandline import names, prompts, running, until

from batcher.simulator import simulator_thread

if TYPE_CHECKING:
    from support.commandline import Desk

pytestmark = pytest.mark.slow


def test_from_the_start_to_the_end(desk: Desk) -> None:
    """Who has the file, since when and how far; a second run is told the same; then that it was killed, or is done."""
    desk.write("jobs.jsonl", *prompts(names(60), "ttft=0.15"))
    with simulator_thread() as sim:
        args = ("run", "jobs.jsonl", "-o", "results.jsonl", "-m", "simulator", "--base-url", sim.url, "-c", "1")
        with running(desk.start(*args)) as process:
            until(lambda: len(desk.lines()) > 12 and b'"total": 60' in (desk.path / "results.state.json").read_bytes())
            shown = desk.call("status", "results.jsonl")
            told = json.loads(desk.call("status", "results.jsonl", "--json").out)
            second = desk.call(*args)
            process.send_signal(signal.SIGKILL)
            process.wait()
        assert shown.code == 0
        assert f"results.jsonl: a run goes on (process {process.pid} since 20" in shown.out
        assert re.search(r"^state    \d+/60 \d+% · .*/1 in flight.* ago\)$", shown.out, re.MULTILINE)
        assert (told["running"], told["report"]["pid"], told["report"]["total"]) == (True, process.pid, 60)
        assert 12 < told["report"]["done"] + told["results_since"] <= 60
        assert second.code == 75
        assert f"another run is writing this file (process {process.pid} since 20" in second.err
        assert "the last run was killed; the same command goes on" in desk.call("status", "results.jsonl").out
        assert desk.run(*args, "-c", "16").code == 0
    last = desk.call("status", "results.jsonl").out
    assert "results.jsonl: the last run is complete, 20" in last
    assert "jobs     60 of 60 done" in last


def test_what_a_run_met_is_told(desk: Desk) -> None:
    """Outages with their times and words, of a run that was stopped, and of the one that it went on from."""
    desk.write("jobs.jsonl", *prompts(names(40), "ttft=0.1"))
    with simulator_thread() as sim:
        args = ("run", "jobs.jsonl", "-o", "out.csv", "-m", "simulator", "--base-url", sim.url, "-c", "1")
        with running(desk.start(*args, "--max-wait", "1.5s")) as process:
            until(lambda: desk.lines("out.csv.results.jsonl"))
            sim.kill()
            assert process.wait(20) == 69
        shown = desk.call("status", "out.csv").out  # the table's name is as good as that of its results
        assert desk.run(*args, "--dialect", "native", "--max-wait", "1.5s").code == 69
    assert "the last run was stopped" in shown
    assert re.search(r"^jobs     [1-9]\d? of 40 done · [1-9]\d? left$", shown, re.MULTILINE)
    assert re.search(r"^event    at .* the server was away  http://127.0.0.1.*connection refused", shown, re.MULTILINE)
    events = [row for row in desk.call("status", "out.csv").out.splitlines() if "  the server was away  " in row]
    assert len(events) == 2
    assert re.match(r"event    20\d\d-\d\d-\d\d \d\d:\d\d at ", events[0])
    assert re.match(r"event    at ", events[1])


@pytest.mark.parametrize("name", ["none.jsonl", "."])
def test_no_such_file(desk: Desk, name: str) -> None:
    """73, and nothing is made."""
    ran = desk.call("status", name)
    assert ran.code == 73
    assert list(desk.path.iterdir()) == []


def test_results_without_a_state_file(desk: Desk) -> None:
    """The state file may be deleted, or be anything: then nothing more is known, and that is said."""
    desk.write("results.jsonl")
    assert "no run is at work; how the last one ended is not known" in desk.call("status", "results.jsonl").out
    for text in ("{", '{"version": 1, "status": "complete", "run": {}, "input": {}, "counts": {}, "synced": 0}', "[1]"):
        (desk.path / "results.state.json").write_text(text)
        assert desk.call("status", "results.jsonl").code == 0
