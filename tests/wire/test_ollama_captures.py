"""What a real Ollama said (0.33.0-rc2): each answer is read as what it is, and cut up as all recordings are."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from support.conformance import (
    check_byte_by_byte,
    check_chunking,
    check_every_cut,
    check_every_truncation,
    chunkings,
    outcome,
    read,
)
from support.wirefiles import load, names

from batcher.model import ENDPOINTS
from batcher.wire.dialects import DIALECTS
from batcher.wire.rules import classify

PREFIX = "captured-ollama-"
HI = "Hello there. I'm here to help"
ANSWERS = {
    "chat-stream": (HI, "length"),
    "chat-whole": (HI, "length"),
    "chat-rendered-stream": (HI, "length"),
    "chat-native-stream": ("Hello there,", "length"),
    "chat-logprobs-stream": ("Hello there", "length"),
    "generate-stream": (HI, "length"),
    "generate-whole": (HI, "length"),
    "generate-stream-length": ("In the sleepy", "length"),
    "generate-logprobs-stream": ("Hello there", "length"),
    "generate-raw-stream": ('The phrase "The Greatest Generation"', "length"),
    "generate-json-whole": ('{\n  "legs": 100\n}', "stop"),
    "toolong-chat-trunc": ("", "stop"),
    "toolong-rendered-chat-trunc": ("", "stop"),
    "toolong-generate-trunc": ("", "stop"),
    "v1-chat-stream": (HI, "length"),
    "v1-chat-whole": (HI, "length"),
    "v1-chat-stream-no-usage": ("Hello there.", "length"),
    "v1-chat-logprobs-whole": ("Hello there", "length"),
    "v1-reasoning-effort-none": ("Your comfort", "length"),
    "v1-completions-stream": ("Hello there. I", "length"),
    "v1-completions-whole": (HI, "length"),
    "v1-responses-stream": ("Hello there. I", "stop"),  # it hides that the limit was reached
    "v1-responses-whole": ("Hello there. I", "stop"),
}
LONG = {"noshift-generate-fill", "shift-generate-fill"}
"""Answers of 200 tokens."""
VECTORS = {
    "embed": 2,
    "embed-empty-in-list": 2,
    "v1-embeddings": 2,
    "v1-embeddings-base64": 1,
}
FAILURES = {
    "bad_request": (
        *("400-bad-schema-chat", "400-bad-schema-generate", "400-chat-embed-model", "400-content-parts-chat"),
        *("400-cut-json-chat", "400-embed-type", "400-empty-body-chat", "400-generate-embed-model", "400-keepalive"),
        *("400-raw-system", "400-suffix-unsupported", "400-think-unsupported", "400-think-unsupported-generate"),
        *("400-tools-unsupported", "400-top-logprobs", "400-v1-embeddings-format", "400-v1-embeddings-input"),
        *("400-v1-empty-messages", "400-v1-reasoning-effort", "400-v1-tools-unsupported", "500-format-xml-chat"),
        *("500-format-xml-generate", "500-stop-string", "500-temperature-string", "images-no-vision-chat"),
        *("images-no-vision-chat-stream", "images-no-vision-generate", "images-no-vision-rendered"),
        "v1-image-no-vision",
    ),
    "model_not_found": (
        *("404-chat-missing", "404-embed-missing", "404-generate-missing", "404-v1-chat-missing"),
        *("404-v1-chat-missing-stream", "404-v1-completions-missing", "404-v1-embeddings-missing"),
        "404-v1-responses-missing",
    ),
    "endpoint_not_found": ("404-v1-images",),
    "not_offered": ("embed-chat-model", "v1-embeddings-chat-model"),
    "busy": ("503-queue-full-generate", "503-queue-full-v1-chat-stream"),
    "context_overflow": (
        *("noshift-generate-toolong", "toolong-chat-nottrunc", "toolong-chat-nottrunc-stream"),
        *("toolong-embed-nottrunc", "toolong-generate-nottrunc", "toolong-rendered-chat-nottrunc"),
    ),
    "server_crash": ("runner-killed-generate-stream", "runner-killed-generate-whole", "runner-killed-v1-chat-whole"),
    "truncated": (
        "runner-killed-v1-chat-stream",  # its error is lost
        "runner-killed-v1-responses-stream",  # the same
        "server-killed-generate-stream",
    ),
    "empty_prompt": (
        *("chat-empty-messages", "generate-empty-prompt-stream", "generate-load", "unload", "v1-completions-empty"),
    ),
    "malformed": ("embed-empty",),  # no vector for one input
}
CODES = {name: code for code, those in FAILURES.items() for name in those}
WIRES = [name.removeprefix(PREFIX) for name in names(PREFIX) if load(name).path in ENDPOINTS]
HERE_AND_NOW = frozenset({"id", "created", "created_at", "completed_at", "item_id", "usage"})


def captured(name: str) -> Any:
    return load(PREFIX + name)


def test_every_capture_means_something() -> None:
    """No answer lies about untested."""
    assert set(WIRES) == {*ANSWERS, *LONG, *VECTORS, *CODES}
    assert all(load(name).captured for name in names(PREFIX))


@pytest.mark.parametrize("name", ANSWERS)
def test_answers_are_read(name: str) -> None:
    """Text and reason are those of the answer, and it is proven complete."""
    completion = read(captured(name))
    assert (completion.first.text, completion.first.finish_reason) == ANSWERS[name]
    assert completion.proof
    assert completion.served_model == captured(name).request["model"]


@pytest.mark.parametrize("name", sorted(LONG))
def test_long_answers_are_read(name: str) -> None:
    """Their tokens are counted, and the limit that cut them is seen."""
    completion = read(captured(name))
    assert completion.usage is not None
    assert completion.usage.completion_tokens == 200
    assert completion.first.finish_reason == "length"


@pytest.mark.parametrize("name", VECTORS)
def test_vectors_are_read(name: str) -> None:
    """One for each input, also for an empty one that stands in a list."""
    vectors = read(captured(name)).vectors
    assert vectors is not None
    assert len(vectors) == VECTORS[name]


@pytest.mark.parametrize("name", CODES)
def test_failures_are_named(name: str) -> None:
    """A refusal, and what broke off, have their code."""
    assert outcome(captured(name)).failure == CODES[name]


@pytest.mark.parametrize("stem", ["chat", "generate", "v1-chat", "v1-responses"])
def test_a_stream_rebuilds_to_its_whole_twin(stem: str) -> None:
    """The object is that of the whole answer but for ids and times; on Ollama's own API in the order of its keys."""
    streamed, whole = captured(f"{stem}-stream"), captured(f"{stem}-whole")
    dialect = DIALECTS[streamed.path]
    one, other = dialect.rebuild(read(streamed)), dialect.rebuild(read(whole))
    if captured(f"{stem}-stream").path.startswith("/api/"):
        assert list(one) == list(other)
    assert _lasting(one) == _lasting(other)


def _lasting(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: _lasting(item)
            for key, item in value.items()
            if key not in HERE_AND_NOW and not key.endswith("_duration")
        }
    return [_lasting(item) for item in value] if isinstance(value, list) else value


@pytest.mark.slow
@pytest.mark.parametrize("name", WIRES)
def test_any_cut_means_the_same(name: str) -> None:
    """Cut in two at every byte, or into single bytes, an answer means the same."""
    check_every_cut(captured(name))
    check_byte_by_byte(captured(name))


@pytest.mark.parametrize("name", [name for name in WIRES if "stream" in name])
@settings(max_examples=5, deadline=None)
@given(data=st.data())
def test_any_chunking_means_the_same(name: str, data: st.DataObject) -> None:
    """Cut into any chunks, a stream means the same."""
    check_chunking(captured(name), data.draw(chunkings(captured(name).body)))


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in WIRES if captured(name).status == 200])
def test_no_truncated_answer_passes(name: str) -> None:
    """Ended at any byte, an answer fails or is all there."""
    check_every_truncation(captured(name))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("images-no-vision-chat", "Multimodal data provided, but model does not support multimodal requests."),
        ("v1-image-no-vision", "Multimodal data provided, but model does not support multimodal requests."),
        (
            "400-bad-schema-chat",
            (
                "Field 'json_schema': \"json_schema\": JSON schema conversion failed:\nUnrecognized schema: "
                '{"type":"nonsense"}'
            ),
        ),
        ("404-v1-chat-missing", "model 'nope' not found"),
        ("400-v1-tools-unsupported", "registry.ollama.ai/library/smol:latest does not support tools"),
        (
            "toolong-chat-nottrunc",
            "request (410 tokens) exceeds the available context size (256 tokens), try increasing it",
        ),
        ("runner-killed-v1-chat-whole", "an error was encountered while running the model: unexpected EOF"),
    ],
)
def test_refusals_are_told_in_their_words_alone(name: str, words: str) -> None:
    """Also where they are JSON in a string; the type behind them says nothing to people."""
    wire = captured(name)
    assert classify(wire.status, wire.body, wire.path).message == words


@pytest.mark.parametrize("name", ["chat-whole", "chat-native-stream", "generate-stream", "embed"])
@pytest.mark.parametrize("model", [b"{}", b"[1]", b"5", b"true"])
def test_a_model_that_is_no_name_is_not_told(name: str, model: bytes) -> None:
    """What stands on a line as `served_model` is a text."""
    wire = load(f"{PREFIX}{name}")
    body = re.sub(rb'"model":"[^"]*"', b'"model":' + model, wire.body)
    assert body != wire.body
    assert read(replace(wire, body=body)).served_model is None
