"""Equal requests are asked once and answered to all: the first goes out, copies wait or take the answer that is there.

    asked      its answer is awaited; copies that come by wait for it, so many at most, and then the input waits
    answered   copies get a line of their own with that answer, read back from the results file by its place there
    failed     copies fail with it

A copy's line has its own id, `seq` and hash, `copy_of` in the place of what only a request has (usage, times).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from batcher.inputs.done import id_hash
from batcher.ledger.copying import Copy, copied_line
from batcher.ledger.ledger import Ledger
from batcher.ledger.ordering import places
from batcher.model import Call, Job, Kind
from batcher.outcome import Result
from batcher.running.requests import Requests, key_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from batcher.ledger.ledger import AnyLedger
    from batcher.ledger.lines import Entry

WAITING: Final = 10_000
"""Copies that may wait for answers, 0.5 KB each and what a row brings as `meta`."""
READY: Final = 256
"""Copies that are written at a stretch."""
FAILURES: Final = 10_000
"""Failures that are remembered for later copies; those of others are asked again."""
_FREE: Final = 0
_ASKED: Final = 1
_ANSWER: Final = 2
_FAILED: Final = 1 << 63
"""A place from here on is the number of a failure; from `_ANSWER` on, an offset in the results file; else nobody asks
for it, or its answer is awaited."""
_ANSWERED: Final = Result(id="", seq=0)


@dataclass(slots=True)
class Copies:
    """One for a run. `kinds` are those of requests that are asked once; `repeat` as `Selection` has it.

    `due` is called when there is a `batch` to write or room for more; `wake` has whoever asks for jobs come back then.
    """

    ledger: Ledger | None
    """Where answers are read back; without one nothing is a copy."""
    kinds: frozenset[Kind]
    repeat: int = 1
    due: Callable[[], object] = bool
    wake: Callable[[], object] = bool
    is_blocked: bool = False
    """No job comes before an answer does that copies wait for."""
    _requests: Requests = field(default_factory=Requests)
    _leaders: dict[str, int] = field(default_factory=dict)
    """Which entry is asked for by the job of an id, until it ends."""
    _waiting: dict[int, list[Copy]] = field(default_factory=dict)
    """Copies by the entry that they are of, where there are any."""
    _held: int = 0
    """Copies that wait for an answer."""
    _ready: deque[tuple[Copy, int]] = field(default_factory=deque)
    _failures: list[Result] = field(default_factory=list)
    _earlier: dict[int, int] = field(default_factory=dict)

    @classmethod
    def of(cls, ledger: AnyLedger, *, wanted: bool | None, repeat: int) -> Copies:
        """All requests if it is wanted, embeddings if nothing is said, and none without a results file."""
        file = ledger if isinstance(ledger, Ledger) and wanted is not False else None
        return cls(file, frozenset(Kind) if wanted else frozenset({Kind.EMBED}), repeat)

    def met(self, job: Job) -> None:
        """Note a job that an earlier run has answered; `find` then looks for the answers in the results file."""
        if self.ledger is not None and job.kind in self.kinds:
            number, is_new = self._requests.entry(key_of(job, job.seq % self.repeat))
            if is_new:
                self._earlier[id_hash(job.id)] = number

    def find(self) -> None:
        """Look where the answers of the jobs stand that were met. Raises OSError."""
        if self.ledger is None:
            return
        if self._earlier:
            with self.ledger.reading() as file:
                for offset, ident, _ in places(file):
                    number = self._earlier.pop(id_hash(ident), 0)
                    if number:
                        self._requests.places[number] = _ANSWER + offset
            self._earlier.clear()
        self.ledger.placed = self._answered

    def distinct(self, jobs: Iterable[Job | None]) -> Iterator[Job | None]:
        """Pass on the first of equal requests; None too where copies have to be written before there may be more."""
        if self.ledger is None:
            yield from jobs
            return
        places = self._requests.places
        for job in jobs:
            if job is None or job.kind not in self.kinds:
                yield job
                continue
            number, is_new = self._requests.entry(key_of(job, job.seq % self.repeat))
            while (len(self._ready) >= READY or not is_new) and self._is_full(number):
                self.is_blocked = not self._ready
                self.due()
                yield None
            self.is_blocked = False
            if places[number] == _FREE or self._leaders.get(job.id) == number:  # or it is read a second time
                self._leaders[job.id] = number
                places[number] = _ASKED
                yield job
            else:
                self._file(Copy(job.id, job.seq, job.hash, job.meta, job.columns), number)

    def left(self, call: Call) -> None:
        """Note that a call will not be sent: its jobs stay pending, and so do their copies so far."""
        for job in call.jobs:
            if number := self._leaders.pop(job.id, 0):
                self._requests.places[number] = _FREE
                self._release(number)
        self.due()  # there is room for others

    def failed(self, result: Result) -> list[Result]:
        """Note that a request failed for good; returns the failures of those that wait for it."""
        number = self._leaders.pop(result.id, 0)
        if not number or result.failure is None:
            return []
        failed = Result(id=result.id, seq=0, model=result.model, path=result.path, failure=result.failure)
        if len(self._failures) < FAILURES:
            self._requests.places[number] = _FAILED + len(self._failures)
            self._failures.append(failed)
        else:
            self._requests.places[number] = _FREE
        followers = self._release(number)
        self.due()  # there is room for others
        return [_as(failed, copy) for copy in followers]

    def batch(self) -> tuple[list[Entry], list[Result], list[Result]]:
        """Take some copies whose answers are there: their lines, the same as results, and those that failed.

        Raises OutputIOError if the answers cannot be read back.
        """
        lines: list[Entry] = []
        copied: list[Result] = []
        failed: list[Result] = []
        ledger = self.ledger
        while ledger is not None and self._ready and len(copied) + len(failed) < READY:
            copy, place = self._ready.popleft()
            if place >= _FAILED:
                failed.append(_as(self._failures[place - _FAILED], copy))
            elif (line := copied_line(ledger.line_at(place - _ANSWER), copy)) is not None:
                lines.append((copy.id, copy.hash, line))
                copied.append(_as(_ANSWERED, copy))
        return lines, copied, failed

    def _is_full(self, number: int) -> bool:
        """Whether a copy of a request has to wait for room."""
        return len(self._ready) >= READY or (self._held >= WAITING and self._requests.places[number] == _ASKED)

    def _file(self, copy: Copy, number: int) -> None:
        place = self._requests.places[number]
        if place == _ASKED:
            self._waiting.setdefault(number, []).append(copy)
            self._held += 1
        else:
            self._put(copy, place)

    def _answered(self, ident: str, offset: int) -> None:
        """Note where the answer to a request was put, and let its copies go."""
        number = self._leaders.pop(ident, 0)
        if not number:
            return
        self._requests.places[number] = place = _ANSWER + offset
        if number in self._waiting:
            for copy in self._release(number):
                self._put(copy, place)

    def _release(self, number: int) -> list[Copy]:
        """Those that wait for a request, who do so no more."""
        followers = self._waiting.pop(number, [])
        self._held -= len(followers)
        return followers

    def _put(self, copy: Copy, place: int) -> None:
        self._ready.append((copy, place))
        self.due()


def _as(first: Result, copy: Copy) -> Result:
    """The result of a copy, in the words of the one that was asked."""
    return Result(
        id=copy.id,
        seq=copy.seq,
        hash=copy.hash,
        model=first.model,
        path=first.path,
        meta=copy.meta,
        columns=copy.columns,
        failure=first.failure,
    )
