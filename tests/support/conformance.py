"""What every recorded answer must survive: however it is cut it means the same, and a part never passes for the whole.

`outcome` reads an answer as a run would; the `check_*` functions cut it up. Use them on each file of tests/recordings/.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from batcher.failures import AttemptError
from batcher.model import ENDPOINTS, Api, Call, Job
from batcher.wire.dialects import DIALECTS, call_for
from batcher.wire.dialects.reading import Reading
from batcher.wire.rules import classify

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from support.wirefiles import WireFile

    from batcher.outcome import Completion

EVERY = 8192
"""Bodies up to so many bytes are cut at every byte; longer ones at every newline, and at as many bytes in between."""


@dataclass(frozen=True)
class Outcome:
    """How an answer ended: `failure` is a code, or "" for success; `answer` is the content, `envelope` all the rest."""

    failure: str
    answer: Any
    envelope: Any


def call_of(wire: WireFile) -> Call:
    """The call that got this answer."""
    api = Api.NATIVE if wire.path.startswith("/api/") else Api.OPENAI
    job = Job(id="wire", seq=0, kind=ENDPOINTS[wire.path], path=wire.path, body=wire.request)
    return call_for((job,), api, stream=api is Api.NATIVE)


def read(wire: WireFile, chunks: Iterable[bytes] | None = None) -> Completion:
    """The completion of an answer that arrives in these chunks. Raises AttemptError."""
    reading = _reading(wire)
    for chunk in [wire.body] if chunks is None else chunks:
        reading.feed(chunk)
    return reading.close()


def outcome(wire: WireFile, chunks: Iterable[bytes] | None = None) -> Outcome:
    """What a run would see of an answer that arrives in these chunks."""
    chunks = [wire.body] if chunks is None else chunks
    if wire.status != 200:
        return Outcome(classify(wire.status, b"".join(chunks), wire.path).code, None, None)
    reading = _reading(wire)
    failure = ""
    try:
        for chunk in chunks:
            reading.feed(chunk)
        reading.close()
    except AttemptError as error:
        failure = error.failure.code
    completion = reading.completion
    return Outcome(failure, _answer(completion), _envelope(completion, wire.path, rebuilt=not failure))


def check_every_cut(wire: WireFile) -> None:
    """Cut in two at every byte, the answer means the same."""
    expected = outcome(wire)
    for place in _places(wire.body):
        assert outcome(wire, [wire.body[:place], wire.body[place:]]) == expected, f"cut at byte {place}"


def check_byte_by_byte(wire: WireFile) -> None:
    """Fed one byte at a time, the answer means the same."""
    assert outcome(wire, [bytes([byte]) for byte in wire.body]) == outcome(wire)


def check_chunking(wire: WireFile, chunks: list[bytes]) -> None:
    """Fed in these chunks, the answer means the same."""
    assert outcome(wire, chunks) == outcome(wire)


def check_every_truncation(wire: WireFile) -> None:
    """Ended at any byte, the answer fails or is all there; the part of a failed answer is never a success."""
    expected = outcome(wire)
    for place in _places(wire.body):
        if place == len(wire.body):
            continue
        short = outcome(wire, [wire.body[:place]])
        assert short.failure or not expected.failure, f"ended at byte {place}, a failure became a success"
        assert short.failure or short.answer == expected.answer, f"ended at byte {place}, a part passed for the whole"


@st.composite
def chunkings(draw: st.DrawFn, body: bytes) -> list[bytes]:
    """Ways to cut `body` into chunks, none of them empty."""
    if len(body) < 2:
        return [body]
    cuts = sorted(draw(st.sets(st.integers(1, len(body) - 1), max_size=40)))
    return [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)]


def _reading(wire: WireFile) -> Reading:
    return Reading(call_of(wire), DIALECTS[wire.path], wire.content_type)


def _places(body: bytes) -> Iterator[int]:
    """Where to cut: at every byte of a short body, around every newline and at a stride in a long one."""
    if len(body) <= EVERY:
        yield from range(1, len(body) + 1)
        return
    stride = len(body) // 400
    for place in range(1, len(body) + 1):
        if place < 16 or place % stride == 0 or b"\n" in body[place - 2 : place + 1] or place > len(body) - 64:
            yield place


def _answer(completion: Completion) -> Any:
    choices = {
        index: (choice.text, choice.thinking, choice.tool_calls, choice.finish_reason, choice.refusals)
        for index, choice in completion.choices.items()
    }
    return choices, completion.vectors, completion.images


def _envelope(completion: Completion, path: str, *, rebuilt: bool) -> Any:
    logprobs = [choice.logprobs for choice in completion.choices.values()]
    whole = DIALECTS[path].rebuild(completion) if rebuilt else None
    return (
        completion.usage,
        completion.server,
        completion.served_model,
        completion.proof,
        completion.flags,
        logprobs,
        whole,
    )
