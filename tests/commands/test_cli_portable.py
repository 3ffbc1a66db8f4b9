"""One job file, two servers: what arrives at each, and which of several sayings of the same thing counts."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest

from batcher.simulator import picture, simulator_thread

if TYPE_CHECKING:
    from support.commandline import Desk

pytestmark = pytest.mark.slow

PNG = base64.b64encode(picture("a dot")).decode()
SCHEMA = {"type": "object", "properties": {"legs": {"type": "integer"}}, "required": ["legs"]}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}

TABLE: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "max_tokens": ({"max_tokens": 5}, {"options": {"num_predict": 5}}, {"max_tokens": 5}),
    "num_predict": ({"options": {"num_predict": 5}}, {"options": {"num_predict": 5}}, {"max_tokens": 5}),
    "temperature": ({"temperature": 0}, {"options": {"temperature": 0}}, {"temperature": 0}),
    "top_p": ({"top_p": 0.5}, {"options": {"top_p": 0.5}}, {"top_p": 0.5}),
    "seed": ({"seed": 7}, {"options": {"seed": 7}}, {"seed": 7}),
    "stop": ({"stop": "END"}, {"options": {"stop": ["END"]}}, {"stop": ["END"]}),
    "json": ({"format": "json"}, {"format": "json"}, {"response_format": {"type": "json_object"}}),
    "schema": (
        {"format": SCHEMA},
        {"format": SCHEMA},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}}},
    ),
    "system": (
        {"system": "Be brief."},
        {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "system"}]},
        {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "system"}]},
    ),
    "images": (
        {"images": [PNG]},
        {"messages": [{"role": "user", "content": "images", "images": [PNG]}]},
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "images"},
                        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
                    ],
                }
            ]
        },
    ),
    "files": (
        {"images": ["dot.png"]},
        {"messages": [{"role": "user", "content": "files", "images": [PNG]}]},
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "files"},
                        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
                    ],
                }
            ]
        },
    ),
    "tools": ({"tools": [TOOL]}, {"tools": [TOOL]}, {"tools": [TOOL]}),
    "think": ({"think": "low"}, {"think": "low"}, {"reasoning_effort": "low"}),
    "no thought": ({"think": False}, {"think": False}, {"reasoning_effort": "none"}),
    "params": ({"params": {"made_up": [1]}}, {"made_up": [1]}, {"made_up": [1]}),
}
"""What a line says → what must be in the body on Ollama's API, and on OpenAI's."""


def test_one_file_says_the_same_to_both_apis(desk: Desk) -> None:
    """Only the env file is switched; each API is told in its own words, the production one with its key."""
    (desk.path / "dot.png").write_bytes(picture("a dot"))
    desk.write(
        "jobs.jsonl",
        *(
            {"id": name, "messages": [{"role": "user", "content": name}], **line}
            for name, (line, _, _) in TABLE.items()
        ),
    )
    with simulator_thread() as dev, simulator_thread(look="openai", key="production-key", models=("gpt",)) as prod:
        (desk.path / ".env.dev").write_text(f"LLM_ENDPOINT={dev.url}\nMODEL=simulator\n")
        (desk.path / ".env.prod").write_text(
            f'OPENAI_BASE_URL="{prod.url}/v1"\nMODEL=gpt\nOPENAI_API_KEY=production-key # the key\n'
        )
        for name, sim, place in (("dev", dev, 1), ("prod", prod, 2)):
            ran = desk.run("run", "jobs.jsonl", "-o", f"{name}.results.jsonl", "--env-file", f".env.{name}")
            assert ran.code == 0, ran.err
            assert len(desk.ids(f"{name}.results.jsonl")) == len(TABLE)
            for job, wanted in TABLE.items():
                [seen] = sim.requests(job)
                body = {key: seen.body.get(key) for key in wanted[place]}
                assert body == wanted[place], job
                assert seen.body["model"] == ("simulator" if name == "dev" else "gpt")
                assert ("authorization" in seen.headers) == (name == "prod")
    assert {path.name for path in desk.path.glob("*errors*")} == set()


FLAG, OWN, USUAL, FILE = "flag", "BATCHER_*", "environment", "env file"


@pytest.mark.parametrize(
    ("said", "counts"),
    [
        ({FLAG, OWN, USUAL, FILE}, FLAG),
        ({OWN, USUAL, FILE}, OWN),
        ({USUAL, FILE}, USUAL),
        ({FILE}, FILE),
        ({FLAG, FILE}, FLAG),
        ({OWN, FILE}, OWN),
    ],
)
def test_what_is_nearest_counts(desk: Desk, said: set[str], counts: str) -> None:
    """flag > BATCHER_* > environment > env file, for the server and the model alike."""
    ways = {way: f"m-{place}" for place, way in enumerate((FLAG, OWN, USUAL, FILE))}
    desk.write("jobs.jsonl", {"id": "q", "prompt": "Hi"})
    with simulator_thread(models=tuple(ways.values())) as right, simulator_thread() as wrong:
        urls = {way: right.url if way == counts else wrong.url for way in ways}
        args: list[str] = ["run", "jobs.jsonl", "-o", "results.jsonl", "--max-wait", "0s"]
        env: dict[str, str] = {}
        if FLAG in said:
            args += ["--base-url", urls[FLAG], "-m", ways[FLAG]]
        if OWN in said:
            env |= {"BATCHER_BASE_URL": urls[OWN], "BATCHER_MODEL": ways[OWN]}
        if USUAL in said:
            env |= {"LLM_ENDPOINT": urls[USUAL], "MODEL": ways[USUAL]}
        if FILE in said:
            (desk.path / "file.env").write_text(f"LLM_ENDPOINT={urls[FILE]}\nMODEL={ways[FILE]}\n")
            args += ["--env-file", "file.env"]
        ran = desk.call(*args, env=env)
        assert ran.code == 0, ran.err
        assert [seen.body["model"] for seen in right.tally.log] == [ways[counts]]
        assert wrong.tally.paths == {}


def test_an_env_file_can_hold_any_option(desk: Desk) -> None:
    """BATCHER_ variables stand in an env file, and the env file itself in a variable; durations and lists are read."""
    desk.write("jobs.jsonl", {"id": "q", "prompt": "Hi"})
    with simulator_thread(models=("m",)) as sim:
        (desk.path / "all.env").write_text(
            f"BATCHER_BASE_URL={sim.url}\nBATCHER_MODEL=m\nBATCHER_OUTPUT=other.results.jsonl\nBATCHER_QUIET=1\n"
            "BATCHER_TIMEOUT=1m30s\nBATCHER_PARAM=temperature=0.5 seed=3\nBATCHER_STREAM=false\nBATCHER_RAW=true\n"
        )
        ran = desk.run("run", "jobs.jsonl", env={"BATCHER_ENV_FILE": "all.env"})
        assert (ran.code, ran.err) == (0, "")
        [seen] = sim.requests("Hi")
    assert seen.body["options"] == {"temperature": 0.5, "seed": 3}
    assert seen.body["stream"] is False
    [line] = desk.lines("other.results.jsonl")
    assert line["raw"]["done"] is True


@pytest.mark.parametrize(
    ("asked", "args", "sent"),
    [
        ("gpt-3.5-turbo", ("--alias", "gpt-3.5-turbo=simulator"), "simulator"),
        ("gpt-3.5-turbo:latest", ("--alias", "gpt-3.5-turbo=simulator"), "simulator"),
        ("gpt", ("--alias", "gpt:latest=simulator", "--alias", "other=nothing"), "simulator"),
        (None, ("-m", "gpt", "--alias", "gpt=simulator"), "simulator"),
        ("simulator:latest", ("-m", "unused"), "simulator:latest"),
        ("simulator", ("-m", "unused"), "simulator"),
    ],
)
def test_names_of_models(desk: Desk, asked: str | None, args: tuple[str, ...], sent: str) -> None:
    """A line's model beats the run's, aliases are used after that, and `name` means `name:latest` in them."""
    line = {"id": "q", "prompt": "Hi"} | ({"model": asked} if asked else {})
    desk.write("jobs.jsonl", line)
    with simulator_thread() as sim:
        ran = desk.call("run", "jobs.jsonl", "-o", "results.jsonl", "--base-url", sim.url, *args)
        assert ran.code == 0, ran.err
        assert [seen.body["model"] for seen in sim.tally.log] == [sent]
    assert desk.lines()[0]["model"] == sent


def test_what_an_endpoint_cannot_be_told_is_said_once(desk: Desk) -> None:
    """A parameter that has no place there is named with its line, one time for the run; so is a misspelt key."""
    desk.write("jobs.jsonl", *[{"id": f"q{i}", "prompt": "Hi", "n": 2, "temprature": 1} for i in range(5)])
    with simulator_thread() as sim:
        ran = desk.call("run", "jobs.jsonl", "-o", "results.jsonl", "--base-url", sim.url, "-m", "simulator")
    assert ran.code == 0
    assert ran.err.count("has no way to say 'n'") == 1
    assert '"temprature" (did you mean "temperature"?)' in ran.err


def test_an_ollama_behind_v1_is_known_for_what_it_is(desk: Desk) -> None:
    """The limit of a batch line holds there, and what it does not read is told once; others get the line as it is."""
    body = {"model": "simulator", "max_completion_tokens": 3, "top_k": 5}
    lines = [
        {
            "custom_id": name,
            "url": "/v1/chat/completions",
            "body": body | {"messages": [{"role": "user", "content": text}]},
        }
        for name, text in (("a", "[[sim id=a]]"), ("b", "[[sim id=b]]"))
    ]
    desk.write("jobs.jsonl", *lines)
    for look, is_ollama in (("native", True), ("openai", False)):
        with simulator_thread(look=look) as sim:
            ran = desk.call("run", "jobs.jsonl", "-o", f"{look}.results.jsonl", "--base-url", f"{sim.url}/v1")
            sent = [sim.requests(name)[0].body for name in "ab"]
        assert ran.code == 0
        assert [one.get("max_tokens") for one in sent] == [3 if is_ollama else None] * 2
        assert ran.err.count("Ollama does not read 'top_k'") == is_ollama
        assert [one["top_k"] for one in sent] == [5, 5]
