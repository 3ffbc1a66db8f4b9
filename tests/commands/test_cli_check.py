"""`check` and `models`: what is said of a server and a file before anything is spent, and the code that says it too."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from support.commandline import PROJECT, prompts
from support.echoserver import echoing

from batcher.simulator import simulator_thread

if TYPE_CHECKING:
    from support.commandline import Desk

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
    [there] = found["servers"]
    assert there["about"]["kind"] == about.partition(",")[0].partition(" ")[0]
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
    assert "missing  lama3.2 is not on the server, which has llama3.2" in ran.out
    assert "ollama pull lama3.2" in ran.out
    [there] = json.loads(data.out)["servers"]
    assert [missing["model"] for missing in there["missing"]] == ["lama3.2"]
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


def test_what_a_model_cannot_do_is_78(desk: Desk) -> None:
    """Ollama says what its models can do; jobs that ask for more would all be refused."""
    picture = "iVBORw0KGgo="
    desk.write("jobs.jsonl", *[{"id": f"v{n}", "prompt": "What is it?", "images": [picture]} for n in range(2)])
    with simulator_thread() as sim:
        ran = desk.call("check", "jobs.jsonl", "--base-url", sim.url, "-m", "simulator")
        data = desk.call("check", "jobs.jsonl", "--base-url", sim.url, "-m", "simulator", "--json")
        elsewhere = desk.call("check", "jobs.jsonl", "--base-url", sim.url, "-m", "simulator", "--limit", "1")
    assert ran.code == data.code == elsewhere.code == 78
    assert "unable   simulator cannot do vision, needed for 2 jobs; it can do completion, tools" in ran.out
    assert "needed for 1 job;" in elsewhere.out
    [there] = json.loads(data.out)["servers"]
    assert there["lacking"] == [{"model": "simulator", "capability": "vision", "jobs": 2}]


def test_what_will_cost_time_is_noted(desk: Desk) -> None:
    """Jobs of one model with different contexts: Ollama loads it anew for each change."""
    desk.write("jobs.jsonl", *[{"id": f"c{n}", "prompt": "Hi", "options": {"num_ctx": 2048 * n}} for n in (1, 2)])
    with simulator_thread() as sim:
        ran = desk.call("check", "jobs.jsonl", "--base-url", sim.url, "-m", "simulator")
    assert ran.code == 0
    assert "note     " in ran.out
    assert "num_ctx" in ran.out


def test_several_servers_are_shown_each(desk: Desk) -> None:
    """What each has and lacks; one that is away is told, and is no hindrance while another is there."""
    desk.write("jobs.jsonl", *prompts(["a"]))
    with simulator_thread() as sim, simulator_thread(models=("other",)) as bare:
        gone = bare.url
        both = ("--base-url", sim.url, "--base-url", bare.url, "-m", "simulator")
        ran, models = desk.call("check", "jobs.jsonl", *both), desk.call("models", *both[:4])
        listed = json.loads(desk.call("models", *both[:4], "--json").out)
        bare.kill()
        half, half_models = desk.call("check", "jobs.jsonl", *both), desk.call("models", *both[:4])
        data = json.loads(desk.call("check", "jobs.jsonl", *both, "--json").out)
        sim.kill()
        none = desk.call("check", "jobs.jsonl", *both, "--max-wait", "0s")
    assert ran.code == 78
    assert f"missing  simulator is not on {gone}" in ran.out
    assert ran.out.count("server   ") == 2
    assert f"{gone}:" in models.out
    assert {(model["server"], model["name"]) for model in listed} == {
        (sim.url, "simulator:latest"),
        (gone, "other:latest"),
    }
    assert half.code == half_models.code == 0
    assert f"{gone} is not there" in half.err
    assert f"away     no answer from {gone}" in half.out
    assert f"no answer from {gone}" in half_models.err
    assert [there["away"] is None for there in data["servers"]] == [True, False]
    assert none.code == 69
    assert gone in none.err
    assert sim.url in none.err


def test_servers_of_two_kinds_are_78(desk: Desk) -> None:
    """One run speaks one API; both are named, and what to say for them to work together."""
    with simulator_thread() as sim, simulator_thread(look="openai") as other:
        for second in (other.url, f"{other.url}/v1"):
            ran = desk.call("check", "--base-url", sim.url, "--base-url", second)
            assert ran.code == 78
            assert f"{sim.url} speaks Ollama's, {other.url} OpenAI's" in ran.err
        told = desk.call("check", "--base-url", sim.url, "--base-url", other.url, "--dialect", "openai")
    assert told.code == 0


def test_an_ollama_without_models_is_told_so(desk: Desk) -> None:
    """No empty table, and how to get one; elsewhere nobody is sent to Ollama."""
    for look, suffix, pull in (("native", "", True), ("openai", "/v1", False)):
        with simulator_thread(look=look, models=()) as sim:
            listed = desk.call("models", "--base-url", sim.url + suffix)
            data = desk.call("models", "--base-url", sim.url + suffix, "--json")
            seen = desk.call("check", "--base-url", sim.url + suffix)
        assert (listed.code, listed.out, json.loads(data.out)) == (0, "", [])
        assert f"{sim.url} (" in listed.err
        assert "has no models" in listed.err
        assert ("ollama pull" in listed.err) is pull
        assert "models   none" in seen.out
