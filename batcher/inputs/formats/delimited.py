"""Reads CSV and TSV: the header, and the cells of rows when they are asked for (RFC 4180, and spreadsheets)."""

from __future__ import annotations

import re
from contextlib import suppress
from hashlib import blake2b
from itertools import chain
from typing import TYPE_CHECKING, BinaryIO, Final

import orjson

from batcher.failures import InputError, LineError
from batcher.figures import count
from batcher.inputs.formats.cutting import lines, records
from batcher.inputs.formats.encodings import decoded
from batcher.inputs.formats.header import found
from batcher.inputs.formats.lines import LINE_LIMIT, Line
from batcher.inputs.formats.parameters import TEXT_KEYS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from batcher.inputs.formats.reading import Reading, Rows
    from batcher.inputs.formats.rows import Refused
    from batcher.model import Json

_DELIMITERS: Final = (b",", b";", b"\t", b"|")
"""What may stand between cells, best first: where the comma is for decimals, spreadsheets write semicolons."""
_ASKING: Final = frozenset({"prompt", "messages", "instruction", "question", "conversations"})
"""Columns that say what is asked."""
_SEP: Final = re.compile(rb'"?sep=([^"\n])"?', re.IGNORECASE)
"""How a file begins for Excel, where it does not otherwise know what stands between cells."""
_PAGE: Final = re.compile(rb"\s*<(?:!doctype\s+html|html)\b", re.IGNORECASE)
_JSON: Final = frozenset('{["-0123456789tfn')
"""What JSON begins with."""


def read_csv(file: BinaryIO, reading: Reading, first: int) -> Rows:
    """The rows below the header; those of empty cells are none, and are counted. Raises `InputError` if it is none."""
    return (yield from _read(file, reading, first, _DELIMITERS))


def read_tsv(file: BinaryIO, reading: Reading, first: int) -> Rows:
    """As `read_csv`, with tabs."""
    return (yield from _read(file, reading, first, (b"\t",)))


def _read(file: BinaryIO, reading: Reading, first: int, delimiters: Sequence[bytes]) -> Rows:
    between = [*delimiters]
    rows = records(lines(file), between)
    if (top := _begun(rows, between, reading)) is None:
        return first
    table, begun = top
    seq, new = first, tuple.__new__
    edge = table.delimiter + b'"'
    for record in chain(begun, rows):
        if type(record) is not bytes:
            yield Line(seq, 0, record)
        elif record[0] not in edge or record.strip(edge) or not table.is_empty(record):
            yield new(Line, (seq, 0, Cells(table, record)))  # as Line(…), which costs twice as much
        seq += 1
    return seq


def _begun(
    records: Iterator[bytes | Refused | None], between: list[bytes], reading: Reading
) -> tuple[Table, list[bytes | Refused | None]] | None:
    """The table, if there is any, and rows below its header that were looked at. Raises `InputError`.

    `between` has what stands between cells from here on.
    """
    first = next(records, b"")
    if isinstance(first, bytes) and (said := _SEP.fullmatch(first)):
        between[:] = [said[1]]
        first = next(records, b"")
    top = found(chain([] if first == b"" else [first], records), lambda record: _header(record, between)[0], reading)
    if top is None:
        return None
    names, header, begun = top
    table = Table(names, _header(header, between)[1])
    between[:] = [table.delimiter]
    return table, begun


def _header(record: bytes | Refused | None, delimiters: Sequence[bytes]) -> tuple[Sequence[str], bytes]:
    """The cells of a header; of several delimiters, the one that makes most of it. Raises `InputError`."""
    if isinstance(record, bytes) and _PAGE.match(record):
        raise InputError("this is an HTML page and no table: what was to be fetched may want a login")
    if not isinstance(record, bytes):
        what = "has a quote that never ends" if record else f"is longer than {LINE_LIMIT >> 20} MiB"
        raise InputError(f"the header row {what}")
    if (place := record.find(b"\0")) >= 0:
        name = f"utf-16-{'le' if place % 2 else 'be'}"
        raise InputError(f"the header row holds a NUL; if the file is UTF-16 without a mark, say --encoding {name}")
    cut = []
    for delimiter in delimiters:
        with suppress(LineError):
            cut.append((Table((), delimiter).cells(record), delimiter))
    if not cut:
        raise InputError("the header row cannot be read as UTF-8 text with quotes that make sense; see --encoding")
    return max(cut, key=lambda pair: len(pair[0]))


def is_header(head: bytes, wanted: frozenset[str]) -> bool:
    """Whether a text begins as a table does: with the columns that are asked for, or that jobs have, among others."""
    try:
        cells = {cell.strip() for cell in _header(head.partition(b"\n")[0].rstrip(b"\r"), _DELIMITERS)[0]}
    except InputError:
        return False
    return len(cells) > 1 and (wanted <= cells if wanted else not cells.isdisjoint(_ASKING))


class Table:
    """The header of a table: what its columns are called, and what stands between cells."""

    __slots__ = ("_cell", "_has_nameless", "_names", "_text", "delimiter", "mark")

    def __init__(self, names: Sequence[str], delimiter: bytes) -> None:
        self._names = names
        self._has_nameless = "" in names
        self._text = delimiter.decode()
        mark = re.escape(self._text)
        self._cell = re.compile(rf'(?:"((?:[^"]++|"")*+)"|([^"{mark}][^{mark}]*+)?+)(?={mark}|\Z)')
        self.delimiter = delimiter
        self.mark = blake2b("\0".join([self._text, *names]).encode(), digest_size=8).digest()
        """By it a row under another header is another row."""

    def columns(self, record: bytes) -> dict[str, str]:
        """The cells of a row under their columns' names. Raises `LineError`."""
        cells = self.cells(record)
        if len(cells) != len(self._names):
            cells = self._fitted(cells)
        row = dict(zip(self._names, cells, strict=True))
        if self._has_nameless:
            del row[""]
        return row

    def is_empty(self, record: bytes) -> bool:
        """Whether there is nothing in any cell of a row."""
        with suppress(LineError):
            return not any(self.cells(record))
        return False

    def _fitted(self, cells: list[str]) -> list[str]:
        """A row without the empty cells beyond the last column that has a name. Raises `LineError`."""
        width = len(self._names)
        if len(cells) > width and not any(cells[width:]):
            return cells[:width]
        hint = f"; quote cells that hold {'a tab' if self._text == chr(9) else self._text!r}"
        raise LineError(
            "row_ragged",
            f"the row has {count(len(cells), 'cells')}, and the header {count(width, 'names')}"
            f"{hint if len(cells) > width else ''}",
        )

    def cells(self, record: bytes) -> list[str]:
        """Raises `LineError`."""
        text = decoded(record)
        if '"' not in text:
            return text.split(self._text)
        return self._quoted(text) or self._escaped(text)

    def _quoted(self, text: str) -> list[str] | None:
        """Cells whose quotes stand around them, or are doubled in them, which is usual, and five times as fast."""
        delimiter = self._text
        *pairs, last = text.split('"')
        if len(pairs) % 2:
            return None
        cells: list[str] = []
        cell: list[str] = []
        """The pieces of the last one, a quote between them."""
        for place in range(0, len(pairs), 2):
            outside = pairs[place]
            if not outside and place:
                cell.append(pairs[place + 1])
                continue
            if place:
                cells.append('"'.join(cell))
            if outside:
                if outside[-1] != delimiter or (place and outside[0] != delimiter):
                    return None
                if outside != delimiter or not place:
                    cells += outside.split(delimiter)[1 if place else 0 : -1]
            cell = [pairs[place + 1]]
        cells.append('"'.join(cell))
        if last:
            if last[0] != delimiter:
                return None
            cells += last.split(delimiter)[1:]
        return cells

    def _escaped(self, text: str) -> list[str]:
        cells: list[str] = []
        place = 0
        while True:
            match = self._cell.match(text, place)
            if match is None:
                raise LineError(
                    "row_quotes",
                    f"the quotes of the row make no sense from character {place + 1} on; double those "
                    "that stand inside of a quoted cell",
                )
            quoted = match[1]
            cells.append(match[2] or "" if quoted is None else quoted.replace('""', '"'))
            place = match.end()
            if place == len(text):
                return cells
            place += 1


class Cells:
    """A row of a table, as it stands there. See `rows.Row`."""

    __slots__ = ("_record", "_table")

    def __init__(self, table: Table, record: bytes) -> None:
        self._table, self._record = table, record

    def values(self) -> dict[str, Json]:
        return self._table.columns(self._record)

    def record(self) -> dict[str, Json]:
        """Cells of text as they are; the others read as JSON where they are; none for an empty cell."""
        cells = self.values().items()
        return {
            name: cell if name in TEXT_KEYS or cell[0] not in _JSON else _json(cell) for name, cell in cells if cell
        }

    def raw(self) -> bytes:
        return self._table.mark + self._record


def _json(cell: str) -> Json:
    try:
        return orjson.loads(cell)
    except orjson.JSONDecodeError:
        return cell
