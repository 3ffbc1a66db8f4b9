"""A text that would fill the memory once it is read is refused before; answers are not."""

from __future__ import annotations

import sys
from typing import Any

import orjson
import pytest

from batcher.failures import AttemptError
from batcher.model import Call, Job, Kind
from batcher.wire.dialects import DIALECTS
from batcher.wire.dialects.reading import Reading
from batcher.wire.dialects.weight import HEAVY, LONG, MOST, WEIGHTS, weigh

SMALL: dict[str, bytes] = {
    "lists": b"[],",
    "objects": b"{},",
    "objects with a key": b'{"a":[]},',
    "fractions": b"1.5,",
    "integers": b"9999,",
    "words": b'"ab",',
    "words of others": '"ж",'.encode(),
}
"""What takes many times its bytes when it is read."""


def size(value: Any) -> int:
    """Bytes that a value takes in memory."""
    inner = [*value.values(), *value] if isinstance(value, dict) else value
    if not isinstance(inner, list):
        return sys.getsizeof(value)
    return sys.getsizeof(value) + sum(map(size, inner))


@pytest.mark.parametrize("name", SMALL)
def test_the_weights_are_no_less_than_what_it_takes(name: str) -> None:
    """For each of what grows most."""
    data = b"[" + (SMALL[name] * 1000)[:-1] + b"]"
    told = len(data) + sum(data.count(mark) * each for mark, each in WEIGHTS)
    assert size(orjson.loads(data)) <= told


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("name", ["lists", "objects"])
def test_what_would_grow_is_refused_unread(name: str, *, streamed: bool) -> None:
    """Whole or as a record."""
    data = b'{"choices":[' + SMALL[name] * (MOST // 100) + b"0]}"
    call = Call((Job(id="a", seq=0, kind=Kind.CHAT),), "/v1/chat/completions", b"", streamed, "m")
    reading = Reading(call, DIALECTS[call.path], "text/event-stream" if streamed else "application/json")
    last, end = (b"\n\n", reading.feed) if streamed else (b"", lambda _: reading.close())
    reading.feed(b"data: " + data[:100] if streamed else data)
    if streamed:
        reading.feed(data[100:])
    with pytest.raises(AttemptError, match="would take"):
        end(last)


@pytest.mark.parametrize(
    "data",
    [b"[" * HEAVY, b'"' + b"a, b: [c] {d}" * (HEAVY // 4) + b'"', b"-0.0123456," * (10 * HEAVY // 11)],
    ids=["short enough", "text", "vectors"],
)
def test_answers_are_light(data: bytes) -> None:
    """Prose with commas, and ten MiB of numbers."""
    weigh(data)


def test_long_records_of_a_stream_are_counted() -> None:
    """What an event of many fields leaves behind is not told by its text; usual records cost nothing."""
    call = Call((Job(id="a", seq=0, kind=Kind.CHAT),), "/v1/responses", b"", stream=True, model="m")
    reading = Reading(call, DIALECTS[call.path], "text/event-stream")
    for size in (10, LONG, 2 * LONG):
        reading.feed(b'data: {"type":"response.output_item.done","item":"%b"}\n\n' % (b"x" * size))
    assert 3 * LONG < reading.kept < 3 * LONG + 200
