"""Reads what a SELECT says of a SQLite database, once and quickly, into a file of its own without a name.

A run may take hours, in which a reader would keep others from writing; and what a query gives twice may differ. So its
rows are set aside as lines of JSON, and it is these that are read, as often as it takes.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from contextlib import closing
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final
from urllib.parse import quote

import orjson

from batcher.failures import InputError, LineError, UsageError
from batcher.inputs.formats.lines import LINE_LIMIT, read_rows
from batcher.inputs.formats.objects import read_object
from batcher.inputs.formats.sidefiles import check_sides
from batcher.inputs.formats.values import plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batcher.inputs.formats.reading import Rows
    from batcher.model import Json

_MANY: Final = 1000
_ALLOWED: Final = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
_NO_FAULT_OF_ITS: Final = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_PROTOCOL,
}
"""What a database says that another query would hear as well."""
_REFUSED: Final = "\0refused"
"""The key of a row that could not be set aside: what was wrong with it."""


def query(path: Path, sql: str) -> tuple[BinaryIO, str]:
    """The rows of a query as lines, and a digest of them. Raises `UsageError` for a wrong query, and `InputError`."""
    aside: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115 - whoever asked closes it
    digest = blake2b(digest_size=16)
    try:
        for lines in _lines(path, sql):
            digest.update(lines)
            aside.write(lines)
    except sqlite3.Error as error:
        aside.close()
        raise InputError(f"sqlite:{path}: {error}") from error
    except BaseException:
        aside.close()
        raise
    aside.seek(0)
    return aside, digest.hexdigest()


def _lines(path: Path, sql: str) -> Iterator[bytes]:
    if not os.path.isfile(path):  # noqa: PTH113 - false for a name that is too long, too
        raise InputError(f"sqlite:{path}: there is no such file; the current directory is {Path.cwd()}")
    try:
        check_sides(path)
    except OSError as error:
        raise InputError(f"sqlite:{path}: {error.filename} beside it {error.strerror}; move it away") from error
    with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as database:
        database.text_factory = _text
        database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LINE_LIMIT)  # a view may make a value of any size
        database.set_authorizer(_authorize)
        try:
            cursor = database.execute(sql)
        except (sqlite3.Error, sqlite3.Warning) as error:
            if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF in _NO_FAULT_OF_ITS:
                raise
            raise UsageError(f"--sql: {error}; it is one SELECT, and nothing is written") from error
        if cursor.description is None:
            raise UsageError("--sql gives no rows; it is one SELECT")
        names = [str(column[0]) for column in cursor.description]
        for name in names:
            if names.count(name) > 1:
                raise UsageError(f"--sql gives two columns that are called {name!r:.60}; say AS for one of them")
        while rows := cursor.fetchmany(_MANY):
            yield b"".join([_line(names, row) for row in rows])


def _authorize(action: int, *_: object) -> int:
    return sqlite3.SQLITE_OK if action in _ALLOWED else sqlite3.SQLITE_DENY


def _text(data: bytes) -> str | UnicodeDecodeError:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        return error


def _line(names: list[str], row: tuple[Any, ...]) -> bytes:
    record: dict[str, Json] = {}
    for name, value in zip(names, row, strict=True):
        if isinstance(value, UnicodeDecodeError):
            bad = value.object[value.start]
            record = {_REFUSED: f'"{name:.60}" is not UTF-8: byte {value.start + 1} is 0x{bad:02x}'}
            break
        record[name] = plain(value)
    return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)


def read_aside(file: BinaryIO, first: int) -> Rows:
    """The rows that `query` set aside."""
    return (yield from read_rows(file, Selected, first))


class Selected:
    """A row of a query. See `rows.Row`."""

    __slots__ = ("_data",)

    def __init__(self, data: bytes) -> None:
        self._data = data

    def values(self) -> dict[str, Json]:
        values = read_object(self._data)
        if _REFUSED in values:
            raise LineError("input_encoding", str(values[_REFUSED]))
        return values

    def record(self) -> dict[str, Json]:
        """All but what is null."""
        return {name: value for name, value in self.values().items() if value is not None}

    def raw(self) -> bytes:
        return self._data
