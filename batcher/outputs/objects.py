"""Writes a table as JSON: an array, or a line for each row. Every row has all columns, null where it has no value."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batcher import codec
from batcher.ledger import disk

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batcher.model import Json


class Objects:
    """See `table.Sink`. `is_array`: the rows are elements of one array, a line each."""

    def __init__(self, fd: int, *, is_array: bool) -> None:
        self._fd = fd
        self._between = b",\n" if is_array else b"\n"
        self._is_array = is_array
        self._names: list[str] | None = None
        self._begun = False

    def learn(self, columns: Mapping[str, list[Json]]) -> bool:
        names, self._names = self._names, [*columns]
        return names is not None and names != self._names

    def write(self, columns: Mapping[str, list[Json]]) -> None:
        names = [*columns]
        rows = [codec.dumps(dict(zip(names, row, strict=True))) for row in zip(*columns.values(), strict=True)]
        if rows:
            start = self._between if self._begun else b"[\n" if self._is_array else b""
            self._begun = True
            disk.write_all(self._fd, start + self._between.join(rows))

    def abandon(self) -> None:
        self._begun = False

    def close(self) -> None:
        end = b"\n" if self._begun else b""
        if self._is_array:
            end = b"\n]\n" if self._begun else b"[]\n"
        disk.write_all(self._fd, end)
