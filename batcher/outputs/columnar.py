"""Writes a table as Parquet or Arrow, with types: an integer is one, and columns of Parquet keep what they had."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

from batcher.outputs.types import Seen, array_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from concurrent.futures import Future

    from batcher.model import Json


GROUP: Final = 16 << 10
"""Rows that are written together, as a row group of Parquet."""
BYTES: Final = 16 << 20
"""Bytes of such rows that are aimed at."""


class Columnar:
    """See `table.Sink`. `pieces` gives the record batches from which the rows of a chunk come, if they all do.

    `of_input` names the columns that stand in those.
    """

    def __init__(
        self,
        fd: int,
        of_input: Callable[[], Sequence[str]],
        pieces: Callable[[], Sequence[tuple[Any, int]]],
        *,
        is_parquet: bool,
    ) -> None:
        self._fd, self._is_parquet = fd, is_parquet
        self._of_input, self._pieces = of_input, pieces
        self._seen: dict[str, Seen] = {}
        self._types: dict[str, Any] = {}
        self._given: dict[str, Any] = {}
        """The input's columns of the rows that were learnt last, as arrays that need no types."""
        self._schema: Any = None
        """That of the record batches; false once there were rows of others, or none."""
        self._file: Any = None
        self._writer: Any = None
        self._held: list[Any] = []
        """Tables that wait until they are enough for a group: `_rows` with `_bytes`."""
        self._rows = self._bytes = 0
        self._helper: Any = None
        self._pending: Future[None] | None = None
        """What is being compressed and written beside the next rows, which are read meanwhile."""

    def learn(self, columns: Mapping[str, list[Json]]) -> bool:
        before, self._types = self._types, {}
        self._given = self._arrays()
        for name, values in columns.items():
            if name not in self._seen:
                self._seen[name] = Seen(name)
            if name in self._given:
                self._types[name] = self._given[name].type
            else:
                self._seen[name].add(values)
                self._types[name] = self._seen[name].kind
        return bool(before) and before != self._types

    def write(self, columns: Mapping[str, list[Json]]) -> None:
        import pyarrow as pa

        arrays = [
            self._given[name] if name in self._given else array_of(values, self._types[name])
            for name, values in columns.items()
        ]
        table = pa.Table.from_arrays(arrays, names=[*columns])
        self._held.append(table)
        self._rows += len(table)
        self._bytes += table.nbytes
        if self._rows >= GROUP or self._bytes >= BYTES:
            self._write_held()

    def abandon(self) -> None:
        self._let_go()
        self._shut()

    def close(self) -> None:
        import pyarrow as pa

        if self._held:
            self._write_held()
        self._open(pa.schema([*self._types.items()]))
        self._shut()

    def _open(self, schema: Any) -> Any:
        if self._writer is None:
            self._helper = ThreadPoolExecutor(1)
            self._file = os.fdopen(os.dup(self._fd), "wb")
            if self._is_parquet:
                from pyarrow import parquet

                self._writer = parquet.ParquetWriter(self._file, schema, compression="zstd", compression_level=1)
            else:
                from pyarrow import ipc

                self._writer = ipc.new_file(self._file, schema)
        return self._writer

    def _write_held(self) -> None:
        import pyarrow as pa

        table = pa.concat_tables(self._let_go())
        writer = self._open(table.schema)
        self._settle()
        self._pending = self._helper.submit(writer.write_table, table, max(len(table), 1))

    def _let_go(self) -> list[Any]:
        """The tables that wait, which do so no longer."""
        held, self._held, self._rows, self._bytes = self._held, [], 0, 0
        return held

    def _settle(self) -> None:
        """Wait for what is being written. Raises OSError."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def _shut(self) -> None:
        if self._writer is None:
            return
        try:
            self._settle()
            self._writer.close()
        finally:
            self._helper.shutdown()
            self._file.close()
            self._writer = self._file = self._helper = None

    def _arrays(self) -> dict[str, Any]:
        """The input's columns of a chunk as its files have them, as long as all rows come from batches of one kind."""
        pieces = self._pieces() if self._schema is not False else ()
        if self._schema is None and pieces:
            self._schema = pieces[0][0].schema
        if not pieces or any(batch.schema != self._schema for batch, _ in pieces):
            self._schema = False
            return {}
        import pyarrow as pa

        parts: list[tuple[Any, list[int]]] = []
        for batch, place in pieces:
            if not parts or parts[-1][0] is not batch:
                parts.append((batch, []))
            parts[-1][1].append(place)
        table = pa.Table.from_batches([batch.take(pa.array(places)) for batch, places in parts])
        return {name: table.column(name).combine_chunks() for name in self._of_input() if name in table.column_names}
