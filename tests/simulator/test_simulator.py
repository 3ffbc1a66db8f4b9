"""The simulator speaks as the real servers do."""

from __future__ import annotations

import base64
import json
import struct
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from support.rawhttp import (
    CHAT,
    EMBED,
    GENERATE,
    RESPONSES,
    V1_CHAT,
    V1_EMBED,
    V1_TEXT,
    ask,
    connect,
    hear,
    send,
)

from batcher.simulator import BackgroundSimulator, picture, simulator_thread, text, tokens, vector

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def sim() -> Iterator[BackgroundSimulator]:
    with simulator_thread() as simulator:
        yield simulator


@pytest.fixture(scope="module")
def llama() -> Iterator[BackgroundSimulator]:
    with simulator_thread(look="openai") as simulator:
        yield simulator


def test_generate_streams_a_record_a_chunk_and_ends_with_done(sim: BackgroundSimulator) -> None:
    """The native API streams by default, one JSON line a chunk, with metrics in nanoseconds on the last."""
    heard = ask(sim, GENERATE, "[[sim id=shape tokens=9]]")
    assert heard.headers["content-type"] == "application/x-ndjson"
    assert [chunk.count(b"\n") for chunk in heard.chunks] == [1] * 10
    assert "".join(line["response"] for line in heard.lines) == text("shape", 9)
    assert list(heard.lines[0]) == ["model", "created_at", "response", "done"]
    assert list(heard.lines[-1]) == [
        *("model", "created_at", "response", "done", "done_reason", "context", "total_duration", "load_duration"),
        *("prompt_eval_count", "prompt_eval_duration", "eval_count", "eval_duration"),
    ]
    assert heard.lines[-1]["eval_count"] == 9
    assert heard.lines[-1]["total_duration"] >= heard.lines[-1]["eval_duration"] > 0


def test_answers_are_synthetic_told_apart_by_id_and_multibyte() -> None:
    """Two ids never get the same text, and the documented letters are in it."""
    assert text("q7", 9).split()[1:] == ["w1", "w2", "é3", "w4", "漢5", "w6", "🙂7", "w8"]
    assert text("q7") != text("q8")
    assert tokens("q7", 0) == []


def test_chat_gives_thinking_then_content_then_calls(sim: BackgroundSimulator) -> None:
    """Native chat: thinking deltas, content, whole tool calls with object arguments before the done record."""
    tools = [{"type": "function", "function": {"name": "weather"}}]
    lines = ask(sim, CHAT, "[[sim think=2 tokens=3 calls=2]]", tools=tools).lines
    assert [line["message"].get("thinking", "") for line in lines] == ["t0", " t1", "", "", "", "", ""]
    calls = lines[-2]["message"]["tool_calls"]
    assert calls[1] == {
        "id": "call_00000001",
        "function": {"index": 1, "name": "weather", "arguments": {"synthetic": "w1"}},
    }
    assert lines[-1]["done_reason"] == "stop"
    lines = ask(sim, CHAT, "[[sim calls=1 calls_on=done]]", tools=tools).lines
    assert lines[-1]["done"]
    assert lines[-1]["message"]["tool_calls"]


def test_whole_answers_say_the_same_as_streams(sim: BackgroundSimulator) -> None:
    """`stream: false` on each API gives the same text in one object."""
    expected = text("same")
    prompt = "[[sim id=same]]"
    assert ask(sim, GENERATE, prompt, stream=False).json["response"] == expected
    assert ask(sim, CHAT, prompt, stream=False).json["message"] == {"role": "assistant", "content": expected}
    assert ask(sim, V1_CHAT, prompt).json["choices"][0]["message"]["content"] == expected
    assert ask(sim, V1_TEXT, prompt).json["choices"][0]["text"] == expected
    assert ask(sim, RESPONSES, prompt).json["output"][0]["content"][0]["text"] == expected
    streamed = ask(sim, V1_CHAT, prompt, stream=True).data[:-2]
    assert "".join(d["choices"][0]["delta"]["content"] for d in streamed) == expected


def test_v1_chat_streams_role_finish_usage_done(sim: BackgroundSimulator) -> None:
    """Role only on the first chunk, a finish chunk with an empty delta, a usage chunk if asked for, then [DONE]."""
    heard = ask(sim, V1_CHAT, "[[sim tokens=2]]", stream=True, stream_options={"include_usage": True})
    assert heard.headers["content-type"] == "text/event-stream"
    first, second, finish, usage, done = heard.data
    assert list(first) == ["id", "object", "created", "model", "system_fingerprint", "choices"]
    assert "role" in first["choices"][0]["delta"]
    assert "role" not in second["choices"][0]["delta"]
    assert finish["choices"] == [{"index": 0, "delta": {}, "finish_reason": "stop"}]
    assert (usage["choices"], usage["usage"]["completion_tokens"], done) == ([], 2, "[DONE]")
    assert len(ask(sim, V1_CHAT, "[[sim tokens=2]]", stream=True).data) == 4


def test_completions_put_zero_usage_on_each_chunk(sim: BackgroundSimulator) -> None:
    """With include_usage every text chunk carries zeros, then one without choices the numbers."""
    *chunks, usage, _ = ask(sim, V1_TEXT, "x", stream=True, stream_options={"include_usage": True}).data
    assert {chunk["usage"]["total_tokens"] for chunk in chunks} == {0}
    assert usage["usage"]["completion_tokens"] == 8


def test_responses_number_their_named_events(sim: BackgroundSimulator) -> None:
    """Events are named, numbered from 0, created first and completed last, and there is no [DONE]."""
    heard = ask(sim, RESPONSES, "[[sim id=r tokens=3 think=1]]", stream=True)
    events = heard.data
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    names = [line[7:].decode() for line in heard.body.splitlines() if line.startswith(b"event: ")]
    assert names == [event["type"] for event in events]
    assert (names[0], names[-1]) == ("response.created", "response.completed")
    assert names.count("response.output_text.delta") == 3
    assert events[-1]["response"]["output"][1]["content"][0]["text"] == text("r", 3)


def test_the_openai_look_has_choices_pieces_and_no_native_api(llama: BackgroundSimulator) -> None:
    """As on llama.cpp: /api/* is 404, `n` choices interleave, tool arguments come in pieces."""
    missing = ask(llama, "/api/version", method="GET")
    assert (missing.status, missing.json["error"]["type"]) == (404, "not_found_error")
    assert ask(llama, GENERATE).status == 404
    chunks = ask(llama, V1_CHAT, "[[sim tokens=2]]", stream=True, n=2).data[:-1]
    assert [chunk["choices"][0]["index"] for chunk in chunks] == [0, 1, 0, 1, 0, 1]
    tools = [{"type": "function", "function": {"name": "weather"}}]
    chunks = ask(llama, V1_CHAT, "[[sim tokens=0 calls=1]]", stream=True, tools=tools).data[:-1]
    pieces = [call for chunk in chunks for call in chunk["choices"][0]["delta"].get("tool_calls", [])]
    assert len(pieces) > 2
    assert json.loads("".join(piece["function"]["arguments"] for piece in pieces)) == {"synthetic": "w0"}
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_embeddings_follow_from_their_input(sim: BackgroundSimulator) -> None:
    """One vector an input, in order, of length 1, the same on both APIs and in base64."""
    inputs = ["a", "b", "ü"]
    expected = [vector(one) for one in inputs]
    assert ask(sim, EMBED, inputs).json["embeddings"] == expected
    data = ask(sim, V1_EMBED, inputs).json["data"]
    assert [(row["index"], row["embedding"]) for row in data] == list(enumerate(expected))
    coded = ask(sim, V1_EMBED, inputs, encoding_format="base64").json["data"][1]["embedding"]
    assert list(struct.unpack("<8f", base64.b64decode(coded))) == expected[1]
    assert sum(x * x for x in expected[0]) == pytest.approx(1)
    assert len(ask(sim, EMBED, "a", dimensions=4).json["embeddings"][0]) == 4


def test_logprobs_formats_and_limits_are_honoured(sim: BackgroundSimulator) -> None:
    """Log probabilities come with each record, JSON when a format is asked for, and a token limit ends in length."""
    lines = ask(sim, GENERATE, logprobs=True, top_logprobs=2).lines
    assert bytes(lines[3]["logprobs"][0]["bytes"]).decode() == lines[3]["response"] == " é3"
    assert len(lines[0]["logprobs"][0]["top_logprobs"]) == 2
    chunk = ask(sim, V1_CHAT, stream=True, logprobs=True).data[0]
    assert chunk["choices"][0]["logprobs"]["content"][0]["token"] == chunk["choices"][0]["delta"]["content"]
    assert "synthetic" in json.loads(ask(sim, CHAT, format="json", stream=False).json["message"]["content"])
    cut = ask(sim, GENERATE, options={"num_predict": 3}).lines
    assert (len(cut), cut[-1]["done_reason"], cut[-1]["eval_count"]) == (4, "length", 3)
    assert ask(sim, V1_CHAT, max_tokens=3).json["choices"][0]["finish_reason"] == "length"


def test_the_server_tells_of_itself(sim: BackgroundSimulator) -> None:
    """Version, tags, ps, show, models, the root, and the plain-text 404 and 405 of Ollama."""
    ask(sim, GENERATE)
    assert ask(sim, "/", method="GET").body == b"Ollama is running"
    assert ask(sim, "/api/version", method="GET").json["version"]
    assert ask(sim, "/api/tags", method="GET").json["models"][0]["name"] == "simulator:latest"
    assert ask(sim, "/api/ps", method="GET").json["models"][0]["context_length"] == 4096
    assert ask(sim, "/v1/models", method="GET").json["data"][0]["id"] == "simulator:latest"
    assert "embedding" in ask(sim, "/api/show").json["capabilities"]
    assert ask(sim, "/nowhere", method="GET").body == b"404 page not found"
    assert ask(sim, "/api/show", method="GET").status == 405


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        (GENERATE, b"", 400, "missing request body"),
        (GENERATE, b'{"model":', 400, "invalid character"),
        (GENERATE, b"{}", 404, "model '' not found"),
        (CHAT, b"{}", 400, "model is required"),
        (CHAT, b'{"model":"nope"}', 404, "model 'nope' not found"),
        (EMBED, b'{"model":"nope"}', 404, 'model "nope" not found, try pulling it first'),
        (EMBED, b'{"model":"simulator","input":[1]}', 400, "invalid input type"),
        (V1_CHAT, b'{"model":"simulator"}', 400, "[] is too short - 'messages'"),
        (V1_EMBED, b'{"model":"simulator"}', 400, "invalid input"),
        (GENERATE, b'{"model":"simulator","prompt":"[[sim do=typo]]"}', 418, "unknown fault typo"),
        (GENERATE, b'{"model":"simulator","prompt":"[[sim tkoens=3]]"}', 418, "unknown key 'tkoens'"),
    ],
)
def test_bad_requests_are_refused(sim: BackgroundSimulator, path: str, body: bytes, status: int, words: str) -> None:
    """The request mistakes that Ollama refuses are refused in its words, and mistakes in a directive loudly."""
    with closing(connect(sim)) as sock:
        send(sock, "POST", path, body)
        heard = hear(sock)
    error = heard.json["error"]
    assert heard.status == status
    assert words in (error if path.startswith("/api/") else error["message"])


def test_empty_prompts_only_load(sim: BackgroundSimulator) -> None:
    """An empty prompt or no messages: one object with done_reason load; an empty native input: no vector."""
    for path, empty in ((GENERATE, {"prompt": ""}), (CHAT, {"messages": []})):
        heard = ask(sim, path, **empty)
        assert (heard.json["done_reason"], heard.chunks) == ("load", [])
    assert ask(sim, EMBED, "").json == {"model": "simulator", "embeddings": []}
    assert len(ask(sim, V1_EMBED, "").json["data"]) == 1


def test_responses_hold_calls_in_place_of_a_message(sim: BackgroundSimulator, llama: BackgroundSimulator) -> None:
    """With tools: function_call items and their events; a cut answer is incomplete on OpenAI, completed on Ollama."""
    tools = [{"type": "function", "name": "weather"}]
    events = ask(sim, RESPONSES, "[[sim calls=1]]", stream=True, tools=tools).data
    assert [event["arguments"] for event in events if event["type"].endswith("arguments.done")] == [
        '{"synthetic":"w0"}'
    ]
    assert [item["type"] for item in events[-1]["response"]["output"]] == ["function_call"]
    cut = ask(llama, RESPONSES, max_output_tokens=2).json
    assert (cut["status"], cut["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert ask(sim, RESPONSES, max_output_tokens=2).json["status"] == "completed"


def test_pictures_follow_from_their_prompt(sim: BackgroundSimulator, llama: BackgroundSimulator) -> None:
    """An image request gets a PNG, the same one for the same prompt; Ollama has no such path."""
    found = base64.b64decode(ask(llama, "/v1/images/generations", "a cat").json["data"][0]["b64_json"])
    assert found == picture("a cat") != picture("a dog")
    assert found.startswith(b"\x89PNG\r\n\x1a\n")
