"""Streams that were damaged on their way: an attempt fails, or the answer is that of the intact stream.

Never is it a shorter or another one with success. What no reader can know is left out: bytes within the strings that
are the answer itself, and the numbers of choices and calls.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given, settings, strategies as st
from support.conformance import outcome
from support.wirefiles import load, names

from batcher.failures import AttemptError
from batcher.model import ENDPOINTS, Kind
from batcher.outcome import Choice, Completion
from batcher.wire.dialects import DIALECTS, SKIMS
from batcher.wire.faults import error_in, near

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.wirefiles import WireFile

SAID = re.compile(
    rb'"(?:content|response|text|thinking|reasoning|reasoning_content|delta|arguments|name|call_id|refusal|token|summary'
    rb'|id|city)":\s*"(?:[^"\\]|\\.)*"|"index":\s*\d+|"arguments":\s*\{[^}]*\}'
)
"""What is the answer itself, or numbers it: a change in it makes another answer that is as good to any reader."""


SPOKEN = {Kind.GENERATE, Kind.CHAT, Kind.RESPONSES}


def answered() -> Iterator[WireFile]:
    """The recordings of answers in words that are complete."""
    for name in names():
        wire = load(name)
        if wire.status == 200 and ENDPOINTS.get(wire.path) in SPOKEN and not outcome(wire).failure:
            yield wire


WIRES = {wire.name: wire for wire in answered()}
STREAMS = [name for name, wire in WIRES.items() if wire.body.count(b"\n") > 3]


def said(wire: WireFile) -> Any:
    """The answer, without the names of its calls; `None` if the attempt failed."""
    result = outcome(wire)
    if result.failure:
        return None
    choices, _, _ = result.answer
    return {
        index: (
            text,
            thinking,
            [(call.get("function", {}).get("name"), call.get("function", {}).get("arguments")) for call in calls],
            "".join(refusals),
        )
        for index, (text, thinking, calls, _, refusals) in choices.items()
    }


def changes(body: bytes, place: int) -> Iterator[bytes]:
    """A byte lost, doubled, or exchanged for another."""
    before, byte, after = body[:place], body[place : place + 1], body[place + 1 :]
    yield before + after
    yield before + byte + byte + after
    for bit in (0x01, 0x04, 0x20, 0x80):
        yield before + bytes([byte[0] ^ bit]) + after
    for other in (b"\0", b"x", b":", b'"', b"\n", b" "):
        yield before + other + after


def outside(body: bytes) -> list[int]:
    """The places of bytes that are not the answer itself."""
    inside = {
        place for found in SAID.finditer(body) for place in range(found.start() + found[0].index(b":") + 1, found.end())
    }
    return [place for place in range(len(body)) if place not in inside]


def check_change(wire: WireFile, body: bytes, intact: Any) -> None:
    found = said(replace(wire, body=body))
    assert found is None or found == intact, body


@pytest.mark.slow
@pytest.mark.parametrize("name", WIRES)
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_a_changed_byte(name: str, data: st.DataObject) -> None:
    """Lost, doubled, another, or swapped with the next, anywhere but in the answer itself."""
    wire = WIRES[name]
    places = outside(wire.body)
    place = data.draw(st.sampled_from(places))
    intact = said(wire)
    for body in changes(wire.body, place):
        check_change(wire, body, intact)
    if place + 1 in places:
        pair = wire.body[place : place + 2]
        check_change(wire, wire.body[:place] + pair[::-1] + wire.body[place + 2 :], intact)


@pytest.mark.parametrize("key", [b"utput", b"ooutput", b"Output", b"nutput"])
def test_a_damaged_output_beside_items_that_tell_a_part(key: bytes) -> None:
    """Ollama sends no item for the text before a call: the items alone must not become the answer."""
    wire = WIRES["ollama-v1-responses-stream"]
    before, after = wire.body.rsplit(b'"output":', 1)
    check_change(wire, before + b'"' + key + b'":' + after, said(wire))


def test_an_empty_output_beside_items_that_tell_a_part() -> None:
    """What was streamed and is in no item stays."""
    wire = WIRES["ollama-v1-responses-stream"]
    before, after = wire.body.rsplit(b'"output":', 1)
    body = before + b'"output":[]' + after[after.index(b',"status":"completed","usage"') :]
    assert said(replace(wire, body=body)) == said(wire)


@pytest.mark.parametrize("key", ["choicse", "messgae", "cnotent", "detla", "txet", "finish_raeson"])
def test_swapped_letters_are_near(key: str) -> None:
    """Two bytes that changed places are a damaged key as one that is another."""
    known = ("choices", "message", "content", "delta", "text", "finish_reason")
    assert near(key, known) in known
    assert near(key + "zz", known) is None


@pytest.mark.parametrize("name", STREAMS)
def test_a_changed_record(name: str) -> None:
    """Cut, of zeros, glued to the next, a web page, words, another object: in the place of each record in turn."""
    wire = WIRES[name]
    intact = said(wire)
    lines = wire.body.split(b"\n")
    records = [place for place, line in enumerate(lines) if b"{" in line]
    for place in records[: min(12, len(records))]:
        line = lines[place]
        prefix = line[: line.index(b"{")]
        for other in (
            *(line[: len(line) // 2], line[:-1], line[len(line) // 2 :], bytes(len(line)), prefix + bytes(len(line))),
            *(b"<html><p>502 Bad Gateway</p></html>", prefix + b"<html>", prefix + b"[ERROR] no", prefix + b"no"),
            *(
                line + line,
                line + prefix.strip() + line,
                prefix + b'{"detail":"no"}',
                prefix + b'{"error":{"code":500}}',
            ),
            *(prefix + b"{'error': 'no'}", prefix + b'"no"', prefix + b'{"object":"error","message":"no"}'),
        ):
            body = b"\n".join([*lines[:place], other, *lines[place + 1 :]])
            found = said(replace(wire, body=body))
            assert found is None or (found == intact and (wire.path == "/v1/responses" or other == line + line)), other


RECORDS = {
    path: [
        orjson.loads(line[line.index(b"{") :])
        for wire in WIRES.values()
        if wire.path == path and wire.name in STREAMS
        for line in wire.body.split(b"\n")
        if b"{" in line
    ][:200]
    for path in SKIMS
}
VALUE_TEXTS = (
    *("null", '""', '"x"', "0", "1", "-1", "true", "false", "0.0", "1.5", "[]", "{}", "[{}]", '"error"'),
    *('{"message": "no"}', '[{"index": 0}]', '{"content": "y"}'),
)
VALUES = st.sampled_from(VALUE_TEXTS).map(orjson.loads)
KEY_NAMES = (
    *(
        "choices",
        "delta",
        "message",
        "content",
        "text",
        "index",
        "finish_reason",
        "error",
        "type",
        "object",
        "code",
    ),
    *("done", "done_reason", "response", "thinking", "usage", "logprobs", "tool_calls", "base_resp", "error_code"),
    *("role", "reasoning", "reasoning_content", "refusal", "function_call", "created_at", "model", "x"),
)
KEYS = st.sampled_from(KEY_NAMES)


@st.composite
def mutated(draw: st.DrawFn, record: Any) -> Any:
    """A real record with a few of its values, at any depth, exchanged, taken away or added."""
    record = orjson.loads(orjson.dumps(record))
    for _ in range(draw(st.integers(0, 3))):
        inner = draw(st.sampled_from(list(containers(record))))
        if isinstance(inner, list):
            inner.append(draw(VALUES))
        elif draw(st.booleans()):
            inner[draw(st.sampled_from(sorted(inner)) | KEYS if inner else KEYS)] = draw(VALUES)
        elif inner:
            del inner[draw(st.sampled_from(sorted(inner)))]
    return record


def containers(value: Any) -> Iterator[Any]:
    """The objects and lists in a record, itself the first."""
    if isinstance(value, dict | list):
        yield value
        for inner in value.values() if isinstance(value, dict) else value:
            yield from containers(inner)


@pytest.mark.slow
@pytest.mark.parametrize("path", SKIMS)
@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_the_short_way_takes_what_the_long_way_takes(path: str, data: st.DataObject) -> None:
    """For any record: if `skim` takes it, the long way refuses nothing in it, and adds the same to the answer."""
    check_skim(path, data.draw(st.sampled_from(RECORDS[path]).flatmap(mutated)))


@pytest.mark.parametrize("path", SKIMS)
def test_the_short_way_with_one_change(path: str) -> None:
    """Each key with each value, in each place of a record that the short way takes."""
    usual = next(record for record in RECORDS[path] if check_skim(path, record))
    for place in range(len(list(containers(usual)))):
        for key in KEY_NAMES:
            for value in VALUE_TEXTS:
                record = orjson.loads(orjson.dumps(usual))
                inner = list(containers(record))[place]
                if isinstance(inner, dict):
                    inner[key] = orjson.loads(value)
                    check_skim(path, record)


def check_skim(path: str, record: Any) -> bool:
    """Whether the short way takes a record; if it does, the long way takes it too, and adds the same."""
    opened = [Completion(choices={0: Choice(texts=["a"], thoughts=["b"])}, head={"id": "1"}) for _ in range(2)]
    short, long = opened
    left = SKIMS[path](iter([record]), short)
    if left is record:
        assert short == opened[1], "it was looked at, and left as it is"
        return False
    assert error_in(record) is None
    try:
        assert DIALECTS[path].decode(record, long), "it brings content"
    except AttemptError as error:
        pytest.fail(f"the long way refuses it: {error}")
    assert short.choices == long.choices
    assert (short.proof, short.flags, short.usage, short.server) == (long.proof, long.flags, long.usage, long.server)
    return True


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("chat-stream", b'"delta":{"content"', b'"dexx":{"content"'),
        ("chat-stream", b'"finish_reason":"', b'"fixxsh_reason":"'),
        ("chat-stream-n2", b'"index":1,"delta":{"content":" of"', b'"dex":1,"delta":{"content":" of"'),
        ("completions-stream", b'"text":"', b'"xt":"'),
        ("mistral-chat-stream-parts", b'"type":"text","text"', b'"type":"text","tetext"'),
        ("openai-responses-whole", b'"type":"reasoning"', b'"pe":"reasoning"'),
        ("openai-responses-whole", b'"type":"summary_text","text"', b'"type":"summary_text","xt"'),
        ("openai-responses-whole-refusal", b'"type":"refusal"', b'"tytype":"refusal"'),
        ("ollama-chat-tools-early-whole", b'"function":', b'"fuxxtion":'),
        ("ollama-chat-thinking-whole", b'"thinking":', b'"thiking":'),
        ("tools-whole", b'"arguments":', b'"argumes":'),
    ],
)
def test_two_letters_of_a_key(name: str, old: bytes, new: bytes) -> None:
    """Each key that an answer hangs on, with two bytes side by side that are lost, doubled or others."""
    wire = WIRES[name]
    assert old in wire.body
    check_change(wire, wire.body.replace(old, new, 1), said(wire))


@pytest.mark.parametrize("cut", [b':"delta"}', b': {"a', b":false}", b':1,"x":2}'])
def test_what_is_left_of_a_record_is_no_comment(cut: bytes) -> None:
    """A record that lost its beginning up to a colon looks like a comment of an event stream."""
    wire = WIRES["chat-stream"]
    lines = wire.body.split(b"\n")
    place = next(place for place, line in enumerate(lines) if b"content" in line and place > 3)
    check_change(wire, b"\n".join([*lines[:place], cut, *lines[place + 1 :]]), said(wire))
