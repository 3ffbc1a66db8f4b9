"""What each argument names: a file, a pipe, a directory, a pattern, a database, a URL."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, cast

from batcher.failures import UsageError
from batcher.inputs import compression
from batcher.inputs.file import FilePart
from batcher.inputs.formats import FILES, FORMATS, Format, by_extension, named
from batcher.inputs.window import Window
from batcher.opening import is_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from batcher.inputs.formats.reading import Reading, Rows
    from batcher.inputs.part import Part
    from batcher.model import Json

_CHUNK: Final = 256 * 1024
_SQLITE: Final = "sqlite:"
_SHEETS: Final = (".xlsx", ".xlsm", ".xls", ".ods")


class FolderPart:
    """A directory, or a pattern: a row a file. Raises InputError if there is none."""

    is_regular = True
    is_near = True

    def __init__(self, name: str, reading: Reading) -> None:
        from batcher.inputs.formats import folder

        self.name = name
        self._encoding = reading.encoding
        self.root, self._names = folder.matched(name)
        self._folder = folder
        self.fingerprint: dict[str, Json] = {
            "path": name,
            "files": len(self._names),
            "marks": folder.marks_of(self.root, self._names),
            "format": FILES,
        }
        if self._encoding is not None:
            self.fingerprint["encoding"] = self._encoding

    def identities(self) -> Sequence[tuple[int, int]]:
        return [found for name in self._names if (found := identity_of(self.root / name)) is not None]

    def is_unchanged(self) -> bool:
        marks: str = self.fingerprint["marks"]
        return marks == self._folder.marks_of(self.root, self._names)

    def would_read(self, path: Path) -> bool:
        return self._folder.would_match(self.name, path)

    def rows(self, first: int, _checkpoint: Callable[[], object] = bool) -> Rows:
        return self._folder.read_files(self.root, self._names, first, self._encoding)

    def place(self, number: int) -> tuple[str, str, int]:
        name = self._names[number] if number < len(self._names) else ""
        return str(self.root / name), "file", number + 1

    def close(self) -> None: ...


class QueryPart:
    """What a database says to a query. Raises UsageError and InputError."""

    is_regular = True
    is_near = True

    def __init__(self, name: str, reading: Reading) -> None:
        from batcher.inputs.formats import database

        self.name = name
        if reading.sql is None:
            raise UsageError(f"{name}: say which rows with --sql 'SELECT …'")
        path = Path(name.removeprefix(_SQLITE))
        self._file, digest = database.query(path, reading.sql)
        self._database = database
        self._path = path
        self.fingerprint: dict[str, Json] = {"path": name, "sql": reading.sql, "rows": digest, "format": "sqlite"}
        self.fingerprint["size"] = os.fstat(self._file.fileno()).st_size

    def identities(self) -> Sequence[tuple[int, int]]:
        found = identity_of(self._path)
        return [found] if found is not None else []

    def is_unchanged(self) -> bool:
        return True

    def would_read(self, _path: Path) -> bool:
        return False

    def rows(self, first: int, checkpoint: Callable[[], object] = bool) -> Rows:
        window = Window(self._file.fileno(), 0, self.name, checkpoint)
        return self._database.read_aside(cast("BinaryIO", io.BufferedReader(window, _CHUNK)), first)

    def place(self, number: int) -> tuple[str, str, int]:
        return self.name, "row", number + 1

    def close(self) -> None:
        self._file.close()


def parts_of(inputs: Sequence[str], form: Format | str | None, reading: Reading) -> list[Part]:
    """What each argument names; a pattern of files that hold rows is all of these. Raises UsageError, InputError."""
    chosen = named(form) if isinstance(form, str) and form != FILES else form
    if reading.sql is not None and not any(name.startswith(_SQLITE) for name in inputs):
        raise UsageError("--sql asks a database, and no input is one: write sqlite:FILE")
    parts: list[Part] = []
    try:
        for name in inputs:
            parts += _parts(name, chosen, reading)
    except BaseException:  # of one that cannot be read: the others are not left open
        for part in parts:
            part.close()
        raise
    if sum(not part.is_regular for part in parts) > 1 and len(set(inputs)) < len(inputs):
        raise UsageError("standard input can be read once")
    return parts


def is_pattern(name: str) -> bool:
    """Whether a name has marks in it that stand for others, and is no file's own."""
    return any(mark in name for mark in "*?[") and not os.path.lexists(name)


def _parts(name: str, form: Format | str | None, reading: Reading) -> list[Part]:
    from batcher.inputs.formats import folder

    if name.startswith(_SQLITE):
        return [QueryPart(name, reading)]
    if "://" in name and not name.startswith("file://"):
        from batcher.inputs.remote import remote_parts

        return list(remote_parts(name, form if isinstance(form, Format) else None, reading))
    name = name.removeprefix("file://")
    if is_pattern(name) or is_directory(Path(name)):
        root, names = folder.matched(name)
        tables = [file for file in names if not Path(file).name.startswith("_")]  # as Spark and Hive mark others
        forms = [found for file in tables if isinstance(found := form or _form_of_rows(file), Format)]
        if tables and len(forms) == len(tables):
            files = [str(root / file) for file in tables]
            return [FilePart(file, one, reading, among=name) for file, one in zip(files, forms, strict=True)]
        return [FolderPart(name, reading)]
    if form == FILES:
        raise UsageError(f"{name} is no directory and no pattern, whose files would be a job each")
    path, mark, sheet = name.rpartition("#")
    if mark and path.lower().endswith(_SHEETS) and not os.path.lexists(name):
        from dataclasses import replace

        name, reading = path, replace(reading, sheet=sheet)
    return [FilePart(name, form if isinstance(form, Format) else None, reading)]


def _form_of_rows(file: str) -> Format | None:
    """The format of a file that a pattern matched, if its name says that it holds rows; a text is a job."""
    packed = Path(file).suffix.lower() in compression.EXTENSIONS
    form = by_extension(file.removesuffix(Path(file).suffix) if packed else file)
    return None if form is FORMATS["text"] else form


def identity_of(path: Path) -> tuple[int, int] | None:
    """Device and inode of a file, if it is there."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
