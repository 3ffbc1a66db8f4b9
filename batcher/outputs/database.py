"""Writes rows into a table of a SQLite database: those that are there under the same id are put in their place.

All rows go in one transaction: a run or an export that dies leaves the table as it was. Columns that the table lacks
are added to it; columns and rows that are not ours stay. Vectors are BLOBs of little-endian float32; what nests is
JSON.
"""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Final

from batcher.failures import OutputError, OutputIOError
from batcher.outputs.values import bytes_of, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from batcher.model import Json
    from batcher.outputs.columns import Columns
    from batcher.outputs.joining import Chunk

WAIT: Final = 30.0
"""Seconds for which another program may have the database."""
_NAME: Final = re.compile(r"[^\0]{1,200}")
_BLOBS: Final = frozenset({"embedding"})
_WHOLE: Final = 1 << 63


def upsert(path: Path, table: str, chunks: Iterator[Chunk], columns: Columns) -> int:
    """Put rows that have a result or have failed into a table, made if it is not there, and return how many.

    Raises OutputError (73) if the file is no database, or the table's ids are not unique; OutputIOError (74).
    """
    if not _NAME.fullmatch(table) or table.lower().startswith("sqlite_"):
        raise OutputError(f"{path}: there can be no table {table!r:.60}; name another with --table")
    try:
        with closing(sqlite3.connect(path, timeout=WAIT, isolation_level=None)) as database:
            database.execute("BEGIN IMMEDIATE")
            count = _Upserting(database, path, table).all(chunks, columns)
            database.execute("COMMIT")
    except sqlite3.Error as error:
        kind = OutputError if "not a database" in str(error) or "unable to open" in str(error) else OutputIOError
        raise kind(f"{path}: the table {table!r} cannot be written: {error}") from error
    return count


class _Upserting:
    """One transaction."""

    def __init__(self, database: sqlite3.Connection, path: Path, table: str) -> None:
        self._database, self._path, self._table = database, path, table
        self._known: dict[str, str] = {}
        """Name of a column in lower case, as the database tells them apart, and as it is called."""

    def all(self, chunks: Iterator[Chunk], columns: Columns) -> int:
        count = 0
        for chunk in chunks:
            found = columns.take(chunk)
            ident = columns.id_name
            ids = found[ident]
            # the id that the input has, with its type, where that is what the row goes by
            found[ident] = [one if str(one) == name else name for one, name in zip(ids, chunk.idents, strict=True)]
            ended = [number for number, record in enumerate(chunk.records) if record]
            if not self._known:
                self._make(ident, found[ident])
            names = self._names([*found])
            stored = [_stored(name, column) for name, column in found.items()]
            rows = zip(*([column[number] for number in ended] for column in stored), strict=True)
            self._database.executemany(self._statement(names, ident), rows)
            count += len(ended)
        return count

    def _make(self, name: str, values: Sequence[Json]) -> None:
        # INTEGER would be the number of the row for SQLite, and refuse the text that a later row may have for its id
        kind = "INT" if set(map(type, values)) == {int} else "TEXT"
        self._database.execute(
            f"CREATE TABLE IF NOT EXISTS {_quoted(self._table)} ({_quoted(name)} {kind} PRIMARY KEY NOT NULL)"
        )
        self._known = {row[1].lower(): row[1] for row in self._about("table_info")}
        if not self._is_unique(self._known.get(name.lower(), "")):
            raise OutputError(
                f"{self._path}: rows are put into {self._table!r} by their ids, and it has no column {name!r} that is "
                "its primary key, or unique; name another with --table"
            )

    def _is_unique(self, name: str) -> bool:
        if [row[1] for row in self._about("table_info") if row[5]] == [name]:
            return True
        indexes = [row[1] for row in self._about("index_list") if row[2] and not row[4]]
        return any(
            [row[2] for row in self._database.execute("SELECT * FROM pragma_index_info(?)", (index,))] == [name]
            for index in indexes
        )

    def _about(self, pragma: str) -> list[tuple[Json, ...]]:
        return self._database.execute(f"SELECT * FROM pragma_{pragma}(?)", (self._table,)).fetchall()  # noqa: S608 - a name of ours

    def _names(self, names: Sequence[str]) -> list[str]:
        """What the columns are called in the table, the id first; those that it lacks are added."""
        found: list[str] = []
        for name in names:
            known, number = name, 2
            while known.lower() in {other.lower() for other in found}:
                known, number = f"{name}_{number}", number + 1
            if known.lower() not in self._known:
                self._database.execute(f"ALTER TABLE {_quoted(self._table)} ADD COLUMN {_quoted(known)}")
                self._known[known.lower()] = known
            found.append(self._known[known.lower()])
        return found

    def _statement(self, names: Sequence[str], ident: str) -> str:
        columns, marks = ", ".join(map(_quoted, names)), ", ".join("?" * len(names))
        ident = self._known[ident.lower()]
        changes = ", ".join(f"{_quoted(name)} = excluded.{_quoted(name)}" for name in names if name != ident)
        return (
            f"INSERT INTO {_quoted(self._table)} ({columns}) VALUES ({marks}) "  # noqa: S608 - quoted names and marks
            f"ON CONFLICT ({_quoted(ident)}) DO UPDATE SET {changes}"
        )


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _stored(name: str, column: Sequence[Json]) -> list[Json]:
    """The values of a column as SQLite stores them."""
    if name in _BLOBS:
        return [None if value is None else bytes_of(value) for value in column]
    return [_value(value) for value in column]


def _value(value: Json) -> Json:
    if value is None or type(value) is str or type(value) is float:
        return value
    if type(value) is bool or (type(value) is int and -_WHOLE <= value < _WHOLE):
        return int(value)
    return text_of(value)
