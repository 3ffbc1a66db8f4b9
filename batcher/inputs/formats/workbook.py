"""What a workbook takes when it is loaded, counted before: a cell in its last corner makes a sheet of it.

A library that loads it would take the memory, and the process with it. Not counted is `.xls`, which has 65,536 rows of
256 columns at most and is not packed.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from typing import IO, TYPE_CHECKING, Final

from batcher.failures import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

UNPACKED: Final = 256 << 20
"""Bytes that all its parts may hold: five million cells, with what stands around them."""
CELLS: Final = 1 << 24
"""Cells between the corners of a sheet; each takes 24 bytes, also where nothing is."""

_PIECE: Final = 1 << 20
_LONGEST: Final = 256
"""Bytes of a tag that are looked at again with the next piece, in which it may end."""
_CELL: Final = re.compile(rb"""r\s*=\s*["']([A-Za-z]{1,3})([0-9]{1,7})["']""")
_ROWS: Final = re.compile(rb"[<:]row[\s/>]")
_CELLS: Final = re.compile(rb"[<:]c[\s/>]")
_ROW: Final = re.compile(rb"""<(?:\w+:)?row\s[^>]{0,200}?\br\s*=\s*["']([0-9]{1,7})["']""")
_WORKBOOKS: Final = {"xl/workbook.xml", "xl/workbook.bin", "content.xml"}
"""A part that a workbook has: of Excel, of Excel in binary, of LibreOffice."""
_DAMAGE: Final = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, ValueError, OSError)
"""What parts raise that are damaged, or packed in a way that is not known, or with a password."""


def check(file: BinaryIO) -> None:
    """Raise InputError for a workbook that would take too much; leaves the file at its start."""
    try:
        if zipfile.is_zipfile(file):
            _check_parts(file)
    except _DAMAGE as error:
        raise InputError(f"this is no Excel workbook that can be read: {str(error)[:200]}") from error
    finally:
        file.seek(0)


def _check_parts(file: BinaryIO) -> None:
    with zipfile.ZipFile(file) as archive:
        if not _WORKBOOKS.intersection(archive.namelist()):
            raise InputError("this is a zip archive and no workbook; unpack it")
        # No part gives more than it says: what is behind that is damage to the reader of archives.
        if sum(entry.file_size for entry in archive.infolist()) > UNPACKED:
            raise InputError(f"the workbook unpacks to more than {UNPACKED >> 20} MiB; save it as CSV")
        for entry in archive.infolist():
            with archive.open(entry) as part:
                extent = _Extent()
                for piece in _pieces(part):
                    extent.take(piece)


def _pieces(part: IO[bytes]) -> Iterator[bytes]:
    while piece := part.read(_PIECE):
        yield piece


class _Extent:
    """How far the cells of a sheet reach from its first corner at most, as far as its marks were taken."""

    __slots__ = ("_column", "_in_row", "_placed_cells", "_placed_rows", "_rest", "_row", "_rows", "_seen", "_widest")

    def __init__(self) -> None:
        self._row = self._column = 0
        """The last ones that are named."""
        self._rows = self._seen = self._placed_rows = self._placed_cells = 0
        """Rows and cells, and those that say where they are; the others are behind the one before them."""
        self._in_row = self._widest = 0
        self._rest = b""

    def take(self, piece: bytes) -> None:
        """Take the next bytes. Raises InputError when it is too far."""
        if b"\0" in piece:
            return  # a picture; XML in UTF-16 is not read by the library either
        seen = self._rest + piece
        self._rest = seen[-_LONGEST:]
        for match in _CELL.finditer(seen):
            column = 0
            for letter in match[1].upper():
                column = column * 26 + letter - 64
            self._column = max(self._column, column)
            self._row = max(self._row, int(match[2]))
            self._placed_cells += 1
        for match in _ROW.finditer(seen):
            self._row = max(self._row, int(match[1]))
            self._placed_rows += 1
        for number, row in enumerate(_ROWS.split(piece)):
            cells = len(_CELLS.findall(row))
            self._in_row = cells + (self._in_row if number == 0 else 0)
            self._rows += number > 0
            self._seen += cells
            self._widest = max(self._widest, self._in_row)
        rows = self._row + max(0, self._rows - self._placed_rows)
        columns = self._column + (self._widest if self._seen > self._placed_cells else 0)
        if rows * columns > CELLS:
            raise InputError(f"a sheet has {rows} rows of {columns} columns, most of them empty; save it as CSV")
