"""Writes joined rows as one table, whose columns and their types are those of all rows.

These show only as the rows are read. So a table is begun with what the first rows have; where later ones have more,
the rest is read for what else there is, and the table is written once more, from the start.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

from batcher.failures import OutputIOError
from batcher.outputs.columns import Columns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from batcher.model import Json
    from batcher.outputs.joining import Chunk

_TURNS: Final = 4
"""How often a table is begun, with an input that others change while it is read."""


class Sink(Protocol):
    """What writes a table. Columns go by their names, in their order; each has a value for every row."""

    def learn(self, columns: Mapping[str, list[Json]]) -> bool:
        """Take in what some rows have; true if that does not fit into what was written before."""

    def write(self, columns: Mapping[str, list[Json]]) -> None:
        """Write the rows that were learnt last. Raises OSError."""

    def abandon(self) -> None:
        """Let what was written be; what is written next comes first in a file that is empty."""

    def close(self) -> None:
        """Write what a table ends with."""


@dataclass(slots=True, kw_only=True)
class Shape:
    """How a table is made: its format, whether a spreadsheet may run its cells, what is kept of the input."""

    form: str
    guard: bool = True
    columns: Columns = field(default_factory=Columns)
    _chunk: Chunk | None = None

    def sink(self, fd: int) -> Sink:
        """What writes it."""
        from batcher.outputs.columnar import Columnar
        from batcher.outputs.delimited import Delimited
        from batcher.outputs.objects import Objects

        if self.form in ("csv", "tsv"):
            return Delimited(fd, "," if self.form == "csv" else "\t", guard=self.guard)
        if self.form in ("json", "jsonl"):
            return Objects(fd, is_array=self.form == "json")
        return Columnar(fd, lambda: self.columns.of_input, self._pieces, is_parquet=self.form == "parquet")

    def take(self, chunk: Chunk) -> dict[str, list[Json]]:
        self._chunk = chunk
        return self.columns.take(chunk)

    def _pieces(self) -> list[tuple[Any, int]]:
        """The record batches of the rows that were taken last, if all come from such."""
        chunk = self._chunk
        return chunk.pieces if chunk is not None and len(chunk.pieces) == len(chunk.rows) else []


def write_table(chunks: Callable[[], Iterator[Chunk]], shape: Shape, fd: int, empty: Callable[[], object]) -> int:
    """Write the rows to an empty file that is open, and return how many; `empty` makes it empty again.

    Raises OSError, OutputIOError if the input does not hold still, and what `chunks` raises.
    """
    sink = shape.sink(fd)
    try:
        return _written(chunks, shape, sink, empty)
    except BaseException:
        with suppress(Exception):  # what went wrong first is what is told
            sink.abandon()
        raise


def _written(chunks: Callable[[], Iterator[Chunk]], shape: Shape, sink: Sink, empty: Callable[[], object]) -> int:
    for _ in range(_TURNS):
        rows, fits = 0, True
        for chunk in chunks():
            columns = shape.take(chunk)
            if sink.learn(columns):
                fits = False
            if fits:
                sink.write(columns)
                rows += len(chunk.rows)
        if fits:
            sink.close()
            return rows
        sink.abandon()
        empty()
    raise OutputIOError("the table cannot be written: the input changes while it is read")
