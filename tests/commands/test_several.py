"""Several models in one run (`-m a -m b`): a file for each, as the run of each alone would have written it."""

from __future__ import annotations

import fcntl
import json
import signal
import sqlite3
from typing import TYPE_CHECKING

import pytest
from support.commandline import ended, names, prompts, running, until

from batcher.failures import Exit
from batcher.simulator import simulator_thread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.commandline import Desk

    from batcher.simulator import BackgroundSimulator

BIG = "hub/big:7b"
RUN = ("run", "jobs.jsonl", "-o", "out.jsonl", "-m", "small", "-m", BIG)
PATIENCE = 120.0
FILES = ("out.small.jsonl", "out.hub-big-7b.jsonl")


@pytest.fixture
def sim() -> Iterator[BackgroundSimulator]:
    with simulator_thread(models=("small", BIG), tokens=2) as simulator:
        yield simulator


def models_of(desk: Desk, name: str) -> set[str]:
    return {line["model"] for line in desk.lines(name)}


def test_a_file_for_each(desk: Desk, sim: BackgroundSimulator) -> None:
    """One model after the other, each asked every row, whatever that names; by the same command nothing again."""
    desk.write("jobs.jsonl", *prompts(names(3)), {**prompts(["own"])[0], "model": "other"})
    ran = desk.call(*RUN, "--base-url", sim.url, "--summary-json", "sums.json")
    assert ran.code == Exit.OK, ran.err
    for name, model in zip(FILES, ("small", BIG), strict=True):
        assert desk.ids(name) == ["own", *names(3)]
        assert models_of(desk, name) == {model}
    asked = [seen.body["model"] for seen in sim.tally.log]
    assert asked == ["small"] * 4 + [BIG] * 4
    plan, *_ = ran.err.partition("prompts to")
    assert all(name in plan for name in FILES)  # told before anything is sent
    assert "next     batcher compare out.small.jsonl out.hub-big-7b.jsonl" in ran.err
    sums = json.loads((desk.path / "sums.json").read_text())
    assert (sums["exit_code"], sums["jobs"]["ok"], sums["tokens"]["completion"]) == (0, 8, 16)
    assert [(one["model"], one["summary"]["jobs"]["ok"]) for one in sums["models"]] == [("small", 4), (BIG, 4)]
    again = desk.call(*RUN, "--base-url", sim.url)
    assert (again.code, set(sim.counts.values())) == (Exit.OK, {2})
    assert again.err.count("nothing left to do") == 4
    compared = json.loads(desk.call("compare", *FILES, "--json").out)
    assert (compared["rows"]["both"], compared["told_otherwise"]) == (4, [])
    for name in FILES:
        assert desk.call("verify", "jobs.jsonl", name).code == Exit.OK
        assert "complete" in desk.call("status", name).out
    both = desk.call("status", "out.jsonl")
    assert (both.code, f"there are {FILES[1]}, {FILES[0]}" in both.err) == (Exit.CANNOT_CREATE, True)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("jobs.jsonl", "-o", "-"), "standard output"),
        (("-", "-o", "out.jsonl"), "can be read once"),
        (("/dev/null", "-o", "out.jsonl"), "can be read once"),
        (("jobs.jsonl", "-o", "."), "is a directory"),
        (("jobs.jsonl", "--model-field", "m"), "--model-field"),
        (("jobs.jsonl", "--alias", "*=small"), "--alias *"),
        (("jobs.jsonl", "--local"), "--local"),
        (("jobs.jsonl", "-m", "a"), "said twice"),
        (("jobs.jsonl", "-m", ""), "is empty"),
        (("jobs.jsonl", "-m", "A"), "one name for their files"),
        (("jobs.jsonl", "-m", "::"), "no file can be named"),
        (
            ("jobs.jsonl", "-o", "o.jsonl", "--metrics-file", "o.b.jsonl"),
            "both the results file and the file of metrics",
        ),
    ],
)
def test_what_does_not_go_with_several(desk: Desk, args: tuple[str, ...], words: str) -> None:
    """It is refused in words, and nothing is sent or written."""
    path = desk.write("jobs.jsonl", *prompts(names(1)))
    ran = desk.call("run", "-m", "a", "-m", "b", *args)
    assert (ran.code, words in ran.err) == (Exit.USAGE, True), ran.err
    assert list(desk.path.iterdir()) == [path]


@pytest.mark.parametrize("command", [("bench",), ("verify",), ("export",)])
def test_commands_that_take_one(desk: Desk, command: tuple[str, ...]) -> None:
    """They say so."""
    desk.write("jobs.jsonl", *prompts(names(1)))
    other = {"bench": (), "verify": ("r.jsonl",), "export": ("-o", "t.csv")}[command[0]]
    ran = desk.call(*command, "jobs.jsonl", *other, "-m", "a", "-m", "b")
    assert (ran.code, "several models" in ran.err) == (Exit.USAGE, True), ran.err


def test_the_worst_that_happened(desk: Desk, sim: BackgroundSimulator) -> None:
    """One model is not there, which is told at once; the others are asked all the same, and the code is the worst."""
    desk.write("jobs.jsonl", *prompts(["bad"], "do=bad"), *prompts(names(3)))
    args = ("-m", "none", "--base-url", sim.url, "--dialect", "openai")
    ran = desk.call("run", "jobs.jsonl", "-o", "{model}.jsonl", *args, "-m", "small", "--summary-json", "sums.json")
    assert ran.code == Exit.CONFIG, ran.err
    assert "none is not on the server" in ran.err.partition("model 1 of 2")[0]
    assert (desk.ids("small.jsonl"), desk.errors("small.errors.jsonl")) == (names(3), {"bad": "bad_request"})
    assert desk.lines("none.jsonl") == []
    sums = json.loads((desk.path / "sums.json").read_text())
    assert [one["summary"]["exit_code"] for one in sums["models"]] == [Exit.CONFIG, Exit.SOME_FAILED]
    assert "run the same command again" in ran.err.splitlines()[-1]


def test_what_holds_for_each_and_what_for_all(desk: Desk, sim: BackgroundSimulator) -> None:
    """`--limit-new` is so many of each model, the same rows; `--max-cost` and `--max-duration` are of all together."""
    desk.write("jobs.jsonl", *prompts(names(5)))
    url = ("--base-url", sim.url)
    some = desk.call(*RUN, *url, "--limit-new", "2")
    assert some.code == Exit.STOPPED
    assert [desk.ids(name) for name in FILES] == [names(2)] * 2
    prices = ("--price-in", "0", "--price-out", "1000000", "--overwrite", "--log-format", "json", "-c", "1")
    for most, states, least in ((10, ["made", "not begun"], 10), (14, ["made", "made"], 14)):  # one answer costs 2
        dear = desk.call(*RUN, *url, *prices, "--max-cost", str(most))
        end = json.loads(dear.err.splitlines()[-1])
        assert (dear.code, end["event"]) == (Exit.STOPPED, "models"), dear.err
        assert [one["state"] for one in end["summary"]["models"]] == states
        assert least <= end["summary"]["cost"] < 20
        assert len(desk.lines(FILES[0])) == 5
    late = desk.call(*RUN, *url, "--max-duration", "0s")
    assert (late.code, "not begun" in late.err) == (Exit.STOPPED, True)


def test_another_run_has_a_file(desk: Desk, sim: BackgroundSimulator) -> None:
    """The run of that model is left to it with `--if-locked skip`; else that ends it, and what was done is told."""
    desk.write("jobs.jsonl", *prompts(names(2)))
    with (desk.path / FILES[1]).open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        ran = desk.call(*RUN, "--base-url", sim.url)
        assert (ran.code, "it could not be made" in ran.err) == (Exit.LOCKED, True), ran.err
        assert desk.ids(FILES[0]) == names(2)
        left = desk.call(*RUN, "--base-url", sim.url, "--if-locked", "skip")
        assert (left.code, "left to another run" in left.err) == (Exit.OK, True), left.err


def test_files_that_cannot_be_written(desk: Desk) -> None:
    """Those of all models are looked at before anything is sent."""
    desk.write("jobs.jsonl", *prompts(names(1)))
    (desk.path / "small").mkdir()
    ran = desk.call(*RUN[:2], "-o", "{model}/out.jsonl", "-m", "small", "-m", "big", "--base-url", "http://127.0.0.1:9")
    assert (ran.code, "no directory big" in ran.err) == (Exit.CANNOT_CREATE, True), ran.err
    (desk.path / "out.big.state.json").mkdir()
    ran = desk.call(*RUN[:2], "-o", "out.jsonl", "-m", "small", "-m", "big", "--base-url", "http://127.0.0.1:9")
    assert (ran.code, "out.big.state.json" in ran.err) == (Exit.CANNOT_CREATE, True), ran.err


def test_ways_to_say_it(desk: Desk, sim: BackgroundSimulator) -> None:
    """A variable, a config file; what a run would do is shown, as requests and as a file of settings."""
    desk.write("jobs.jsonl", *prompts(names(1)))
    (desk.path / "run.toml").write_text(f'model = ["small", "{BIG}"]\noutput = "made/{{model}}.jsonl"\n')
    shown = desk.call("run", "jobs.jsonl", "--config", "run.toml", "--dry-run", "--base-url", sim.url)
    assert (shown.code, shown.out.count("POST")) == (Exit.OK, 2)
    assert f'"model": "{BIG}"' in shown.out
    assert f"# {BIG} → {desk.path}/made/hub-big-7b.jsonl" in shown.out
    told = desk.call("run", "jobs.jsonl", "--print-config", env={"BATCHER_MODEL": f"small, {BIG}"})
    assert f'model = ["small","{BIG}"]'.replace(",", ", ") in told.out
    assert desk.call("check", "jobs.jsonl", "-m", "small", "-m", BIG, "--base-url", sim.url).out.count("\nready") == 2
    ran = desk.call("check", "jobs.jsonl", "-m", "small", "-m", "none", "--base-url", sim.url, "--json")
    found = json.loads(ran.out)
    assert (ran.code, found["ready"], [one["ready"] for one in found["models"]]) == (Exit.CONFIG, False, [True, False])
    one = desk.call("run", "jobs.jsonl", "-m", "small", "-o", "{model}-it.jsonl", "--base-url", sim.url)
    assert (one.code, desk.ids("small-it.jsonl")) == (Exit.OK, names(1))  # the name is the same with one
    none = desk.call("run", "jobs.jsonl", "-o", "{model}.jsonl", "--base-url", sim.url)
    assert (none.code, "none is named" in none.err) == (Exit.USAGE, True)


def test_files_beside_the_results(desk: Desk, sim: BackgroundSimulator) -> None:
    """Errors, vectors and tables have the model in their names too; an alias of the model is asked for it."""
    pytest.importorskip("numpy")
    desk.write("jobs.jsonl", {"id": "a", "input": "x"}, {"id": "b", "input": "y"})
    args = ("--base-url", sim.url, "--alias", "cheap=small", "-m", "cheap", "-m", BIG, "--errors", "bad.jsonl")
    ran = desk.call("run", "jobs.jsonl", "--vectors", "v.npy", *args)
    assert ran.code == Exit.OK, ran.err
    made = {path.name for path in desk.path.iterdir()}
    assert made >= {"v.cheap.npy", "v.hub-big-7b.npy", "v.cheap.npy.results.jsonl"}
    assert models_of(desk, "v.cheap.npy.results.jsonl") == {"small"}
    assert desk.call("run", "jobs.jsonl", "-o", "sqlite:a.db", *args).code == Exit.OK
    with sqlite3.connect(desk.path / "a.cheap.db") as database:
        assert database.execute("SELECT count(*) FROM answers").fetchone() == (2,)
    database.close()


@pytest.mark.slow
def test_a_signal_ends_them_all(desk: Desk) -> None:
    """The next model is not begun, and the process dies by the signal; by the same command it goes on."""
    wanted = names(12)
    done, stuck, rest = wanted[:4], wanted[4:7], wanted[7:]
    desk.write("jobs.jsonl", *prompts(done), *prompts(stuck, "do=silent times=1"), *prompts(rest))
    with simulator_thread(models=("small", BIG)) as sim:
        args = ("-c", "3", "--grace", "0s", "--base-url", sim.url, "--summary-json", "sums.json")
        with running(desk.start(*RUN, *args)) as process:
            until(lambda: len(desk.lines(FILES[0])) >= 4 and sim.tally.in_flight == 3, PATIENCE)
            process.send_signal(signal.SIGINT)
            ran = ended(process, patience=PATIENCE)
        assert ran.code == -signal.SIGINT
        assert (desk.ids(FILES[0]), desk.lines(FILES[1])) == (done, [])
        assert "not begun" in ran.err
        assert "run the same command again" in ran.err.splitlines()[-1]
        sums = json.loads((desk.path / "sums.json").read_text())
        assert (sums["exit_code"], [one["state"] for one in sums["models"]]) == (130, ["made", "not begun"])
        assert desk.call(*RUN, "--base-url", sim.url).code == Exit.OK
        assert [desk.ids(name) for name in FILES] == [wanted] * 2
        assert sim.counts == {**dict.fromkeys(wanted, 2), **dict.fromkeys(stuck, 3)}


def test_a_link_under_a_name_that_nobody_typed(desk: Desk, sim: BackgroundSimulator) -> None:
    """It is not followed, as that of a run of one model is not."""
    desk.write("jobs.jsonl", *prompts(names(1)))
    elsewhere = desk.path / "elsewhere"
    elsewhere.touch()
    (desk.path / "jobs.small.results.jsonl").symlink_to(elsewhere)
    ran = desk.call("run", "jobs.jsonl", "-m", "small", "-m", BIG, "--base-url", sim.url)
    assert (ran.code, elsewhere.read_bytes()) == (Exit.CANNOT_CREATE, b""), ran.err
