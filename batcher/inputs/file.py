"""A file or a pipe as an input: what is told by its name, else by its first bytes, and its rows."""

from __future__ import annotations

import io
import os
import stat
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, cast

from batcher.failures import InputError, UsageError
from batcher.inputs import compression
from batcher.inputs.formats import HEAD, Format, by_extension, by_look, refuse_documents
from batcher.inputs.window import Window
from batcher.opening import Arriving, open_typed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from batcher.inputs.formats import Line
    from batcher.inputs.formats.reading import Reading, Rows
    from batcher.model import Json

_CHUNK: Final = 256 * 1024
_SQLITE_MAGIC: Final = b"SQLite format 3\0"


class FilePart:
    """A file, or a pipe; `among` is the directory or pattern that names it. Raises InputError if it is not there."""

    is_near = True

    def __init__(self, name: str, form: Format | None, reading: Reading, among: str = "") -> None:
        self._among = among
        self.name = "standard input" if name == "-" else name
        self._reading = replace(reading, note=lambda words: reading.note(f"{self.name}: {words}"))
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
                refuse_documents(inner)
                self._form = self._looked_at()
            except BaseException:
                self._file.close()
                raise
        self._is_lent = bool(among) and self.is_regular
        if self._is_lent:
            self._file.close()
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
        with suppress(OSError):
            return self._is_known(Path(self.name).stat() if self._is_lent else os.fstat(self._file.fileno()))
        return False

    def _is_known(self, status: os.stat_result) -> bool:
        told = self.fingerprint
        known = (told.get("size"), told.get("mtime_ns"), told.get("ctime_ns"))
        return known == (status.st_size, status.st_mtime_ns, status.st_ctime_ns)

    def would_read(self, path: Path) -> bool:
        from batcher.inputs.formats.folder import would_match

        return bool(self._among) and would_match(self._among, path)

    def rows(self, first: int, checkpoint: Callable[[], object] = bool) -> Rows:
        if not self.is_regular:
            return self._arriving(first)
        assert self._form is not None
        file = cast("BinaryIO", io.BufferedReader(self._window(checkpoint), _CHUNK))
        if self._form.is_whole:
            return self._whole(file, first)
        return self._read(file, self._packing, self._form, first)

    def _window(self, checkpoint: Callable[[], object]) -> Window:
        """The file for one who reads it. Of many files each is open as long as there are rows of it."""
        if not self._is_lent:
            return Window(self._file.fileno(), self._start, self.name, checkpoint)
        with _open(Path(self.name)) as file:
            status, told = os.fstat(file.fileno()), self.fingerprint
            now = (status.st_ino, status.st_size, status.st_mtime_ns)
            if now != (told["inode"], told["size"], told["mtime_ns"]):
                raise InputError(f"{self.name} was changed after the run began")
            return Window(os.dup(file.fileno()), 0, self.name, checkpoint, owns=True)

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
        begins = {magic[:1] for magic in compression.MAGIC}
        if packing is None and file.head(1)[:1] in begins:  # else nobody waits for more than the first byte
            packing = compression.packing_of(file.head(_LEAST))
        if form is None:
            begun = _Begun(cast("BinaryIO", compression.Unpacked(cast("BinaryIO", file), packing))) if packing else file
            form = self._form = by_look(begun.first_line(), self._reading)
            file, packing = begun, None
        if not form.is_text:
            raise InputError(f"{form.name} cannot be read from a pipe; give it as a file")
        end = yield from self._read(cast("BinaryIO", file), packing, form, first)
        self._is_arriving = False
        return end

    def _looked_at(self) -> Format:
        """What the first bytes of a file say that neither its name nor anybody does. Raises InputError."""
        window = cast("BinaryIO", Window(self._file.fileno(), self._start, self.name, bool))
        head = window.read(HEAD)
        if self._packing is None:
            self._packing = compression.packing_of(head)
        if head.startswith(_SQLITE_MAGIC):
            raise UsageError(f"{self.name} is a SQLite database: write sqlite:{self.name}, and --sql 'SELECT …'")
        if self._packing is not None:
            window.seek(0)
            head = compression.Unpacked(window, self._packing).read(HEAD)
        try:
            return by_look(head, self._reading)
        except InputError as error:
            raise InputError(f"{self.name}: {error}") from error


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

    def first_line(self) -> bytes:
        """What comes first, up to the end of a line that is not blank, as far as one can be seen."""
        while len(self._head) < HEAD and b"\n" not in self._head.lstrip() and (more := self._read(HEAD)):
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
