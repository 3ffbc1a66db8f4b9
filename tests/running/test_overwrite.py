"""`--overwrite` costs the old results when there is something to put in their place, and not before."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest
from support.commandline import ended, prompts, running, until

from batcher.simulator import simulator_thread

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.commandline import Desk

    from batcher.simulator import BackgroundSimulator

pytestmark = pytest.mark.slow

RUN = ("run", "jobs.jsonl", "-o", "results.jsonl")
ANEW = (*RUN, "--overwrite", "--param", "temperature=0")


@pytest.fixture
def sim() -> Iterator[BackgroundSimulator]:
    with simulator_thread(look="openai", key="right") as simulator:
        yield simulator


@pytest.fixture
def old(desk: Desk, sim: BackgroundSimulator) -> dict[str, bytes]:
    """What a run left: two results, a failure, its state."""
    desk.env |= {"OPENAI_API_KEY": "right", "BATCHER_MODEL": "simulator"}
    desk.write("jobs.jsonl", *prompts(["a", "b"]), *prompts(["bad"], "do=bad"))
    assert desk.call(*RUN, "--base-url", f"{sim.url}/v1").code == 3
    found = left(desk.path)
    assert sorted(found) == ["results.errors.jsonl", "results.jsonl", "results.state.json"]
    return found


def left(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.glob("results*")}


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (("--api-key-env", "WRONG"), 77),
        (("--base-url", "http://127.0.0.1:9/v1", "--max-wait", "0.1s"), 69),
        (("-m", "unknown"), 78),
        (("--max-duration", "0.3s", "--grace", "0s"), 4),
    ],
)
def test_a_run_that_brings_nothing_leaves_what_is_there(
    desk: Desk, sim: BackgroundSimulator, old: dict[str, bytes], args: tuple[str, ...], code: int
) -> None:
    """A refused key, no server, no such model, time over: results, errors and state are as they were."""
    desk.write("jobs.jsonl", *prompts(["a", "c"], "do=silent times=9"))
    ran = desk.call(*ANEW, *args, env={"WRONG": "wrong", "BATCHER_BASE_URL": f"{sim.url}/v1"})
    assert ran.code == code, ran.err
    assert left(desk.path) == old


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_first_new_result_is_where_it_begins(
    desk: Desk, sim: BackgroundSimulator, old: dict[str, bytes], number: signal.Signals
) -> None:
    """From then on nothing of before is there, however the run ends; without --overwrite the next one goes on."""
    desk.write("jobs.jsonl", *prompts(["slow"], "ttft=0.3"), *prompts(["never"], "do=silent times=1"))
    command = (*ANEW, "--base-url", f"{sim.url}/v1", "--grace", "0s")
    with running(desk.start(*command)) as process:
        until(lambda: sim.counts["slow"])
        assert left(desk.path) == old
        until(lambda: desk.ids() == ["slow"])
        until(lambda: b'"temperature": 0' in left(desk.path)["results.state.json"])
        process.send_signal(number)
        assert ended(process).code == -number
    assert desk.ids() == ["slow"]
    assert desk.errors() == {}
    assert desk.call(*RUN, "--param", "temperature=0", "--base-url", f"{sim.url}/v1").code == 0
    assert desk.ids() == ["never", "slow"]


@pytest.mark.parametrize(("jobs", "code"), [([], 0), (prompts(["worse"], "do=bad"), 3)])
def test_a_run_to_the_end_replaces_all(
    desk: Desk, sim: BackgroundSimulator, old: dict[str, bytes], jobs: list[dict[str, object]], code: int
) -> None:
    """A run that came to its end without a result has none."""
    assert old
    desk.write("jobs.jsonl", *jobs)
    assert desk.call(*ANEW, "--base-url", f"{sim.url}/v1").code == code
    assert desk.ids() == []
    assert list(desk.errors()) == [job["id"] for job in jobs]


def test_a_pipe_has_no_results_but_may_have_an_errors_file(desk: Desk, sim: BackgroundSimulator) -> None:
    """Begun anew, it is gone when all has gone well, though there was no results file whose end took it along."""
    desk.env |= {"OPENAI_API_KEY": "right", "BATCHER_MODEL": "simulator"}
    command = (*RUN[:2], "-o", "-", "-m", "simulator", "--errors", "failed.jsonl", "--base-url", f"{sim.url}/v1")
    desk.write("jobs.jsonl", *prompts(["a"]), *prompts(["bad"], "do=bad"))
    assert desk.call(*command).code == 3
    assert list(desk.errors("failed.jsonl")) == ["bad"]
    desk.write("jobs.jsonl", *prompts(["b"]))
    assert desk.call(*command, "--overwrite").code == 0
    assert not (desk.path / "failed.jsonl").exists()


def test_atomic_too(desk: Desk, sim: BackgroundSimulator, old: dict[str, bytes]) -> None:
    """What an --atomic run that was stopped has done so far is kept just as well."""
    desk.write("jobs.jsonl", *prompts(["c"]), *prompts(["worse"], "do=bad"))
    assert desk.call(*RUN, "--atomic", "--base-url", f"{sim.url}/v1").code == 3
    part = (desk.path / "results.jsonl.part").read_bytes()
    assert part.startswith(old["results.jsonl"])
    ran = desk.call(*ANEW, "--atomic", "--base-url", f"{sim.url}/v1", "--api-key-env", "WRONG", env={"WRONG": "wrong"})
    assert ran.code == 77
    assert (desk.path / "results.jsonl.part").read_bytes() == part
    desk.write("jobs.jsonl", *prompts(["new"]))
    assert desk.call(*ANEW, "--atomic", "--base-url", f"{sim.url}/v1").code == 0
    assert desk.ids() == ["new"]
