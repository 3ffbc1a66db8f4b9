"""Which lines of the input are still to be done: parsed, told apart by id, compared with what is done already."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from batcher.done import Done
from batcher.failures import InputError, LineError
from batcher.formats.jsonl import refused, too_large
from batcher.identity import Ids

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from batcher.formats import Line, Parser
    from batcher.formats.defaults import Defaults
    from batcher.model import Job, Result

SHOWN = 3
"""How many changed lines an error message names."""


class Finished(Protocol):
    """What is done already: the hash by id."""

    def get(self, ident: str) -> str | None: ...


@dataclass(slots=True)
class Intake:
    """Jobs in the order of the input. Lines that are no jobs go to `reject`; the counts say what became of the rest.

    `limit` makes the first so many lines the whole input. `needs_model` refuses jobs that name none.
    """

    parse: Parser
    defaults: Defaults
    finished: Finished
    reject: Callable[[Result], None]
    limit: int | None = None
    needs_model: bool = False
    read: int = 0
    """Lines, whatever became of them."""
    taken: int = 0
    skipped: int = 0
    """Jobs that have a result already."""
    duplicates: int = 0
    """Lines that repeat an earlier one, id and content."""
    refused: int = 0
    _seen: Done = field(default_factory=Done)

    def jobs(self, lines: Iterable[Line | None]) -> Iterator[Job | None]:
        """Yield what is to be done; None where nothing has arrived yet. Raises InputError when a job has changed."""
        ids = Ids()
        for line in lines:
            if line is None:
                yield None
                continue
            if self.limit is not None and self.read >= self.limit:
                return
            self.read += 1
            try:
                job = self._read(line, ids)
            except LineError as error:
                self.refused += 1
                self.reject(refused(error, line))
                continue
            if job is not None:
                self.taken += 1
                yield job

    def check(self, lines: Iterable[Line | None]) -> None:
        """Compare the whole input with what is done, before anything is sent.

        Raises InputError (65) if a job has the id of a finished one and asks for something else.
        """
        ids, seen = Ids(), Done()
        changed: list[tuple[int, str]] = []
        for read, line in enumerate(lines):
            if line is None or (self.limit is not None and read >= self.limit):
                break
            try:
                job = self._parse(line, ids)
            except LineError:
                continue
            if not seen.add(job.id, job.hash):
                continue  # the first line of an id is the job
            known = self.finished.get(job.id)
            if known and known != job.hash:
                changed.append((line.seq + 1, job.id))
        if changed:
            raise _contradiction(changed)

    def names_model(self, lines: Iterable[Line | None]) -> bool:
        """Whether the first job says which model it wants; true if there is none to tell by."""
        for line in lines:
            if line is not None and line.data is not None:
                with suppress(LineError):
                    return _has_model(self.parse(line.data, line.seq, self.defaults, Ids()))
        return True

    def _read(self, line: Line, ids: Ids) -> Job | None:
        job = self._parse(line, ids)
        if not self._seen.add(job.id, job.hash):  # before what is finished: that may be the earlier line of this run
            if self._seen.get(job.id) != job.hash:
                # Under an id of its own: the id it gives may well have a result.
                raise LineError("duplicate_id", f"an earlier line has the id {job.id!r} and asks for something else")
            self.duplicates += 1
            return None
        known = self.finished.get(job.id)
        if known is None:
            return job
        if known and known != job.hash:
            raise _contradiction([(line.seq + 1, job.id)])
        self.skipped += 1
        return None

    def _parse(self, line: Line, ids: Ids) -> Job:
        if line.data is None:
            raise too_large()
        job = self.parse(line.data, line.seq, self.defaults, ids)
        if self.needs_model and not _has_model(job):
            raise LineError("no_model", "no model: name one on the line, with -m, or in the variable MODEL", id=job.id)
        return job


def _has_model(job: Job) -> bool:
    return job.model is not None or (job.body is not None and "model" in job.body)


def _contradiction(changed: list[tuple[int, str]]) -> InputError:
    """The input asks for something else under an id that has a result."""
    shown = ", ".join(f"line {number} (id {name!r})" for number, name in changed[:SHOWN])
    more = f" and {len(changed) - SHOWN} more" if len(changed) > SHOWN else ""
    return InputError(
        f"{shown}{more}: the results hold an answer to a different request under the same id (another prompt, model "
        "or parameter). Nothing was sent. Give the changed lines new ids, write to another file, or start anew with "
        "--overwrite"
    )
