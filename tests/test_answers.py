"""Holds the flags on complete answers to what they say."""

from __future__ import annotations

from typing import Any

import pytest

from batcher.answers import FLAGS, judge, suspicion
from batcher.failures import FailureClass
from batcher.model import Choice, Completion, Job, Kind

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
    assert completion.flags == flags


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
        assert completion.flags == flags


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
    assert completion.flags == flags


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
    assert completion.flags == []


def test_tool_calls_are_no_json_answer() -> None:
    """A model that calls a tool instead has not broken the format."""
    completion = answer("", tool_calls=[{"function": {"name": "f"}}])
    judge(job(params={"format": "json"}), completion)
    assert completion.flags == []


@pytest.mark.parametrize("flag", sorted(FLAGS))
def test_fail_on_makes_a_failure_of_a_flag(flag: str) -> None:
    """Only the flags that were named fail an answer, and the failure says what the flag means."""
    completion = answer("x")
    completion.flag(flag)
    failure = suspicion(completion, {flag})
    assert failure is not None
    assert (failure.kind, failure.code, failure.message) == (FailureClass.SUSPECT, flag, FLAGS[flag])
    assert suspicion(completion, FLAGS.keys() - {flag}) is None
