"""`batcher models` asked of servers of each kind, of one that wants a key, and of what is no server of models."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import orjson
import pytest
from support.echoserver import echoing

from batcher.simulator import simulator_thread

if TYPE_CHECKING:
    from support.commandline import Desk

pytestmark = pytest.mark.slow

LLAMA_CPP = {
    "object": "list",
    "data": [
        {
            "id": "qwen.gguf",
            "object": "model",
            "owned_by": "llamacpp",
            "meta": {"n_ctx_train": 32768, "n_params": 135_000_000, "size": 91_000_000},
        }
    ],
}
"""As llama.cpp's server lists its model (`tools/server/server.cpp`)."""


def test_an_ollama_by_either_of_its_apis(desk: Desk) -> None:
    """Sizes, contexts and what the models can do, which `/v1` alone does not tell."""
    with simulator_thread(models=("llama3.2", "all-minilm")) as sim:
        shown = [desk.call("models", "--base-url", sim.url + path) for path in ("", "/v1")]
        told = json.loads(desk.call("models", "--base-url", sim.url, "--json").out)
    assert [(ran.code, ran.err) for ran in shown] == [(0, ""), (0, "")]
    assert shown[0].out == shown[1].out
    head, *rows = shown[0].out.splitlines()
    assert head.split() == ["NAME", "SIZE", "PARAMETERS", "CONTEXT", "CAPABILITIES"]
    assert [row.split()[0] for row in rows] == ["all-minilm:latest", "llama3.2:latest"]
    assert all(row.endswith("completion, tools, thinking, embedding") for row in rows)
    assert [(model["name"], model["context"]) for model in told] == [
        ("all-minilm:latest", 4096),
        ("llama3.2:latest", 4096),
    ]


def test_servers_that_tell_less(desk: Desk) -> None:
    """A dash for what is not known; of llama.cpp what it says of its file."""
    with simulator_thread(look="openai", models=("gpt-x",)) as sim:
        ran = desk.call("models", "--base-url", f"{sim.url}/v1")
        assert ran.out.splitlines()[1].split() == ["gpt-x:latest", "-", "-", "-", "(loaded)"]
    with echoing(200, body=orjson.dumps(LLAMA_CPP)) as server:
        ran = desk.call("models", "--base-url", f"{server.url}/v1")
    assert ran.out.splitlines()[1].split() == ["qwen.gguf", "0.1", "GB", "135M", "32768", "(loaded)"]
    with echoing(200, body=b'{"object": "list", "data": []}') as server:
        ran = desk.call("models", "--base-url", f"{server.url}/v1")
    assert (ran.code, ran.out) == (0, "")
    assert ran.err.endswith("(OpenAI-compatible) has no models\n")


@pytest.mark.parametrize(
    ("said", "code", "words"),
    [
        ((200, b"<html>It works!", "text/html"), 78, "answers 200 (a web page). Check host and port; a --base-url is"),
        ((200, b'{"models": []}', "application/json"), 78, 'answers 200 ({"models": []}). Check host and port'),
        ((404, b"nope", "text/plain"), 78, "answers 404 (nope). Check host and port"),
        ((500, b"oops", "text/plain"), 69, "answers 500 (oops). Start the server, name another one"),
        ((401, b'{"error": "no"}', "application/json"), 77, "wants a key and none was sent: it answers 401 (no). Set"),
        ((302, b"", "text/plain"), 78, "Redirects are not followed; give the address it sends to as --base-url"),
    ],
)
def test_what_gives_no_list(desk: Desk, said: tuple[int, bytes, str], code: int, words: str) -> None:
    """What it answered, and what to do about it; the code says which kind of trouble it is."""
    status, body, kind = said
    with echoing(status, body=body, **{"Content-Type": kind}) as server:
        ran = desk.call("models", "--base-url", f"{server.url}/v1", "--max-wait", "0s")
    assert (ran.code, ran.out) == (code, "")
    assert words in ran.err


def test_several_servers(desk: Desk) -> None:
    """Each under its own name; one that is away says so and the others are listed, and two APIs are no one run's."""
    with simulator_thread() as first, simulator_thread(look="openai") as second:
        away = desk.call("models", "--base-url", first.url, "--base-url", "http://127.0.0.1:9")
        mixed = desk.call("models", "--base-url", first.url, "--base-url", f"{second.url}/v1")
    assert away.code == 0
    assert [row for row in away.out.splitlines() if row.endswith(":")] == [f"{first.url}:", "http://127.0.0.1:9:"]
    assert "no answer from http://127.0.0.1:9 (from --base-url): connection refused" in away.err
    assert (mixed.code, mixed.out) == (78, "")
    assert "the servers of a run speak one API" in mixed.err
