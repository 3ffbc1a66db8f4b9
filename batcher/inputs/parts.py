"""One input: what it is, as far as it can be told before it is read, and its rows.

What it is is told by what was said, else by its name, else by its first bytes: packed or not, and in which format.
"""

from __future__ import annotations

import io
import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast

from batcher.failures import InputError, UsageError
from batcher.inputs import compression
from batcher.inputs.formats import FILES, FORMATS, HEAD, Format, by_extension, by_look, named
from batcher.inputs.opening import open_typed
from batcher.inputs.pipe import Arriving

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from batcher.inputs.formats import Line
    from batcher.inputs.formats.reading import Reading, Rows
    from batcher.inputs.part import Part
    from batcher.model import Json

_CHUNK: Final = 256 * 1024
_SQLITE: Final = "sqlite:"
_SQLITE_MAGIC: Final = b"SQLite format 3\0"
_SHEETS: Final = (".xlsx", ".xlsm", ".xls", ".ods")


class FilePart:
    """A file, or a pipe. Raises InputError when it cannot be opened."""

    is_near = True

    def __init__(self, name: str, form: Format | None, reading: Reading) -> None:
        self.name = "standard input" if name == "-" else name
        self._reading = reading
        self._file: BinaryIO = _stdin() if name == "-" else _open(Path(name))
        status = os.fstat(self._file.fileno())
        self.is_regular = stat.S_ISREG(status.st_mode)
        self._start = os.lseek(self._file.fileno(), 0, os.SEEK_CUR) if self.is_regular and name == "-" else 0
        self._is_ours = name != "-"
        self._is_arriving = False
        self._packing = None if name == "-" else compression.EXTENSIONS.get(Path(name).suffix.lower())
        inner = name.removesuffix(Path(name).suffix) if self._packing else name
        self._form = form or (None if name == "-" else by_extension(inner))
        if self._form is None and self.is_regular:
            try:
                self._form = self._looked_at()
            except BaseException:
                self._file.close()
                raise
        self._kept: tuple[list[Line], int, int] | None = None
        self._identities = [(status.st_dev, status.st_ino)] if self.is_regular else []
        self.fingerprint: dict[str, Json] = {}
        if self.is_regular and self._form is not None:
            self.fingerprint = {**_fingerprint(name, status, self._start), "format": self._form.name}
            said = {"encoding": reading.encoding, "sheet": reading.sheet}
            self.fingerprint |= {key: value for key, value in said.items() if value is not None}

    def identities(self) -> Sequence[tuple[int, int]]:
        return self._identities

    def is_unchanged(self) -> bool:
        status = os.fstat(self._file.fileno())
        told = self.fingerprint
        known = (told.get("size"), told.get("mtime_ns"), told.get("ctime_ns"))
        return known == (status.st_size, status.st_mtime_ns, status.st_ctime_ns)

    def would_read(self, _path: Path) -> bool:
        return False

    def rows(self, first: int, checkpoint: Callable[[], object] = bool) -> Rows:
        if not self.is_regular:
            return self._arriving(first)
        assert self._form is not None
        file = cast(
            "BinaryIO", io.BufferedReader(_Window(self._file.fileno(), self._start, self.name, checkpoint), _CHUNK)
        )
        if self._form.is_whole:
            return self._whole(file, first)
        return self._read(file, self._packing, self._form, first)

    def place(self, number: int) -> tuple[str, str, int]:
        return self.name, self._form.unit if self._form is not None else "line", number + 1

    def close(self) -> None:
        if self._is_ours and not self._is_arriving:  # a read that waits for a writer is not to be disturbed
            self._file.close()

    def _read(self, file: BinaryIO, packing: str | None, form: Format, first: int) -> Rows:
        if packing is not None:
            if not form.is_text:
                raise InputError(f"{form.name} inside of {packing} cannot be read; unpack it first")
            file = cast("BinaryIO", compression.Unpacked(file, packing))
        if self._reading.encoding is not None and form.is_text:
            from batcher.inputs.formats.encodings import Recoded

            file = cast("BinaryIO", Recoded(file, self._reading.encoding))
        return form.read(file, self._reading, first)

    def _whole(self, file: BinaryIO, first: int) -> Rows:
        """Rows of what is loaded whole, which is done once."""
        assert self._form is not None
        if self._kept is None or self._kept[1] != first:
            rows = self._read(file, self._packing, self._form, first)
            kept: list[Line] = []
            while True:
                try:
                    kept.append(next(rows))
                except StopIteration as end:
                    self._kept = (kept, first, end.value)
                    break
        yield from self._kept[0]
        return self._kept[2]

    def _arriving(self, first: int) -> Rows:
        """As `rows`, of a pipe, whose beginning can be looked at but as it comes."""
        self._is_arriving = True
        file = _Begun(cast("BinaryIO", io.BufferedReader(Arriving(self._file.fileno()), _CHUNK)))
        packing, form = self._packing, self._form
        if packing is None and form is None:
            packing = _packing(file.head(_LEAST))
        if form is None:
            begun = _Begun(cast("BinaryIO", compression.Unpacked(cast("BinaryIO", file), packing))) if packing else file
            form = self._form = by_look(begun.head(1))
            file, packing = begun, None
        if not form.is_text:
            raise InputError(f"{form.name} cannot be read from a pipe; give it as a file")
        end = yield from self._read(cast("BinaryIO", file), packing, form, first)
        self._is_arriving = False
        return end

    def _looked_at(self) -> Format:
        """What the first bytes of a file say that neither its name nor anybody does. Raises InputError."""
        window = cast("BinaryIO", _Window(self._file.fileno(), self._start, self.name, bool))
        head = window.read(HEAD)
        if self._packing is None:
            self._packing = _packing(head)
        if head.startswith(_SQLITE_MAGIC):
            raise UsageError(f"{self.name} is a SQLite database: write sqlite:{self.name}, and --sql 'SELECT …'")
        if self._packing is not None:
            window.seek(0)
            head = compression.Unpacked(window, self._packing).read(HEAD)
        return by_look(head)


_LEAST: Final = 6
"""Bytes that tell how a pipe is packed."""


class _Begun:
    """A file whose beginning was looked at."""

    def __init__(self, file: BinaryIO) -> None:
        self._read = getattr(file, "read1", file.read)
        self._head = b""

    def head(self, least: int) -> bytes:
        """What comes first, so many bytes at least if there are."""
        while len(self._head) < least and (more := self._read(HEAD)):
            self._head += more
        return self._head

    def read(self, size: int = -1) -> bytes:
        if self._head:
            size = len(self._head) if size < 0 else size
            piece, self._head = self._head[:size], self._head[size:]
            return piece
        data: bytes = self._read(size)
        return data

    read1 = read


class FolderPart:
    """A directory, or a pattern: a row a file. Raises InputError if there is none."""

    is_regular = True
    is_near = True

    def __init__(self, name: str) -> None:
        from batcher.inputs.formats import folder

        self.name = name
        self.root, self._names = folder.matched(name)
        self._folder = folder
        self.fingerprint: dict[str, Json] = {
            "path": name,
            "files": len(self._names),
            "marks": folder.marks_of(self.root, self._names),
            "format": FILES,
        }

    def identities(self) -> Sequence[tuple[int, int]]:
        return [found for name in self._names if (found := identity_of(self.root / name)) is not None]

    def is_unchanged(self) -> bool:
        marks: str = self.fingerprint["marks"]
        return marks == self._folder.marks_of(self.root, self._names)

    def would_read(self, path: Path) -> bool:
        return self._folder.would_match(self.name, path)

    def rows(self, first: int, _checkpoint: Callable[[], object] = bool) -> Rows:
        return self._folder.read_files(self.root, self._names, first)

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

    def identities(self) -> Sequence[tuple[int, int]]:
        found = identity_of(self._path)
        return [found] if found is not None else []

    def is_unchanged(self) -> bool:
        return True

    def would_read(self, _path: Path) -> bool:
        return False

    def rows(self, first: int, checkpoint: Callable[[], object] = bool) -> Rows:
        window = _Window(self._file.fileno(), 0, self.name, checkpoint)
        return self._database.read_aside(cast("BinaryIO", io.BufferedReader(window, _CHUNK)), first)

    def place(self, number: int) -> tuple[str, str, int]:
        return self.name, "row", number + 1

    def close(self) -> None:
        self._file.close()


class _Window(io.RawIOBase):
    """Reads an open file with a place of its own in it, so that several may read at once."""

    def __init__(self, fd: int, start: int, name: str, checkpoint: Callable[[], object]) -> None:
        super().__init__()
        self._fd = fd
        self._place = self._start = start
        self._name = name
        self._checkpoint = checkpoint

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: self._start, os.SEEK_CUR: self._place, os.SEEK_END: os.fstat(self._fd).st_size}[whence]
        self._place = base + offset
        return self._place - self._start

    def tell(self) -> int:
        return self._place - self._start

    def readinto(self, buffer: Any) -> int:
        self._checkpoint()
        try:
            count = os.preadv(self._fd, [buffer], self._place)
        except OSError as error:
            raise InputError(f"{self._name}: the input broke off: {error.strerror}") from error
        self._place += count
        return count


def parts_of(inputs: Sequence[str], form: Format | str | None, reading: Reading) -> list[Part]:
    """What each argument names; a pattern of files that hold rows is all of these. Raises UsageError, InputError."""
    chosen = named(form) if isinstance(form, str) and form != FILES else form
    parts: list[Part] = []
    for name in inputs:
        parts += _parts(name, chosen, reading)
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
    if is_pattern(name):
        root, names = folder.matched(name)
        forms = [form or _form_of_rows(file) for file in names]
        if all(isinstance(one, Format) for one in forms):
            return [FilePart(str(root / file), one, reading) for file, one in zip(names, forms, strict=True)]  # type: ignore[arg-type]  # as the condition says
        return [FolderPart(name)]
    if Path(name).is_dir():
        return [FolderPart(name)]
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


def _packing(head: bytes) -> str | None:
    return next((kind for magic, kind in compression.MAGIC.items() if head.startswith(magic)), None)


def _stdin() -> BinaryIO:
    if sys.stdin is None:
        raise InputError("standard input is closed; name a file of jobs")
    return sys.stdin.buffer


def _open(path: Path) -> BinaryIO:
    try:
        return open_typed(path)
    except IsADirectoryError:
        raise InputError(f"{path} is a directory; name a file of jobs, or - for standard input") from None
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; the current directory is {Path.cwd()}") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None


def _fingerprint(path: str, status: os.stat_result, start: int) -> dict[str, Json]:
    """By what an input file is known again: name, size in bytes, time of its last change in ns, and its inode.

    Anyone can set back `mtime`, and nobody `ctime`. `start` is where reading begins, if that is not at the start.
    """
    times = {"mtime_ns": status.st_mtime_ns, "ctime_ns": status.st_ctime_ns}
    place = {"start": start} if start else {}
    return {"path": path, "size": status.st_size, **times, "inode": status.st_ino, **place}
