"""What is sent to OpenAI's endpoints for each shape of job, and which jobs they cannot carry."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from support.conformance import call_of
from support.wirefiles import load

from batcher.failures import LineError
from batcher.model import Api, Job, Kind
from batcher.wire.dialects import call_for, chat, completions, embeddings, images, responses

HI = [{"role": "user", "content": "hi"}]
FUNCTION = {"name": "f", "parameters": {"type": "object"}}
TOOL = {"type": "function", "function": FUNCTION}
PNG = "iVBORw0KGgo="


def _job(kind: Kind, content: Any, **fields: Any) -> Job:
    return Job(id="a", seq=0, kind=kind, model="m", content=content, **fields)


def _sent(*jobs: Job, stream: bool = False) -> Any:
    return orjson.loads(call_for(jobs, Api.OPENAI, stream=stream).body)


@pytest.mark.parametrize(
    ("job", "body"),
    [
        (_job(Kind.CHAT, HI), {"model": "m", "messages": HI}),
        (_job(Kind.GENERATE, "hi"), {"model": "m", "messages": HI}),
        (
            _job(Kind.GENERATE, "hi", system="Be kind.", tools=[TOOL], params={"max_tokens": 9}, extra={"top_a": 1}),
            {
                "model": "m",
                "messages": [{"role": "system", "content": "Be kind."}, *HI],
                "tools": [TOOL],
                "max_tokens": 9,
                "top_a": 1,
            },
        ),
        (
            _job(Kind.GENERATE, "hi", path="/v1/completions", params={"stop": ["x"]}),
            {"model": "m", "prompt": "hi", "stop": ["x"]},
        ),
        (_job(Kind.RESPONSES, "hi"), {"model": "m", "input": "hi"}),
        (
            _job(
                Kind.RESPONSES,
                HI,
                system="Be kind.",
                tools=[TOOL, {"type": "web_search"}],
                params={"max_tokens": 9, "format": "json", "think": "low"},
            ),
            {
                "model": "m",
                "input": HI,
                "instructions": "Be kind.",
                "tools": [{"type": "function", **FUNCTION}, {"type": "web_search"}],
                "max_output_tokens": 9,
                "text": {"format": {"type": "json_object"}},
                "reasoning": {"effort": "low"},
            },
        ),
        (_job(Kind.EMBED, "x", params={"dimensions": 3}), {"model": "m", "input": "x", "dimensions": 3}),
        (_job(Kind.EMBED, [1, 2]), {"model": "m", "input": [1, 2]}),
        (_job(Kind.IMAGE, "a dot", params={"size": "64x64"}), {"model": "m", "prompt": "a dot", "size": "64x64"}),
        (Job(id="a", seq=0, kind=Kind.CHAT, content=HI), {"messages": HI}),
    ],
)
def test_bodies(job: Job, body: dict[str, Any]) -> None:
    """Each job is sent in its endpoint's own words, with nothing that was not asked for."""
    assert _sent(job) == body


def test_streams_ask_for_their_usage() -> None:
    """Choices stream with include_usage, unless the line says otherwise; responses count without being asked."""
    asked = {"stream": True, "stream_options": {"include_usage": True}}
    for job in (_job(Kind.CHAT, HI), _job(Kind.GENERATE, "hi", path="/v1/completions")):
        assert asked.items() <= _sent(job, stream=True).items()
    refused = _job(Kind.CHAT, HI, extra={"stream_options": {"include_usage": False}})
    assert _sent(refused, stream=True)["stream_options"] == {"include_usage": False}
    whole = _job(Kind.CHAT, HI, extra={"stream": False})
    assert "stream_options" not in _sent(whole, stream=True)
    assert not call_for([whole], Api.OPENAI, stream=True).stream
    assert _sent(_job(Kind.RESPONSES, "hi"), stream=True) == {"model": "m", "input": "hi", "stream": True}


@pytest.mark.parametrize("kind", [Kind.EMBED, Kind.IMAGE])
def test_vectors_and_images_never_stream(kind: Kind) -> None:
    """Endpoints without a stream are not asked for one."""
    call = call_for([_job(kind, "x")], Api.OPENAI, stream=True)
    assert not call.stream
    assert "stream" not in orjson.loads(call.body)


def test_a_pack_sends_the_inputs_of_all_its_jobs() -> None:
    """Texts, lists of texts and token arrays of several jobs go in one list, in order."""
    jobs = [_job(Kind.EMBED, content) for content in ("a", ["b", "c"], [1, 2], [[3], [4]])]
    assert _sent(*jobs)["input"] == ["a", "b", "c", [1, 2], [3], [4]]


def test_images_of_a_prompt_become_parts() -> None:
    """Images go beside the prompt's text, as data URIs, in the form of each endpoint."""
    job = _job(Kind.GENERATE, "what?", images=(PNG,))
    text, image = _sent(job)["messages"][0]["content"]
    assert text == {"type": "text", "text": "what?"}
    assert image["image_url"]["url"].endswith(PNG)
    parts = responses.encode([job], stream=False)["input"][0]["content"]
    assert [part["type"] for part in parts] == ["input_text", "input_image"]


def test_responses_take_items_as_they_are_and_messages_as_items() -> None:
    """Items pass untouched; a conversation's tool calls and results become items; a system message stays the first."""
    items = [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}]
    assert _sent(_job(Kind.RESPONSES, items))["input"] == items
    arguments = '{"x":1}'
    calls = [{"id": "call_A", "type": "function", "function": {"name": "f", "arguments": arguments}}]
    said = [
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "tool_call_id": "call_A", "content": "3"},
    ]
    assert _sent(_job(Kind.RESPONSES, [*HI, *said]))["input"] == [
        *HI,
        {"type": "function_call", "call_id": "call_A", "name": "f", "arguments": arguments},
        {"type": "function_call_output", "call_id": "call_A", "output": "3"},
    ]
    own = _job(Kind.RESPONSES, [{"role": "system", "content": "Mine."}, *HI], system="Yours.")
    assert "instructions" not in _sent(own)


@pytest.mark.parametrize(
    ("dialect", "job", "words"),
    [
        (chat, _job(Kind.EMBED, "x"), '"messages" or "prompt"'),
        (chat, _job(Kind.RESPONSES, "x"), '"messages" or "prompt"'),
        (completions, _job(Kind.CHAT, HI), 'takes "prompt", and this line has "messages"'),
        (completions, _job(Kind.GENERATE, "x", system="s"), "no system text"),
        (completions, _job(Kind.GENERATE, "x", images=(PNG,)), "no images"),
        (responses, _job(Kind.EMBED, "x"), '"input" to embed'),
        (embeddings, _job(Kind.CHAT, HI), '"messages"'),
        (images, _job(Kind.CHAT, HI), '"messages"'),
        (images, _job(Kind.IMAGE, "x", images=(PNG,)), "no images"),
    ],
)
def test_jobs_that_an_endpoint_cannot_carry_are_refused(dialect: Any, job: Job, words: str) -> None:
    """A job of the wrong shape is a line error that names both shapes and what to change, before anything is sent."""
    with pytest.raises(LineError, match="--endpoint") as caught:
        dialect.encode([job], stream=False)
    assert caught.value.code == "endpoint_mismatch"
    assert caught.value.id == "a"
    assert words in caught.value.message


def test_a_line_with_a_body_of_its_own_is_sent_as_it_is() -> None:
    """An OpenAI batch line keeps its body, and is asked for its usage when it streams."""
    call = call_of(load("ollama-v1-chat-whole-cut"))
    assert orjson.loads(call.body) == {"model": "m", "messages": HI, "stream": False}
