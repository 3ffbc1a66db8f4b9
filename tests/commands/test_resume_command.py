"""Taking up a run by the same command, as its users see it: what is asked again, what is told, what it ends with."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from support.commandline import ended, prompts, running, until
from support.result_lines import entry

from batcher.simulator import Simulator, simulator_thread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.commandline import Desk, Ran

pytestmark = pytest.mark.slow


@pytest.fixture
def sim() -> Iterator[Simulator]:
    with simulator_thread() as server:
        yield server


def run(desk: Desk, sim: Simulator, *args: str, env: dict[str, str] | None = None) -> Ran:
    return desk.call(
        "run", "jobs.jsonl", "-o", "results.jsonl", "--base-url", sim.url, "-m", "simulator", *args, env=env
    )


def state_of(desk: Desk) -> dict[str, Any]:
    state: dict[str, Any] = orjson.loads((desk.path / "results.state.json").read_bytes())
    return state


def test_input_edited_between_runs(desk: Desk, sim: Simulator) -> None:
    """Lines added, removed and moved: only the new job is asked, and a deleted state file changes nothing."""
    desk.write("jobs.jsonl", *prompts("abc"))
    assert run(desk, sim).code == 0
    desk.write("jobs.jsonl", *prompts("dca"))
    (desk.path / "results.state.json").unlink()
    assert run(desk, sim).code == 0
    assert desk.ids() == ["a", "b", "c", "d"]
    assert sim.tally.counts == dict.fromkeys("abcd", 1)
    state = state_of(desk)
    assert (state["status"], state["run"], state["counts"]["skipped"]) == ("complete", {"model": "simulator"}, 2)
    assert state["synced"] == (desk.path / "results.jsonl").stat().st_size


def test_changed_parameters_stop_the_run(desk: Desk, sim: Simulator) -> None:
    """Other parameters over the same results: code 65 and what changed, before anything is sent or written."""
    desk.write("jobs.jsonl", *prompts("ab"))
    assert run(desk, sim, "--param", "temperature=0").code == 0
    before = state_of(desk), desk.lines()
    ran = run(desk, sim, "--param", "temperature=0.5", "--system", "Be brief.")
    assert ran.code == 65
    assert "line 1 (id 'a'), line 2 (id 'b')" in ran.err
    assert "params temperature 0 → 0.5, system (none) → Be brief." in ran.err
    assert sim.tally.counts.total() == 2
    assert (state_of(desk), desk.lines()) == before


def test_rerun_and_keep(desk: Desk, sim: Simulator) -> None:
    """`--on-change keep` sends nothing, `rerun` sends the changed job alone and moves its old line."""
    desk.write("jobs.jsonl", *prompts("ab"))
    assert run(desk, sim).code == 0
    old = desk.lines()
    desk.write("jobs.jsonl", *prompts("a", "tokens=3"), *prompts("b"))
    assert run(desk, sim, env={"BATCHER_ON_CHANGE": "keep"}).code == 0
    assert sim.tally.counts == {"a": 1, "b": 1}
    ran = run(desk, sim, "--on-change", "rerun")
    assert ran.code == 0
    assert "moved 1 result of other requests to" in ran.err
    assert sim.tally.counts == {"a": 2, "b": 1}
    assert desk.ids() == ["a", "b"]
    assert desk.lines("results.superseded.jsonl") == [line for line in old if line["id"] == "a"]
    assert run(desk, sim).code == 0
    assert sim.tally.counts == {"a": 2, "b": 1}


def test_failed_jobs(desk: Desk, sim: Simulator) -> None:
    """Failed jobs run again, or are left alone with their error lines if that is asked for; the code is 3 each time."""
    desk.write("jobs.jsonl", *prompts("a"), *prompts("b", "status=400"))
    assert run(desk, sim).code == 3
    desk.write("jobs.jsonl", *prompts("a"), *prompts("b", "status=400"), *prompts("c"))
    ran = run(desk, sim, "--skip-failed")
    assert ran.code == 3
    assert "1 failed before and left alone" in ran.err
    assert sim.tally.counts == {"a": 1, "b": 1, "c": 1}
    assert (list(desk.errors()), desk.ids()) == (["b"], ["a", "c"])
    assert run(desk, sim).code == 3
    assert sim.tally.counts == {"a": 1, "b": 2, "c": 1}


def test_benchmark() -> None:
    """The benchmark of resuming runs as a script, and its run asks for the one missing job alone."""
    script = Path(__file__).parents[1] / "bench" / "resume.py"
    command = [sys.executable, str(script), "--jobs", "2000", "--line-bytes", "200", "--turns", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "a run, input unchanged:" in done.stdout


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_the_input_is_compared(desk: Desk, sim: Simulator, number: signal.Signals) -> None:
    """The comparison is broken off: nothing is sent, and the state file is still that of the run before."""
    count = 100_000
    desk.write("jobs.jsonl", *[{"id": f"{n}", "prompt": "[[sim id=all]]"} for n in range(count)], *prompts("a"))
    with (desk.path / "results.jsonl").open("wb") as file:
        file.writelines(entry(f"{n}", n)[2] for n in range(count))
    arguments = ("run", "jobs.jsonl", "-o", "results.jsonl", "--base-url", sim.url, "-m", "simulator")
    with running(desk.start(*arguments, "--on-change", "keep", "-q")) as process:
        until(lambda: sim.tally.paths)
        process.send_signal(signal.SIGUSR1)
        assert process.stderr is not None
        assert process.stderr.readline().startswith("batcher: state: ")
        process.send_signal(number)
        assert ended(process).code == -number
    assert sim.tally.counts.total() == 0
    assert not (desk.path / "results.state.json").exists()
    (desk.path / "results.jsonl").unlink()  # to hold so many lines against the schema would take half a minute


def test_no_model_is_started_for_nothing(desk: Desk) -> None:
    """The embedded server is started by the first job that is left: with none it is not, and that is said."""
    desk.write("jobs.jsonl", *prompts(["a", "b"]))
    (desk.path / "tiny.gguf").write_bytes(b"GGUF and nothing more: no server comes of it")
    results = ("run", "jobs.jsonl", "-o", "results.jsonl")
    with simulator_thread(look="openai", models=("tiny",)) as sim:
        assert desk.run(*results, "--base-url", f"{sim.url}/v1", "-m", "tiny").code == 0
    again = desk.run(*results, "--local", "tiny.gguf")
    assert again.code == 0
    assert "starting" not in again.err
    assert "2 of 2 jobs done (2 before this run) · nothing left to do" in again.err
    desk.write("jobs.jsonl", *prompts(["a", "b", "c"]))
    more = desk.run(*results, "--local", "tiny.gguf")
    assert more.code == 78
    assert "starting the embedded llama.cpp server" in more.err
    assert len(desk.lines()) == 2
