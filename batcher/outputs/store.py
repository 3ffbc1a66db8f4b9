"""The store of a run's vectors: a file of rows in the order in which they came, each named by one line of the results.

    head     4 KB of JSON: model, length, width; how many rows are known to be on the disk
    rows     appended, numbered from 0, never written over

Rows are written before the lines that name them, and synced before these are. After a crash, a line may name a row
that is not there, or not whole: its checksum tells, and its job is asked again. Only the writer of the results
writes here.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from itertools import count as numbers_from, repeat
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from batcher import codec
from batcher.failures import OutputError, OutputIOError
from batcher.ledger import disk
from batcher.ledger.neighbours import unfit
from batcher.ledger.recovery import read_record
from batcher.opening import UnfitError, open_regular
from batcher.outputs.checksums import crc32
from batcher.outputs.numbers import WIDTHS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path
    from types import TracebackType

HEAD: Final = 4096
_MARK: Final = "vectors of batcher"
_VERSION: Final = 1
_SYNCED_AT: Final = HEAD // 2
_SYNCED: Final = re.compile(rb"\d{15}\n")
_NAMES_ROW: Final = re.compile(rb'"vector":\{"row":(\d{1,15}),"crc32":(\d{1,10})\}')
_PIECE: Final = 4 << 20
"""Bytes of neighbouring rows that are read at a time."""


class Row(NamedTuple):
    """Where a vector is, and what its bytes add up to (`zlib.crc32`)."""

    number: int
    crc32: int


@dataclass(slots=True)
class Store:
    """Open until it is closed. `model` and `dim` are those of all its rows, None before the first."""

    path: Path
    dtype: str
    model: str | None = None
    dim: int | None = None
    rows: int = 0
    synced: int = 0
    """Rows that are known to be on the disk."""
    is_short: bool = False
    """Rows are gone that were on the disk."""
    _fd: int = -1
    _fault: OutputIOError | None = None
    _is_doubted: bool = False

    @classmethod
    def open(cls, path: Path, dtype: str | None = None) -> Self:
        """Open or make a store to write, and cut off a row that is not whole.

        Whoever calls has the lock on the results. `dtype` None takes what is there. Raises OutputError (73) if
        something else has its name, or rows of another width are in it, and OutputIOError (74).
        """
        return cls._opened(path, dtype, os.O_RDWR | os.O_CREAT)

    @classmethod
    def open_to_read(cls, path: Path) -> Self:
        """Open a store that somebody else may be writing to. Raises as `open` does."""
        return cls._opened(path, None, os.O_RDONLY)

    @classmethod
    def _opened(cls, path: Path, dtype: str | None, flags: int) -> Self:
        try:
            store = cls(path, dtype or "float32", _fd=open_regular(path, flags))
        except UnfitError as error:
            raise unfit(error) from error
        except OSError as error:
            raise OutputError(f"{path}: cannot be opened: {error.strerror}") from error
        try:
            store._read_head(dtype)
            if flags & os.O_RDWR and os.fstat(store._fd).st_size > store._end:
                os.ftruncate(store._fd, store._end)
        except OSError as error:
            store.close()
            raise OutputIOError(f"{path}: cannot be read: {error.strerror}") from error
        except BaseException:
            store.close()
            raise
        return store

    @property
    def width(self) -> int:
        """Bytes of a row."""
        return WIDTHS[self.dtype] * (self.dim or 0)

    @property
    def _end(self) -> int:
        return HEAD + self.rows * self.width if self.dim is not None else 0

    def differs(self, model: str | None, dim: int) -> str | None:
        """Say why a vector cannot stand beside those that are there, if it cannot."""
        if self.dim is None:
            return None
        if model != self.model:
            return f"{self.path} holds vectors of {self.model or 'a model without a name'}, and {model} made this one"
        if dim != self.dim:
            return f"{self.path} holds vectors of {self.dim} numbers, and this one has {dim}"
        return None

    def append(self, model: str | None, rows: Sequence[bytes]) -> list[Row]:
        """Write rows, all of one length, in one go and say where they are.

        Raises OutputIOError if they do not all fit, and then none of them is in; it may be tried again.
        """
        if self._fault is not None:
            raise self._fault
        head = b""
        if self.dim is None:
            self.model, self.dim = model, len(rows[0]) // WIDTHS[self.dtype]
            head = self._head()
        start, first = (0 if head else self._end), self.rows
        try:
            os.lseek(self._fd, start, os.SEEK_SET)
            disk.write_all(self._fd, head + b"".join(rows))
        except OSError as error:
            if head:
                self.model = self.dim = None
            self._cut(start)
            raise OutputIOError(f"{self.path}: cannot be written: {error.strerror}") from error
        self.rows += len(rows)
        new = tuple.__new__  # as Row(…), whose own is a Python function
        return [new(Row, place) for place in zip(numbers_from(first), map(crc32(), rows), strict=False)]

    def sync(self) -> None:
        """Wait until all rows so far are on the disk, and note how many they are. May run in another thread.

        Raises OutputIOError, and so does whatever follows: the kernel may call lost pages clean.
        """
        if self._fault is not None:
            raise self._fault
        rows = self.rows
        if rows == self.synced:
            return
        try:
            disk.sync(self._fd)
            os.pwrite(self._fd, b"%015d\n" % (0 if self._is_doubted else rows), _SYNCED_AT)
        except OSError as error:
            self._fault = OutputIOError(f"{self.path}: is safe only up to row {self.synced}: {error.strerror}")
            raise self._fault from error
        self.synced = rows

    def doubt(self) -> None:
        """Have the next run hold all rows to their lines: some are not what they were. Raises OSError."""
        self._is_doubted = True
        os.pwrite(self._fd, b"%015d\n" % 0, _SYNCED_AT)

    def empty(self) -> None:
        """Let go of all rows. Raises OutputIOError."""
        try:
            os.ftruncate(self._fd, 0)
            disk.sync(self._fd)
        except OSError as error:
            raise OutputIOError(f"{self.path}: cannot be emptied: {error.strerror}") from error
        self.model = self.dim = None
        self.rows = self.synced = 0
        self.is_short = self._is_doubted = False

    def read(self, numbers: Sequence[int]) -> Iterator[bytes]:
        """Rows by their numbers, neighbours together; b"" for one that is not there. Raises OSError."""
        width = self.width
        most = max(1, _PIECE // max(width, 1))
        for first, count in _stretches(numbers, most):
            there = max(0, min(count, self.rows - first)) if self.dim is not None else 0
            data = _pread(self._fd, there * width, HEAD + first * width) if there else b""
            for start in range(0, count * width, width) if width else repeat(0, count):
                row = data[start : start + width]
                yield row if len(row) == width else b""

    def faults(self, rows: Sequence[Row]) -> Iterator[bool]:
        """Whether each of some rows is missing, or not what its line says. Raises OSError."""
        sum_of = crc32()
        for row, data in zip(rows, self.read([row.number for row in rows]), strict=True):
            yield not data or sum_of(data) != row.crc32

    def close(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _head(self) -> bytes:
        about = {"file": _MARK, "version": _VERSION, "dtype": self.dtype, "dim": self.dim, "model": self.model}
        head = codec.dumps(about)
        if len(head) >= _SYNCED_AT:
            raise OutputError(f"{self.path}: the name of the model is too long")
        return (head + b"\n").ljust(_SYNCED_AT) + b"%015d\n".ljust(HEAD - _SYNCED_AT - 10) % 0

    def _read_head(self, dtype: str | None) -> None:
        size = os.fstat(self._fd).st_size
        head = os.pread(self._fd, HEAD, 0)
        if not head:
            return
        try:
            about = codec.loads(head[:_SYNCED_AT])
            is_ours = about["file"] == _MARK and about["version"] == _VERSION
            found, self.dim, self.model = about["dtype"], int(about["dim"]), about["model"]
        except (ValueError, KeyError, TypeError):
            is_ours = found = False
        if not is_ours or found not in WIDTHS or not self.dim:
            if size < HEAD and b'{"file":"vectors of batcher"'.startswith(head[:28]):
                self.dim = self.model = None  # it broke off before its first row
                return
            raise OutputError(f"{self.path}: is no store of vectors; move it, or name other results with -o")
        if size < HEAD:
            self.dim = self.model = None
            return
        if dtype not in (None, found):
            raise OutputError(
                f"{self.path} holds vectors of {found}, and {dtype} is asked for: name other results, or "
                "say --overwrite"
            )
        self.dtype = found
        self.rows = max(0, (size - HEAD) // self.width)
        mark = head[_SYNCED_AT : _SYNCED_AT + 16]
        synced = int(mark) if _SYNCED.fullmatch(mark) else 0
        self.synced, self.is_short = min(synced, self.rows), synced > self.rows

    def _cut(self, size: int) -> None:
        try:
            os.ftruncate(self._fd, size)
        except OSError as error:
            self._fault = OutputIOError(f"{self.path}: ends in half a row that cannot be cut off: {error.strerror}")


def row_named(line: bytes) -> Row | None:
    """The row that a line of results names, if it names one; a value of somebody else on it may look like that."""
    match = _NAMES_ROW.search(line)
    if match is None:
        return None
    return Row(int(match[1]), int(match[2])) if _is_own(line, match) else _row_read(line)


def renamed(line: bytes, number: int) -> bytes:
    """The line with another number for the row that it names."""
    row = row_named(line)
    if row is None or row.number == number:
        return line
    wanted = row._replace(number=number)
    for match in _NAMES_ROW.finditer(line):
        if (int(match[1]), int(match[2])) == row:
            made = b'%b"vector":{"row":%d,"crc32":%d}%b' % (line[: match.start()], *wanted, line[match.end() :])
            if _is_own(line, match) or _row_read(made) == wanted:
                return made
    return line


def _is_own(line: bytes, match: re.Match[bytes]) -> bool:
    """Whether this is surely the line's own vector: nothing is begun before it in which it could stand."""
    return line.find(b"{", 1, match.start()) < 0


def _row_read(line: bytes) -> Row | None:
    """The row that stands under the line's own key."""
    vector = (read_record(line) or {}).get("vector")
    found = _NAMES_ROW.fullmatch(b'"vector":%b' % codec.dumps(vector)) if isinstance(vector, dict) else None
    return Row(int(found[1]), int(found[2])) if found is not None else None


def _pread(fd: int, size: int, offset: int) -> bytes:
    pieces = []
    while size > 0 and (piece := os.pread(fd, size, offset)):
        pieces.append(piece)
        size, offset = size - len(piece), offset + len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _stretches(numbers: Iterable[int], most: int) -> Iterator[tuple[int, int]]:
    """Runs of numbers that follow on each other: the first, and how many, at most so many."""
    first, count = -1, 0
    for number in numbers:
        if count and number == first + count and count < most:
            count += 1
            continue
        if count:
            yield first, count
        first, count = number, 1
    if count:
        yield first, count
