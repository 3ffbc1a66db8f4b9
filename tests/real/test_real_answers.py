"""Whether an answer of a real llama.cpp server is the same streamed and whole, to the last key of its object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
from support import wirefiles
from support.realserver import answers, serving

if TYPE_CHECKING:
    from pathlib import Path

Pairs: TypeAlias = "dict[str, tuple[dict[str, Any], dict[str, Any]]]"
"""Name of a job → (its line when streamed, its line when whole)."""

pytestmark = [pytest.mark.slow, pytest.mark.real, pytest.mark.timeout(180)]

# Whether a prompt is found in the server's cache depends on what it was asked before, and decides in which batches it
# is computed; other batches round otherwise, and a near tie then takes another turn. These are computed whole.
FRESH = {"cache_prompt": False}
COLD = {"temperature": 0, "seed": 1, "max_tokens": 16, "params": FRESH}


def recorded(name: str, **changes: Any) -> dict[str, Any]:
    """The request of a recorded answer, as a line of an OpenAI batch file; it leaves open whether to stream."""
    wire = wirefiles.load(name)
    body = {key: value for key, value in wire.request.items() if not key.startswith("stream")}
    return {"custom_id": name, "method": "POST", "url": wire.path, "body": {**body, **FRESH, **changes}}


TOOLS = wirefiles.load("tools-whole").request
CALL = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"Oslo"}'}}
QUESTION = {"role": "user", "content": "Weather in Oslo?"}
OPENAI_HISTORY = [
    QUESTION,
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "call_1", "content": "4 degrees, rain"},
]
NATIVE_HISTORY = [
    QUESTION,
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"function": {"name": "get_weather", "arguments": {"city": "Oslo"}}}],
    },
    {"role": "tool", "tool_name": "get_weather", "content": "4 degrees, rain"},
]

PLAIN = [
    {"id": "prompt", "prompt": "Say hello.", **COLD, "max_tokens": 40},
    {"id": "stop", "messages": [{"role": "user", "content": "Count to nine."}], **COLD, "stop": ["o"]},
    {"id": "completion", "prompt": "One, two,", "url": "/v1/completions", "n": 2, **COLD},
    {"id": "nothing", "prompt": "Once upon a time", "url": "/v1/completions", **COLD, "stop": [","]},
    {"id": "response", "messages": [{"role": "user", "content": "Say hello."}], "url": "/v1/responses", **COLD},
    recorded("chat-whole"),
    recorded("chat-whole-length"),
    recorded("chat-whole-logprobs"),
    recorded("chat-whole-n2"),
    recorded("chat-whole-schema"),
    recorded("chat-stream-unicode"),
    recorded("completions-whole"),
    recorded("completions-whole-logprobs"),
    recorded("responses-whole"),
    recorded("responses-whole-length"),
    recorded("embeddings-float"),
]
WITH_TOOLS = [
    recorded("tools-whole"),
    recorded("tools-stream-length"),
    {
        "id": "response-tools",
        "url": "/v1/responses",
        **{key: TOOLS[key] for key in ("messages", "tools", "tool_choice")},
        **COLD,
        "max_tokens": 96,
    },
    {"id": "openai-history", "messages": OPENAI_HISTORY, **COLD},
    {"id": "native-history", "messages": NATIVE_HISTORY, **COLD},
    {"id": "no-history", "messages": [QUESTION], **COLD},
]
THINKING = [recorded("thinking-whole")]
GROUPS = (("", PLAIN), ("TOOLS_TEMPLATE", WITH_TOOLS), ("THINKING_TEMPLATE", THINKING))
NAMES = [str(job.get("id") or job["custom_id"]) for _, jobs in GROUPS for job in jobs]


@pytest.fixture(scope="session")
def both(tmp_path_factory: pytest.TempPathFactory) -> Pairs:
    """The lines of every job, asked for streamed and whole."""
    found = {}
    for template, jobs in GROUPS:
        folder = tmp_path_factory.mktemp(template or "plain")
        streamed, whole = (_lines(template, folder / str(stream), jobs, stream=stream) for stream in (True, False))
        found.update({name: (line, whole[name]) for name, line in streamed.items()})
    return found


def _lines(template: str, folder: Path, jobs: list[dict[str, Any]], *, stream: bool) -> dict[str, dict[str, Any]]:
    """Ask one after the other, of a new server: where in its memory a prompt lies decides how it rounds, too."""
    with serving(template) as url:
        return answers(url, folder, jobs, stream=stream, raw=True)


def comparable(value: Any) -> Any:
    """A response object without what no two answers share: names made up for it, and times.

    llama.cpp opens the stream of an answer that only calls tools with `"content": null` and says "" in the whole one;
    its `/v1/responses` names `completed_at` only in the whole one, and `timings` only beside the streamed one.
    """
    if isinstance(value, list):
        return [comparable(item) for item in value]
    if not isinstance(value, dict):
        return value
    kept = {key: comparable(item) for key, item in value.items() if not _differs(key, item)}
    if kept.get("tool_calls"):
        kept["content"] = kept.get("content") or ""
    return kept


def _differs(key: str, value: Any) -> bool:
    named = key in ("id", "call_id") and isinstance(value, str)  # the id of a token is a number, and stays
    return named or key in ("created", "created_at", "completed_at") or key.endswith(("_ms", "_per_second"))


@pytest.mark.parametrize("name", NAMES)
def test_a_stream_adds_up_to_the_whole_object(name: str, both: Pairs) -> None:
    """What `--raw` rebuilds from a stream is, key by key, the object that the server sends in one piece."""
    streamed, whole = (line["raw"] for line in both[name])
    assert comparable(streamed) == comparable(whole)


@pytest.mark.parametrize("name", NAMES)
def test_streamed_or_not_a_line_says_the_same(name: str, both: Pairs) -> None:
    """Text, thinking, tool calls, logprobs, finish reason, flags and usage do not depend on `--no-stream`."""
    streamed, whole = (
        {key: value for key, value in line.items() if key not in ("raw", "timing", "attempts", "server")}
        for line in both[name]
    )
    assert comparable(streamed) == comparable(whole)


@pytest.mark.parametrize("name", NAMES)
def test_the_times_of_a_line_fit_together(name: str, both: Pairs) -> None:
    """First content comes before the end, the server's own times fit in between, and whole answers have no TTFT."""
    for line, streams in zip(both[name], (True, False), strict=True):
        timing, said = line["timing"], line.get("text") or line.get("tool_calls") or line.get("thinking")
        assert ("ttft_s" in timing) == (bool(said) and streams)
        server = timing.get("server", {})
        assert sum(server.values()) <= timing["total_s"]
        if "ttft_s" in timing:
            assert server.get("prompt_eval_s", 0) <= timing["ttft_s"] <= timing["total_s"]
        if "itl_p50_s" in timing:
            assert timing["itl_p50_s"] <= timing["itl_p95_s"] <= timing["total_s"] - timing["ttft_s"]
            assert timing["tokens_per_s"] > 0


@pytest.mark.parametrize("name", NAMES)
def test_the_tokens_of_a_line_fit_together(name: str, both: Pairs) -> None:
    """Nothing came from the cache, an answer has tokens, and it is flagged as cut exactly if it reached its limit."""
    job = next(job for _, jobs in GROUPS for job in jobs if name in (job.get("id"), job.get("custom_id")))
    asked = job.get("body", job)
    limit = asked.get("max_tokens") or asked.get("max_output_tokens")
    for line in both[name]:
        usage = line["usage"]
        assert usage["prompt_tokens"] > 0
        assert not usage.get("cached_tokens")
        if limit is not None:
            assert 0 < usage["completion_tokens"] <= limit * asked.get("n", 1)
            assert ("length" in line.get("flags", ())) == (usage["completion_tokens"] >= limit)


def test_every_kind_of_answer_was_there(both: Pairs) -> None:
    """The comparisons above had something to compare."""
    line = {name: streamed for name, (streamed, _) in both.items()}
    assert line["prompt"]["finish_reason"] == "stop"
    assert line["chat-whole-length"]["finish_reason"] == "length"
    assert line["nothing"]["flags"] == ["empty"]
    assert "世界" in line["chat-stream-unicode"]["text"]
    first, second = line["chat-whole-n2"]["choices"]
    assert first["text"] != second["text"]
    assert len(line["completion"]["choices"]) == 2
    assert len(line["chat-whole-logprobs"]["logprobs"]) == len(line["completions-whole-logprobs"]["logprobs"]) == 4
    assert list(line["chat-whole-schema"]["parsed"]) == ["colours"]
    for name in ("tools-whole", "response-tools"):
        calls = [call["function"] for call in line[name]["tool_calls"]]
        assert calls == [{"name": f"get_{word}", "arguments": {"city": "Paris"}} for word in ("weather", "time")]
    assert line["tools-stream-length"]["tool_calls"][0]["function"]["arguments"].startswith('{"')
    assert line["thinking-whole"]["thinking"]
    assert line["thinking-whole"]["text"]
    assert [len(vector) for vector in line["embeddings-float"]["embeddings"]] == [576, 576]


def test_both_forms_of_a_tool_history_reach_the_model_alike(
    both: Pairs,
) -> None:
    """Ollama's and OpenAI's way to write calls and their results become the same prompt, which has them in it."""
    openai, native, without = (both[name][0] for name in ("openai-history", "native-history", "no-history"))
    assert (openai["text"], openai["usage"]) == (native["text"], native["usage"])
    assert openai["usage"]["prompt_tokens"] > without["usage"]["prompt_tokens"] + 20
