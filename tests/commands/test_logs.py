"""What a log gets while a run goes on: a line each so often, JSON where that is asked for, numbers, costs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from support.commandline import names, prompts

from batcher.simulator import simulator_thread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.commandline import Desk

    from batcher.simulator import BackgroundSimulator

pytestmark = pytest.mark.slow

RUN = ("run", "jobs.jsonl", "-o", "results.jsonl", "-m", "simulator")


@pytest.fixture
def sim() -> Iterator[BackgroundSimulator]:
    with simulator_thread() as server:
        yield server


def test_a_line_each_so_often(desk: Desk, sim: BackgroundSimulator) -> None:
    """How far it is and the newest reason of a failure; none when quiet, and none where it is not wanted."""
    desk.write("jobs.jsonl", *prompts(["bad"], "do=bad message=no%20way"), *prompts(names(10), "ttft=0.1"))
    args = (*RUN, "--base-url", sim.url, "-c", "1", "--overwrite")
    lines = [line for line in desk.run(*args, "--stats", "0.3s").err.splitlines() if "/11 " in line]
    assert len(lines) >= 2
    assert all(line.startswith("batcher: ") and "in flight" in line for line in lines)
    assert lines[-1].endswith("; newest failure: bad_request: no way")
    assert "\x1b" not in "".join(lines)
    assert "/11 " not in desk.run(*args, "--stats", "0").err
    assert desk.run(*args, "--stats", "0.3s", "-q").err.count("\n") == 1  # of one who failed, as every quiet run


def test_json_lines(desk: Desk, sim: BackgroundSimulator) -> None:
    """Each line is an object with its time and kind; the last has the sums. So is an error."""
    desk.write("jobs.jsonl", {"id": "k", "prompt": "x", "promt\x1b[2J": 1}, *prompts(names(6), "ttft=0.1"))
    ran = desk.run(*RUN, "--base-url", sim.url, "-c", "1", "-v", "--stats", "0.2s", "--log-format", "json")
    events = [json.loads(line) for line in ran.err.splitlines()]
    assert ran.code == 0
    assert {event["event"] for event in events} == {"note", "result", "stats", "summary"}
    assert all(event["at"].endswith("+00:00") and event["message"] for event in events)
    assert events[-1]["summary"]["jobs"]["ok"] == 7
    assert [event for event in events if event["event"] == "stats"][-1]["total"] == 7
    assert sorted(event["id"] for event in events if event["event"] == "result") == sorted(["k", *names(6)])
    assert "\x1b" not in ran.err
    away = desk.run(*RUN, "--base-url", "http://127.0.0.1:9", "--max-wait", "0.2s", "--log-format", "json", "-q")
    [error] = [json.loads(line) for line in away.err.splitlines()]
    assert (away.code, error["event"]) == (69, "error")


def test_what_it_costs(desk: Desk, sim: BackgroundSimulator) -> None:
    """By the prices that were said, in the block and for programs; at --max-cost the run stops with 4 and goes on."""
    desk.write("jobs.jsonl", *prompts(names(20), "tokens=10 prompt_tokens=5"))
    prices = ("--price-in", "1000", "--price-out", "2000", "--summary-json", "s.json")
    args = (*RUN, "--base-url", sim.url, *prices)
    ran = desk.run(*args, "-c", "2", "--max-cost", "0.12")
    summary = json.loads((desk.path / "s.json").read_text())
    assert ran.code == 4
    assert 0.12 <= summary["cost"] <= 0.12 + 2 * 0.025 + 1e-9
    assert summary["stop"]["code"] == "max_cost"
    assert "stopped  max_cost: --max-cost 0.12: the answers of this run have cost 0.1" in ran.err
    done = len(desk.lines())
    assert summary["cost"] == pytest.approx(done * 0.025)
    assert desk.run(*args).code == 0
    summary = json.loads((desk.path / "s.json").read_text())
    assert summary["cost"] == pytest.approx((20 - done) * 0.025)
    refused = desk.call(*RUN, "--base-url", sim.url, "--max-cost", "1")
    assert (refused.code, "needs prices" in refused.err) == (2, True)


def test_metrics(desk: Desk, sim: BackgroundSimulator) -> None:
    """The file is there while the run goes on, and tells its end; one that cannot be written costs no result."""
    desk.write("jobs.jsonl", *prompts(names(3)))
    args = (*RUN, "--base-url", sim.url, "--overwrite")
    assert desk.run(*args, "--metrics-file", "run.prom").code == 0
    text = (desk.path / "run.prom").read_text()
    assert 'batcher_jobs{state="ok"} 3\n' in text
    assert "batcher_exit_code 0\n" in text
    assert sorted(path.name for path in desk.path.iterdir() if "prom" in path.name) == ["run.prom"]
    nowhere = desk.run(*args, "--metrics-file", "none/run.prom")
    assert nowhere.code == 74
    assert desk.ids() == names(3)
    assert "--metrics-file: none/run.prom cannot be written" in nowhere.err


def test_nothing_is_left_of_a_start_that_failed(desk: Desk) -> None:
    """No empty results file; one that was there before stays."""
    desk.write("jobs.jsonl", *prompts(["a"]))
    away = ("--base-url", "http://127.0.0.1:9", "--max-wait", "0.2s")
    assert desk.run(*RUN, *away).code == 69
    assert [path.name for path in desk.path.iterdir()] == ["jobs.jsonl"]
    desk.write("results.jsonl")
    assert desk.run(*RUN, *away).code == 69
    assert sorted(path.name for path in desk.path.iterdir()) == ["jobs.jsonl", "results.jsonl"]


def test_standard_output_by_its_other_name(desk: Desk, sim: BackgroundSimulator) -> None:
    """`-o /dev/stdout` is `-o -`, also where that is a pipe."""
    desk.write("jobs.jsonl", *prompts(["a"]))
    ran = desk.run("run", "jobs.jsonl", "-o", "/dev/stdout", "-m", "simulator", "--base-url", sim.url)
    assert ran.code == 0
    assert json.loads(ran.out)["id"] == "a"


@pytest.mark.parametrize("suffix", ["", "/v1"])
def test_run_and_check_say_the_same_of_a_model(desk: Desk, suffix: str) -> None:
    """What the server has, what may have been meant, and how to say it."""
    desk.write("jobs.jsonl", *prompts(["a"]))
    with simulator_thread(models=("llama3.2", "qwen3:8b")) as server:
        named = ("-m", "lama3.2", "--base-url", server.url + suffix)
        ran = desk.run("run", "jobs.jsonl", "-o", "results.jsonl", *named)
        looked = desk.call("check", "jobs.jsonl", *named)
    words = "lama3.2 is not on the server, which has llama3.2:latest, qwen3:8b; did you mean llama3.2:latest?"
    assert (ran.code, looked.code) == (78, 78)
    assert words in ran.err
    assert words in looked.out
    assert ran.err.splitlines()[-1].startswith("next     name a model that is there, then run the same command again")


def test_run_and_check_say_the_same_of_a_key(desk: Desk) -> None:
    """Whether one was sent, and where to say it."""
    desk.write("jobs.jsonl", *prompts(["a"]))
    with simulator_thread(key="k", look="openai") as server:
        named = ("-m", "simulator", "--base-url", f"{server.url}/v1")
        for env, words in (
            ({}, "wants a key and none was sent: it answers 401"),
            ({"OPENAI_API_KEY": "x"}, "refuses the"),
        ):
            ran = desk.run("run", "jobs.jsonl", "-o", "results.jsonl", *named, env=env)
            looked = desk.call("check", "jobs.jsonl", *named, env=env)
            assert (ran.code, looked.code) == (77, 77)
            assert words in ran.err
            assert words in looked.err
