"""Lines that are no jobs: how each is refused, and that the message says what to mend."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given, strategies as st
from support.job_lines import ENCODED, USER, job_of, refusal, tried

from batcher.failures import LineError
from batcher.inputs.formats.jsonl import too_large
from batcher.inputs.formats.objects import read_object
from batcher.inputs.formats.parameters import OTHER_KEYS, PARAMETERS
from batcher.model import Job


@pytest.mark.parametrize(
    ("record", "named"),
    [
        ({"prompt": 5}, "prompt"),
        ({"messages": "hi"}, "messages"),
        ({"messages": ["hi"]}, "messages[0]"),
        ({"messages": [USER, {"content": "hi"}]}, "messages[1].role"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": ["hi"]}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": 1}]}]}, "messages[0].content[].text"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": 1}]}]}, "image_url"),
        ({"messages": [{**USER, "images": "x"}]}, "images"),
        ({"input": {"a": 1}}, "input"),
        ({"input": ["a", 1.5]}, "input[1]"),
        ({"input": ["a"], "url": "/v1/responses"}, "input"),
        ({"prompt": "hi", "temperature": "hot"}, "temperature"),
        ({"prompt": "hi", "n": 0}, "n"),
        ({"prompt": "hi", "stop": [1]}, "stop"),
        ({"prompt": "hi", "response_format": {"type": "json_schema"}}, "response_format"),
        ({"prompt": "hi", "options": [1]}, "options"),
        ({"prompt": "hi", "params": "x"}, "params"),
        ({"prompt": "hi", "tools": {}}, "tools"),
        ({"prompt": "hi", "tools": ["f"]}, "tools"),
        ({"prompt": "hi", "images": "x.png"}, "images"),
        ({"prompt": "hi", "images": [1]}, "images"),
        ({"prompt": "hi", "system": 5}, "system"),
        ({"prompt": "hi", "model": 5}, "model"),
        ({"url": "/api/chat", "body": "x"}, "body"),
        ({"url": "/api/chat", "method": "GET", "body": {"messages": [USER]}}, "method"),
        ({"url": "/api/chat", "body": {"prompt": "hi"}}, "messages"),
        ({"url": "/api/chat", "body": {"messages": [USER], "model": 1}}, "model"),
        ({"body": {"contents": [USER]}}, "url"),
        ({"url": "/api/generate", "messages": [USER]}, "prompt"),
        ({"promt": "hi"}, 'did you mean "prompt" by "promt"'),
        ({"quest": "hi"}, '"quest"'),
        ({}, "nothing at all"),
    ],
)
def test_wrong_types_are_refused(record: dict[str, Any], named: str) -> None:
    """A line that cannot be sent is refused under its id, and the message names the key."""
    error = refusal(id="a", **record) if record else refusal(b"{}")
    assert error.code == "input_invalid"
    assert named in error.message
    assert error.id == ("a" if record else None)


@pytest.mark.parametrize(
    "record",
    [
        {"prompt": ""},
        {"prompt": " \n\u2003"},
        {"messages": []},
        {"messages": [{"role": "system", "content": ""}, {"role": "user", "content": " "}]},
        {"messages": [{"role": "user", "content": []}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": " "}]}]},
        {"input": ""},
        {"input": []},
        {"text": ""},
        {"prompt": "", "url": "/v1/chat/completions"},
        {"input": "", "url": "/v1/responses"},
        {"input": [], "url": "/v1/responses"},
        {"url": "/api/chat", "body": {"messages": []}},
        {"url": "/api/embed", "body": {"input": ""}},
        {"url": "/v1/completions", "body": {"prompt": ["a", ""]}},
        {"url": "/v1/completions", "body": {"prompt": []}},
        {"url": "/v1/completions", "body": {"prompt": " "}},
    ],
)
def test_empty_prompts_are_refused(record: dict[str, Any]) -> None:
    """Nothing to answer is an input error: servers would report success and no text."""
    assert refusal(**record).code == "empty_prompt"


@pytest.mark.parametrize("texts", [[""], ["a", ""], ["", ""]])
def test_an_empty_text_in_a_list_is_the_servers_to_judge(texts: list[str]) -> None:
    """Ollama gives a vector for it (0.33.0-rc2), and none for an empty input alone."""
    assert job_of(input=texts).content == texts
    assert job_of(url="/api/embed", body={"input": texts}).body == {"input": texts}


@pytest.mark.parametrize(
    "message",
    [
        {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f"}}]},
        {"role": "user", "content": "", "images": [ENCODED]},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}]},
        {"role": "user", "content": [{"type": "text", "text": ""}, {"type": "input_audio", "input_audio": {}}]},
    ],
)
def test_content_other_than_text_is_content(message: dict[str, Any]) -> None:
    """Tool calls, images and sound are no empty message, and pass untouched."""
    assert job_of(messages=[message]).content == [message]


@pytest.mark.parametrize(
    ("data", "code", "words"),
    [
        (b'{"id":', "input_invalid", "column 7"),
        (b'{"a":1} x', "input_invalid", "column 9"),
        (b"[1]", "input_invalid", "a list"),
        (b'"x"', "input_invalid", "a text"),
        (b"null", "input_invalid", "null"),
        (b"5", "input_invalid", "a number"),
        (b'{"prompt":"a","seed":NaN}', "input_invalid", "NaN"),
        (b'{"prompt":"a","seed":-Infinity}', "input_invalid", "Infinity"),
        (b'{"prompt":"a","seed":1e400}', "input_invalid", "column 22"),
        (b'{"prompt":"\\u12"}', "input_invalid", "column"),
        (b'{"prompt":"caf\xe9"}', "input_encoding", "byte 15 is 0xe9"),
        (b'{"prompt":"a","meta":' + b"[" * 300 + b"]" * 300 + b"}", "input_invalid", "deep"),
        (b"[" * 100_000, "input_invalid", "column"),
    ],
)
def test_broken_lines(data: bytes, code: str, words: str) -> None:
    """What is no JSON object is refused with its place, and never ends the run."""
    error = refusal(data)
    assert error.code == code
    assert words in error.message


@given(st.binary(max_size=40) | st.text(alphabet='{}[]":,\\ud83dn1', max_size=30).map(str.encode))
def test_any_bytes_are_a_job_or_a_line_error(data: bytes) -> None:
    """No bytes get anything else out of the parser than a job or a `LineError`."""
    outcome = tried(data)
    assert isinstance(outcome, Job) or outcome.code in {"input_invalid", "input_encoding", "empty_prompt"}


@given(
    st.dictionaries(
        st.sampled_from([*PARAMETERS, *OTHER_KEYS]),
        st.recursive(
            st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False) | st.text(max_size=3),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["role", "content", "type", "text", "image_url", "schema"]), inner, max_size=3
                )
            ),
            max_leaves=5,
        ),
        max_size=4,
    )
)
def test_any_record_is_a_job_or_a_line_error(record: dict[str, Any]) -> None:
    """No combination of values gets anything else out of the parser than a job or a `LineError`."""
    outcome = tried(orjson.dumps(record))
    assert outcome.message if isinstance(outcome, LineError) else len(outcome.hash) == 16


def test_many_brackets_are_not_deep() -> None:
    """A line with many shallow messages is accepted."""
    assert len(job_of(messages=[USER] * 600).content) == 600


@pytest.mark.parametrize(
    ("escape", "wanted"),
    [
        (rb"\ud83d", "\ufffd"),
        (rb"\uDE00", "\ufffd"),
        (rb"\ud83d\ude00", "\U0001f600"),
        (rb"\ud83d\ud83d\ude00", "\ufffd\U0001f600"),
        (rb"\\ud83d\ud83d", "\\ud83d\ufffd"),
        (rb"\u0041\ude00", "A\ufffd"),
    ],
)
def test_lone_surrogates_are_replaced(escape: bytes, wanted: str) -> None:
    """Half of a surrogate pair becomes U+FFFD, whole pairs and escaped backslashes stay."""
    assert read_object(b'{"prompt":"' + escape + b'"}') == {"prompt": wanted}


def test_too_large_says_the_limit() -> None:
    """The error for a line that was passed over says how long a line may be."""
    error = too_large(2**20)
    assert (error.code, error.message) == ("line_too_large", "the line is longer than 1 MiB; split it")
