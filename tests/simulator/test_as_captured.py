"""The simulator, asked what a real Ollama (0.33.0-rc2) was, answers in the same shape and refuses in its words."""

from __future__ import annotations

import json
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from support.rawhttp import connect, hear, send
from support.wirefiles import load

from batcher.simulator import simulator_thread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batcher.simulator import BackgroundSimulator

REFUSED = [
    *("400-bad-schema-chat", "400-bad-schema-generate", "400-cut-json-chat", "400-embed-type", "400-empty-body-chat"),
    *("400-keepalive", "400-raw-system", "400-top-logprobs", "400-v1-embeddings-format", "400-v1-embeddings-input"),
    *("400-v1-empty-messages", "404-chat-missing", "404-embed-missing", "404-generate-missing", "404-show-missing"),
    *("404-v1-chat-missing", "404-v1-embeddings-missing", "404-v1-model-missing", "404-v1-responses-missing"),
    *("404-path", "405-show", "500-format-xml-chat", "500-format-xml-generate", "500-stop-string"),
    "500-temperature-string",
]
ANSWERED = [
    *("chat-stream", "chat-whole", "chat-logprobs-stream", "chat-empty-messages", "generate-stream", "generate-whole"),
    *("generate-raw-stream", "generate-logprobs-stream", "generate-load", "generate-empty-prompt-stream", "unload"),
    *("embed", "embed-empty", "embed-empty-in-list", "v1-chat-stream", "v1-chat-stream-no-usage", "v1-chat-whole"),
    *("v1-chat-logprobs-whole", "v1-completions-stream", "v1-completions-whole", "v1-completions-empty"),
    *("v1-embeddings", "v1-embeddings-base64", "tags", "ps", "version", "v1-models", "v1-model"),
]
SAID_BY_GO = {"400-cut-json-chat"}
"""Words of Go's decoder, which is not played."""


@pytest.fixture(scope="module")
def sim() -> Iterator[BackgroundSimulator]:
    with simulator_thread(models=("smol", "all-minilm", "smolt")) as server:
        yield server


def asked(sim: BackgroundSimulator, name: str) -> Any:
    wire = load(f"captured-ollama-{name}")
    is_get = wire.request is None and "empty-body" not in name
    body = wire.request if isinstance(wire.request, str) else json.dumps(wire.request) if wire.request else ""
    with closing(connect(sim)) as sock:
        send(sock, "GET" if is_get else "POST", wire.path, body.encode())
        return hear(sock)


@pytest.mark.parametrize("name", REFUSED)
def test_it_refuses_in_the_same_words(sim: BackgroundSimulator, name: str) -> None:
    """Status and body are the same but for a code in JSON that stands in a string."""
    heard, wire = asked(sim, name), load(f"captured-ollama-{name}")
    assert heard.status == wire.status
    if name not in SAID_BY_GO:
        assert _words(heard.body) == _words(wire.body)


def _words(body: bytes) -> Any:
    """An error as it is told; JSON in a string is unpacked, and its code left out."""
    try:
        error = json.loads(body)["error"]
    except ValueError:
        return body
    inner = json.loads(error)["error"] if isinstance(error, str) and error.startswith("{") else error
    return inner if isinstance(inner, str) else {key: inner[key] for key in ("message", "type")}


@pytest.mark.parametrize("name", ANSWERED)
def test_it_answers_in_the_same_shape(sim: BackgroundSimulator, name: str) -> None:
    """Keys, their order and their types; of a stream the first record and the last ones."""
    if name == "ps":
        asked(sim, "generate-load")  # something must be loaded
    heard, wire = asked(sim, name), load(f"captured-ollama-{name}")
    assert (heard.status, heard.headers.get("content-type")) == (wire.status, wire.content_type)
    assert [_shape(one) for one in _records(heard.body)] == [_shape(one) for one in _records(wire.body)]


def _records(body: bytes) -> list[Any]:
    if body.startswith(b"data: "):
        events = [event.removeprefix(b"data: ") for event in body.split(b"\n\n") if event]
        records = [None if event == b"[DONE]" else json.loads(event) for event in events]
    else:
        records = [json.loads(line) for line in body.splitlines()]
    return [records[0], *records[-2:]] if len(records) > 1 else records


def _shape(value: Any) -> Any:
    if isinstance(value, dict):
        return [(key, _shape(item)) for key, item in value.items()]
    if isinstance(value, list):
        return [_shape(item) for item in value[:1]]
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__
