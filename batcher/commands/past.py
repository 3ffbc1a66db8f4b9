"""A results file with those beside it, read from its first line to its last: for commands that say what it was like."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from batcher.codec import uncollected
from batcher.commands.console import say
from batcher.commands.earlier import open_to_read
from batcher.failures import OutputError
from batcher.figures import count

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import ExitStack
    from pathlib import Path
    from typing import BinaryIO

    from batcher.inputs.done import DoneIds
    from batcher.ledger.state import State
    from batcher.model import Json

_UNREAD: Final[dict[str, Json]] = {}
_TABLES: Final = (b"PAR1", b"ARROW1", b"SQLite format 3\0")
"""How tables begin that are made of results: Parquet, Arrow, SQLite."""
_HEAD: Final = 16
"""Bytes by which a file is told."""


@dataclass(slots=True)
class Past:
    """Lines are read as they are asked for, results before failures. Memory grows with failures alone: 25 bytes each.

    A failure stands if no later line of the errors file is about its job, and no result.
    """

    results: Path
    errors: Path | None = None
    state: State | None = None
    unreadable: int = 0
    superseded: int = 0
    _file: BinaryIO | None = field(init=False, default=None)
    _failures: BinaryIO | None = field(init=False, default=None)

    def open(self, stack: ExitStack) -> None:
        """Open what there is. Raises OutputError (73) for results, or errors that were named, that cannot be read."""
        from batcher.ledger.names import part_path, state_path, table_results_path
        from batcher.ledger.neighbours import former_errors
        from batcher.ledger.state import read

        if not self.results.name:
            self.results = self.results.resolve()
        if self.results.name and (named := table_results_path(self.results)).exists():
            self.results = named
        if not self.results.exists() and part_path(self.results).exists():
            self.results = part_path(self.results)
        stack.enter_context(uncollected())
        self._file = stack.enter_context(open_to_read(self.results))
        self.state, note = read(state_path(self.results)) if self.results.name else (None, None)
        if note:
            say(note)
        path = self.errors or former_errors(self.results)
        if self.errors is not None or os.path.lexists(path):
            self._failures = stack.enter_context(open_to_read(path, follow=self.errors is not None))

    def records(self) -> Iterator[tuple[int, dict[str, Json], bool]]:
        """Where each line begins, what it holds, and whether it is of the results; from the first if asked again."""
        from batcher.ledger.recovery import read_record

        for start, line, _, record in self._lines(reads=True):
            if record is not None:
                yield start, record, True
            elif (failure := read_record(line)) is not None:
                yield start, failure, False

    def places(self) -> Iterator[tuple[int, str | bytes, bool]]:
        """The same, with the id of each line alone, as text or as the UTF-8 of it: its JSON is not read."""
        for start, _, ident, record in self._lines(reads=False):
            yield start, ident, record is not None

    def at(self, start: int) -> dict[str, Json] | None:
        """The line of results that begins there."""
        from batcher.ledger.recovery import read_record

        assert self._file is not None
        self._file.seek(start)
        return read_record(self._file.readline())

    def failure_at(self, start: int) -> dict[str, Json] | None:
        """The line of errors that begins there."""
        from batcher.ledger.recovery import read_record

        if self._failures is None:
            return None
        self._failures.seek(start)
        return read_record(self._failures.readline())

    def _lines(self, *, reads: bool) -> Iterator[tuple[int, bytes, str | bytes, dict[str, Json] | None]]:
        """Where each line begins, the line, its id, and what it holds if it is a result: nothing unless it is read."""
        from batcher.inputs.done import DoneIds
        from batcher.ledger.errors import failed_id
        from batcher.ledger.recovery import could_be_ours, identify, identity_of, read_record

        assert self._file is not None
        last = DoneIds()
        self._file.seek(0)
        self.unreadable = self.superseded = 0
        if self._failures is not None:
            self._failures.seek(0)
            start = 0
            for line in self._failures:
                if (ident := failed_id(line)) is not None:
                    last.discard(ident)
                    last.add(ident, f"{start:016x}")
                start += len(line)
        has_failures, start, found, foreign = len(last) > 0, 0, 0, False
        for line in self._file:
            if reads:
                record = read_record(line)
                identity = None if record is None else identity_of(record)
            else:
                record, identity = _UNREAD, identify(line)
            if identity is not None:
                found += 1
                if has_failures:
                    last.discard(identity[0])
                yield start, line, identity[0], record
            else:
                is_foreign = not could_be_ours(line)
                foreign = foreign or is_foreign
                self.unreadable += is_foreign or line.endswith(b"\n")  # else a run is writing it
            start += len(line)
        if foreign and not found:
            raise self._none()
        yield from self._standing(last)

    def _none(self) -> OutputError:
        """Make the error for a file of something else."""
        from batcher.inputs.compression import MAGIC

        assert self._file is not None
        self._file.seek(0)
        head = self._file.read(_HEAD)
        if head.startswith(tuple(MAGIC)):
            return OutputError(
                f"{self.results}: is compressed, and lines are read as they were written: unpack it first"
            )
        if head.startswith(_TABLES):
            return OutputError(f"{self.results}: is a table, made of results; name the file of results")
        lines = count(self.unreadable, "other lines")
        return OutputError(f"{self.results}: holds none of our results, but {lines}; name the file of results")

    def _standing(self, last: DoneIds) -> Iterator[tuple[int, bytes, str | bytes, None]]:
        """The failures that no later line is about."""
        from batcher.ledger.errors import failed_id

        if self._failures is None:
            return
        self._failures.seek(0)
        start = 0
        for line in self._failures:
            ident = failed_id(line)
            if ident is not None and last.get(ident) == f"{start:016x}":
                yield start, line, ident, None
            elif ident is not None:
                self.superseded += 1
            start += len(line)
