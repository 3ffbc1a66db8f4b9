r"""Cuts a byte stream into input lines, numbered, located, and bounded in memory.

Only ``\n`` ends a line: U+2028, U+0085 and a lone ``\r`` are data, as JSON allows them inside a string.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from batcher.failures import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from batcher.inputs.formats.rows import Data

LINE_LIMIT = 64 * 1024 * 1024
"""The longest line taken, in bytes; longer ones are passed over in constant memory."""

_BLOCK = 256 * 1024
_BOM = b"\xef\xbb\xbf"
LONGEST_MARK = 5

FOREIGN_MARKS = {
    b"\xff\xfe\0\0": "UTF-32; say --encoding utf-32",
    b"\0\0\xfe\xff": "UTF-32; say --encoding utf-32",
    b"\xff\xfe": "UTF-16; say --encoding utf-16",
    b"\xfe\xff": "UTF-16; say --encoding utf-16",
    b"\x1f\x8b": "gzip data, packed twice if its name says so; name it .gz, or unpack it: gzip -dc",
    b"\x28\xb5\x2f\xfd": "zstd data, packed twice if its name says so; name it .zst, or unpack it: zstd -dc",
    b"\xfd7zXZ": "xz data, packed twice if its name says so; name it .xz, or unpack it: xz -dc",
    b"BZh9": "bzip2 data, packed twice if its name says so; name it .bz2, or unpack it: bzip2 -dc",
    b"PK\x03\x04": "a zip archive, which Excel workbooks are too: name those .xlsx, and unpack others",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook, or a Word document; name it .xls",
    b"PAR1\x15": "Parquet; name it .parquet",
    b"%PDF-": "a PDF; make text of it first",
}
"""How files begin that are no UTF-8 text."""


class Line(NamedTuple):
    """One physical line, or one row of a table. `seq` counts from 0 through all inputs, `offset` is in bytes.

    `data` is `None` if the line was too long, and no bytes if the input is no JSON.
    """

    seq: int
    offset: int
    data: Data | None


class LineSplitter:
    """Cuts chunks into lines by push. Blank lines are passed over but keep their number.

    A UTF-8 byte order mark at the start is dropped. Raises `InputError` if the start shows that this is no UTF-8 text.
    """

    def __init__(self, longest: int = LINE_LIMIT, first: int = 0) -> None:
        self._longest = longest
        self._seq = first
        self._offset = 0
        self._pending: list[bytes] = []
        self._length = 0  # of the unfinished line, bytes dropped from it included
        self._start: bytes | None = b""  # the first bytes, held until a mark can be told; `None` afterwards

    @property
    def seq(self) -> int:
        """The number of the next line."""
        return self._seq

    def feed(self, chunk: bytes) -> list[Line]:
        """The lines that `chunk` completes."""
        if self._start is not None:
            self._start += chunk
            if len(self._start) < LONGEST_MARK:
                return []
            chunk = self._begin()
        head, newline, rest = chunk.partition(b"\n")
        if not newline:
            self._keep(head)
            return []
        lines: list[Line] = []
        self._keep(head)
        self._finish(1, lines)
        if rest:
            self._cut(rest, lines)
        return lines

    def close(self) -> list[Line]:
        """The last line, if it came without a newline."""
        lines = self._flush()
        if self._length:
            self._finish(0, lines)
        return lines

    def _flush(self) -> list[Line]:
        """The lines of an input so short that its start is still held."""
        text = self._begin() if self._start is not None else b""
        return self.feed(text) if text else []

    def _begin(self) -> bytes:
        """The text after the byte order mark."""
        text, self._start = self._start or b"", None
        for mark, what in FOREIGN_MARKS.items():
            if text.startswith(mark):
                raise InputError(f"the input is not UTF-8 text but {what}")
        if text.startswith(_BOM):
            self._offset = len(_BOM)
            return text[len(_BOM) :]
        return text

    def _cut(self, rest: bytes, lines: list[Line]) -> None:
        """The hot loop: whole lines inside one chunk."""
        seq, offset, longest = self._seq, self._offset, self._longest
        append, new = lines.append, tuple.__new__
        *whole, tail = rest.split(b"\n")
        for data in whole:
            length = len(data)
            if length > longest:
                append(Line(seq, offset, None))
            elif data and (data[0] > 32 or not data.isspace()):
                # as Line(…), which costs twice as much: a named tuple's own __new__ is a Python function
                append(new(Line, (seq, offset, data if data[-1] != 13 else data[:-1])))
            seq += 1
            offset += length + 1
        self._seq, self._offset = seq, offset
        self._keep(tail)

    def _keep(self, piece: bytes) -> None:
        """Hold a piece of an unfinished line, or let the whole of it go once it is too long."""
        self._length += len(piece)
        if self._length > self._longest:
            self._pending.clear()
        elif piece:
            self._pending.append(piece)

    def _finish(self, newline: int, lines: list[Line]) -> None:
        if self._length > self._longest:
            lines.append(Line(self._seq, self._offset, None))
        else:
            data = b"".join(self._pending)
            if data and not data.isspace():
                lines.append(Line(self._seq, self._offset, data.removesuffix(b"\r")))
        self._seq += 1
        self._offset += self._length + newline
        self._length = 0
        self._pending.clear()


def read_lines(file: BinaryIO, longest: int = LINE_LIMIT, first: int = 0) -> Generator[Line, None, int]:
    """The lines of a file or pipe, as they come, numbered from `first` on; returns the number of the next line.

    Raises `InputError` if the file is no UTF-8 text, and what `file.read` raises.
    """
    splitter = LineSplitter(longest, first)
    # `read1` gives what a pipe holds now; `read` would wait until the block is full
    read: Callable[[int], bytes] = getattr(file, "read1", file.read)
    while block := read(_BLOCK):
        yield from splitter.feed(block)
    yield from splitter.close()
    return splitter.seq


def read_rows(file: BinaryIO, row: Callable[[bytes], Data], first: int) -> Generator[Line, None, int]:
    """As `read_lines`, of a file whose lines are rows of another kind: `row` makes one of the bytes of a line."""
    lines = read_lines(file, first=first)
    while True:
        try:
            line = next(lines)
        except StopIteration as end:
            return int(end.value)
        yield Line(line.seq, line.offset, row(line.data)) if isinstance(line.data, bytes) else line
