"""OpenAI's API as its servers speak it: what the recorded answers mean, whole or in a stream, and what is refused."""

from __future__ import annotations

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

from batcher.outcome import Completion, ServerTimes, Usage
from batcher.wire.dialects import DIALECTS, chat

WIRES = [
    name
    for name in names()
    if load(name).path.startswith("/v1/") and load(name).status == 200 and not name.startswith("captured-ollama-")
]

ANSWERS: dict[str, tuple[str, str, str | None]] = {
    "openai-chat-stream": ("Grüße 🙂!\n", "", "stop"),
    "openai-chat-whole": ("Grüße 🙂!\n", "", "stop"),
    "openai-chat-stream-tools": ("", "", "tool_calls"),
    "openai-chat-whole-tools": ("", "", "tool_calls"),
    "openai-chat-stream-n2": ("Yes, sure", "", "length"),
    "openai-chat-whole-n2": ("Yes, sure", "", "length"),
    "openai-chat-stream-logprobs": ("Hi there", "", "stop"),
    "openai-chat-whole-logprobs": ("Hi there", "", "stop"),
    "openai-chat-stream-refusal": ("", "", "stop"),
    "openai-chat-whole-refusal": ("", "", "stop"),
    "openai-chat-stream-no-done": ("Done", "", "stop"),
    "openai-chat-stream-no-finish": ("Only text", "", None),
    "openai-chat-stream-empty-finish": ("Still here", "", "stop"),
    "openai-chat-whole-null-finish": ("All of it", "", None),
    "azure-chat-stream-filter": ("Well, no", "", "content_filter"),
    "deepseek-chat-stream-reasoning": ("9.8 is greater.", "9.11 or 9.8?", "stop"),
    "mistral-chat-stream-parts": ("Four.", "Let me see.", "stop"),
    "ollama-v1-chat-stream-tools": ("", "Let me look", "tool_calls"),
    "ollama-v1-chat-whole-tools": ("", "Let me look", "tool_calls"),
    "ollama-v1-chat-stream-index0": ("", "", "tool_calls"),
    "openai-completions-stream-logprobs": ("\nThis is", "", "length"),
    "openai-completions-whole-logprobs": ("\nThis is", "", "length"),
    "openai-responses-stream": ("Hi there!", "Thinking of greetings.", "stop"),
    "openai-responses-whole": ("Hi there!", "Thinking of greetings.", "stop"),
    "openai-responses-stream-tools": ("", "", "tool_calls"),
    "openai-responses-whole-tools": ("", "", "tool_calls"),
    "openai-responses-stream-incomplete": ("Hi there!", "", "length"),
    "openai-responses-whole-incomplete": ("Hi there!", "", "length"),
    "openai-responses-whole-filter": ("Hi there!", "", "content_filter"),
    "openai-responses-whole-refusal": ("", "", "stop"),
    "openai-responses-stream-empty-output": ("Hi there!", "", "stop"),
    "ollama-v1-responses-stream": ("Hello World", "", "tool_calls"),
}

FAILURES = {
    "vllm-chat-stream-error": "stream_error",
    "openrouter-chat-stream-error": "stream_error",
    "deepseek-chat-stream-resource": "stream_error",
    "ollama-v1-chat-whole-cut": "truncated",
    "ollama-v1-completions-stream-lost-error": "truncated",
    "ollama-v1-completions-whole-cut": "truncated",
    "ollama-v1-responses-whole-cut": "truncated",
    "openai-responses-stream-failed": "stream_error",
    "openai-responses-stream-error": "stream_error",
    "openai-embeddings-missing": "malformed",
    "openai-embeddings-twice": "malformed",
    "openai-embeddings-uneven": "malformed",
    "openai-embeddings-null": "malformed",
    "openai-embeddings-nan-base64": "malformed",
    "openai-images-url": "image_url_only",
}

TWINS = [
    name
    for name in (*ANSWERS, *(wire for wire in WIRES if load(wire).captured))
    if "-stream" in name and name.replace("-stream", "-whole") in WIRES
]
WEATHER = {"name": "get_weather", "arguments": '{"city":"Paris"}'}
TIME = {"name": "get_time", "arguments": '{"city":"Oslo"}'}


def test_every_reconstructed_file_is_expected_to_mean_something() -> None:
    """No answer lies about untested."""
    reconstructed = {name for name in WIRES if not load(name).captured}
    expected = {*ANSWERS, *FAILURES, "openai-embeddings-out-of-order", "openai-images"}
    assert reconstructed == expected


@pytest.mark.parametrize("name", ANSWERS)
def test_answers_are_read(name: str) -> None:
    """Text, thinking and reason are those of the answer, streamed or whole, and it is proven complete."""
    completion = read(load(name))
    choice = completion.first
    assert (choice.text, choice.thinking, choice.finish_reason) == ANSWERS[name]
    assert completion.proof is not None


@pytest.mark.parametrize("name", FAILURES)
def test_failures_are_named(name: str) -> None:
    """What is no complete answer has a failure of the right name."""
    assert outcome(load(name)).failure == FAILURES[name]


@pytest.mark.parametrize("name", [name for name in WIRES if load(name).captured])
def test_captured_answers_are_read(name: str) -> None:
    """What a real llama.cpp answered is a complete answer with content, counted where it counts."""
    completion = read(load(name))
    assert completion.vectors or completion.first.text or completion.first.tool_calls
    assert completion.served_model
    assert completion.usage or (load(name).request.get("stream") and completion.server)


@pytest.mark.slow
@pytest.mark.parametrize("name", WIRES)
def test_any_cut_means_the_same(name: str) -> None:
    """Cut in two at every byte, or into single bytes, an answer means the same."""
    check_every_cut(load(name))
    check_byte_by_byte(load(name))


@pytest.mark.parametrize("name", [name for name in WIRES if "stream" in name])
@settings(max_examples=5, deadline=None)
@given(data=st.data())
def test_any_chunking_means_the_same(name: str, data: st.DataObject) -> None:
    """Cut into any chunks, a stream means the same."""
    wire = load(name)
    check_chunking(wire, data.draw(chunkings(wire.body)))


@pytest.mark.parametrize("name", WIRES)
def test_no_truncated_answer_passes(name: str) -> None:
    """Ended at any byte, an answer fails or is all there."""
    check_every_truncation(load(name))


@pytest.mark.parametrize("name", TWINS)
def test_a_stream_rebuilds_the_object_of_its_twin(name: str) -> None:
    """A streamed answer gives back the object that the server answers in one piece."""
    streamed, whole = read(load(name)), read(load(name.replace("-stream", "-whole")))
    rebuilt = DIALECTS[load(name).path].rebuild(streamed)
    assert whole.whole is not None
    expected = whole.whole
    if load(name).captured:
        rebuilt, expected = _comparable(rebuilt), _comparable(expected)
        if "usage" not in rebuilt:  # a stream counts tokens only when asked to
            del expected["usage"]
    assert rebuilt == expected


def test_parallel_tool_calls_are_merged_by_index() -> None:
    """Calls whose pieces are interleaved come out whole; llama.cpp's and Ollama's forms do too."""
    merged = read(load("openai-chat-stream-tools")).first.tool_calls
    assert [call["function"] for call in merged] == [WEATHER, TIME]
    assert [call["id"] for call in merged] == ["call_A", "call_B"]
    whole = read(load("openai-chat-whole-tools")).first.tool_calls
    assert [call["function"] for call in whole] == [WEATHER, TIME]


def test_calls_with_one_index_and_ids_of_their_own_stay_apart() -> None:
    """Two whole calls that both say index 0 are two calls, not one with doubled arguments."""
    calls = read(load("ollama-v1-chat-stream-index0")).first.tool_calls
    assert [call["function"] for call in calls] == [WEATHER, TIME]


def test_later_pieces_do_not_blank_names_and_objects_become_text() -> None:
    """An empty id, name or type in a later piece leaves the first one; arguments sent as an object become JSON text."""
    completion = Completion()
    pieces: list[Any] = [
        {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": None}},
        {"index": 0, "id": "", "type": "", "function": {"name": "", "arguments": {"x": 1}}},
        {"index": None, "id": "b", "function": {"name": "g", "arguments": "{}"}},
    ]
    for piece in pieces:
        chat.decode({"choices": [{"index": 0, "delta": {"tool_calls": [piece]}}]}, completion)
    first, second = list(completion.first.tool_calls)
    assert (first["id"], first["type"], first["function"]) == ("a", "function", {"name": "f", "arguments": '{"x":1}'})
    assert (second["id"], second["function"]) == ("b", {"name": "g", "arguments": "{}"})


def test_choices_are_kept_apart() -> None:
    """Interleaved choices are added up by their index."""
    completion = read(load("openai-chat-stream-n2"))
    found = {index: (choice.text, choice.finish_reason) for index, choice in completion.choices.items()}
    assert found == {0: ("Yes, sure", "length"), 1: ("No.", "stop")}


def test_refusals_are_kept_with_their_words() -> None:
    """A refusal is content of its own, streamed, whole or as a response's part."""
    for name in ("openai-chat-stream-refusal", "openai-chat-whole-refusal", "openai-responses-whole-refusal"):
        choice = read(load(name)).first
        assert "".join(choice.refusals).startswith("I"), name
        assert choice.text == "", name


@pytest.mark.parametrize(
    ("name", "usage"),
    [
        ("openai-chat-stream", Usage(19, 10, 4, 16)),
        ("openai-chat-whole", Usage(19, 10, 4, 16)),
        ("deepseek-chat-stream-reasoning", Usage(19, 10, 4, 16)),
        ("captured-ollama-v1-completions-stream", Usage(12, 4)),
        ("openai-responses-stream", Usage(37, 11, 6, 8)),
        ("openai-embeddings-out-of-order", Usage(8)),
        ("openai-images", Usage(50, 50)),
        ("openai-chat-stream-no-done", None),
    ],
)
def test_tokens_are_counted_as_the_server_counts_them(name: str, usage: Usage | None) -> None:
    """The last usage that counts anything holds; zeros and nulls are no count."""
    assert read(load(name)).usage == usage


def test_llama_cpp_timings_become_seconds() -> None:
    """Milliseconds in `timings` are seconds in the completion, beside choices and beside a response."""
    completion = Completion()
    chat.decode({"choices": [], "timings": {"prompt_ms": 250, "predicted_ms": 1500.0}}, completion)
    assert completion.server == ServerTimes(prompt_eval_s=0.25, eval_s=1.5)
    for name in ("chat-stream", "chat-whole", "completions-stream", "responses-stream"):
        times = read(load(name)).server
        assert times is not None, name
        assert times.eval_s is not None, name
        assert 0 < times.eval_s < 60, name


def test_the_served_model_is_never_blank() -> None:
    """A record with an empty model name does not name the model."""
    assert read(load("azure-chat-stream-filter")).served_model == "gpt-4.1-mini-2025-04-14"


def test_logprobs_are_joined_in_either_form() -> None:
    """llama.cpp's list and OpenAI's parallel lists both come out whole."""
    legacy = list(read(load("openai-completions-stream-logprobs")).first.logprobs)
    assert legacy == read(load("openai-completions-whole-logprobs")).first.logprobs
    assert legacy[0]["tokens"] == ["\n", "This", " is"]
    listed = read(load("completions-stream-logprobs")).first.logprobs
    assert listed == read(load("completions-whole-logprobs")).first.logprobs
    assert len(listed) == 4


def test_an_incomplete_response_is_flagged() -> None:
    """A response that the server calls incomplete is an answer with a flag."""
    for name in ("openai-responses-stream-incomplete", "openai-responses-whole-incomplete"):
        assert read(load(name)).flags == ["incomplete"], name
    assert not read(load("openai-responses-stream")).flags


def test_function_calls_of_responses_look_like_those_of_chat() -> None:
    """An output item of type function_call is the same neutral call, named by its call_id."""
    call = {"id": "call_A", "type": "function", "function": WEATHER}
    assert read(load("openai-responses-stream-tools")).first.tool_calls == [call]
    assert read(load("ollama-v1-responses-stream")).first.tool_calls == [call]


def test_partial_text_of_a_failed_response_is_kept() -> None:
    """What was streamed before the failure can still be shown."""
    choices, _, _ = outcome(load("openai-responses-stream-failed")).answer
    assert choices[0][0] == "Hi there!"


def _comparable(value: Any) -> Any:
    """A captured object without what differs from one request to the next: ids, times, what the cache held."""
    if isinstance(value, dict):
        changing = {
            "id",
            "created",
            "created_at",
            "completed_at",
            "timings",
            "prompt_tokens_details",
            "input_tokens_details",
        }
        kept = {key: _comparable(item) for key, item in value.items() if key not in changing}
        return {**kept, "content": kept["content"] or None} if "tool_calls" in kept else kept
    return [_comparable(item) for item in value] if isinstance(value, list) else value
