"""Holds the flags on complete answers to what they say."""

from __future__ import annotations

from typing import Any

import pytest

from batcher.exchange.answers import judge, suspicion
from batcher.failures import FLAGS, FailureClass
from batcher.model import Job, Kind
from batcher.outcome import Choice, Completion, Usage

JSON_SCHEMA = {"type": "object", "properties": {}}


def job(**fields: Any) -> Job:
    return Job(id="q", seq=0, kind=Kind.CHAT, **fields)


def answer(text: str = "", finish: str | None = "stop", *, choices: int = 1, **parts: Any) -> Completion:
    one = {"texts": [text] if text else [], "finish_reason": finish, **parts}
    return Completion(choices={n: Choice(**one) for n in range(choices)})


@pytest.mark.parametrize(
    ("completion", "flags"),
    [
        (answer("x"), []),
        (answer("x", "length"), ["length"]),
        (answer("x", "max_output_tokens"), ["length"]),
        (answer("x", "content_filter"), ["content_filter"]),
        (answer("", "length"), ["length", "empty"]),
        (answer("", thoughts=["hm"]), ["empty"]),
        (Completion(choices={0: Choice(texts=["", ""], finish_reason="stop")}), ["empty"]),
        (answer("", tool_calls=[{"function": {}}]), []),
        (answer("", refusals=["no"]), []),
        (Completion(), ["empty"]),
        (Completion(vectors=[[1.0]]), []),
        (Completion(images=["eA=="]), []),
    ],
)
def test_what_is_flagged(completion: Completion, flags: list[str]) -> None:
    """Cut, filtered and empty answers are marked; an answer of tool calls or vectors is not empty."""
    assert judge(job(), completion) is None
    assert list(completion.flags) == flags


def test_flags_are_not_repeated() -> None:
    """Three choices cut at the limit are one flag."""
    completion = answer("x", "length", choices=3)
    judge(job(), completion)
    assert completion.flags == ["length"]


@pytest.mark.parametrize("fields", [{"params": {"n": 3}}, {"body": {"n": 3}}, {"extra": {"n": 3}}])
def test_fewer_choices_than_asked_for(fields: dict[str, Any]) -> None:
    """`n` holds whether it came as a parameter or in a body; servers that ignore it are found out."""
    for choices, flags in ((2, ["fewer_choices"]), (3, [])):
        completion = answer("x", choices=choices)
        judge(job(**fields), completion)
        assert list(completion.flags) == flags


ASKING = [
    {"params": {"format": "json"}},
    {"params": {"format": JSON_SCHEMA}},
    {"body": {"format": "json"}},
    {"body": {"response_format": {"type": "json_object"}}},
    {"extra": {"response_format": {"type": "json_schema", "json_schema": {}}}},
    {"body": {"text": {"format": {"type": "json_object"}}}},
]


@pytest.mark.parametrize("fields", ASKING)
@pytest.mark.parametrize(
    ("text", "parsed", "flags"),
    [('{"a":1}', {"a": 1}, []), ("[1]", [1], []), ('{"a":', None, ["invalid_json"]), ("Sure!", None, ["invalid_json"])],
)
def test_json_that_was_asked_for(fields: dict[str, Any], text: str, parsed: Any, flags: list[str]) -> None:
    """It is parsed if it is JSON and flagged if it is not, whichever API's word asked for it."""
    completion = answer(text)
    assert judge(job(**fields), completion) == parsed
    assert list(completion.flags) == flags


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"params": {"format": {"type": "text"}}},
        {"body": {"response_format": {"type": "text"}}},
        {"body": {"text": {"format": {"type": "text"}}}},
        {"body": {"text": "a field of that name"}},
    ],
)
def test_json_that_was_not_asked_for(fields: dict[str, Any]) -> None:
    """Plain text is not held to be JSON, also when the request says `text` in so many words."""
    completion = answer("{")
    assert judge(job(**fields), completion) is None
    assert not completion.flags


PROSE = "word " * 6000
"""A prompt of more words than most contexts have tokens."""
PAGES = [{"role": "user", "content": "word " * 3000}, {"role": "user", "content": [{"type": "text", "text": PROSE}]}]


@pytest.mark.parametrize(
    ("counted", "fields", "cut"),
    [
        (4096, {"content": PROSE}, True),
        (2050, {"content": PROSE}, True),  # half of 4096, and its marks: Ollama's way to cut the middle out
        (2051, {"content": PAGES}, True),
        (8190, {"content": PAGES}, True),
        (8190, {"content": PROSE}, False),  # all of it
        (510, {"kind": Kind.EMBED, "content": ["word " * 600, "word"]}, True),
        (5000, {"content": PROSE}, False),  # no context: what the cache had may not be counted
        (5000, {"content": PROSE, "options": {"num_ctx": 5000}}, True),
        (2502, {"content": PROSE, "extra": {"options": {"num_ctx": 5000}}}, True),
        (2502, {"body": {"messages": PAGES, "options": {"num_ctx": 5000}}}, True),
        (2050, {"content": PROSE, "options": {"num_ctx": 9999}}, True),  # the model was trained on less
        (2050, {"content": "x", "system": PROSE}, True),
        (2050, {"content": "\u8bcd" * 60000}, False),  # Chinese has no spaces: never found out, never wronged
        (2048, {"content": " " * 60000 + "x"}, False),
        (2048, {"content": "-" * 60000}, False),
        (17, {"content": PROSE}, False),
        (0, {"content": PROSE}, False),
        (None, {"content": PROSE}, False),
        (2048, {"kind": Kind.EMBED, "content": [1] * 6000}, False),
        (2048, {"body": {"input": None}}, False),
    ],
)
def test_a_prompt_that_the_server_cut(counted: int | None, fields: dict[str, Any], *, cut: bool) -> None:
    """Fewer tokens than words, and just a context full of them: neither alone proves anything."""
    embeds = fields.get("kind") is Kind.EMBED
    completion = Completion(vectors=[[1.0]]) if embeds else answer("x")
    completion.usage = Usage(prompt_tokens=counted)
    judge(Job(**{"id": "q", "seq": 0, "kind": Kind.CHAT, **fields}), completion)
    assert list(completion.flags) == (["input_truncated"] if cut else [])


def test_a_complete_answer_that_repeats_itself() -> None:
    """It is a result, and flagged: the server ended it, or its token limit did."""
    completion = answer("ha " * 2000, "length")
    judge(job(), completion)
    assert completion.flags == ["length", "repeats"]


def test_tool_calls_are_no_json_answer() -> None:
    """A model that calls a tool instead has not broken the format."""
    completion = answer("", tool_calls=[{"function": {"name": "f"}}])
    judge(job(params={"format": "json"}), completion)
    assert not completion.flags


@pytest.mark.parametrize("flag", sorted(FLAGS))
def test_fail_on_makes_a_failure_of_a_flag(flag: str) -> None:
    """Only the flags that were named fail an answer, and the failure says what the flag means."""
    completion = answer("x")
    completion.flag(flag)
    failure = suspicion(completion, {flag})
    assert failure is not None
    assert (failure.kind, failure.code, failure.message) == (FailureClass.SUSPECT, flag, FLAGS[flag])
    assert suspicion(completion, FLAGS.keys() - {flag}) is None
