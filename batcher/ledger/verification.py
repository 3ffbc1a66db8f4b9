"""Holds a results file against its input: which jobs have a result, which have none, and what else is in the file.

Reads alone: no lock is kept, nothing is mended, and a file that a run is writing to is taken as it is at the start.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple

from batcher.failures import LineError
from batcher.inputs.done import DoneIds, Sight
from batcher.inputs.formats.jsonl import refused
from batcher.inputs.selection import Selection, Turns
from batcher.ledger.errors import failed_id
from batcher.ledger.lock import is_locked
from batcher.ledger.recovery import could_be_ours, none_of_ours, parse, read_record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from batcher.inputs.formats import Line, Parser
    from batcher.inputs.formats.defaults import Defaults
    from batcher.ledger.ordering import InputOrder
    from batcher.model import Job, Json

SHOWN: Final = 5
"""Places that a finding names; the others are counted."""


class LineRef(NamedTuple):
    """A line, from 1, and the id on it if it has one."""

    line: int
    id: str | None


@dataclass(slots=True)
class Finding:
    """How often something was found, and where first."""

    count: int = 0
    first: list[LineRef] = field(default_factory=list)

    def add(self, line: int, ident: str | bytes | None = None) -> None:
        self.count += 1
        if len(self.first) < SHOWN:
            self.first.append(LineRef(line, ident.decode() if isinstance(ident, bytes) else ident))


@dataclass(slots=True)
class Verdict:
    """What was found. Each job of the input is `ok` or in one of the first four findings; lines are those of the input.

    The others are about lines of the results file, whatever job they belong to.
    """

    jobs: int = 0
    """Lines of the input that are not blank and do not repeat an earlier one, id and content."""
    results: int = 0
    """Lines of the results file that are results, repeated ones among them."""
    ok: int = 0
    missing: Finding = field(default_factory=Finding)
    """No line anywhere, though no run is at work."""
    pending: Finding = field(default_factory=Finding)
    """No line anywhere yet: a run is at work, or stopped before its end."""
    failed: Finding = field(default_factory=Finding)
    """No result, but a line in the errors file."""
    changed: Finding = field(default_factory=Finding)
    """A result for another request under the same id."""
    duplicate: Finding = field(default_factory=Finding)
    """Another line for an id that has one."""
    unreadable: Finding = field(default_factory=Finding)
    """Lines that are no result."""
    corrupt: Finding = field(default_factory=Finding)
    """Lines whose vector is not in the store as it was written."""
    misplaced: Finding = field(default_factory=Finding)
    """Rows of the array that are not the vectors of their jobs."""
    extra: Finding = field(default_factory=Finding)
    """Results for ids that the input does not have: told, and no fault, since lines may leave an input."""
    where: Callable[[int], object] = field(default=lambda seq: f"line {seq + 1}", compare=False)
    """In which place of the inputs a row stands."""
    repeat: int = field(default=1, compare=False)
    """How many jobs each line of the input makes, each with a number of its own."""
    writing: bool = False
    """A run has the file; the last line may be half written."""

    def row(self, place: LineRef) -> dict[str, Json]:
        """Where a job stands in the input, by the line that makes it."""
        return {"line": (place.line - 1) // self.repeat + 1, "id": place.id}

    @property
    def sound(self) -> bool:
        """Every job has one result, that of its request, and every line is a result."""
        faults = (self.missing, self.pending, self.failed, self.changed, self.duplicate, self.unreadable)
        return not any(finding.count for finding in (*faults, self.corrupt, self.misplaced))


@dataclass(slots=True)
class Verification:
    """One comparison; call the readers in this order: results, errors, input, then `find_extra` with the results.

    Memory is what a run needs to resume, and the ids of the failures.
    """

    verdict: Verdict = field(default_factory=Verdict)
    results: DoneIds = field(default_factory=DoneIds)
    """What each result is of; they may have been read elsewhere."""
    order: InputOrder | None = None
    """Notes which job stands where in the input."""
    _failed: DoneIds = field(default_factory=DoneIds)
    _size: int = 0
    _matched: int = 0

    def read_results(self, file: BinaryIO, path: Path) -> None:
        """Read what is in a results file now; what a run adds later is left out.

        Raises OutputError if it is a file of something else.
        """
        verdict, foreign = self.verdict, False
        verdict.writing = is_locked(file)
        self._size = os.fstat(file.fileno()).st_size
        for number, line in _lines(file, self._size):
            identity = parse(line)
            if identity is None:
                if not (verdict.writing and not line.endswith(b"\n")):
                    verdict.unreadable.add(number)
                    foreign = foreign or not could_be_ours(line)
                continue
            verdict.results += 1
            if not self.results.add(*identity):
                verdict.duplicate.add(number, identity[0])
        if foreign and not verdict.results:
            raise none_of_ours(path, verdict.unreadable.count)

    def read_errors(self, file: Iterable[bytes]) -> None:
        """Read the failures, of which those without a result still stand."""
        for line in file:
            ident = failed_id(line)
            if ident is not None:
                self._failed.add(ident, None)

    def read_input(
        self,
        lines: Iterable[Line],
        *,
        parse: Parser,
        defaults: Defaults,
        at_most: int | None = None,
        selection: Selection | None = None,
        unfinished: bool = False,
    ) -> None:
        """Read the jobs as a run with these defaults does. `unfinished`: a job without a line may still get one.

        Of the first `at_most` lines `selection` takes those that the run took.
        """
        chosen = selection or Selection()
        turns, verdict = Turns(self.results.seen, chosen.repeat), self.verdict
        without = verdict.pending if unfinished or verdict.writing else verdict.missing
        for line in chosen.lines(islice(lines, at_most)):
            if line is None:
                continue
            try:
                job = turns.job(parse, line, defaults)
                if self.order is not None:
                    self.order.note(line.seq, job.id)
                ident = self._judge(line, job, chosen)
            except LineError as error:
                verdict.jobs += 1
                ident = refused(error, line).id
            if ident is not None:
                (verdict.failed if ident in self._failed else without).add(line.seq + 1, ident)

    @property
    def extra(self) -> int:
        """How many results no job of the input asked for."""
        return len(self.results) - self._matched

    def find_extra(self, file: BinaryIO) -> None:
        """Read the results once more, if there are any that no job of the input asked for."""
        if not self.extra:
            return
        file.seek(0)
        seen = DoneIds()
        for number, line in _lines(file, self._size):
            identity = parse(line)
            if identity is not None and not self.results.seen(identity[0]) and seen.add(*identity):
                self.verdict.extra.add(number, identity[0])

    def _judge(self, line: Line, job: Job, chosen: Selection) -> str | None:
        """Count a job that has a result; give the id of one that has none. Raises LineError where a run does."""
        verdict = self.verdict
        if not chosen.takes(job.id):
            self._matched += job.id in self.results
            return None
        sight = self.results.see(job.id, job.hash)
        if sight is Sight.REPEATED:
            return None
        if sight is Sight.CLASH:
            raise LineError("duplicate_id", "an earlier line has this id and asks for something else")
        if sight is Sight.NEW and chosen.is_done(job):
            return None
        verdict.jobs += 1
        if sight is Sight.NEW:
            return job.id
        self._matched += 1
        if sight is Sight.CHANGED:
            verdict.changed.add(line.seq + 1, job.id)
        else:
            verdict.ok += 1
        return None


def first_model(file: BinaryIO) -> str | None:
    """The model on the first result that names one in its first lines: the best guess where nobody says it."""
    for _, line in zip(range(SHOWN), file, strict=False):
        record = read_record(line)
        if record is not None and isinstance(record.get("model"), str):
            return str(record["model"])
    return None


def _lines(file: BinaryIO, size: int) -> Iterator[tuple[int, bytes]]:
    """The lines of the first `size` bytes, numbered from 1."""
    end = 0
    for number, line in enumerate(file, 1):
        start, end = end, end + len(line)
        if end > size:
            if start < size:
                yield number, line[: size - start]
            return
        yield number, line
