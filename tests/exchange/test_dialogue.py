"""What is asked after an answer: the next turn, or the same again; as a table of conversations."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given, settings, strategies as st

from batcher.exchange.dialogue import conclude, goes_on
from batcher.failures import Failure, FailureClass
from batcher.inputs.formats import parse_job
from batcher.inputs.formats.defaults import Defaults
from batcher.model import Api, Call
from batcher.outcome import Attempt, Choice, Completion, Timing, Usage
from batcher.wire.dialects import call_for


def call_of(**line: Any) -> Call:
    job = parse_job(orjson.dumps({"id": "a", **line}), 0, Defaults(model="m"))
    return call_for((job,), Api.OPENAI, stream=False)


def answered(text: str, mismatch: str | None = None, **choice: Any) -> Attempt:
    completion = Completion({0: Choice([text], **choice)}, usage=Usage(2, 1), mismatch=mismatch)
    return Attempt(Timing(), completion)


def asked(call: Call) -> list[str]:
    return [message["content"] for message in orjson.loads(call.body)["messages"]]


def test_turns_are_asked_one_after_the_other() -> None:
    """And then no more; tokens and flags of all stand on the last."""
    call = call_of(turns=["one", "two", "three"])
    assert goes_on(call, answered("1"), 2)
    assert asked(call) == ["one", "1", "two"]
    second = answered("2")
    assert second.completion is not None
    second.completion.flag("length")
    assert goes_on(call, second, 2)
    assert asked(call) == ["one", "1", "two", "2", "three"]
    last = answered("3")
    assert not goes_on(call, last, 2)
    assert last.completion is not None
    assert [turn.first.text for turn in conclude(call, last.completion)] == ["1", "2", "3"]
    assert (last.completion.spent, last.completion.flags) == (Usage(4, 2), ["length"])


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_a_turn_is_asked_again_so_many_times(retries: int) -> None:
    """Each turn has its tries; the last answer of one that never fits is taken."""
    call = call_of(turns=["one", "two"], schema={"type": "object"})
    for turn in (1, 2):
        for _ in range(retries):
            assert goes_on(call, answered("wrong", "no JSON"), retries)
            assert asked(call)[-2] == "wrong"
            assert "no JSON" in asked(call)[-1]
        assert goes_on(call, answered("wrong", "no JSON"), retries) is (turn == 1)
    assert (call.dialogue.asked_again, call.counted) == (2 * retries, 0)


def test_only_the_last_wrong_answer_is_shown() -> None:
    call = call_of(prompt="p", schema={"type": "object"})
    assert goes_on(call, answered("first", "a"), 3)
    assert goes_on(call, answered("second" * 2000, "b"), 3)
    question, answer, correction = asked(call)
    assert (question, len(answer)) == ("p", 4000)
    assert "first" not in answer
    assert "cannot be used: b." in correction


@pytest.mark.parametrize(
    ("failure", "is_asked"),
    [
        (Failure(FailureClass.SUSPECT, "schema_mismatch", ""), True),
        (Failure(FailureClass.SUSPECT, "invalid_json", ""), True),
        (Failure(FailureClass.SUSPECT, "length", ""), False),
        (Failure(FailureClass.TRANSIENT, "truncated", ""), False),
    ],
)
def test_what_failed_for_something_else_is_not_asked_again(failure: Failure, *, is_asked: bool) -> None:
    call = call_of(prompt="p", schema={"type": "object"})
    attempt = answered("x", "no JSON")
    attempt.failure = failure
    assert goes_on(call, attempt, 2) is is_asked


def test_a_refusal_is_no_answer_to_mend() -> None:
    assert not goes_on(call_of(prompt="p", schema={"type": "object"}), answered("", "empty", refusals=["no"]), 2)


@pytest.mark.parametrize("line", [{"prompt": "p"}, {"messages": [{"role": "user", "content": "p"}]}, {"input": "text"}])
def test_nothing_more_is_asked_of_plain_jobs(line: dict[str, Any]) -> None:
    call = call_of(**line)
    body = call.body
    assert not goes_on(call, answered("x"), 2)
    assert (call.body, call.dialogue) == (body, None)


def test_a_call_of_a_tool_wants_its_result() -> None:
    tool = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    call = call_of(turns=["one", "two"])
    attempt = answered("", tool_calls=[tool])
    assert not goes_on(call, attempt, 2)
    assert attempt.failure is not None
    assert (attempt.failure.code, attempt.failure.kind) == ("tool_call_open", FailureClass.PERMANENT)
    call = call_of(turns=["one", {"role": "tool", "content": "r"}])
    assert goes_on(call, answered("", tool_calls=[tool]), 2)
    assert orjson.loads(call.body)["messages"][2]["tool_call_id"] == "c1"


DEEP: Any = orjson.loads("[" * 300 + "]" * 300)
ANYTHING = st.sampled_from(
    [
        None,
        "x",
        "",
        5,
        1.5,
        True,
        [],
        {},
        [1],
        {"a": [1]},
        '{"a":1}',
        "[1]",
        "oops",
        10**30,
        "\ud800",
        DEEP,
        {"a": DEEP},
    ]
)
FUNCTIONS = st.fixed_dictionaries({"name": ANYTHING}, optional={"arguments": ANYTHING, "index": ANYTHING})
TOOL_CALLS = st.lists(
    st.fixed_dictionaries(
        {}, optional={"id": ANYTHING, "type": ANYTHING, "custom": ANYTHING, "function": st.one_of(FUNCTIONS, ANYTHING)}
    ),
    min_size=1,
    max_size=3,
)


@given(calls=TOOL_CALLS, api=st.sampled_from(Api), is_told=st.booleans())
@settings(max_examples=150)
def test_whatever_a_model_calls_its_tools_with(calls: list[Any], api: Api, *, is_told: bool) -> None:
    """The next turn is asked, or the job has failed in words: nothing else is raised, and what was said stands."""
    turn = {"role": "tool", "content": "42"} if is_told else "two"
    job = parse_job(orjson.dumps({"id": "a", "turns": ["one", turn, "three"]}), 0, Defaults(model="m"))
    call = call_for((job,), api, stream=False)
    before, attempt = call.body, answered("", tool_calls=calls)
    if goes_on(call, attempt, 2):
        assert attempt.failure is None
        assert orjson.loads(call.body)["messages"][2]["content"] == "42"
    else:
        assert attempt.failure is not None
        assert attempt.failure.code in ("tool_calls", "tool_arguments", "tool_call_open", "input_invalid")
        assert (call.body, call.dialogue) == (before, None)


FORM = {"type": "object", "properties": {"label": {"enum": ["good", "bad"]}, "score": {"type": "integer"}}}


def test_what_words_do_not_help_is_shown_the_form() -> None:
    """The wrong answers are gone then, for a small model goes on as it began; the rules of the system stay first."""
    messages = [{"role": "system", "content": "s"}, {"role": "user", "content": "p"}]
    call = call_of(messages=messages, schema=FORM)
    assert goes_on(call, answered("wrong", "no JSON"), 3)
    assert asked(call)[:3] == ["s", "p", "wrong"]
    for _ in range(2):
        assert goes_on(call, answered("wrong", "no JSON"), 3)
        system, words, form, question = asked(call)
        assert (system, form) == ("s", '{"label":"good","score":1}')
        assert words.startswith("An answer of yours could not be used: no JSON. ")
        assert question.startswith("p\n\n")
    roles = [message["role"] for message in orjson.loads(call.body)["messages"]]
    assert roles == ["system", "user", "assistant", "user"]


def test_the_form_comes_before_a_question_of_several_parts() -> None:
    parts = [{"type": "text", "text": "p"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]
    call = call_of(messages=[{"role": "user", "content": parts}], schema=FORM)
    for _ in range(2):
        assert goes_on(call, answered("wrong", "no JSON"), 2)
    *_, question = orjson.loads(call.body)["messages"]
    assert question["content"][:2] == parts
    assert question["content"][2]["type"] == "text"
