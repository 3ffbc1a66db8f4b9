"""`batcher verify`, `--ordered` and `--atomic` as their users have them: real processes, their words and exit codes."""

from __future__ import annotations

import fcntl
import json
import random
import signal
from typing import TYPE_CHECKING, Any

import pytest
from support.commandline import names, prompts, running, until

from batcher.failures import Exit
from batcher.simulator import simulator_thread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.commandline import Desk, Ran

    from batcher.simulator import Simulator

pytestmark = pytest.mark.slow


@pytest.fixture
def sim() -> Iterator[Simulator]:
    with simulator_thread() as server:
        yield server


def run(desk: Desk, sim: Simulator, *args: str, jobs: str = "jobs.jsonl") -> Ran:
    return desk.call("run", jobs, "-o", "results.jsonl", "--base-url", sim.url, "-m", "simulator", "-q", *args)


def verify(desk: Desk, *args: str, jobs: str = "jobs.jsonl") -> tuple[int, dict[str, Any], dict[str, int]]:
    """The exit code, all that was said, and the counts that are not 0."""
    ran = desk.call("verify", jobs, "results.jsonl", "--json", *args)
    said = json.loads(ran.out)
    assert said["exit"] == ran.code
    found = {name: finding["count"] for name, finding in said["findings"].items() if finding["count"]}
    return ran.code, said, found


def test_a_run_and_its_proof(desk: Desk, sim: Simulator) -> None:
    """What a run calls finished, verify calls complete, with or without the model being named again."""
    desk.write("jobs.jsonl", *prompts(names(5)))
    assert run(desk, sim).code == Exit.OK
    assert verify(desk, "-m", "simulator")[0] == Exit.OK
    assert verify(desk)[0] == Exit.OK
    ran = desk.call("verify", "jobs.jsonl", "results.jsonl")
    assert ran.out.splitlines()[-1] == "complete: one result for each job"
    assert ran.err == ""


def test_a_failed_job(desk: Desk, sim: Simulator) -> None:
    """A failure that stands is named by line and id, with the code of a run that had failures; mended, all is well."""
    desk.write("jobs.jsonl", *prompts(["good"]), *prompts(["bad"], "status=400 times=1"))
    assert run(desk, sim).code == Exit.SOME_FAILED
    code, said, found = verify(desk)
    assert (code, found) == (Exit.SOME_FAILED, {"failed": 1})
    assert said["findings"]["failed"]["first"] == [{"line": 2, "id": "bad"}]
    assert run(desk, sim).code == Exit.OK
    assert verify(desk)[0] == Exit.OK


def test_what_was_asked_counts(desk: Desk, sim: Simulator) -> None:
    """Results of another model, or with other parameters, answer something else; variables say it as options do."""
    desk.write("jobs.jsonl", *prompts(["a"]))
    same = ("--param", "temperature=0", "--system", "Be brief.", "--option", "num_ctx=4096")
    assert run(desk, sim, *same).code == Exit.OK
    assert verify(desk, "-m", "other")[2] == {"changed": 1}
    assert verify(desk, "--param", "temperature=1")[2] == {"changed": 1}
    assert verify(desk, "--option", "num_ctx=1")[2] == {"changed": 1}
    (desk.path / "results.state.json").unlink()
    assert verify(desk)[2] == {"changed": 1}
    assert verify(desk, *same)[0] == Exit.OK
    desk.env |= {"MODEL": "simulator", "BATCHER_PARAM": "temperature=0", "BATCHER_SYSTEM": "Be brief."}
    assert verify(desk, *same[-2:])[0] == Exit.OK


def test_the_run_is_remembered(desk: Desk, sim: Simulator) -> None:
    """The state file says what the run was told, so that the bare command proves it; a broken one is no obstacle."""
    desk.write("jobs.jsonl", *prompts(["a"]), {"id": "b", "prompt": "x", "model": "small"})
    same = ("--param", "temperature=0", "--param", "own=1", "--alias", "small=simulator", "--system", "Be brief.")
    assert run(desk, sim, *same).code == Exit.OK
    assert verify(desk)[0] == Exit.OK
    (desk.path / "results.state.json").write_text("{")
    ran = desk.call("verify", "jobs.jsonl", "results.jsonl", *same)
    assert ran.code == Exit.OK
    assert "results.state.json: cannot be read" in ran.err


def test_a_guess_is_told(desk: Desk, sim: Simulator) -> None:
    """Where the model was guessed and nothing fits, the user hears of the guess."""
    desk.write("jobs.jsonl", *prompts(["a"]))
    assert run(desk, sim).code == Exit.OK
    (desk.path / "results.state.json").unlink()
    assert verify(desk)[0] == Exit.OK
    desk.write("jobs.jsonl", {"id": "a", "prompt": "something else"})
    ran = desk.call("verify", "jobs.jsonl", "results.jsonl")
    assert ran.code == Exit.SOME_FAILED
    assert "simulator. Name the run's with -m" in ran.err
    assert "changed    1" in ran.out


def test_files_that_are_not_there(desk: Desk) -> None:
    """A missing input is 65 and a missing results file 73; what an unfinished run has is pointed to."""
    assert desk.call("verify", "none.jsonl", "results.jsonl").code == Exit.INPUT
    desk.write("jobs.jsonl", *prompts(["a"]))
    ran = desk.call("verify", "jobs.jsonl", "results.jsonl")
    assert ran.code == Exit.CANNOT_CREATE
    assert "there is no such file" in ran.err
    desk.write("results.jsonl.part")
    assert "results.jsonl.part has what" in desk.call("verify", "jobs.jsonl", "results.jsonl").err
    ran = desk.call("verify", "jobs.jsonl", ".")
    assert (ran.code, ran.err) == (
        Exit.CANNOT_CREATE,
        "batcher: .: cannot be read: Is a directory\n",
    )


def test_input_from_a_pipe(desk: Desk, sim: Simulator) -> None:
    """The input may be what another program writes."""
    path = desk.write("jobs.jsonl", *prompts(names(3)))
    assert run(desk, sim).code == Exit.OK
    ran = desk.run("verify", "-", "results.jsonl", "--json", stdin=path.read_text())
    assert (ran.code, json.loads(ran.out)["ok"]) == (Exit.OK, 3)


def test_under_a_run(desk: Desk, sim: Simulator) -> None:
    """A file that is being written is read without disturbing its writer; what is to come is pending."""
    jobs = [*prompts(names(3)), *prompts(["slow"], "delay=30")]
    desk.write("jobs.jsonl", *jobs)
    command = ("run", "jobs.jsonl", "-o", "results.jsonl", "--base-url", sim.url, "-m", "simulator", "--grace", "0")
    with running(desk.start(*command)) as process:
        until(lambda: (desk.path / "results.jsonl").exists() and len(desk.lines()) == 3)
        code, said, found = verify(desk)
        assert (code, found, said["writing"]) == (Exit.SOME_FAILED, {"pending": 1}, True)
        process.send_signal(signal.SIGTERM)
        process.communicate()
    assert process.returncode == -signal.SIGTERM
    code, said, found = verify(desk)
    assert (code, found, said["writing"]) == (Exit.SOME_FAILED, {"pending": 1}, False)
    (desk.path / "results.state.json").unlink()
    assert verify(desk)[2] == {"missing": 1}


def test_ordered(desk: Desk, sim: Simulator) -> None:
    """The results of a complete run stand as the input does, though some failed; then again after more jobs came in."""
    jobs = prompts(names(30))
    random.Random(7).shuffle(jobs)
    desk.write("jobs.jsonl", *jobs, *prompts(["bad"], "status=400 times=1"))
    assert run(desk, sim, "-c", "8").code == Exit.SOME_FAILED
    written = desk.lines()
    assert run(desk, sim, "--ordered").code == Exit.OK
    assert [line["id"] for line in desk.lines()] == [job["id"] for job in jobs] + ["bad"]
    assert sorted(map(str, written)) == sorted(str(line) for line in desk.lines() if line["id"] != "bad")
    jobs[5:5] = prompts(["new"])
    jobs.reverse()
    desk.write("jobs.jsonl", *jobs)
    assert run(desk, sim, "--ordered", "-c", "8").code == Exit.OK
    assert [line["id"] for line in desk.lines()] == [job["id"] for job in jobs] + ["bad"]
    inode = (desk.path / "results.jsonl").stat().st_ino
    assert run(desk, sim, "--ordered").code == Exit.OK
    assert (desk.path / "results.jsonl").stat().st_ino == inode
    assert verify(desk)[2] == {"extra": 1}


def test_a_stopped_run_is_not_ordered(desk: Desk, sim: Simulator) -> None:
    """A run that a signal ended leaves the file as it came, and says that the order is still to be made."""
    desk.write("jobs.jsonl", *prompts(["slow"], "delay=30"), *prompts(names(3)))
    command = ("run", "jobs.jsonl", "-o", "results.jsonl", "--base-url", sim.url, "-m", "simulator", "--grace", "0")
    with running(desk.start(*command, "--ordered")) as process:
        until(lambda: (desk.path / "results.jsonl").exists() and len(desk.lines()) == 3)
        inode = (desk.path / "results.jsonl").stat().st_ino
        process.send_signal(signal.SIGTERM)
        said = process.communicate()[1]
    assert process.returncode == -signal.SIGTERM
    assert "results.jsonl is not put in order" in said
    assert (desk.path / "results.jsonl").stat().st_ino == inode


def test_atomic(desk: Desk, sim: Simulator) -> None:
    """OUT comes when the last job has its result and not before; a complete one is not touched again."""
    desk.write("jobs.jsonl", *prompts(names(5)), *prompts(["bad"], "status=400 times=1"))
    ran = run(desk, sim, "--atomic")
    assert ran.code == Exit.SOME_FAILED
    assert "results.jsonl.part" in ran.err
    assert desk.ids("results.jsonl.part") == names(5)
    assert desk.errors().keys() == {"bad"}
    assert not (desk.path / "results.jsonl").exists()
    assert "--atomic" in desk.call("verify", "jobs.jsonl", "results.jsonl").err
    ran = run(desk, sim, "--atomic", "--ordered", "-c", "8")
    assert (ran.code, ran.err) == (Exit.OK, "")
    assert [line["id"] for line in desk.lines()] == [*names(5), "bad"]
    status = (desk.path / "results.jsonl").stat()
    requests = sim.tally.paths.total()
    assert run(desk, sim, "--atomic", "--ordered").code == Exit.OK
    after = (desk.path / "results.jsonl").stat()
    assert (after.st_ino, after.st_mtime_ns) == (status.st_ino, status.st_mtime_ns)
    assert sim.tally.paths.total() - requests <= 1  # it asks who the server is
    assert not (desk.path / "results.jsonl.part").exists()
    assert verify(desk)[0] == Exit.OK


def test_atomic_anew(desk: Desk, sim: Simulator) -> None:
    """Starting anew leaves the old OUT for its readers until the new one is complete; killed on the way, too."""
    desk.write("jobs.jsonl", *prompts(names(3)))
    assert run(desk, sim).code == Exit.OK
    old = (desk.path / "results.jsonl").read_bytes()
    desk.write("more.jsonl", *prompts([f"n{number}" for number in range(4)]), *prompts(["slow"], "do=stall times=1"))
    command = ("run", "more.jsonl", "-o", "results.jsonl", "--base-url", sim.url, "-m", "simulator", "--atomic")
    part = desk.path / "results.jsonl.part"
    with running(desk.start(*command, "--overwrite")) as process:
        until(lambda: part.exists() and len(desk.lines(part.name)) == 4)
        assert run(desk, sim, "--atomic").code == Exit.LOCKED
        assert run(desk, sim).code == Exit.LOCKED
        process.kill()
    assert (desk.path / "results.jsonl").read_bytes() == old
    assert run(desk, sim, "--atomic", jobs="more.jsonl").code == Exit.OK
    assert desk.ids() == ["n0", "n1", "n2", "n3", "slow"]
    assert not part.exists()


def test_out_in_use_by_another(desk: Desk, sim: Simulator) -> None:
    """A run beside an OUT that another run writes to is refused before anything is made or sent."""
    desk.write("jobs.jsonl", *prompts(["a"]))
    desk.write("results.jsonl")
    with (desk.path / "results.jsonl").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert run(desk, sim, "--atomic").code == Exit.LOCKED
    assert not (desk.path / "results.jsonl.part").exists()


@pytest.mark.parametrize("option", ["--ordered", "--atomic"])
def test_not_on_a_pipe(desk: Desk, sim: Simulator, option: str) -> None:
    """What cannot be done with standard output is refused, and the message says what to do instead."""
    desk.write("jobs.jsonl", *prompts(["a"]))
    ran = desk.call("run", "jobs.jsonl", "-o", "-", "--base-url", sim.url, "-m", "simulator", option)
    assert (ran.code, ran.out) == (Exit.USAGE, "")
    assert "name one with -o FILE" in ran.err


def test_a_part_that_waits_is_told_of(desk: Desk, sim: Simulator) -> None:
    """A run without --atomic says that an OUT.part is there, and leaves it."""
    desk.write("jobs.jsonl", *prompts(["a"]))
    part = desk.path / "results.jsonl.part"
    part.write_bytes(b"x")
    ran = desk.call("run", "jobs.jsonl", "-o", "results.jsonl", "--base-url", sim.url, "-m", "simulator")
    assert ran.code == Exit.OK
    assert "results.jsonl.part is what an --atomic run left" in ran.err
    assert part.read_bytes() == b"x"


def test_atomic_rerun_of_a_changed_job(desk: Desk, sim: Simulator) -> None:
    """A changed job that runs again replaces its result in OUT with the rest, also in a file as long as before."""
    desk.write("jobs.jsonl", *prompts(["a", "b"]))
    assert run(desk, sim).code == Exit.OK
    old = {line["id"]: line["hash"] for line in desk.lines()}
    desk.write("jobs.jsonl", *prompts(["a"]), {"id": "b", "prompt": "[[sim id=c ]]"})
    assert run(desk, sim, "--atomic").code == Exit.INPUT
    assert not (desk.path / "results.jsonl.part").exists()
    assert run(desk, sim, "--atomic", "--on-change", "rerun").code == Exit.OK
    new = {line["id"]: line["hash"] for line in desk.lines()}
    assert (new["a"] == old["a"], new["b"] == old["b"]) == (True, False)
    assert verify(desk)[0] == Exit.OK
