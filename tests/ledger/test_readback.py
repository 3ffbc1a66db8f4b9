"""Whatever a server answers, the line that is written is read back: by the ledger, and by any reader of JSON."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any

import orjson
import pytest
from hypothesis import given, settings, strategies as st

from batcher import codec
from batcher.exchange.answers import judge
from batcher.failures import AttemptError, Failure, FailureClass
from batcher.inputs.done import DoneIds
from batcher.ledger.lines import error_line, result_line
from batcher.ledger.recovery import identify, parse, scan
from batcher.model import Call, Job, Kind
from batcher.outcome import Choice, Completion, Result, Usage
from batcher.wire.dialects import DIALECTS
from batcher.wire.dialects.reading import Reading

HASH = "0123456789abcdef"
SHARP = [
    "\ud83d",
    "\ude00",
    "\ud83d\ude00",
    "\0",
    "\n",
    "\u2028",
    '","seq":',
    '{"id":"a","seq":1,"hash":"',
    "}\n",
    '"',
    "\\",
]
TEXT = st.lists(st.sampled_from(SHARP) | st.text(max_size=3), max_size=4).map("".join)
SCALAR = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([2**63, 2**64, -(2**64), 10**400])
    | st.floats()
    | TEXT
    | st.just(orjson.Fragment(b"1" * 5000))
)
VALUE = st.recursive(
    SCALAR, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=8
)


def nested(value: Any, depth: int) -> Any:
    for _ in range(depth):
        value = [value]
    return value


def check_read_back(line: bytes, name: str) -> None:
    assert line.endswith(b"}\n")
    assert line.count(b"\n") == 1
    assert json.loads(line, parse_int=str)["id"] == codec.loads(line)["id"] == name


@settings(max_examples=60, deadline=None)
@given(
    depth=st.sampled_from([0, 1, 199, 260, 900]),
    texts=st.lists(TEXT, max_size=3),
    calls=st.lists(st.dictionaries(TEXT, VALUE, max_size=3) | st.fixed_dictionaries({"function": VALUE}), max_size=2),
    logprobs=st.lists(VALUE, max_size=2),
    extra=VALUE,
)
def test_a_result_of_any_parts(depth: int, texts: list[str], calls: list[Any], logprobs: list[Any], extra: Any) -> None:
    """Halves of characters, keys of our own, integers and depths without end, what is no JSON."""
    model = "".join(texts)
    extra = nested(extra, depth)
    calls = [*calls, {"function": {"name": "f", "arguments": extra}}, {"function": extra}]
    choice = Choice(
        texts=texts, thoughts=texts, tool_calls=calls, logprobs=logprobs, refusals=texts, finish_reason=model
    )
    completion = Completion(choices={0: choice, 7: choice}, served_model=model, parsed=extra, usage=Usage(1, 2))
    completion.flags = [model]
    lines = []
    for number in range(3):
        answer = Result(id=f"é{number}", seq=number, hash=HASH, completion=completion, raw={model: extra}, meta=extra)
        line = result_line(answer)
        check_read_back(line, answer.id)
        assert parse(line) == (answer.id, HASH)
        assert identify(line) in ((answer.id, HASH), (answer.id.encode(), HASH.encode()))
        lines.append(line)
        answer.failure = Failure(FailureClass.PERMANENT, "x", model)
        check_read_back(error_line(answer), answer.id)
    file = b"".join(lines)
    found = scan(BytesIO(file), len(file), DoneIds())
    assert (found.results, found.damage, found.repeated, found.unended) == (3, [], 0, False)


BYTES = st.sampled_from(
    [
        *(b'"\\ud83d"', b'"\\ude00"', b'"\\u0000"', b"1" * 30, b"-" + b"9" * 400, b"8" * 5000, b"NaN", b"1e400"),
        *(b"[" * 300 + b"]" * 300, b'{"id":"a","seq":1,"hash":"0123456789abcdef"}', b'"\xff"', b"null", b"{}", b"0.1"),
    ]
)


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/api/chat", "/api/generate", "/v1/chat/completions", "/v1/completions"])
@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_an_answer_of_any_bytes(path: str, data: st.DataObject) -> None:
    """From the socket to the line: what is taken for an answer is written so that it is read back."""
    value = data.draw(BYTES)
    text = data.draw(BYTES | st.just(b'"x"'))
    if path.startswith("/api/"):
        where = b'"message":{"content":%s,"tool_calls":[{"function":{"name":"f","arguments":%s}}]}' % (text, value)
        body = b'{"model":"m","created_at":"t",%s,"response":%s,"done":true,"done_reason":"stop","x":%s}' % (
            where if path == "/api/chat" else b'"thinking":"t"',
            text,
            value,
        )
    else:
        call = b'{"id":"k","function":{"name":"f","arguments":%s}}' % value
        message = b'{"content":%s,"tool_calls":[%s]}' % (text, call)
        body = (
            b'{"choices":[{"index":0,"message":%s,"text":%s,"finish_reason":"stop","logprobs":{"content":[%s]}}]}'
            % (
                message,
                text,
                value,
            )
        )
    job = Job(id="a", seq=0, kind=Kind.CHAT, content="x", hash=HASH, params={"format": "json"})
    reading = Reading(Call((job,), path, b"", stream=False), DIALECTS[path], "application/json")
    try:
        reading.feed(body)
        completion = reading.close()
    except AttemptError:
        completion = reading.completion
    else:
        completion.parsed = judge(job, completion)
    answer = Result(id="a", seq=0, hash=HASH, completion=completion, raw=completion.whole)
    check_read_back(result_line(answer), "a")
    assert parse(result_line(answer)) == ("a", HASH)
