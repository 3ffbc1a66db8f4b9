"""Ollama's own API: what is sent, what the recorded answers mean, and what is refused."""

from __future__ import annotations

from typing import Any

import orjson
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
from support.wirefiles import WireFile, load, names

from batcher.failures import AttemptError, FailureClass, LineError
from batcher.model import Api, Call, Job, Kind
from batcher.outcome import Completion, ServerTimes, Usage
from batcher.wire.dialects import DIALECTS, body_of, call_for, ollama_chat, ollama_embed, ollama_generate
from batcher.wire.dialects.reading import Reading

WIRES = [name for name in names("ollama-") if load(name).path.startswith("/api/")]
TOOL_CALLS = [
    {"id": "call_k3j9x0aa", "function": {"index": 0, "name": "get_weather", "arguments": {"city": "Tokyo"}}},
    {"id": "call_p2m4z8bb", "function": {"index": 1, "name": "get_weather", "arguments": {"city": "Paris"}}},
]

ANSWERS: dict[str, tuple[str, str, str | None, list[Any]]] = {
    "ollama-generate-last-text": ("The sky\nis", "", "length", []),
    "ollama-generate-no-newline": ("Hello", "", "stop", []),
    "ollama-generate-escaped": ("<b> & 😀", "", "stop", []),
    "ollama-generate-no-reason": ("Hi", "", None, []),
    "ollama-chat-thinking-stream": ("Hello", "Okay, a greeting. So:", "stop", []),
    "ollama-chat-thinking-whole": ("Hello", "Okay, a greeting. So:", "stop", []),
    "ollama-chat-tools-early-stream": ("I look.", "", "stop", TOOL_CALLS),
    "ollama-chat-tools-early-whole": ("I look.", "", "stop", TOOL_CALLS),
    "ollama-chat-tools-late-stream": ("I look.", "", "stop", TOOL_CALLS),
    "ollama-chat-tools-late-whole": ("I look.", "", "stop", TOOL_CALLS),
    "ollama-chat-logprobs-whole": ("Hello", "", "stop", []),
}

FAILURES = {
    "ollama-generate-repeat-stream": "truncated",
    "ollama-generate-repeat-whole": "truncated",
    "ollama-generate-remote-error": "rate_limited",
    "ollama-chat-tools-error-line": "tool_call_unreadable",
    "ollama-embed-crash": "server_crash",
}


def _job(kind: Kind = Kind.CHAT, **fields: Any) -> Job:
    return Job(id="a", seq=0, kind=kind, model="m", **fields)


def _sent(*jobs: Job, stream: bool = True) -> Any:
    call = call_for(jobs, Api.NATIVE, stream=stream)
    call.loads = True
    return orjson.loads(body_of(call))


def _embedded(body: dict[str, Any], *contents: Any) -> Completion:
    call = Call(tuple(_job(Kind.EMBED, content=content) for content in contents), "/api/embed", b"", stream=False)
    completion = Completion()
    ollama_embed.whole(body, completion, call)
    return completion


def test_every_wire_file_is_expected_to_mean_something() -> None:
    """No recorded answer lies about untested."""
    assert set(WIRES) == {*ANSWERS, *FAILURES}


@pytest.mark.parametrize("name", ANSWERS)
def test_answers_are_read(name: str) -> None:
    """Text, thinking, reason and tool calls are those of the answer, streamed or whole."""
    choice = read(load(name)).first
    assert (choice.text, choice.thinking, choice.finish_reason, list(choice.tool_calls)) == ANSWERS[name]


@pytest.mark.parametrize("name", FAILURES)
def test_failures_are_named(name: str) -> None:
    """What is no complete answer has a failure of the right name."""
    assert outcome(load(name)).failure == FAILURES[name]


@pytest.mark.parametrize("name", WIRES)
def test_any_cut_means_the_same(name: str) -> None:
    """Cut in two at every byte, or into single bytes, an answer means the same."""
    check_every_cut(load(name))
    check_byte_by_byte(load(name))


@pytest.mark.parametrize("name", WIRES)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_any_chunking_means_the_same(name: str, data: st.DataObject) -> None:
    """Cut into any chunks, an answer means the same."""
    wire = load(name)
    check_chunking(wire, data.draw(chunkings(wire.body)))


@pytest.mark.parametrize("name", [name for name in WIRES if load(name).status == 200])
def test_no_truncated_answer_passes(name: str) -> None:
    """Ended at any byte, an answer fails or is all there."""
    check_every_truncation(load(name))


@pytest.mark.parametrize("stem", [name.removesuffix("-stream") for name in ANSWERS if name.endswith("-stream")])
def test_a_stream_rebuilds_to_its_whole_twin(stem: str) -> None:
    """The rebuilt object has the very bytes of the answer to `stream: false`, order of keys included."""
    streamed, whole = load(f"{stem}-stream"), load(f"{stem}-whole")
    dialect = DIALECTS[streamed.path]
    assert orjson.dumps(dialect.rebuild(read(streamed))) == whole.body
    assert dialect.rebuild(read(whole)) == orjson.loads(whole.body)


def test_counts_and_durations_are_in_tokens_and_seconds() -> None:
    """The last record's metrics come out as usage and seconds."""
    completion = read(load("captured-ollama-generate-stream"))
    assert completion.usage == Usage(12, 8)
    assert completion.server == ServerTimes(0.0016501, 0.05103, 0.079176, 0.138314648)
    assert (completion.served_model, completion.proof) == ("smol", "done")


def test_absent_metrics_are_none() -> None:
    """What the server did not count is unknown, not 0."""
    completion = Completion()
    ollama_chat.decode({"model": "m", "message": {"content": "x"}, "done": True}, completion)
    assert completion.usage is None
    assert completion.server is None
    assert completion.proof == "done"


def test_logprobs_are_joined() -> None:
    """Logprobs of all records, also of those without text, are kept in order."""
    for name in ("captured-ollama-chat-logprobs-stream", "captured-ollama-generate-logprobs-stream"):
        assert [entry["token"] for entry in read(load(name)).first.logprobs] == ["Hello", " there"]


def test_partial_text_is_kept() -> None:
    """After an error in the stream the text that had arrived is still there."""
    killed = outcome(load("captured-ollama-runner-killed-generate-stream"))
    assert killed.answer[0][0][0].startswith("Once upon a time")
    assert outcome(load("ollama-generate-repeat-whole")).answer[0][0][0] == "........"


@pytest.mark.parametrize(
    ("record", "content"),
    [
        ({"message": {"role": "assistant", "content": "x"}, "done": False}, True),
        ({"message": {"role": "assistant", "content": ""}, "done": False}, False),
        ({"message": {"role": "assistant", "content": "", "thinking": "x"}, "done": False}, True),
        ({"message": {"role": "assistant", "content": None}, "done": False}, False),
        ({"message": {"role": "assistant", "content": "", "tool_calls": [{"function": {}}]}, "done": False}, True),
        ({"message": None, "done": True}, False),
        ({"done": True}, False),
    ],
)
def test_what_counts_as_content(record: dict[str, Any], content: bool) -> None:  # noqa: FBT001 - a column of the table
    """Text, thinking and tool calls are content; empty records are not."""
    assert ollama_chat.decode(record, Completion()) is content


@pytest.mark.parametrize(
    ("path", "record"),
    [
        ("/api/chat", {"message": {"content": "x"}}),
        ("/api/chat", {"context": [1, 2]}),
        ("/api/chat", {"message": "x", "done": False}),
        ("/api/chat", {"message": {"role": "assistant", "content": ["x"]}, "done": False}),
        ("/api/chat", {"message": {"content": "x", "thinking": 1}, "done": False}),
        ("/api/generate", {"response": 7, "done": False}),
        ("/api/generate", {"model": "m", "created_at": "", "response": {"a": 1}, "done": False}),
    ],
)
def test_records_of_something_else_are_refused(path: str, record: dict[str, Any]) -> None:
    """A record that is none of Ollama's is a malformed answer, not a crash and not an empty one."""
    with pytest.raises(AttemptError) as caught:
        DIALECTS[path].decode(record, Completion())
    assert caught.value.failure.code == "malformed"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/chat", {"done": True, "response": "x"}),
        ("/api/generate", {"done": True, "message": {"content": "x"}}),
        ("/api/chat", {"object": "chat.completion", "choices": []}),
    ],
)
def test_whole_answers_of_another_endpoint_are_refused(path: str, body: dict[str, Any]) -> None:
    """One object that has not the field the answer belongs in is no answer."""
    reading = Reading(Call((), path, b"", stream=False), DIALECTS[path], "application/json")
    reading.feed(orjson.dumps(body))
    with pytest.raises(AttemptError) as caught:
        reading.close()
    assert caught.value.failure.code == "malformed"


def test_load_and_unload_are_permanent() -> None:
    """An answer that says nothing was generated is the line's fault and is not tried again."""
    for reason in ("load", "unload"):
        with pytest.raises(AttemptError) as caught:
            ollama_generate.decode({"response": "", "done": True, "done_reason": reason}, Completion())
        assert caught.value.failure.kind is FailureClass.PERMANENT


def test_chat_body() -> None:
    """Messages, system, images, tools and parameters each go to their place."""
    tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    job = _job(
        content=[{"role": "user", "content": "hi"}],
        system="Be brief.",
        images=("data:image/png;base64,iVBORw0KGgo=",),
        tools=tools,
        params={"max_tokens": 5, "think": False, "keep_alive": "10m"},
        options={"num_ctx": 4096},
        extra={"shift": False},
    )
    assert _sent(job) == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "hi", "images": ["iVBORw0KGgo="]},
        ],
        "tools": tools,
        "stream": True,
        "truncate": False,
        "options": {"num_predict": 5, "num_ctx": 4096},
        "think": False,
        "keep_alive": "10m",
        "shift": False,
    }


def test_generate_body() -> None:
    """A prompt keeps its system text and images beside it."""
    job = _job(Kind.GENERATE, content="hi", system="Be brief.", images=("aGk=",), params={"raw": True, "suffix": "."})
    assert _sent(job, stream=False) == {
        "model": "m",
        "prompt": "hi",
        "system": "Be brief.",
        "images": ["aGk="],
        "stream": False,
        "truncate": False,
        "raw": True,
        "suffix": ".",
    }


def test_a_prompt_sent_to_chat_is_one_message() -> None:
    """With the chat endpoint forced, a prompt becomes the user's message."""
    job = _job(Kind.GENERATE, content="hi", path="/api/chat")
    assert _sent(job)["messages"] == [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize(
    ("kind", "path"),
    [(Kind.CHAT, "/api/generate"), (Kind.EMBED, "/api/chat"), (Kind.CHAT, "/api/embed"), (Kind.IMAGE, "/api/chat")],
)
def test_impossible_pairings_are_refused(kind: Kind, path: str) -> None:
    """A line that its endpoint cannot carry is an input error before anything is sent."""
    with pytest.raises(LineError, match=path):
        call_for((_job(kind, content=[], path=path),), Api.NATIVE, stream=True)


@pytest.mark.parametrize(
    ("contents", "sent"),
    [
        (["a"], "a"),
        ([["a"]], ["a"]),
        ([["a", "b"]], ["a", "b"]),
        (["a", "b"], ["a", "b"]),
        (["a", ["b", "c"]], list("abc")),
    ],
)
def test_embed_body(contents: list[Any], sent: Any) -> None:
    """One input goes as it is, a pack as one list; no input is cut unless the line says so."""
    jobs = [_job(Kind.EMBED, content=content) for content in contents]
    assert _sent(*jobs) == {"model": "m", "input": sent, "truncate": False}
    first = _job(Kind.EMBED, content="a", params={"truncate": True, "dimensions": 64, "temperature": 1})
    assert _sent(first) == {"model": "m", "input": "a", "truncate": True, "dimensions": 64}


KEPT = [
    ({}, {"truncate": False, "keep_alive": "30m"}),
    ({"params": {"truncate": True, "keep_alive": 0}}, {"truncate": True, "keep_alive": 0}),
    ({"extra": {"truncate": True, "keep_alive": -1}}, {"truncate": True, "keep_alive": -1}),
    ({"body": {"prompt": "hi", "input": "hi", "messages": []}}, {"truncate": False, "keep_alive": "30m"}),
    ({"body": {"truncate": None, "keep_alive": "1h"}}, {"truncate": None, "keep_alive": "1h"}),
    ({"body": {"keep_alive": "0s"}}, {"truncate": False, "keep_alive": "0s"}),
    ({"params": {"keep_alive": "-1m"}}, {"truncate": False, "keep_alive": "-1m"}),
]


@pytest.mark.parametrize(("said", "sent"), KEPT)
@pytest.mark.parametrize(
    ("kind", "path"), [(Kind.CHAT, "/api/chat"), (Kind.GENERATE, "/api/generate"), (Kind.EMBED, "/api/embed")]
)
def test_what_ollama_does_unless_it_is_told(kind: Kind, path: str, said: dict[str, Any], sent: dict[str, Any]) -> None:
    """No prompt is cut and the model stays loaded, unless the line says so; no other API is told anything.

    How long it stays is said with what may load it, and with nothing else, unless it is not to stay.
    """
    content = [{"role": "user", "content": "hi"}] if kind is Kind.CHAT else "hi"
    job = _job(kind, content=content, path=path, keep_alive="30m", **said)
    assert _sent(job).items() >= sent.items()
    again = call_for((job,), Api.NATIVE, stream=True)
    said = orjson.loads(body_of(again))
    assert said.get("keep_alive") == (sent["keep_alive"] if sent["keep_alive"] in (0, "0s") else None)
    assert said == {key: value for key, value in _sent(job).items() if key in said}
    other = _job(kind, content=content, keep_alive="30m")
    assert not orjson.loads(call_for((other,), Api.OPENAI, stream=True).body).keys() & {"truncate", "keep_alive"}


def test_embeddings_are_read_in_order() -> None:
    """Each input has its vector, with counts and times."""
    completion = read(load("captured-ollama-embed"))
    assert completion.vectors == [
        [-0.47702485, 0.4539783, -0.6044519, 0.44831792],
        [-0.43159857, 0.27301568, -0.8007783, 0.31295246],
    ]
    assert completion.usage == Usage(6)
    assert completion.server == ServerTimes(load_s=0.265490281, total_s=0.282997415)
    assert ollama_embed.rebuild(completion) == orjson.loads(load("captured-ollama-embed").body)


def test_a_pack_counts_the_texts_of_all_jobs() -> None:
    """Jobs with lists of inputs get as many vectors as they have texts."""
    vectors = [[1.0], [2.0], [3.0]]
    assert _embedded({"embeddings": vectors}, "a", ["b", "c"]).vectors == vectors


@pytest.mark.parametrize(
    "vectors",
    [
        None,
        [],
        {},
        [[1.0]],
        [[1.0], [1.0], [1.0]],
        [[1.0, 2.0], [1.0]],
        [[], []],
        [[1.0], None],
        [[1.0], "AACAPwAAgD8="],
        [[1.0], [None]],
        [[1.0], ["1"]],
        [[1.0], [float("nan")]],
        [[float("inf")], [1.0]],
    ],
)
def test_wrong_embeddings_are_refused(vectors: Any) -> None:
    """A wrong count, another length, nulls and what is no finite number are no answer."""
    with pytest.raises(AttemptError) as caught:
        _embedded({"embeddings": vectors}, "a", "b")
    assert caught.value.failure.code == "malformed"


def test_nan_in_the_bytes_is_refused() -> None:
    """`NaN`, which is no JSON though some servers write it, does not become a vector."""
    wire = WireFile(
        "nan", "/api/embed", {"model": "m", "input": "a"}, 200, "application/json", b"", "a test", captured=False
    )
    assert outcome(wire, [b'{"model":"m","embeddings":[[0.5,NaN]]}']).failure == "malformed"
    assert outcome(wire, [b'{"model":"m","embeddings":[[0.5,0.25]]}']).failure == ""


@pytest.mark.parametrize(
    "odd",
    [
        {"logprobs": 5},
        {"message": {"role": "assistant", "content": "x", "tool_calls": ["f"]}},
        {"message": {"role": "assistant", "content": "x", "tool_calls": {"function": {}}}},
    ],
)
def test_a_native_record_of_odd_types_is_a_failed_attempt(odd: dict[str, Any]) -> None:
    """What is no list of calls or of log probabilities fails that attempt, and nothing but that."""
    with pytest.raises(AttemptError) as caught:
        ollama_chat.decode({"model": "m", "done": False} | odd, Completion())
    assert caught.value.failure.code == "malformed"


def test_odd_counts_and_times_are_unknown() -> None:
    """Counts and durations that are no integers are left out rather than written or added up."""
    completion = Completion()
    last = {"model": "m", "message": {"role": "assistant", "content": "x"}, "done": True, "done_reason": "stop"}
    ollama_chat.decode(last | {"eval_count": "5", "prompt_eval_count": 3, "total_duration": "x"}, completion)
    assert completion.usage == Usage(3, None)
    assert completion.server is None
