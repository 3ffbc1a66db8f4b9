"""How an answer goes over the wire, faults and all: a row of steps for the connection to play. Pure."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from enum import Enum, auto

import orjson

from batcher.simulator.asks import EMBEDDING, Answer, Ask, Durations, Event
from batcher.simulator.behaviours import STOPPING
from batcher.simulator.openai import DONE
from batcher.simulator.refusals import RUNNER_BROKE, Refusal, RefusedError, error_body, refuse

BLOCK = b"a" * 65_536
BLOCKS = 1024
BOM = b"\xef\xbb\xbf"
_PREFIXES = (
    ("comments", b": SIMULATOR PROCESSING\n\n"),
    ("wrapped_comments", b"data: : SIMULATOR PROCESSING\n\n"),
    ("empty_data", b"data\n\n"),
)
_BROKEN = frozenset(("error_line", "error_event", "error_field", "empty_delta"))


class Step(Enum):
    """What to do next. Only the first two carry bytes to send at once."""

    RECORD = auto()  # content: paced by the token delay
    MARK = auto()  # from the terminal mark on, or an error: sent at once
    END = auto()  # end the body as HTTP wants it
    CUT = auto()  # FIN without the body's end
    RESET = auto()  # RST
    STALL = auto()  # silence until the client closes
    PING = auto()  # the bytes, again and again, until the client closes


Steps = Iterator[tuple[Step, bytes]]
Measure = Callable[[], Durations]
Frame = Callable[[Event], bytes]


def stream(answer: Answer, ask: Ask, measure: Measure) -> Steps:
    """The steps of a streamed answer; its ending is made when it is due, so that it can tell what it took."""
    faults = ask.faults
    frame = _framing(ask)
    if not faults:
        for event in answer.records():
            yield Step.RECORD, frame(event)
        for event in answer.ending(measure()):
            yield Step.MARK, frame(event)
        yield Step.END, b""
        return
    steps = _faulty(answer, ask, measure, frame)
    if "bom" in faults:
        steps = _with_bom(steps)
    if "no_last_newline" in faults:
        steps = _without_last_newline(steps)
    if "buffered" in faults:
        steps = _buffered(steps)
    yield from _gzipped(steps) if "gzip" in faults else steps


def whole(answer: Answer, ask: Ask, measure: Measure) -> tuple[int, Steps]:
    """The length that is promised for a whole answer, and its steps. Raises `RefusedError` for a lost answer."""
    faults = ask.faults
    if not faults:
        body = answer.whole(measure())
        return len(body), iter(((Step.MARK, body), (Step.END, b"")))
    if not faults.isdisjoint(_BROKEN):
        raise RefusedError(refuse(Refusal(500, RUNNER_BROKE), native=ask.native, message=ask.behaviour.message))
    if "endless_line" in faults:
        return len(BLOCK) * BLOCKS, _endless()
    body = answer.whole(measure())
    if "truncate" in faults and ask.path in EMBEDDING:
        body = body[: len(body) // 2]
    if "bad_utf8" in faults:
        body = _spoilt(body)
    if "bom" in faults:
        body = BOM + body
    if "gzip" in faults:
        body = _gzip(body)
    ends = {"cut": Step.CUT, "reset": Step.RESET, "stall": Step.STALL, "pings": Step.STALL}
    end = next((ends[fault] for fault in ends if fault in faults), Step.END)
    sent = body if end is Step.END else body[: len(body) // 2]
    return len(body), iter(((Step.MARK, sent), (end, b"")))


def last_words(answer: Answer, ask: Ask) -> bytes:
    """How a stream that has begun ends when the runner dies under it: Ollama's /v1 loses the error."""
    frame = _framing(ask)
    lossy = ask.look == "native" and not ask.native
    return b"".join(_last_words("empty_delta" if lossy else "error_line", ask, answer, frame))


def bomb() -> Steps:
    """256 MiB of spaces in 0.3 MB of gzip: one block, flushed so that it can be repeated as it is."""
    packer = zlib.compressobj(wbits=31)
    spaces = b" " * (1 << 20)
    yield Step.MARK, packer.compress(spaces) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(spaces) + packer.flush(zlib.Z_FULL_FLUSH)
    for _ in range(255):
        yield Step.MARK, block
    yield Step.END, b""


def _faulty(answer: Answer, ask: Ask, measure: Measure, frame: Frame) -> Steps:
    faults, after = ask.faults, ask.behaviour.after
    records = answer.records()
    if "bad_utf8" in faults:
        records = [(name, _spoilt(data)) for name, data in records]
    stop = next((fault for fault in sorted(faults & STOPPING)), "")
    if stop:
        records = records[:after]
    for number, event in enumerate(records):
        if "oops" in faults and number == (1 if after is None else after):
            yield Step.RECORD, frame(("", b"oops"))
        yield Step.RECORD, frame(event)
    if stop:
        yield from _stopped(stop, ask, answer, frame)
        return
    ending = answer.ending(measure())
    for event in ending:
        yield Step.MARK, frame(event)
    if "extra_after_done" in faults:
        yield Step.MARK, frame(records[-1] if records else ending[0])
        yield Step.MARK, frame(ending[-1])
    yield (Step.STALL if "keep_open" in faults else Step.END), b""


def _spoilt(data: bytes) -> bytes:
    return data.replace(b'"id:', b'"\xffid:', 1)


def _stopped(stop: str, ask: Ask, answer: Answer, frame: Frame) -> Steps:
    """The end of a stream that does not come to its end."""
    if stop == "endless_line":
        yield from _endless(b"" if ask.native else b"data: ")
        return
    if stop in _BROKEN:
        for data in _last_words(stop, ask, answer, frame):
            yield Step.MARK, data
    ping = b"\n" if ask.native else b": ping\n\n"
    ends = {"cut": Step.CUT, "reset": Step.RESET, "stall": Step.STALL, "pings": Step.PING}
    yield ends.get(stop, Step.END), ping


def _last_words(stop: str, ask: Ask, answer: Answer, frame: Frame) -> list[bytes]:
    error = error_body(Refusal(500, RUNNER_BROKE), native=ask.native, message=ask.behaviour.message)
    if stop == "empty_delta":
        return _empty_delta(ask, answer, frame)
    if ask.native:
        return [frame(("", error))]
    if stop == "error_event":
        return [frame(("error", error))]
    if stop == "error_field":
        words = ask.behaviour.message or RUNNER_BROKE
        return [b"error: " + orjson.dumps({"code": 500, "message": words, "type": "server_error"}) + b"\n\n"]
    return [frame(("", error)), frame(DONE)]


def _empty_delta(ask: Ask, answer: Answer, frame: Frame) -> list[bytes]:
    """What Ollama's /v1 makes of an error in a stream: a chunk with nothing in it; on /v1/responses not even that."""
    if ask.path not in ("/v1/chat/completions", "/v1/completions"):
        return []
    blank = replace(ask, model="", words=[""], thoughts=[], calls=0, choices=1)
    [(_, data)] = type(answer)(blank).records()  # type: ignore[call-arg]  # these two are made from an Ask alone
    return [frame(("", data.replace(b'"role":"assistant",', b"")))]


def _endless(opening: bytes = b"") -> Steps:
    yield Step.MARK, opening + BLOCK[len(opening) :]
    for _ in range(BLOCKS - 1):
        yield Step.MARK, BLOCK
    yield Step.END, b""


def _framing(ask: Ask) -> Frame:
    """How an event becomes bytes, with the faults that change nothing but those."""
    faults = ask.faults
    plain = _ndjson if ask.native else _sse
    if not faults:
        return plain

    def frame(event: Event) -> bytes:
        if ask.native:
            framed = _ndjson(event)
        elif "multiline" in faults and event[1].startswith(b"{"):
            framed = _multiline(event)
        else:
            framed = _sse(event)
        for fault, line in _PREFIXES:
            if fault in faults:
                framed = (b"\n" if ask.native else line) + framed
        if "nospace" in faults:
            framed = framed.replace(b"data: ", b"data:").replace(b"event: ", b"event:")
        if "cr" in faults and not ask.native:
            return framed.replace(b"\n", b"\r")
        return framed.replace(b"\n", b"\r\n") if "crlf" in faults else framed

    return frame


def _ndjson(event: Event) -> bytes:
    return event[1] + b"\n"


def _sse(event: Event) -> bytes:
    name, data = event
    if name:
        return b"event: %b\ndata: %b\n\n" % (name.encode(), data)
    return b"data: %b\n\n" % data


def _multiline(event: Event) -> bytes:
    name, data = event
    lines = orjson.dumps(orjson.loads(data), option=orjson.OPT_INDENT_2).split(b"\n")
    head = b"event: %b\n" % name.encode() if name else b""
    return head + b"".join(b"data: %b\n" % line for line in lines) + b"\n"


def _with_bom(steps: Steps) -> Steps:
    opening = BOM
    for step, data in steps:
        yield step, opening + data
        opening = b""


def _without_last_newline(steps: Steps) -> Steps:
    """Hold one step back, to know which record is the last."""
    held: tuple[Step, bytes] | None = None
    for step, data in steps:
        last = step not in (Step.RECORD, Step.MARK)
        if held is not None:
            yield (held[0], held[1].rstrip(b"\r\n")) if last else held
        held = (step, data)
    if held is not None:
        yield held


def _buffered(steps: Steps) -> Steps:
    held = b""
    for step, data in steps:
        if step in (Step.RECORD, Step.MARK):
            held += data
            continue
        if held:
            yield Step.MARK, held
        yield step, data


def _gzipped(steps: Steps) -> Steps:
    packer = zlib.compressobj(wbits=31)
    for step, data in steps:
        if step in (Step.RECORD, Step.MARK):
            yield step, packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH)
        else:
            if step is Step.END:
                yield Step.MARK, packer.flush()
            yield step, data


def _gzip(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=31)
    return packer.compress(body) + packer.flush()
