"""`batcher bench` as its users have it: a sweep over a simulated server, whose answers a later run takes up."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from support.commandline import names, prompts

from batcher.commands import bench
from batcher.commands.bench import levels_of, packs_of, slo_of
from batcher.failures import Exit
from batcher.running import bench as running_bench
from batcher.simulator import simulator_thread

if TYPE_CHECKING:
    from support.commandline import Desk

    from batcher.running.bench import Bench
    from batcher.view.steps import Point

SWEEP = ("bench", "jobs.jsonl", "-o", "results.jsonl", "-m", "simulator", "--seconds", "10m")
PATIENCE = 300.0


@pytest.mark.slow
def test_a_sweep_and_the_run_after_it(desk: Desk) -> None:
    """New rows for each step, all of them kept; one that fails is asked once; the run asks for what is left."""
    desk.write("jobs.jsonl", *prompts(["bad"], "do=bad"), *prompts(names(199)))
    with simulator_thread(slots=2, tokens=3) as sim:
        url = ("--base-url", sim.url)
        ran = desk.run(*SWEEP, *url, "-c", "1,2", "--rows", "20", "--slo", "ttft=10m", "--json", patience=PATIENCE)
        assert ran.code == Exit.OK, ran.err
        found = json.loads(ran.out)
        assert [step["concurrency"] for step in found["steps"]] == [1, 2]
        looks = [step["looks"] for step in found["steps"]]  # both are measured once more, if the clock has them alike
        assert looks in ([1, 1], [2, 2])
        steps = [(20 * each, 0, True) for each in looks]
        assert [(step["requests"], step["failed"], step["kept"]) for step in found["steps"]] == steps
        assert (found["unit"], found["slo"]) == ("tokens/s", {"ttft": 600.0})
        assert found["auto"]["requests"] == 40
        assert all(step["good_per_s"] == step["requests_per_s"] for step in found["steps"])
        assert found["config"] == f"concurrency = {found['best_under_slo']}"
        asked = names(40 + 20 * sum(looks))
        assert desk.ids() == asked
        assert sim.counts == dict.fromkeys(["bad", *asked], 1)
        rest = desk.run("run", "jobs.jsonl", "-o", "results.jsonl", "-m", "simulator", *url, patience=PATIENCE)
        assert rest.code == Exit.SOME_FAILED
        assert sim.counts == dict.fromkeys(names(199), 1) | {"bad": 2}
        again = desk.run(*SWEEP, *url, "-c", "2", "--rows", "150", patience=PATIENCE)
    assert again.code == Exit.OK, again.err
    assert "from -c 2 on rows are asked again" in again.err
    assert again.out.splitlines()[-1].startswith("concurrency = ")  # which, the clock says
    assert "rows again" in again.out
    more = sum(sim.counts.values()) - sum({"bad": 2, **dict.fromkeys(names(199), 1)}.values())
    assert more in (150 + 300, 150 + 2 * 300)  # auto twice, if the clock has it better
    assert desk.ids() == names(199)
    assert sorted(path.name for path in desk.path.iterdir() if "again" in path.name) == []


def test_a_second_step_of_a_number_is_joined_with_its_first(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is one row for each number, the mean of both where there were two, and what was asked is kept."""
    desk.write("jobs.jsonl", *prompts(names(99)))
    monkeypatch.setattr(running_bench, "contenders", lambda points, _: [points[0]])
    monkeypatch.setattr(running_bench, "is_contender", lambda *_: False)
    with simulator_thread(tokens=2) as sim:
        ran = desk.call(*SWEEP, "--base-url", sim.url, "-c", "1,2", "--rows", "8", "--json")
    assert ran.code == Exit.OK, ran.err
    steps = json.loads(ran.out)["steps"]
    assert [(step["concurrency"], step["looks"], step["requests"]) for step in steps] == [(1, 2, 16), (2, 1, 8)]
    assert ran.err.count("1 in flight, once more: ") == 1
    assert desk.ids() == names(1 + 3 * 8 + 16)


def test_auto_has_a_second_step_where_it_would_be_chosen(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """One, and what is told is the mean of both, whatever the clock says of them."""
    desk.write("jobs.jsonl", *prompts(names(99)))
    monkeypatch.setattr(running_bench, "is_contender", lambda *_: True)
    with simulator_thread(tokens=2) as sim:
        ran = desk.call(*SWEEP, "--base-url", sim.url, "-c", "1", "--rows", "8", "--json")
    assert ran.code == Exit.OK, ran.err
    found = json.loads(ran.out)["auto"]
    assert (found["looks"], found["requests"], found["marks"]) == (2, 32, ["mean of 2"])
    assert desk.ids() == names(1 + 8 + 32)


def test_a_server_that_is_not_there(desk: Desk) -> None:
    """The sweep ends as a run does."""
    desk.write("jobs.jsonl", *prompts(names(3)))
    ran = desk.run(*SWEEP, "--base-url", "http://127.0.0.1:9", "--max-wait", "0s", patience=PATIENCE)
    assert (ran.code, ran.out) == (Exit.UNAVAILABLE, "")
    assert desk.lines() == []


def test_a_server_that_refuses_all(desk: Desk) -> None:
    """What it says is said once, and no step is made."""
    desk.write("jobs.jsonl", *prompts(names(30)))
    with simulator_thread(key="right") as sim:
        ran = desk.run(*SWEEP, "--base-url", sim.url, env={"OPENAI_API_KEY": ""}, patience=PATIENCE)
    assert (ran.code, ran.out) == (Exit.REFUSED, "")


@pytest.mark.parametrize("more", [(), ("--json",)])
def test_an_input_without_rows(desk: Desk, more: tuple[str, ...]) -> None:
    """That is said, in the words of a run: no server is looked for, no step is made, and no file."""
    (desk.path / "empty.jsonl").touch()
    ran = desk.call("bench", "empty.jsonl", "-m", "simulator", "--base-url", "http://127.0.0.1:9", *more)
    assert ran.code == Exit.SOME_FAILED, ran.err
    assert ran.err.splitlines()[-1] == "batcher: there is no row in empty.jsonl"
    assert not more or json.loads(ran.out)["steps"] == []
    assert more or not ran.out
    assert [path.name for path in desk.path.iterdir()] == ["empty.jsonl"]


def test_rows_of_which_none_can_be_sent(desk: Desk) -> None:
    """That is said with the first reason, also where they failed before: no step is made, and no server asked."""
    desk.write("jobs.jsonl", *({"id": name, "promt": "x"} for name in names(3)))
    with simulator_thread() as sim:
        for _ in range(2):
            ran = desk.call(*SWEEP, "--base-url", sim.url, "--json")
            assert ran.code == Exit.SOME_FAILED, ran.err
            assert "none of 3 rows can be sent: 3 × input_invalid: the line has no " in ran.err  # noqa: RUF001 - times
            found = json.loads(ran.out)
            assert (found["steps"], found["complete"], found["config"]) == ([], False, None)
        assert not sim.counts
        desk.write("jobs.jsonl", {"id": "0", "promt": "x"}, *prompts(names(4)))
        ran = desk.call(*SWEEP, "--base-url", sim.url, "-c", "1", "--rows", "8", "--json")
    assert ran.code == Exit.OK, ran.err
    assert json.loads(ran.out)["steps"][0]["marks"] == ["rows again"]


def test_a_selection_that_takes_nothing(desk: Desk) -> None:
    """It is said, and nothing is measured of nothing."""
    desk.write("jobs.jsonl", *prompts(names(2)))
    with simulator_thread() as sim:
        ran = desk.call(*SWEEP, "--base-url", sim.url, "--shard", "1/100000")
    assert (ran.code, ran.out) == (Exit.SOME_FAILED, "")
    assert ran.err.splitlines()[-1] == "batcher: none of 2 rows is chosen for part 1/100000: there is nothing to ask"
    assert not sim.counts


def test_a_server_that_dies_between_steps(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was measured before is told, and that it is not all; what was answered is kept; it ends as a run does."""
    desk.write("jobs.jsonl", *prompts(names(40)))
    told = bench._told
    with ExitStack() as stack:
        sim = stack.enter_context(simulator_thread(tokens=2))

        def die(point: Point, swept: Bench) -> str:
            stack.close()
            return told(point, swept)

        monkeypatch.setattr(bench, "_told", die)
        args = ("--base-url", sim.url, "-c", "1,2,4", "--rows", "8", "--max-wait", "0s")
        ran = desk.call(*SWEEP, *args, "--price-in", "1", "--price-out", "1")
    assert ran.code == Exit.UNAVAILABLE, ran.err
    assert "the sweep was ended before its end" in ran.out
    assert "cost of the sweep: 0.00" in ran.out
    assert ran.out.splitlines()[-1] == "concurrency = 1"
    assert desk.ids() == names(9)


@pytest.mark.parametrize(
    "args",
    [
        ("-",),
        ("jobs.jsonl", "-o", "-"),
        ("jobs.jsonl", "--seconds", "0s"),
        ("jobs.jsonl", "-c", "auto"),
        ("jobs.jsonl", "-c", "0"),
        ("jobs.jsonl", "--slo", "ttft"),
        ("jobs.jsonl", "--slo", "speed=1s"),
        ("jobs.jsonl", "--limit-new", "3"),
    ],
)
def test_what_a_sweep_cannot_do(desk: Desk, args: tuple[str, ...]) -> None:
    """It is a matter of usage."""
    desk.write("jobs.jsonl", *prompts(names(1)))
    assert desk.call("bench", *args).code == Exit.USAGE


def test_a_config_file_of_a_run(desk: Desk) -> None:
    """Its concurrency is that of a run, and none to sweep; the levels of a sweep are no key."""
    (desk.path / "run.toml").write_text('concurrency = "auto"\nmodel = "m"\natomic = true\n')
    desk.write("jobs.jsonl", *prompts(names(1)))
    ran = desk.call("bench", "jobs.jsonl", "--config", "run.toml", "-o", "-")
    assert (ran.code, "results in a file" in ran.err) == (Exit.USAGE, True)
    (desk.path / "run.toml").write_text('levels = "1,2"\n')
    assert desk.call("bench", "jobs.jsonl", "--config", "run.toml").code == Exit.CONFIG


def test_values_are_read() -> None:
    """In their order, each once."""
    assert levels_of("1, 4,2,4") == (1, 4, 2)
    assert (packs_of("auto"), packs_of("8,32")) == ((), (8, 32))
    assert slo_of("ttft=500ms") == ("ttft", 0.5)


def test_a_sweep_of_packs(desk: Desk) -> None:
    """Each pack at one concurrency, each concurrency with the best of them, those beside it at the knee: a cross."""
    desk.write("texts.jsonl", *({"id": name, "input": f"text {name}"} for name in names(40)))
    tried = ("--pack", "2,4,8", "-c", "1,2", "--rows", "16", "--seconds", "10m", "--json")
    with simulator_thread() as sim, simulator_thread() as other:
        servers = ("--base-url", sim.url, "--base-url", other.url)
        ran = desk.call("bench", "texts.jsonl", "-o", "r.jsonl", "-m", "simulator", *servers, *tried)
    assert ran.code == Exit.OK, ran.err
    found = json.loads(ran.out)
    pairs = [(step["concurrency"], step["pack"]) for step in found["steps"]]
    assert {(1, 2), (1, 4), (1, 8)} <= set(pairs)  # the first concurrency, with each
    assert (2, found["knee_pack"]) in pairs or (1, found["knee_pack"]) in pairs
    assert len(set(pairs)) == len(pairs) <= 6
    assert {step["requests"] * step["pack"] / step["looks"] for step in found["steps"]} == {16}
    assert found["unit"] == "answers/s"
    assert desk.ids("r.jsonl") == names(33)  # the first, two steps of 16; the rest is too few for one
    assert (found["auto"]["pack"], "pack = " in found["config"]) == (None, True)


def test_packs_of_what_makes_none(desk: Desk) -> None:
    """Prompts go one by one, which is said, and their concurrency is found as without packs."""
    desk.write("jobs.jsonl", *prompts(names(8)))
    with simulator_thread(tokens=2) as sim:
        args = ("--base-url", sim.url, "--pack", "2,4", "-c", "1", "--rows", "4", "--json")
        ran = desk.call("bench", "jobs.jsonl", "-m", "simulator", *args)
    assert (ran.code, "packs are for embeddings" in ran.err) == (Exit.OK, True), ran.err
    assert [step["pack"] for step in json.loads(ran.out)["steps"]] == [None]


def test_packs_of_which_the_first_were_not_answered(desk: Desk) -> None:
    """Whether rows go several at a time is told by answers: a step without any says nothing of that."""
    rows = [
        {"id": name, "input": f"[[sim {'do=bad' if 1 <= at < 5 else 'tokens=1'}]] {name}"}
        for at, name in enumerate(names(60))
    ]
    desk.write("jobs.jsonl", *rows)
    with simulator_thread() as sim:
        args = ("--base-url", sim.url, "--pack", "2,4", "-c", "1", "--rows", "4", "--json")
        ran = desk.call(*SWEEP, *args)
    assert (ran.code, "packs are for embeddings" in ran.err) == (Exit.OK, False), ran.err
    steps = json.loads(ran.out)["steps"]
    assert [step["pack"] for step in steps] == [2, 4]
    assert (steps[1]["requests"], steps[0]["requests"]) == (0, 2), steps
