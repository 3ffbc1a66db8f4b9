"""OpenAI batch files and training chats: what OpenAI's own types read, and what was asked and answered."""

from __future__ import annotations

import math
from pathlib import Path
from pkgutil import resolve_name
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings, strategies as st
from support.resultfiles import Files, failure, result

from batcher.failures import OutputError, UsageError
from batcher.inputs.formats.defaults import Defaults
from batcher.outputs.openaibatch import answer_line

TIMES = {"started_at": "2026-11-22T20:11:03.120Z", "waited_s": 0.0, "total_s": 0.3}
CALL = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Oslo"}}}
FULL = {
    "model": "m",
    "thinking": "hm",
    "finish_reason": "stop",
    "usage": {"prompt_tokens": 3, "completion_tokens": 2},
    "timing": TIMES,
}
TYPES = {
    "/api/chat": "chat:ChatCompletion",
    "/api/generate": "chat:ChatCompletion",
    "/v1/chat/completions": "chat:ChatCompletion",
    "/v1/completions": "completion:Completion",
    "/v1/responses": "responses:Response",
}


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def lines(path: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def read(path: str, body: dict[str, Any]) -> Any:
    """As OpenAI's type reads it, which takes 0.5 s to import: not in each worker that collects this."""
    name = TYPES.get(path, "create_embedding_response:CreateEmbeddingResponse")
    return resolve_name(f"openai.types.{name}").model_validate(body, strict=True)


def body_of(record: dict[str, Any]) -> Any:
    line = orjson.loads(answer_line(record))
    assert line["custom_id"] == record["id"]
    assert (line["response"]["status_code"], line["error"]) == (200, None)
    return read(record["endpoint"], line["response"]["body"])


def text_in(path: str, body: Any) -> str | None:
    if path == "/v1/responses":
        text: str = body.output_text
        return text
    choice = body.choices[0]
    answer: str | None = choice.text if path == "/v1/completions" else choice.message.content
    return answer


@pytest.mark.parametrize("path", TYPES)
@pytest.mark.parametrize(
    "more", [{}, FULL, {"finish_reason": "load"}, {"flags": ["length"], "finish_reason": "length"}]
)
def test_answers_are_what_openai_s_types_read(path: str, more: dict[str, Any]) -> None:
    """The same text from each path, whatever of the rest is known; strictly, as the API promises it."""
    record = {**result(0, "q", "the answer", **more), "endpoint": path}
    body = body_of(record)
    assert text_in(path, body) == "the answer"
    usage = record.get("usage", {})
    used = body.usage.input_tokens if path == "/v1/responses" else body.usage.prompt_tokens
    assert used == usage.get("prompt_tokens", 0)
    assert body.model == record.get("model", "")


WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=20)
ENDS = {"text": "an answer", "finish_reason": "stop"}
ENDED = st.fixed_dictionaries(
    {"endpoint": st.sampled_from([*TYPES]), "text": WORDS},
    optional={
        "model": WORDS,
        "thinking": WORDS,
        "finish_reason": st.sampled_from(["stop", "length", "content_filter", "tool_calls", "load", None]),
        "usage": st.fixed_dictionaries(
            {}, optional={"prompt_tokens": st.integers(0), "completion_tokens": st.integers(0)}
        ),
        "timing": st.just(TIMES),
        "flags": st.lists(st.sampled_from(["length", "incomplete", "empty"]), unique=True),
    },
)


@settings(max_examples=20)
@example(rows={"a": {**ENDS, "endpoint": "/v1/completions", "finish_reason": "tool_calls"}}, seed=Random(0))
@example(rows={"a": {**ENDS, "endpoint": "/v1/responses", "flags": ["incomplete"]}}, seed=Random(0))
@given(
    rows=st.dictionaries(WORDS.filter(bool), ENDED | st.none(), min_size=1, max_size=6),
    seed=st.randoms(use_true_random=False),
)
def test_a_batch_has_the_same_answers_as_the_run(rows: dict[str, Any], seed: Any) -> None:
    """Each under its id, in the order of the input, as OpenAI's types read them; failures are in the other."""
    numbered = [(seq, ident, fields) for seq, (ident, fields) in enumerate(rows.items())]
    wanted = [(ident, fields["text"]) for _, ident, fields in numbered if fields]
    failed = [(seq, ident) for seq, ident, fields in numbered if not fields]
    with TemporaryDirectory() as directory:
        files = Files(Path(directory))
        files.input([{"id": ident, "prompt": "p"} for ident in rows])
        files.results(
            seed.sample(done := [result(seq, ident, **fields) for seq, ident, fields in numbered if fields], len(done))
        )
        files.errors([failure(seq, ident) for seq, ident in failed])
        files.export("out.jsonl", "openai-batch")
        answers, beside = lines(files.path / "out.jsonl"), files.path / "out.errors.jsonl"
        assert [line["custom_id"] for line in (lines(beside) if failed else [])] == [ident for _, ident in failed]
        assert beside.exists() == bool(failed)
    found = []
    for line in answers:
        path = rows[line["custom_id"]]["endpoint"]
        body = read(path, line["response"]["body"])
        found.append((line["custom_id"], text_in(path, body) or ""))
    assert found == wanted


@pytest.mark.parametrize("path", ["/api/chat", "/v1/chat/completions", "/v1/responses"])
def test_tool_calls_have_ids_and_texts(path: str) -> None:
    """As OpenAI has them, whichever API they came from."""
    body = body_of({**result(0, "q", "", tool_calls=[CALL, {"id": "c9", **CALL}]), "endpoint": path})
    if path == "/v1/responses":
        found = [(call.call_id, call.name, call.arguments) for call in body.output]
    else:
        message = body.choices[0].message
        assert (message.content, body.choices[0].finish_reason) == (None, "tool_calls")
        found = [(call.id, call.function.name, call.function.arguments) for call in message.tool_calls]
    assert found == [("call_0", "weather", '{"city":"Oslo"}'), ("c9", "weather", '{"city":"Oslo"}')]


def test_several_choices_refusals_and_cut_responses() -> None:
    two = [{"index": 1, "text": "b", "finish_reason": "length"}, {"index": 0, "text": "a"}]
    chat = body_of(result(0, "q", "a", choices=two))
    assert [(choice.index, choice.message.content) for choice in chat.choices] == [(1, "b"), (0, "a")]
    refused = body_of(result(0, "q", "", refusal="no"))
    assert (refused.choices[0].message.refusal, refused.choices[0].message.content) == ("no", None)
    cut = {**result(0, "q", "a", finish_reason="length", flags=["length", "incomplete"]), "endpoint": "/v1/responses"}
    body = body_of(cut)
    assert (body.status, body.incomplete_details.reason) == ("incomplete", "max_output_tokens")


@pytest.mark.parametrize("path", ["/api/embed", "/v1/embeddings"])
def test_vectors_are_embeddings(path: str) -> None:
    record = {"id": "q", "seq": 0, "hash": "0" * 16, "endpoint": path, "embeddings": [[0.5], [1.0]]}
    assert [item.embedding for item in body_of(record).data] == [[0.5], [1.0]]
    one = {"id": "q", "seq": 0, "hash": "0" * 16, "endpoint": path, "embedding": [0.25]}
    assert body_of(one).data[0].embedding == [0.25]


def test_a_server_s_own_object_is_given_as_it_came() -> None:
    raw = {"id": "theirs", "object": "chat.completion", "created": 1, "model": "m", "choices": [], "odd": 1}
    record = {**result(0, "q", "a"), "endpoint": "/v1/chat/completions", "raw": raw}
    assert orjson.loads(answer_line(record))["response"]["body"] == raw
    native = {**result(0, "q", "a"), "endpoint": "/api/chat", "raw": {"done": True}}
    assert body_of(native).choices[0].message.content == "a"


def test_failures_have_a_file_of_their_own(files: Files) -> None:
    """With the server's status and words, or, where it gave none, what happened; what is pending is in neither."""
    files.input([{"id": name, "prompt": "p"} for name in "abcd"])
    files.results([result(2, "c", "C")])
    files.errors([failure(0, "a", "invalid", status=400), failure(1, "b", "timeout_idle")])
    written = files.export("out.jsonl", "openai-batch")
    assert (written.rows, written.failures, written.left_out) == (1, 2, 1)
    assert [line["custom_id"] for line in lines(files.path / "out.jsonl")] == ["c"]
    first, second = lines(files.path / "out.errors.jsonl")
    assert (first["response"]["status_code"], first["response"]["body"]["error"]["code"]) == (400, "invalid")
    assert (first["error"], second["response"]) == (None, None)
    assert second["error"] == {"code": "timeout_idle", "message": "it broke off"}
    (files.path / "r.errors.jsonl").unlink()
    files.export("out.jsonl", "openai-batch")
    assert not (files.path / "out.errors.jsonl").exists()


def test_other_files_are_not_taken_for_failures(files: Files) -> None:
    files.input([{"id": "a", "prompt": "p"}])
    files.results([result(0, "a")])
    (files.path / "out.errors.jsonl").write_text('{"mine": 1}\n')
    with pytest.raises(OutputError, match="something else"):
        files.export("out.jsonl", "openai-batch")
    assert (files.path / "out.errors.jsonl").read_text() == '{"mine": 1}\n'


PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {}}}]


@pytest.mark.parametrize(
    ("row", "asked"),
    [
        ({"prompt": "p", "system": "s"}, [("system", "s"), ("user", "p")]),
        ({"messages": [{"role": "user", "content": "m"}], "system": "s"}, [("system", "s"), ("user", "m")]),
        ({"instruction": "i", "input": "x", "output": "old"}, [("user", "i\n\nx")]),
        (
            {"url": "/v1/chat/completions", "body": {"messages": [{"role": "user", "content": "b"}]}},
            [("user", "b")],
        ),
        ({"url": "/v1/responses", "body": {"input": "r", "instructions": "s"}}, [("system", "s"), ("user", "r")]),
    ],
)
def test_chats_to_train_on(files: Files, row: dict[str, Any], asked: list[tuple[str, str]]) -> None:
    """Prompt and answer of each shape of line."""
    files.input([{"id": "a", **row}])
    files.results([result(0, "a", "A")])
    files.export("out.jsonl", "messages", defaults=Defaults(model="m"))
    (chat,) = lines(files.path / "out.jsonl")
    assert [(message["role"], message["content"]) for message in chat["messages"]] == [*asked, ("assistant", "A")]


def test_only_sound_answers_are_to_be_learnt(files: Files) -> None:
    """Failed, flagged, pending and embedded rows are left out, and counted; tools and pictures are there."""
    files.input(
        [
            {"id": "a", "prompt": "p", "images": [PICTURE], "tools": TOOLS},
            {"id": "b", "prompt": "p"},
            {"id": "c", "prompt": "p"},
            {"id": "d", "prompt": "p"},
            {"id": "e", "input": "text"},
        ]
    )
    files.results(
        [
            result(0, "a", "", tool_calls=[CALL]),
            result(1, "b", "cu", flags=["length"]),
            {"id": "e", "seq": 4, "hash": "0" * 16, "embedding": [1.0]},
        ]
    )
    files.errors([failure(2, "c")])
    written = files.export("out.jsonl", "messages", defaults=Defaults(model="m"))
    assert (written.rows, written.left_out) == (1, 4)
    (chat,) = lines(files.path / "out.jsonl")
    question, answer = chat["messages"]
    assert [part["type"] for part in question["content"]] == ["text", "image_url"]
    assert answer["tool_calls"][0]["function"]["arguments"] == '{"city":"Oslo"}'
    assert chat["tools"] == TOOLS


def test_chats_are_in_the_words_of_openai(files: Files) -> None:
    """Pictures are what they are, beside a message or the line; a tool's result names the call that it is of."""
    photo = "/9j/4AAQSkZJRgABAQAAAQABAAD/"
    call = {"function": {"name": "weather", "arguments": {"city": "Oslo"}}}
    files.input(
        [
            {"id": "a", "prompt": "p", "images": [photo], "turns": [{"role": "tool", "content": "rain"}]},
            {"id": "b", "messages": [{"role": "user", "content": "q", "images": [photo]}]},
        ]
    )
    told = [{"text": "", "tool_calls": [call]}, {"text": "It rains."}]
    files.results([result(0, "a", "It rains.", turns=told), result(1, "b", "B")])
    files.export("out.jsonl", "messages", defaults=Defaults(model="m"))
    talk, seen = (chat["messages"] for chat in lines(files.path / "out.jsonl"))
    assert [message["role"] for message in talk] == ["user", "assistant", "tool", "assistant"]
    assert talk[2]["tool_call_id"] == talk[1]["tool_calls"][0]["id"]
    assert talk[1]["tool_calls"][0]["function"]["arguments"] == '{"city":"Oslo"}'
    for question in (talk[0], seen[0]):
        assert question["content"][1]["image_url"]["url"] == f"data:image/jpeg;base64,{photo}"
        assert "images" not in question


def test_chats_want_what_was_asked(files: Files) -> None:
    files.results([result(0, "a")])
    with pytest.raises(UsageError, match="--input"):
        files.export("out.jsonl", "messages", source=None, defaults=Defaults(model="m"))


def test_times_of_copies_are_not_known() -> None:
    assert math.isclose(body_of(result(0, "q", "a", copy_of="b")).created, 0)
