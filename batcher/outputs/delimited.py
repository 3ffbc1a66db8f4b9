"""Writes a table as CSV or TSV (RFC 4180, with line feeds): UTF-8, quoted where it must be."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from batcher.ledger import disk
from batcher.outputs.values import cells

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from batcher.model import Json


class Delimited:
    """See `table.Sink`. `guard`: no cell is to be run by a spreadsheet."""

    def __init__(self, fd: int, delimiter: str, *, guard: bool) -> None:
        self._fd, self._delimiter, self._guard = fd, delimiter, guard
        self._odd = re.compile(f'["\\r\\n{delimiter}]')
        self._names: list[str] | None = None
        self._begun = False

    def learn(self, columns: Mapping[str, list[Json]]) -> bool:
        names, self._names = self._names, [*columns]
        return names is not None and names != self._names

    def write(self, columns: Mapping[str, list[Json]]) -> None:
        self._begin()
        rows = zip(*map(self._quoted, columns.values()), strict=True)
        disk.write_all(self._fd, "".join([self._delimiter.join(row) + "\n" for row in rows]).encode("utf-8", "replace"))

    def abandon(self) -> None:
        self._begun = False

    def close(self) -> None:
        self._begin()

    def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            header = self._delimiter.join(self._quoted(self._names or []))
            disk.write_all(self._fd, f"{header}\n".encode("utf-8", "replace"))

    def _quoted(self, values: Sequence[Json]) -> list[str]:
        """A column's cells, those in quotes that have something in them that means something else outside of quotes."""
        search = self._odd.search
        return [
            '"' + cell.replace('"', '""') + '"' if search(cell) else cell for cell in cells(values, guard=self._guard)
        ]
