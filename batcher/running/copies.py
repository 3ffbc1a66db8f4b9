"""Equal requests are asked once and answered to all: the first goes out, copies wait or take the answer that is there.

    asked      its answer is awaited; copies that come by wait for it, so many at most, and then the input waits
    answered   copies get a line of their own with that answer, read back from the results file by its place there
    failed     copies fail with it

A copy's line has its own id, `seq` and hash, `copy_of` in the place of what only a request has (usage, times).
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

import orjson

from batcher.inputs.done import id_hash
from batcher.ledger.fallback import dump_anything
from batcher.ledger.ledger import Ledger
from batcher.ledger.ordering import places
from batcher.model import Job, Kind, Result
from batcher.running.requests import Requests, key_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from batcher.failures import Failure
    from batcher.ledger.ledger import AnyLedger
    from batcher.model import Json
    from batcher.running.recorder import Recorder

WAITING: Final = 10_000
"""Copies that may wait for answers, 0.5 KB each and what a row brings as `meta`."""
READY: Final = 256
"""Copies that are written at a stretch."""
FAILURES: Final = 10_000
"""Failures that are remembered for later copies; those of others are asked again."""
_ASKED: Final = 0
_FAILED: Final = 1 << 63
"""A place from here on is the number of a failure; below it, an offset in the results file and 1."""
_NOT_COPIED: Final = ("id", "seq", "hash", "usage", "timing", "attempts", "pack", "meta", "copy_of")
"""What a line says of its own job, or of its request."""
_LONG_NUMBER: Final = re.compile(rb"[:,\[ ]-?\d{19,}")


class Copy(NamedTuple):
    """A job that is not asked: its answer is another's."""

    id: str
    seq: int
    hash: str
    meta: Json


@dataclass(slots=True)
class Copies:
    """One for a run. `kinds` are those of requests that are asked once; `repeat` as `Selection` has it.

    `due` is called when copies can be written, by `flush`; `wake` has whoever asks for jobs come back after it, and
    `idle` says whether nothing is on its way that copies could wait for.
    """

    ledger: Ledger | None
    """Where answers are read back; without one nothing is a copy."""
    kinds: frozenset[Kind]
    repeat: int = 1
    due: Callable[[], object] = bool
    wake: Callable[[], object] = bool
    idle: Callable[[], bool] = bool
    count: int = 0
    """Rows that have the answer of another."""
    _requests: Requests = field(default_factory=Requests)
    _leaders: dict[str, int] = field(default_factory=dict)
    """Which entry is asked for by the job of an id, until it ends."""
    _waiting: dict[int, list[Copy]] = field(default_factory=dict)
    _held: int = 0
    """Copies that wait for an answer."""
    _ready: deque[tuple[Copy, int]] = field(default_factory=deque)
    _failures: list[tuple[Failure, str]] = field(default_factory=list)
    _earlier: dict[int, int] = field(default_factory=dict)

    @classmethod
    def of(cls, ledger: AnyLedger, *, wanted: bool | None, repeat: int) -> Copies:
        """All requests if it is wanted, embeddings if nothing is said, and none without a results file."""
        file = ledger if isinstance(ledger, Ledger) and wanted is not False else None
        return cls(file, frozenset(Kind) if wanted else frozenset({Kind.EMBED}), repeat)

    def met(self, job: Job) -> None:
        """Note a job that an earlier run has answered; `find` then looks for the answers in the results file."""
        if self.ledger is not None and job.kind in self.kinds:
            number, is_new = self._requests.entry(self._key(job))
            if is_new:
                self._earlier[id_hash(job.id)] = number

    def find(self) -> None:
        """Look where the answers of the jobs stand that were met. Raises OSError."""
        if self.ledger is None:
            return
        if self._earlier:
            with self.ledger.opened() as file:
                for offset, ident, _ in places(file):
                    number = self._earlier.pop(id_hash(ident), 0)
                    if number:
                        self._requests.places[number] = offset + 1
            self._earlier.clear()
        self.ledger.placed = self._answered

    def distinct(self, jobs: Iterable[Job | None]) -> Iterator[Job | None]:
        """Pass on the first of equal requests; None too where copies have to be written before there may be more."""
        if self.ledger is None:
            yield from jobs
            return
        for job in jobs:
            if job is not None and job.kind in self.kinds and self._is_copy(job):
                while len(self._ready) >= READY or (self._held >= WAITING and not self.idle()):
                    self.due()
                    yield None
            else:
                yield job

    def failed(self, result: Result) -> list[Result]:
        """Note that a request failed for good; returns the failures of those that wait for it."""
        number = self._leaders.pop(result.id, 0)
        if not number or result.failure is None:
            return []
        if len(self._failures) < FAILURES:
            self._requests.places[number] = _FAILED + len(self._failures)
            self._failures.append((result.failure, result.id))
        followers = self._waiting.pop(number, [])
        self._held -= len(followers)
        self.due()  # there is room for others
        return [_failure(copy, result.failure, result) for copy in followers]

    async def flush(self, recorder: Recorder) -> None:
        """Write the copies whose answers are there. Raises as `Recorder.record` does."""
        while self._ready and self.ledger is not None:
            batch = [self._ready.popleft() for _ in range(min(READY, len(self._ready)))]
            lines, copied, failing = [], [], []
            for copy, place in batch:
                if place >= _FAILED:
                    failure, ident = self._failures[place - _FAILED]
                    failing.append(_failure(copy, failure, Result(id=ident, seq=copy.seq, failure=failure)))
                elif (line := copied_line(self.ledger.line_at(place - 1), copy)) is not None:
                    lines.append((copy.id, copy.hash, line))
                    copied.append(Result(id=copy.id, seq=copy.seq, hash=copy.hash, meta=copy.meta))
            await recorder.record_copies(lines, copied, failing)
            self.count += len(copied)
            self.wake()

    def _key(self, job: Job) -> bytes:
        return key_of(job, job.seq % self.repeat)

    def _is_copy(self, job: Job) -> bool:
        """Whether another job asks the same; it waits then, or is ready to be written."""
        number, is_new = self._requests.entry(self._key(job))
        place = self._requests.places[number]
        if is_new or (place == _ASKED and not self._is_asked(number)):
            self._leaders[job.id] = number
            self._waiting[number] = []
            return False
        copy = Copy(job.id, job.seq, job.hash, job.meta)
        if place == _ASKED:
            if self._held < 2 * WAITING:  # more are there only where nothing comes: they stay pending
                self._waiting[number].append(copy)
                self._held += 1
        else:
            self._put(copy, place)
        return True

    def _is_asked(self, number: int) -> bool:
        return number in self._waiting

    def _answered(self, ident: str, offset: int) -> None:
        """Note where the answer to a request was put, and let its copies go."""
        number = self._leaders.pop(ident, 0)
        if not number:
            return
        self._requests.places[number] = offset + 1
        followers = self._waiting.pop(number, [])
        self._held -= len(followers)
        for copy in followers:
            self._put(copy, offset + 1)

    def _put(self, copy: Copy, place: int) -> None:
        self._ready.append((copy, place))
        self.due()


def copied_line(line: bytes, copy: Copy) -> bytes | None:
    """The line of a copy, made of the line with the answer; `None` if that is of another request."""
    record: dict[str, Json] = _read(line)
    if record.get("hash") != copy.hash:
        return None
    made = {"id": copy.id, "seq": copy.seq, "hash": copy.hash}
    made |= {name: value for name, value in record.items() if name not in _NOT_COPIED}
    made["copy_of"] = record.get("copy_of", record["id"])
    if copy.meta is not None:
        made["meta"] = copy.meta
    try:
        return orjson.dumps(made, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:  # as in `ledger/lines`
        return dump_anything(made) + b"\n"


def _read(line: bytes) -> dict[str, Json]:
    import json

    # orjson makes a fraction of an integer that is beyond 64 bits
    found: dict[str, Json] = json.loads(line) if _LONG_NUMBER.search(line) else orjson.loads(line)
    return found


def _failure(copy: Copy, failure: Failure, first: Result) -> Result:
    """The failure of a copy, in the words of the one that was asked."""
    return Result(
        id=copy.id, seq=copy.seq, hash=copy.hash, model=first.model, path=first.path, meta=copy.meta, failure=failure
    )
