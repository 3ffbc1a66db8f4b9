"""Lines as other programs write them: those that are taken, and those that are named for what they are."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from batcher.failures import LineError
from batcher.inputs.formats import parse_job
from batcher.inputs.formats.defaults import Defaults
from batcher.inputs.formats.shapes import ALPACA, QUESTION, SHAREGPT
from batcher.model import Job, Kind


def job(line: dict[str, Any], defaults: Defaults | None = None) -> Job:
    return parse_job(orjson.dumps(line), 0, defaults or Defaults(model="m"))


@pytest.mark.parametrize(
    ("line", "shape", "kind", "content"),
    [
        ({"instruction": "Add.", "input": "1 2", "output": "3"}, ALPACA, Kind.GENERATE, "Add.\n\n1 2"),
        ({"instruction": "Sing.", "input": "", "output": "La"}, ALPACA, Kind.GENERATE, "Sing."),
        ({"instruction": "Sing.", "text": "Below is an instruction …"}, ALPACA, Kind.GENERATE, "Sing."),
        (
            {
                "conversations": [
                    {"from": "system", "value": "s"},
                    {"from": "human", "value": "a"},
                    {"from": "gpt", "value": "b"},
                    {"from": "human", "value": "c"},
                    {"from": "gpt", "value": "d"},
                ]
            },
            SHAREGPT,
            Kind.CHAT,
            [
                {"role": "system", "content": "s"},
                {"role": "user", "content": "a"},
                {"role": "assistant", "content": "b"},
                {"role": "user", "content": "c"},
            ],
        ),
        (
            {"conversations": [{"role": "user", "content": "a"}]},
            SHAREGPT,
            Kind.CHAT,
            [{"role": "user", "content": "a"}],
        ),
        ({"question": "Why?", "answer": "So."}, QUESTION, Kind.GENERATE, "Why?"),
    ],
)
def test_shapes_that_people_have(line: dict[str, Any], shape: str, kind: Kind, content: Any) -> None:
    """Each is read as what it means, counted for the announcement, and what it was once answered is not sent."""
    defaults = Defaults(model="m")
    found = job(line, defaults)
    assert (found.kind, found.content) == (kind, content)
    assert (dict(defaults.shapes), dict(defaults.unknown_keys)) == ({shape: 1}, {})


def test_our_own_keys_come_first() -> None:
    """A line that has a prompt or messages is read as ever, and one for embeddings is embedded."""
    assert job({"instruction": "x", "prompt": "Hi"}).content == "Hi"
    embedding = job({"instruction": "Represent:", "input": "a text"}, Defaults(model="m", path="/v1/embeddings"))
    assert (embedding.kind, embedding.content) == (Kind.EMBED, "a text")


@pytest.mark.parametrize(
    ("body", "path", "kind"),
    [
        ({"messages": [{"role": "user", "content": "Hi"}]}, "/v1/chat/completions", Kind.CHAT),
        ({"prompt": "Hi"}, "/v1/completions", Kind.GENERATE),
        ({"input": ["a", "b"]}, "/v1/embeddings", Kind.EMBED),
    ],
)
def test_batch_lines_without_a_url(body: dict[str, Any], path: str, kind: Kind) -> None:
    """Mistral's, Together's and Fireworks' name no URL: the body tells, and -m fills in the model."""
    found = job({"custom_id": "a", "body": {**body, "metadata": {"row": 1}}})
    assert (found.id, found.path, found.kind, found.model, found.meta) == ("a", path, kind, "m", {"row": 1})
    assert found.body is not None
    assert found.body["model"] == "m"


def test_one_endpoint_and_one_model_can_hold_for_a_whole_file() -> None:
    """`--endpoint` says where lines without a URL go, `--alias '*=…'` which model answers whatever they name."""
    line = {"custom_id": "a", "body": {"model": "gpt-4o", "input": "Hi"}}
    found = job(line, Defaults(path="/v1/responses", aliases={"*": "small", "gpt-4": "other"}))
    assert (found.path, found.model) == ("/v1/responses", "small")
    assert Defaults(aliases={"*": "small", "gpt-4": "other"}).resolve("gpt-4") == "other"


def test_metadata_comes_back() -> None:
    """Under whichever name a line has it; our own goes first."""
    assert job({"prompt": "Hi", "metadata": {"a": 1}}).meta == {"a": 1}
    assert job({"prompt": "Hi", "meta": 2, "metadata": {"a": 1}}).meta == 2


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ({"custom_id": "a", "params": {"max_tokens": 9, "messages": []}}, "foreign_line", "Anthropic"),
        ({"key": "a", "request": {"contents": [{"parts": [{"text": "Hi"}]}]}}, "foreign_line", "Gemini"),
        ({"request": {"contents": [{"parts": [{"text": "Hi"}]}]}}, "foreign_line", "Vertex"),
        ({"custom_id": "a", "request": {"anthropic_version": "x", "messages": []}}, "foreign_line", "Claude"),
        ({"recordId": "a", "modelInput": {"messages": []}}, "foreign_line", "Bedrock"),
        ({"query": "q", "documents": ["a"]}, "foreign_line", "rerank"),
        ({"text_1": "q", "text_2": "a"}, "foreign_line", "score"),
        ({"id": "a", "seq": 0, "hash": "0" * 16, "text": "answer"}, "own_result", "result of batcher's"),
        ({"id": "a", "seq": 0, "hash": "0" * 16, "embedding": [1.0]}, "own_result", "result of batcher's"),
        ({"id": "a", "seq": 0, "line": 1, "error": {"code": "x"}}, "own_result", "result of batcher's"),
        ({"id": "b_1", "custom_id": "a", "response": {"body": {}}, "error": None}, "own_result", "OpenAI batch"),
        *(
            ({"custom_id": "a", "url": url, "body": {"x": 1}}, "unknown_endpoint", f"for {what}, which batcher")
            for url, what in [
                ("/v1/rerank", "rerank"),
                ("/score", "score"),
                ("/v1/moderations", "moderations"),
                ("/v1/audio/transcriptions", "audio"),
                ("/v1/messages", "Anthropic's messages"),
                ("/v1beta/models/gemini-2:generateContent", "Gemini's API"),
            ]
        ),
    ],
)
def test_what_is_not_spoken_is_named(line: dict[str, Any], code: str, words: str) -> None:
    """No such line is taken for something else, and nobody is led astray by a name that is nearly alike."""
    with pytest.raises(LineError) as caught:
        job(line)
    assert caught.value.code == code
    assert words in caught.value.message
    assert "did you mean" not in caught.value.message


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ({"instruction": 3}, '"instruction" must be text'),
        ({"instruction": "a", "input": [1]}, '"input" must be text'),
        ({"conversations": "x"}, '"conversations" must be a list'),
        ({"conversations": [{"from": "nobody", "value": "x"}]}, "human, gpt or system"),
        ({"conversations": [{"from": "gpt", "value": "x"}]}, "no turn that the model could answer"),
        ({"question": ""}, '"prompt" is empty'),
    ],
)
def test_a_broken_line_of_a_shape_says_what_is_wrong(line: dict[str, Any], words: str) -> None:
    """In the words of that shape."""
    with pytest.raises(LineError, match=words):
        job(line)
