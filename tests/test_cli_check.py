"""`check` and `models`: what is said of a server and a file before anything is spent, and the code that says it too."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from commandline import PROJECT, prompts
from echoserver import echoing

from batcher.simulator import simulator_thread

if TYPE_CHECKING:
    from commandline import Desk

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("look", "suffix", "about", "endpoint"),
    [
        ("native", "", "Ollama 0.33.0, native API", "/api/generate"),
        ("native", "/v1", "Ollama 0.33.0, openai API", "/v1/chat/completions"),
        ("openai", "/v1", "llama.cpp, openai API", "/v1/chat/completions"),
        ("openai", "", "llama.cpp, openai API", "/v1/chat/completions"),
    ],
)
def test_ready(desk: Desk, look: Any, suffix: str, about: str, endpoint: str) -> None:
    """All is there: 0, one screen that says so, the same as JSON, and not one request for an answer."""
    desk.write("jobs.jsonl", *prompts(["a", "b", "a"]), {"id": "e", "input": "x"})
    with simulator_thread(look=look, models=("simulator", "other")) as sim:
        args = ("check", "jobs.jsonl", "--base-url", sim.url + suffix, "-m", "simulator:latest")
        screen, data = desk.run(*args), desk.call(*args, "--json")
        models, listed = (desk.call("models", "--base-url", sim.url + suffix, *extra) for extra in ((), ("--json",)))
        assert sim.counts == {}
    assert (screen.code, screen.err, data.code, data.err) == (0, "", 0, "")
    assert about in screen.out
    assert f"3 jobs, 1 repeated: 2 to {endpoint}" in screen.out
    assert screen.out.splitlines()[-1] == "ready"
    found = json.loads(data.out)
    assert found["ready"] is True
    assert found["input"]["paths"][endpoint] == 2
    assert found["input"]["models"] == {"simulator:latest": 3}
    assert found["about"]["kind"] == about.partition(",")[0].partition(" ")[0]
    names = {"simulator", "other"}
    assert {line.split()[0].removesuffix(":latest") for line in models.out.splitlines()[1:]} == names
    assert {model["name"].removesuffix(":latest") for model in json.loads(listed.out)} == names


def test_lines_that_would_be_refused_are_65(desk: Desk) -> None:
    """Each is named with its line; the codes are those that the run would write."""
    with simulator_thread() as sim:
        args = ("check", PROJECT / "jobs/broken.jsonl", "--base-url", sim.url, "-m", "simulator")
        screen, data = desk.call(*args), desk.call(*args, "--json")
        assert sim.counts == {}
    assert screen.code == data.code == 65
    assert "refused  line 2: broken JSON" in screen.out
    assert "not ready (exit code 65)" in screen.out
    assert json.loads(data.out)["input"]["refused_count"] == 14
    desk.write("empty.jsonl")
    with simulator_thread() as sim:
        assert desk.call("check", "empty.jsonl", "--base-url", sim.url).code == 0  # as a run has nothing to do


def test_a_model_that_is_not_there_is_78(desk: Desk) -> None:
    """It is named, with the nearest that is there and what to do."""
    desk.write("jobs.jsonl", {"prompt": "Hi", "model": "lama3.2"}, {"prompt": "Hi"})
    with simulator_thread(models=("llama3.2",)) as sim:
        ran = desk.call("check", "jobs.jsonl", "--base-url", sim.url, "-m", "llama3.2:latest")
        data = desk.call("check", "jobs.jsonl", "--base-url", sim.url, "-m", "llama3.2:latest", "--json")
        mended = desk.call(
            *("check", "jobs.jsonl", "--base-url", sim.url, "-m", "llama3.2", "--alias", "lama3.2=llama3.2")
        )
    assert ran.code == data.code == 78
    assert "missing  lama3.2 is not on the server; the nearest there is llama3.2" in ran.out
    assert "ollama pull lama3.2" in ran.out
    assert [missing["model"] for missing in json.loads(data.out)["missing"]] == ["lama3.2"]
    assert mended.code == 0


def test_a_server_that_is_not_there_is_69(desk: Desk) -> None:
    """Asked for the API or for its models: the address, the cause and what to do."""
    with simulator_thread() as sim:
        url = sim.url
    for command in ("check", "models"):
        for suffix in ("", "/v1"):
            ran = desk.call(command, "--base-url", url + suffix, "--max-wait", "0s")
            assert (ran.code, ran.out) == (69, "")
            assert f"no answer from {url}" in ran.err
            assert "connection refused" in ran.err


def test_a_key_that_is_refused_or_missing_is_77(desk: Desk) -> None:
    """Which of the two it is, is said."""
    with simulator_thread(look="openai", key="right") as sim:
        for command in ("check", "models"):
            args = (command, "--base-url", f"{sim.url}/v1")
            assert "wants a key and none was sent" in refused(desk, *args)
            assert "refuses the key" in refused(desk, *args, env={"OPENAI_API_KEY": "wrong"})
            assert desk.call(*args, env={"OPENAI_API_KEY": "right"}).code == 0


def refused(desk: Desk, *args: str, env: dict[str, str] | None = None) -> str:
    ran = desk.call(*args, env=env)
    assert ran.code == 77
    return ran.err


def test_what_is_no_such_server_is_78(desk: Desk) -> None:
    """Something answers, and it is not an API of either kind."""
    with echoing(404) as server:
        for command in ("check", "models"):
            ran = desk.call(command, "--base-url", f"{server.url}/v1")
            assert ran.code == 78
            assert "does not speak an OpenAI-compatible API" in ran.err


def test_the_input_may_come_by_a_pipe(desk: Desk) -> None:
    """`check -` reads to the end of stdin."""
    with simulator_thread() as sim:
        ran = desk.run("check", "-", "--base-url", sim.url, "-m", "simulator", stdin='{"prompt":"Hi"}\n')
    assert ran.code == 0
    assert "1 job" in ran.out
