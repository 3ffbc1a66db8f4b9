"""Hostile answers that are too large to stand in a file, made when they are needed, each near a bound."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Final

import orjson
from fuzz.case import Case

if TYPE_CHECKING:
    from collections.abc import Iterator

CHAT: Final = "/v1/chat/completions"
MANY: Final = 60_000
EVENTS, JSON = "text/event-stream", "application/json"


def large() -> Iterator[Case]:
    """One after the other: together they take much memory."""
    yield from _streamed()
    yield from _whole()
    yield Case("inflated", gzip.compress(b"x" * (64 << 20)), name="a bomb")
    yield Case("refusals", b'{"error":{"message":"' + b"a, b: [c] {d} " * 70_000 + b'"}}', CHAT, name="a long refusal")
    yield Case("refusals", b'{"a":' * MANY, CHAT, name="a refusal of keys alone")
    yield Case("results", b'{"id":"' + b"\\u0000" * 200_000 + b"\n" + b'{"id":"a"\n' * MANY, name="torn lines")
    yield Case("jobs", b'{"prompt":"x","meta":[' + b"{}," * 300_000 + b"0]}", name="a line of values")
    yield Case("jobs", _object({f"promt{number}": 1 for number in range(MANY)}), name="a line of misspelt keys")


def _object(value: object) -> bytes:
    return orjson.dumps(value)


def _delta(**fields: object) -> bytes:
    return b"data: %b\n\n" % _object({"choices": [{"index": 0, "delta": fields, "finish_reason": None}]})


def _streamed() -> Iterator[Case]:
    calls = [{"index": place, "id": f"k{place}", "function": {"name": "f", "arguments": "{}"}} for place in range(MANY)]
    choices = [{"index": place, "delta": {"content": "x"}, "finish_reason": None} for place in range(MANY)]
    records = {
        "tool calls": _delta(tool_calls=calls),
        "choices": b"data: %b\n\n" % _object({"choices": choices}),
        "parts": _delta(content=[{"type": "text", "text": "x"}] * MANY),
        "misspelt keys": _delta(**{f"contant{place}": 1 for place in range(MANY)}),
        "commands of a terminal": _delta(content="\x9d" * (MANY * 20)),
        "text": _delta(content="word " * 400_000),
        "lists": b'data: {"choices":[' + b"[]," * 2_000_000 + b"0]}\n\n",
        "lines without an end": b"data: " + b"x" * (4 << 20),
        "pings": b": ping\n\n" * 500_000,
        "lines of nothing": b"\n" * (4 << 20),
        "fields": b"id: 1\nretry: 1\n" * 200_000,
        "words": b"x\n" * 500_000,
        "endings": b"\r" * (1 << 20),
    }
    for name, data in records.items():
        yield Case("reading", data, CHAT, streamed=True, type=EVENTS, name=name)
    native = b'{"model":"m","message":{"content":"x"},"done":false}\n' * MANY
    yield Case(
        "reading", native, "/api/chat", streamed=True, type="application/x-ndjson", name="records without an end"
    )


def _whole() -> Iterator[Case]:
    token = {"token": " x", "logprob": -0.25, "bytes": [32, 120], "top_logprobs": [{"token": "y", "logprob": -1.5}] * 5}
    choice = {"index": 0, "message": {"content": "x"}, "finish_reason": "stop", "logprobs": {"content": [token] * 5000}}
    yield Case("reading", _object({"choices": [choice]}), CHAT, type=JSON, name="log probabilities")
    page = b"<html>" + b"<p>a</p>" * 200_000
    yield Case("reading", page, CHAT, type="text/html", name="a page")
    vectors = [{"index": place, "embedding": [0.0123456789] * 4096} for place in range(24)]
    yield Case("reading", _object({"data": vectors}), "/v1/embeddings", type=JSON, name="vectors")
    digits = b'{"choices":[{"index":0,"message":{"content":"x"},"finish_reason":"stop","x":' + b"9" * 1_000_000 + b"}]}"
    yield Case("reading", digits, CHAT, type=JSON, name="a number of a million digits")
