"""One job file through both APIs: which field each parameter becomes, and what cannot be said."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from batcher.model import Api, Job, Kind
from batcher.wire.dialects import call_for
from batcher.wire.dialects.parameters import PLACES, left_out, native_fields, openai_fields

SCHEMA = {"type": "object", "properties": {"x": {"type": "integer"}}}

CASES: list[tuple[str, Any, dict[str, Any], dict[str, Any]]] = [
    ("max_tokens", 9, {"options": {"num_predict": 9}}, {"max_tokens": 9}),
    ("max_completion_tokens", 9, {"options": {"num_predict": 9}}, {"max_completion_tokens": 9}),
    ("temperature", 0, {"options": {"temperature": 0}}, {"temperature": 0}),
    ("top_p", 0.9, {"options": {"top_p": 0.9}}, {"top_p": 0.9}),
    ("top_k", 40, {"options": {"top_k": 40}}, {"top_k": 40}),
    ("min_p", 0.1, {"options": {"min_p": 0.1}}, {"min_p": 0.1}),
    ("seed", 7, {"options": {"seed": 7}}, {"seed": 7}),
    ("stop", "x", {"options": {"stop": ["x"]}}, {"stop": "x"}),
    ("stop", ["x", "y"], {"options": {"stop": ["x", "y"]}}, {"stop": ["x", "y"]}),
    ("frequency_penalty", 1, {"options": {"frequency_penalty": 1}}, {"frequency_penalty": 1}),
    ("presence_penalty", 1, {"options": {"presence_penalty": 1}}, {"presence_penalty": 1}),
    ("repeat_penalty", 1.1, {"options": {"repeat_penalty": 1.1}}, {"repeat_penalty": 1.1}),
    ("format", "json", {"format": "json"}, {"response_format": {"type": "json_object"}}),
    (
        "format",
        SCHEMA,
        {"format": SCHEMA},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}}},
    ),
    ("think", False, {"think": False}, {"reasoning_effort": "none"}),
    ("think", True, {"think": True}, {"reasoning_effort": "medium"}),
    ("think", "high", {"think": "high"}, {"reasoning_effort": "high"}),
    ("logprobs", True, {"logprobs": True}, {"logprobs": True}),
    ("logprobs", 3, {"logprobs": True}, {"logprobs": True}),
    ("top_logprobs", 2, {"top_logprobs": 2}, {"top_logprobs": 2}),
    ("n", 2, {}, {"n": 2}),
    ("tool_choice", "none", {}, {"tool_choice": "none"}),
    ("parallel_tool_calls", False, {}, {"parallel_tool_calls": False}),
    ("user", "u", {}, {"user": "u"}),
    ("keep_alive", "10m", {"keep_alive": "10m"}, {}),
    ("keep_alive", "-1", {"keep_alive": -1.0}, {}),
    ("truncate", True, {"truncate": True}, {}),
    ("dimensions", 64, {}, {}),
    ("max_tokens", None, {}, {}),
]
"""Name, value, fields of /api/chat, fields of /v1/chat/completions; an empty one where the value is set is left out."""

ELSEWHERE: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("/api/generate", {"raw": True, "suffix": "s"}, {"raw": True, "suffix": "s"}),
    ("/api/generate", {"template": "t", "context": [1]}, {"template": "t", "context": [1]}),
    ("/api/chat", {"raw": True, "suffix": "s", "template": "t", "context": [1]}, {}),
    ("/api/embed", {"dimensions": 8, "truncate": True}, {"dimensions": 8, "truncate": True}),
    ("/api/embed", {"keep_alive": -1}, {"keep_alive": -1}),
    ("/api/embed", {"encoding_format": "base64", "temperature": 1}, {}),
    ("/v1/embeddings", {"dimensions": 8, "encoding_format": "base64"}, {"dimensions": 8, "encoding_format": "base64"}),
    ("/v1/embeddings", {"truncate": True, "keep_alive": -1}, {}),
    ("/v1/completions", {"suffix": "s", "max_tokens": 3}, {"suffix": "s", "max_tokens": 3}),
    (
        "/v1/completions",
        {"format": "json", "think": True},
        {"response_format": {"type": "json_object"}, "json_schema": {"type": "object"}},
    ),
    (
        "/v1/completions",
        {"format": {"type": "array"}},
        {
            "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "array"}}},
            "json_schema": {"type": "array"},
        },
    ),
    ("/v1/completions", {"logprobs": True}, {"logprobs": 1}),
    ("/v1/completions", {"logprobs": True, "top_logprobs": 4}, {"logprobs": 4}),
    ("/v1/completions", {"logprobs": 2}, {"logprobs": 2}),
    ("/v1/completions", {"logprobs": False, "top_logprobs": 4}, {}),
    ("/v1/completions", {"top_logprobs": 4}, {}),
    ("/v1/responses", {"max_tokens": 3, "think": False}, {"max_output_tokens": 3, "reasoning": {"effort": "none"}}),
    ("/v1/responses", {"max_completion_tokens": 3}, {"max_output_tokens": 3}),
    ("/v1/completions", {"max_completion_tokens": 3}, {"max_tokens": 3}),
    ("/v1/responses", {"format": "json"}, {"text": {"format": {"type": "json_object"}}}),
    (
        "/v1/responses",
        {"format": SCHEMA},
        {"text": {"format": {"type": "json_schema", "name": "answer", "schema": SCHEMA}}},
    ),
    ("/v1/responses", {"seed": 1, "stop": ["x"], "n": 2, "top_k": 1}, {}),
    ("/v1/responses", {"logprobs": True}, {"include": ["message.output_text.logprobs"]}),
    (
        "/v1/responses",
        {"tool_choice": {"type": "function", "function": {"name": "f"}}},
        {"tool_choice": {"type": "function", "name": "f"}},
    ),
    ("/v1/images/generations", {"size": "512x512", "n": 1, "temperature": 1}, {"size": "512x512", "n": 1}),
    ("/v1/chat/completions", {"max_tokens": -1}, {}),
    ("/api/chat", {"max_tokens": -1}, {"options": {"num_predict": -1}}),
]


def _job(**fields: Any) -> Job:
    return Job(id="a", seq=0, kind=Kind.CHAT, content=[{"role": "user", "content": "hi"}], **fields)


def _fields(job: Job, path: str) -> dict[str, Any]:
    return native_fields(job, path) if path.startswith("/api/") else openai_fields(job, path)


@pytest.mark.parametrize(("name", "value", "native", "openai"), CASES)
def test_one_parameter_on_both_apis(name: str, value: Any, native: dict[str, Any], openai: dict[str, Any]) -> None:
    """Each parameter has its place on both APIs; one that has none is left out and named."""
    job = _job(params={name: value})
    assert native_fields(job, "/api/chat") == {"truncate": False} | native
    assert openai_fields(job, "/v1/chat/completions") == openai
    absent = value is None
    assert left_out(job, "/api/chat") == ([] if native or absent else [name])
    assert left_out(job, "/v1/chat/completions") == ([] if openai or absent else [name])


@pytest.mark.parametrize(("path", "params", "fields"), ELSEWHERE)
def test_the_other_endpoints(path: str, params: dict[str, Any], fields: dict[str, Any]) -> None:
    """The endpoints beside chat take what their APIs define."""
    assert _fields(_job(params=params), path) == ({"truncate": False} | fields if path.startswith("/api/") else fields)


def test_one_file_becomes_two_bodies() -> None:
    """The same line goes out as each API wants it."""
    params = {"max_tokens": 5, "temperature": 0, "stop": ["."], "format": "json"}
    job = _job(model="m", system="Be brief.", params=params)
    native = call_for((job,), Api.NATIVE, stream=False)
    openai = call_for((job,), Api.OPENAI, stream=False)
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]
    assert (native.path, orjson.loads(native.body)) == (
        "/api/chat",
        {
            "model": "m",
            "messages": messages,
            "stream": False,
            "truncate": False,
            "options": {"num_predict": 5, "temperature": 0, "stop": ["."]},
            "format": "json",
        },
    )
    body = orjson.loads(openai.body)
    body.pop("stream", None)  # false and unsaid are the same on this API
    assert (openai.path, body) == (
        "/v1/chat/completions",
        {
            "model": "m",
            "messages": messages,
            "max_tokens": 5,
            "temperature": 0,
            "stop": ["."],
            "response_format": {"type": "json_object"},
        },
    )


def test_options_win_over_parameters() -> None:
    """Ollama's own options hold over the common parameters, on both APIs."""
    job = _job(params={"temperature": 1, "max_tokens": 5}, options={"temperature": 0, "num_ctx": 4096})
    assert native_fields(job, "/api/chat")["options"] == {"temperature": 0, "num_predict": 5, "num_ctx": 4096}
    assert openai_fields(job, "/v1/chat/completions") == {"temperature": 0, "max_tokens": 5}
    assert left_out(job, "/v1/chat/completions") == ["options.num_ctx"]
    assert left_out(job, "/api/chat") == []


def test_options_are_not_changed_in_place() -> None:
    """Run-wide options are shared by all jobs, so that no job may write into them."""
    options = {"num_ctx": 4096}
    native_fields(_job(params={"seed": 1}, options=options), "/api/chat")
    assert options == {"num_ctx": 4096}


@pytest.mark.parametrize("path", PLACES)
def test_extra_is_merged_last_as_it_is(path: str) -> None:
    """What the user wrote for the body itself stands there, whatever else was said."""
    job = _job(params={"temperature": 1, "keep_alive": 1, "user": "u"}, extra={"temperature": 0, "my_field": [1]})
    fields = _fields(job, path)
    assert (fields["temperature"], fields["my_field"]) == (0, [1])


def test_what_is_no_parameter_is_named_too() -> None:
    """Tools, system text and images that an endpoint cannot take are named; a line's own body is never judged."""
    job = _job(tools=[{"type": "function"}], system="s", images=("aGk=",))
    assert left_out(job, "/api/generate") == ["tools"]
    assert left_out(job, "/api/embed") == ["tools", "system", "images"]
    assert left_out(job, "/v1/chat/completions") == []
    own = _job(body={"model": "m"}, params={"n": 2})
    assert left_out(own, "/api/chat") == []


def test_alternatives_alone_cannot_be_asked_of_completions() -> None:
    """On `/v1/completions` the number of alternatives is said by `logprobs` itself."""
    assert left_out(_job(params={"logprobs": True, "top_logprobs": 4}), "/v1/completions") == []
    assert left_out(_job(params={"top_logprobs": 4}), "/v1/completions") == ["top_logprobs"]


def test_a_strict_schema_stays_strict_where_that_means_something() -> None:
    """What stands around a schema goes to /v1 as it came; Ollama gets the schema alone."""
    schema = {"type": "object", "properties": {}}
    around = {"name": "n", "strict": True, "schema": schema}
    job = _job(params={"format": {"type": "json_schema", "json_schema": around}})
    assert _fields(job, "/v1/chat/completions") == {"response_format": {"type": "json_schema", "json_schema": around}}
    assert _fields(job, "/v1/responses") == {"text": {"format": {"type": "json_schema", **around}}}
    assert _fields(job, "/api/chat")["format"] == schema


def test_a_prompt_with_tools_goes_where_tools_are_taken() -> None:
    """Ollama's /api/generate would drop the tools without a word; a path that the line names is kept."""
    tools = [{"type": "function", "function": {"name": "f"}}]
    job = Job(id="a", seq=0, kind=Kind.GENERATE, model="m", content="hi", tools=tools)
    call = call_for([job], Api.NATIVE, stream=True)
    assert call.path == "/api/chat"
    assert orjson.loads(call.body)["tools"] == tools
    named = Job(id="a", seq=0, kind=Kind.GENERATE, model="m", content="hi", tools=tools, path="/api/generate")
    assert call_for([named], Api.NATIVE, stream=True).path == "/api/generate"
