"""No record keeps the loop for long, whatever it holds: the work on it is counted in calls, not in time."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from batcher.failures import SHOWN, AttemptError, shown
from batcher.model import Call, Job, Kind
from batcher.wire.dialects import DIALECTS
from batcher.wire.dialects.endings import MOST
from batcher.wire.dialects.reading import Reading

if TYPE_CHECKING:
    from collections.abc import Callable

CALLS = 100_000
"""Calls of functions that one record may cost, at about 0.1 µs each."""
MANY = 60_000
"""Entries of each record here; an honest reading of all of them costs several times `CALLS`."""

CHAT, TEXT, RESPONSES, NATIVE = "/v1/chat/completions", "/v1/completions", "/v1/responses", "/api/chat"


def delta(**fields: Any) -> Any:
    """A record that brings one choice."""
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": None}]}


def message(**fields: Any) -> Any:
    """An answer in one piece."""
    return {"choices": [{"index": 0, "message": {"role": "assistant", **fields}, "finish_reason": "stop"}]}


def response(*output: Any) -> Any:
    """The last event of a response."""
    return {"type": "response.completed", "response": {"id": "r", "status": "completed", "output": output}}


def native(**fields: Any) -> Any:
    """A record of Ollama's."""
    return {
        "model": "m",
        "created_at": "2026-01-01T00:00:00Z",
        "message": {"role": "assistant", **fields},
        "done": True,
    }


def call(place: int) -> Any:
    """A tool call."""
    return {"index": place, "id": f"k{place}", "function": {"name": "f", "arguments": "{}"}}


def each(make: Callable[[int], Any]) -> list[Any]:
    """One after the other."""
    return [make(place) for place in range(MANY)]


PART = {"type": "text", "text": "x"}
WORD = {"type": "output_text", "text": "x"}
RECORDS: dict[str, tuple[str, Callable[[], Any]]] = {
    "choices": (
        CHAT,
        lambda: {"choices": each(lambda n: {"index": n, "delta": {"content": "x"}, "finish_reason": None})},
    ),
    "choices in one piece": (
        CHAT,
        lambda: {"choices": each(lambda n: {"index": n, "message": {"content": "x"}, "finish_reason": "stop"})},
    ),
    "choices of text": (TEXT, lambda: {"choices": each(lambda n: {"index": n, "text": "x", "finish_reason": None})}),
    "tool calls": (CHAT, lambda: delta(tool_calls=each(call))),
    "tool calls in one piece": (CHAT, lambda: message(content=None, tool_calls=each(call))),
    "tool calls of a few choices": (
        CHAT,
        lambda: {
            "choices": [
                {"index": n, "delta": {"tool_calls": [call(i) for i in range(MOST)]}, "finish_reason": None}
                for n in range(MANY // MOST)
            ]
        },
    ),
    "native tool calls": (NATIVE, lambda: native(content="", tool_calls=each(call))),
    "parts": (CHAT, lambda: delta(content=[PART] * MANY)),
    "parts in one piece": (CHAT, lambda: message(content=[PART] * MANY)),
    "thoughts": (CHAT, lambda: delta(reasoning_details=[{"type": "reasoning.text", "text": "x"}] * MANY)),
    "thoughts in a part": (CHAT, lambda: delta(content=[{"type": "thinking", "thinking": [PART] * MANY}])),
    "items": (RESPONSES, lambda: response(*[{"type": "message", "content": [WORD]}] * MANY)),
    "parts of an item": (RESPONSES, lambda: response({"type": "message", "content": [WORD] * MANY})),
    "paragraphs of an item": (RESPONSES, lambda: response({"type": "reasoning", "summary": [WORD] * MANY})),
    "misspelt keys": (CHAT, lambda: delta(**{f"contant{n}": 1 for n in range(MANY)})),
    "keys": (CHAT, lambda: {f"k{n}": 1 for n in range(MANY)}),
}


def cost(path: str, record: Any, *, streamed: bool) -> tuple[int, bool]:
    """Calls of functions, in Python and in C, that a record costs, and whether it was taken."""
    one = Call((Job(id="a", seq=0, kind=Kind.CHAT, params={"n": MANY}),), path, b"", streamed, "m")
    reading = Reading(one, DIALECTS[path], "text/event-stream" if streamed else "application/json")
    data = orjson.dumps(record)
    count = 0

    def counted(_frame: object, event: str, _what: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(counted)
    try:
        reading.feed(b"data: %b\n\n" % data if streamed else data)
        reading.close()
    except AttemptError:
        return count, False
    finally:
        sys.setprofile(None)
    return count, True


@pytest.mark.parametrize("name", RECORDS)
def test_what_one_record_costs_is_bounded(name: str) -> None:
    """However many entries it has."""
    path, record = RECORDS[name]
    is_whole = "in one piece" in name
    calls, taken = cost(path, record(), streamed=not is_whole and path != NATIVE)
    assert not taken
    assert calls < CALLS


def test_many_entries_are_taken() -> None:
    """More than any model writes at once, and at a cost within the bound."""
    few = [call(place) for place in range(MOST // 4)]
    for record, streamed in ((message(content="x", tool_calls=few), False), (message(content=[PART] * 4000), False)):
        calls, taken = cost(CHAT, record, streamed=streamed)
        assert taken
        assert calls < CALLS


def test_what_is_told_of_a_value_is_its_start() -> None:
    """A list of a million is not written out for a few words; nor are all keys sorted."""
    count = 0

    def counted(_frame: object, event: str, _what: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    values = [[[{"a": "b"}] * 1000] * 1000, {str(n): "x" * 1000 for n in range(MANY)}, "x" * 10**6]
    sys.setprofile(counted)
    try:
        told = [shown(value) for value in values]
    finally:
        sys.setprofile(None)
    assert max(map(len, told)) <= SHOWN
    assert count < 2000
