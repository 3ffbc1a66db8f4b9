"""An input shared out among processes: each part in files of its own, and what is left over others."""

from __future__ import annotations

import gzip
import re
import signal
import subprocess
import time
from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING

import orjson
import pytest
import yaml  # type: ignore[import-untyped]  # it comes with what reads hf:// and has no types
from support.commandline import PROJECT, running

from batcher.failures import Exit
from batcher.ledger.recovery import identify
from batcher.simulator import simulator_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.commandline import Desk

    from batcher.simulator import Simulator


@pytest.fixture
def sim() -> Iterator[Simulator]:
    with simulator_thread() as server:
        yield server


def jobs(desk: Desk, count: int, directive: str = "") -> None:
    desk.write("jobs.jsonl", *[{"id": f"q{n}", "prompt": f"[[sim id=q{n} {directive}]]"} for n in range(count)])


def wait_for(condition: Callable[[], object]) -> None:
    """Wait for what other processes are about to do, however busy the machine is."""
    deadline = time.monotonic() + 150
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def asked(sim: Simulator, *args: str) -> tuple[str, ...]:
    return ("run", "jobs.jsonl", "--base-url", sim.url, "-m", "simulator", "-q", *args)


@pytest.mark.parametrize(("shard", "label"), [("2/3", "2-of-3"), ("2/16", "02-of-16")])
def test_files_are_named_by_their_part(desk: Desk, sim: Simulator, shard: str, label: str) -> None:
    """All that a run makes: results, errors, state, metrics, sums, and the table with its results."""
    jobs(desk, 12)
    also = ("--errors", "e-{shard}.jsonl", "--metrics-file", "m-{shard}.txt", "--summary-json", "s-{shard}.json")
    assert desk.call(*asked(sim, "--shard", shard, "-o", "t-{shard}.csv", *also)).code == Exit.OK
    made = {path.name for path in desk.path.iterdir()} - {"jobs.jsonl"}
    assert made == {
        *(f"t-{label}.csv", f"t-{label}.csv.results.jsonl", f"t-{label}.csv.state.json"),
        *(f"m-{label}.txt", f"s-{label}.json"),
    }


def test_a_name_by_part_wants_a_part(desk: Desk, sim: Simulator) -> None:
    jobs(desk, 2)
    ran = desk.call(*asked(sim, "-o", "out-{shard}.jsonl"))
    assert (ran.code, "{shard} is the part of --shard, and none is said" in ran.err) == (Exit.USAGE, True)
    assert len([*desk.path.iterdir()]) == 1


def test_a_file_holds_one_part(desk: Desk, sim: Simulator) -> None:
    """A second one is refused in words, however it was told; the first goes on, and so does who begins anew."""
    jobs(desk, 12)
    assert desk.call(*asked(sim, "--shard", "1/3", "-o", "out.jsonl")).code == Exit.OK
    before = (desk.path / "out.jsonl").read_bytes()
    array = {"JOB_COMPLETION_INDEX": "1"}
    for said, env in (("2/3", {}), ("1/2", {}), ("auto/3", array)):
        ran = desk.call(*asked(sim, "--shard", said, "-o", "out.jsonl"), env=env)
        assert (ran.code, "out.jsonl: holds part 1/3, and this run is part" in ran.err) == (Exit.CANNOT_CREATE, True)
        assert "-o 'answers-{shard}.jsonl'" in ran.err
    assert (desk.path / "out.jsonl").read_bytes() == before
    assert desk.call(*asked(sim, "--shard", "1/3", "-o", "out.jsonl")).code == Exit.OK
    assert desk.call(*asked(sim, "--shard", "2/3", "-o", "out.jsonl", "--overwrite")).code == Exit.OK
    assert desk.call(*asked(sim, "-o", "out.jsonl")).code == Exit.OK
    assert len(desk.lines("out.jsonl")) == 12


def test_what_others_have_done_by_a_pattern(desk: Desk, sim: Simulator) -> None:
    """Files of results and OpenAI's count; inputs, errors, tables and what was superseded do not."""
    (desk.path / "parts").mkdir()
    jobs(desk, 20)
    assert desk.call(*asked(sim, "--shard", "1/2", "-o", "parts/out-{shard}.jsonl")).code == Exit.OK
    done = set(desk.ids("parts/out-1-of-2.jsonl"))
    left = [f"q{n}" for n in range(20) if f"q{n}" not in done]
    desk.write("parts/rows.jsonl", *[{"id": ident, "text": "a row"} for ident in left])
    desk.write(
        "parts/out-1-of-2.superseded.jsonl",
        *[line | {"id": left[0]} for line in desk.lines("parts/out-1-of-2.jsonl")[:1]],
    )
    response = {"status_code": 200, "body": {}}
    desk.write("parts/batch.jsonl", {"id": "b", "custom_id": left[1], "response": response, "error": None})
    assert desk.call(*asked(sim, "--done-from", "parts/*.jsonl", "-o", "rest.jsonl")).code == Exit.OK
    assert desk.ids("rest.jsonl") == sorted(set(left) - {left[1]})
    (desk.path / "packed.jsonl.gz").write_bytes(gzip.compress((desk.path / "parts/out-1-of-2.jsonl").read_bytes()))
    assert desk.call(*asked(sim, "--done-from", "packed*", "-o", "unpacked.jsonl")).code == Exit.OK
    assert desk.ids("unpacked.jsonl") == sorted(left)
    ran = desk.call(*asked(sim, "--done-from", "nothing/*.jsonl", "-o", "other.jsonl"))
    assert (ran.code, "there is no file" in ran.err) == (Exit.INPUT, True)
    again = desk.call(*asked(sim, "--done-from", "parts/*.jsonl", "-o", "parts/mine.jsonl"))
    again = desk.call(*asked(sim, "--done-from", "parts/*.jsonl", "-o", "parts/mine.jsonl"))
    assert (again.code, desk.ids("parts/mine.jsonl")) == (Exit.OK, desk.ids("rest.jsonl"))
    verified = orjson.loads(desk.call("verify", "jobs.jsonl", "parts/mine.jsonl", "--json").out)
    assert verified["complete"]


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_eight_parts_of_which_three_die(desk: Desk, sim: Simulator) -> None:
    """What is left goes over five others, and merged each row is there once; what was safe is not asked again."""
    (desk.path / "parts").mkdir()
    jobs(desk, 160, "tokens=2 delay=0.02")
    with ExitStack() as stack:
        parts = [
            stack.enter_context(
                running(desk.start(*asked(sim, "--shard", f"{part}/8", "-o", "parts/out-{shard}.jsonl", "-c", "1")))
            )
            for part in (1, 2, 3)
        ]
        files = [desk.path / f"parts/out-{part}-of-8.jsonl" for part in (1, 2, 3)]
        wait_for(lambda: all(path.exists() and path.read_bytes().count(b"\n") > 2 for path in files))
        for process in parts:
            process.send_signal(signal.SIGKILL)
    for part in range(4, 9):
        assert desk.call(*asked(sim, "--shard", f"{part}/8", "-o", "parts/out-{shard}.jsonl")).code == Exit.OK
    lines = [line for path in files for line in path.read_bytes().splitlines(keepends=True)]
    safe = {orjson.loads(line)["id"] for line in lines if identify(line) is not None}
    assert len(safe) >= 9
    before = Counter(sim.tally.counts)
    for part in range(1, 6):
        spread = ("--shard", f"{part}/5", "--done-from", "parts/*.jsonl", "-o", "parts/out-{shard}.jsonl")
        assert desk.call(*asked(sim, *spread)).code == Exit.OK
    ran = desk.call("merge", "parts/*.jsonl", "-o", "all.jsonl")
    assert ran.code == Exit.OK, ran.out + ran.err
    assert [line["id"] for line in desk.lines("all.jsonl")] == [f"q{n}" for n in range(160)]
    assert desk.call("verify", "jobs.jsonl", "all.jsonl").code == Exit.OK
    again = {ident for ident, times in sim.tally.counts.items() if before[ident] and times > before[ident]}
    assert again.isdisjoint(safe)
    assert len(again) <= 3  # what was in flight in each that was killed


def body_of_the_pod() -> tuple[list[str], dict[str, str]]:
    """The command of the Kubernetes job, and its variables."""
    [document] = yaml.safe_load_all((PROJECT / "docs/kubernetes/job.yaml").read_text())
    assert document["spec"]["completionMode"] == "Indexed"
    assert document["spec"]["completions"] == 8
    [container] = document["spec"]["template"]["spec"]["containers"]
    assert [rule["onExitCodes"]["values"] for rule in document["spec"]["podFailurePolicy"]["rules"][:1]] == [
        [Exit.USAGE, Exit.SOME_FAILED, Exit.INPUT, Exit.CANNOT_CREATE, Exit.REFUSED, Exit.CONFIG]
    ]
    return container["command"], {each["name"]: each["value"] for each in container["env"]}


def scheduled(desk: Desk, command: list[str | Path], env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """A command as a scheduler starts it, with `batcher` on its path."""
    bin_ = desk.path / "bin"
    if not bin_.exists():
        bin_.mkdir()
        (bin_ / "batcher").write_text(f'#!/bin/sh\nexec {" ".join(desk.command())} "$@"\n')
        (bin_ / "batcher").chmod(0o755)
    path = f"{bin_}:{desk.env['PATH']}"
    return subprocess.run(
        command, cwd=desk.path, env=desk.env | env | {"PATH": path}, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_the_array_of_slurm(desk: Desk, sim: Simulator) -> None:
    """The script's body, as a task of the array gets it, and one of an array of that task alone."""
    jobs(desk, 24)
    script = PROJECT / "docs/slurm/array.sbatch"
    assert re.search(r"^#SBATCH --array=1-8$", script.read_text(), re.MULTILINE)
    args = ["jobs.jsonl", "-m", "simulator", "--base-url", sim.url]
    whole = {"SLURM_ARRAY_TASK_COUNT": "8", "SLURM_ARRAY_TASK_MIN": "1", "SLURM_ARRAY_TASK_MAX": "8"}
    alone = {"SLURM_ARRAY_TASK_COUNT": "1", "SLURM_ARRAY_TASK_MIN": "5", "SLURM_ARRAY_TASK_MAX": "5"}
    for task, told in (("8", whole), ("5", alone)):  # sbatch --array=5
        done = scheduled(desk, ["bash", script, *args], told | {"SLURM_ARRAY_TASK_ID": task})
        assert done.returncode == Exit.OK, done.stderr
    made = {path.name for path in (desk.path / "parts").glob("*.jsonl")}
    assert made == {"out-5-of-8.jsonl", "out-8-of-8.jsonl"}
    said = orjson.loads(desk.call("merge", "parts/*.jsonl", "-o", "all.jsonl", "--json").out)
    assert said["absent"] == [f"{part}/8" for part in (1, 2, 3, 4, 6, 7)]
    assert set(sim.tally.answered.values()) == {1}


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_the_job_of_kubernetes(desk: Desk, sim: Simulator) -> None:
    """The pod's own command with its own variables, but for where the volume and the server are."""
    jobs(desk, 24)
    command, env = body_of_the_pod()
    told = env | {"BATCHER_BASE_URL": sim.url, "BATCHER_MODEL": "simulator"}
    assert told.keys() == env.keys()
    here: list[str | Path] = [word.replace("/data/", f"{desk.path}/") for word in command]
    done = scheduled(desk, here, told | {"JOB_COMPLETION_INDEX": "7"})
    assert done.returncode == Exit.OK, done.stderr
    for part in range(1, 8):
        desk.call(*asked(sim, "--shard", f"{part}/8", "-o", "parts/out-{shard}.jsonl"))
    [merge] = re.findall(r"batcher (merge .*)", (PROJECT / "docs/kubernetes/job.yaml").read_text())
    said = [word.strip("'").replace("/data/", f"{desk.path}/") for word in merge.split()]
    assert desk.call(*said).code == Exit.OK
    assert set(sim.tally.answered.values()) == {1}


def test_the_pages_name_these_files() -> None:
    page = (PROJECT / "docs/scale.md").read_text()
    for name in ("slurm/array.sbatch", "kubernetes/job.yaml"):
        assert f"({name})" in page
