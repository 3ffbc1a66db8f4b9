"""Who reads what others wrote, each held to what it promises: an answer or its own error, and lines that are read back.

A reader takes a case and returns; what it raises is a finding. `feeds` is the same for answers, piece by piece.
"""

from __future__ import annotations

import json
import tempfile
from contextlib import suppress
from functools import partial
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, cast

from batcher import codec
from batcher.exchange import answers
from batcher.exchange.packing import calls, results_of
from batcher.failures import AttemptError, BatcherError, LineError
from batcher.inputs.compression import MAGIC, Unpacked
from batcher.inputs.done import DoneIds
from batcher.inputs.formats import FORMATS, LINE_LIMIT, parse_job
from batcher.inputs.formats.defaults import Defaults
from batcher.inputs.formats.jsonl import refused
from batcher.inputs.formats.lines import Line
from batcher.inputs.formats.reading import Reading as InputReading
from batcher.inputs.identity import Ids
from batcher.ledger import state
from batcher.ledger.errors import ErrorsFile
from batcher.ledger.lines import error_line, result_line
from batcher.ledger.recovery import identify, is_result, parse, scan
from batcher.model import Api, Call, Endpoint, Job, Kind
from batcher.outcome import Attempt, Timing
from batcher.wire import hints
from batcher.wire.dialects import DIALECTS
from batcher.wire.dialects.reading import Reading
from batcher.wire.framing import EventStream, Lines
from batcher.wire.inflate import inflater
from batcher.wire.rules import classify

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fuzz.case import Case

PIECE: Final = 64 * 1024
"""Bytes that come from a socket at a time, at the most."""
HASH: Final = "0123456789abcdef"


class BrokenPromiseError(AssertionError):
    """A promise that was not kept."""


def hold(promise: object, words: str) -> None:
    """Raise BrokenPromiseError unless it is kept."""
    if not promise:
        raise BrokenPromiseError(words)


def cuts(case: Case) -> list[int]:
    """Where a case is cut into chunks: told by its own bytes, so that a finding is one again."""
    step = 1 + sum(case.data[:8]) % 97
    return list(range(0, len(case.data), step if len(case.data) < PIECE else PIECE))


def chunks(case: Case) -> Iterator[bytes]:
    """Its bytes, piece by piece."""
    places = [*cuts(case), len(case.data)]
    for begin, end in pairwise(places):
        yield case.data[begin:end]


def framing(case: Case) -> None:
    """However it is cut, the same records come of it."""
    for make in (Lines, EventStream):
        whole, cut = make(1 << 20), make(1 << 20)
        at_once: list[object] = [*whole.feed(case.data), *whole.close()]
        pieces: list[object] = [record for piece in chunks(case) for record in cut.feed(piece)]
        pieces += cut.close()
        hold(at_once == pieces, f"{make.__name__}: other records when it is cut")


def call_for(case: Case) -> Call:
    """Who asked for the answer of a case."""
    kind = Kind.EMBED if "embed" in case.path else Kind.CHAT
    job = Job(id="a", seq=0, kind=kind, content="x", model="m", hash=HASH, params={"format": "json"})
    return Call((job,), case.path, b"", case.streamed, "m")


def feeds(case: Case, lines: list[bytes]) -> Iterator[Callable[[], object]]:
    """What the event loop does for an answer, step by step: each holds it until it is done. Lines go to `lines`."""
    call, attempt = call_for(case), Attempt(Timing())
    reading = Reading(call, DIALECTS[case.path], case.type)
    alive = True

    def take(piece: bytes) -> None:
        nonlocal alive
        try:
            reading.feed(piece)
        except AttemptError as error:
            attempt.failure, alive = error.failure, False

    def close() -> None:
        attempt.completion = reading.completion
        if attempt.failure is None:
            try:
                attempt.completion = reading.close()
                attempt.completion.parsed = answers.judge(call.jobs[0], attempt.completion)
            except AttemptError as error:
                attempt.failure = error.failure

    for piece in chunks(case):
        yield partial(take, piece)
        if not alive:
            break
    yield close
    yield partial(_write, call, attempt, lines)


def _write(call: Call, attempt: Attempt, lines: list[bytes]) -> None:
    """Write what becomes of a call."""
    for result in results_of(call, Endpoint(root="http://127.0.0.1:1", api=Api.OPENAI), attempt, raw=True):
        result.hash = HASH
        lines.append(error_line(result) if result.failure is not None else result_line(result))


def read_back(line: bytes, name: str) -> None:
    """A line is one line, and any reader of JSON reads it."""
    hold(line.endswith(b"}\n") and line.count(b"\n") == 1, "a line that is none")
    hold(json.loads(line, parse_int=str)["id"] == codec.loads(line)["id"] == name, "a line with another id")


def reading(case: Case) -> None:
    """An answer, whole or streamed, is read or fails; what is written of it is read back."""
    lines: list[bytes] = []
    for step in feeds(case, lines):
        step()
    for line in lines:
        read_back(line, "a")
        if b'"hash":' in line[:64]:
            found = scan(BytesIO(line), len(line), DoneIds())
            hold((found.results, found.damage, found.unended) == (1, [], 0), "the scan does not know its own line")
            hold(parse(line) == ("a", HASH), "a line of results without its id and hash")


def refusals(case: Case) -> None:
    """A body of any status has a class, and its hints are numbers that can be slept."""
    for status in (400, 403, 404, 429, 500, 503):
        failure = classify(status, case.data, case.path or "/v1/chat/completions")
        hold(type(failure.message) is str and len(failure.message) < 10_000, "a failure with no bound")
    text = case.data[:2000].decode("latin-1")
    headers = {"retry-after": text, "x-ratelimit-reset-requests": text, "x-ratelimit-remaining-requests": "0"}
    for found in (hints.read({}, case.data), hints.read(headers, b"", 1e9)):
        wait = found.retry_after
        hold(wait is None or 0 <= wait < 1e9, f"a wait of {wait}")


def inflated(case: Case) -> None:
    """A compressed answer, or what is none."""
    for encoding in ("gzip", "deflate", "br", "gzip, gzip"):
        made = inflater(encoding)
        assert made is not None
        with suppress(AttemptError):
            for piece in chunks(case):
                made.feed(piece)


def jobs(case: Case) -> None:
    """A line is a job, or an error line; a job can be asked, or is refused with a reason."""
    defaults, ids = Defaults(model="m"), Ids()
    for seq, data in enumerate(case.data.split(b"\n")):
        try:
            job = parse_job(data, seq, defaults, ids)
        except LineError as error:
            result = refused(error, Line(seq, 0, data))
            read_back(error_line(result), result.id)
            continue
        hold(len(job.id) <= LINE_LIMIT, "an id with no bound")
        for api in Api:
            refusals_: list[LineError] = []
            for call in calls([job], api, lambda _job, error, found=refusals_: found.append(error), stream=True):  # type: ignore[misc]  # mypy does not infer the default
                assert call is not None
                codec.loads(call.body)


def results(case: Case) -> None:
    """A results file of anything is scanned to its end, and both ways of knowing a line agree."""
    found = scan(BytesIO(case.data), len(case.data), DoneIds())
    hold(found.results <= case.data.count(b"\n") + 1, "more results than lines")
    is_result(case.data)
    for line in case.data.splitlines(keepends=True):
        short, long = identify(line), parse(line)
        once = line.count(b'"id":') == line.count(b'"hash":') == 1  # of two with one name, either may be meant
        if once and long is not None and short is not None:
            told = tuple(part.decode() if isinstance(part, bytes) else part for part in short)
            hold(told == long, f"{told} by its marks, {long} by its JSON")


def errors(case: Case) -> None:
    """An errors file of anything is taken up or refused."""
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "errors.jsonl"
        path.write_bytes(case.data)
        with suppress(BatcherError), ErrorsFile(path) as made:
            made.standing()
            made.finish(lambda _name: False)
        foreign = [line for line in case.data.split(b"\n") if line.strip() and line[:1] not in b"\0{"]
        hold(len(foreign) < 2 or path.read_bytes().startswith(case.data.rstrip(b"\n")), "lines are gone")


def states(case: Case) -> None:
    """A state file of anything is a state or a note; a state can be written again."""
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "state.json"
        path.write_bytes(case.data)
        found, note = state.read(path)
        hold((found is None) != (note is None), "neither a state nor a note")
        if found is not None:
            found.seal_for({})
            hold(state.write(path, found) is None, "a state that cannot be written again")


def rows(case: Case, name: str) -> None:
    """An input of any format gives rows, refuses some, or is refused; each row is a job or an error line."""
    form, defaults = FORMATS[name], Defaults(model="m")
    with suppress(BatcherError):
        for line in form.read(cast("BinaryIO", BytesIO(case.data)), InputReading(), 0):
            if line.data is None:
                continue
            try:
                parse_job(line.data, line.seq, defaults)
            except LineError as error:
                result = refused(error, line)
                read_back(error_line(result), result.id)


def packed(case: Case) -> None:
    """A packed file is unpacked or refused, within bounds."""
    for kind in MAGIC.values():
        with suppress(BatcherError):
            unpacked = Unpacked(cast("BinaryIO", BytesIO(case.data)), kind)
            while unpacked.read(PIECE):
                pass


READERS: Final[dict[str, Callable[[Case], None]]] = {
    "framing": framing,
    "reading": reading,
    "refusals": refusals,
    "inflated": inflated,
    "jobs": jobs,
    "results": results,
    "errors": errors,
    "states": states,
    "json": partial(rows, name="json"),
    "csv": partial(rows, name="csv"),
    "text": partial(rows, name="text"),
    "packed": packed,
}
