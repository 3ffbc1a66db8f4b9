"""Cuts CSV and TSV into rows, and rows into cells when they are asked for (RFC 4180, and what spreadsheets make of it).

A row that is wrong costs itself: a quote that never ends well is told of its own line, and the next line is a row.
"""

from __future__ import annotations

import re
from contextlib import suppress
from hashlib import blake2b
from itertools import chain
from typing import TYPE_CHECKING, BinaryIO, Final

import orjson

from batcher.failures import InputError, LineError
from batcher.inputs.formats.encodings import complaint
from batcher.inputs.formats.header import found
from batcher.inputs.formats.lines import FOREIGN_MARKS, LINE_LIMIT, Line
from batcher.inputs.formats.parameters import TEXT_KEYS
from batcher.inputs.rows import Refused

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from batcher.inputs.formats.reading import Reading, Rows
    from batcher.model import Json

_BLOCK: Final = 256 * 1024
_BOM: Final = b"\xef\xbb\xbf"
_DELIMITERS: Final = (b",", b";", b"\t", b"|")
"""What may stand between cells, best first: where the comma is for decimals, spreadsheets write semicolons."""
_ASKING: Final = frozenset({"prompt", "messages", "instruction", "question", "conversations"})
"""Columns that say what is asked."""
_SEP: Final = re.compile(rb'"?sep=([^"\n])"?', re.IGNORECASE)
"""How a file begins for Excel, where it does not otherwise know what stands between cells."""
_JSON: Final = frozenset('{["-0123456789tfn')
"""What JSON begins with."""


def read_csv(file: BinaryIO, reading: Reading, first: int) -> Rows:
    """The rows below the header; those of empty cells are none, and are counted. Raises `InputError` without one."""
    return (yield from _read(file, reading, first, _DELIMITERS))


def read_tsv(file: BinaryIO, reading: Reading, first: int) -> Rows:
    """As `read_csv`, with tabs."""
    return (yield from _read(file, reading, first, (b"\t",)))


def _read(file: BinaryIO, reading: Reading, first: int, delimiters: Sequence[bytes]) -> Rows:
    between = [*delimiters]
    records = _records(_physical(file), between)
    table, begun = _begun(records, between, reading)
    seq, new = first, tuple.__new__
    edge = table.delimiter + b'"'
    for record in chain(begun, records):
        if type(record) is not bytes:
            yield Line(seq, 0, record)
        elif record[0] not in edge or record.strip(edge) or not table.is_empty(record):
            yield new(Line, (seq, 0, Cells(table, record)))  # as Line(…), which costs twice as much
        seq += 1
    return seq


def _begun(
    records: Iterator[bytes | Refused], between: list[bytes], reading: Reading
) -> tuple[Table, list[bytes | Refused]]:
    """The table, and rows below its header that were looked at; `between` has what stands between cells from here on.

    Raises `InputError`.
    """
    first = next(records, b"")
    if isinstance(first, bytes) and (said := _SEP.fullmatch(first)):
        between[:] = [said[1]]
        first = next(records, b"")
    names, header, begun = found(
        chain([first] if first else [], records), lambda record: _header(record, between)[0], reading
    )
    table = Table(names, _header(header, between)[1])
    between[:] = [table.delimiter]
    return table, begun


def _header(record: bytes | Refused, delimiters: Sequence[bytes]) -> tuple[Sequence[str], bytes]:
    """The cells of a header; of several delimiters, the one that makes most of it. Raises `InputError`."""
    if not isinstance(record, bytes):
        raise InputError("the header row has a quote that never ends")
    if b"\0" in record:
        raise InputError("the header row holds a NUL; if the file is UTF-16, say --encoding utf-16")
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
            f"the row has {len(cells)} cells, and the header {width} {'name' if width == 1 else 'names'}"
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


def decoded(record: bytes) -> str:
    """The text of a row. Raises `LineError` that says which byte is none."""
    try:
        text = record.decode()
    except UnicodeDecodeError as error:
        raise LineError("input_encoding", f"the row is {complaint(record, error)}") from error
    if "\0" in text:
        raise LineError("input_nul", f"the row holds a NUL (character {text.index(chr(0)) + 1}), which is no text")
    return text


def _physical(file: BinaryIO) -> Iterator[list[bytes]]:
    """The lines of a file as they come, without their ends, the mark at its start taken off.

    A lone CR ends them where there is nothing else, as in the CSV of old Macs.
    """
    read = getattr(file, "read1", file.read)
    tail: list[bytes] = []
    begun, end = False, b"\n"
    while block := read(_BLOCK):
        if not begun:
            while len(block) < len(_BOM) and (more := read(_BLOCK)):
                block += more
            while b"\n" not in block and len(block) < _BLOCK and (more := read(_BLOCK)):
                block += more
            begun, end = True, b"\n" if b"\n" in block or b"\r" not in block else b"\r"
            for mark, what in FOREIGN_MARKS.items():
                if block.startswith(mark):
                    raise InputError(f"the input is not UTF-8 text but {what}")
            block = block.removeprefix(_BOM)
        lines = block.split(end)
        tail.append(lines[0])
        if len(lines) > 1:
            lines[0] = b"".join(tail)
            tail = [lines.pop()]
            yield lines
    if last := b"".join(tail):
        yield [last]


def _records(blocks: Iterator[list[bytes]], delimiters: Sequence[bytes]) -> Iterator[bytes | Refused]:
    """Whole rows, blank lines left out: a line, or several where a quoted cell goes on over its end."""
    held: list[bytes] = []
    size = 0
    for block in chain(blocks, ([],)):
        lines, place, last = block, 0, not block
        while place < len(lines) or (last and held):
            if place < len(lines):
                line = lines[place]
                place += 1
                quoted = b'"' in line
                if not held and not quoted:
                    if line and line != b"\r":
                        yield line if line[-1] != 13 else line[:-1]
                    continue
                state = _state(line, delimiters, inside=bool(held)) if quoted else True
                held.append(line)
                size += len(line) + 1
                if state is False or (state is None and len(held) == 1):
                    yield b"\n".join(held).removesuffix(b"\r")  # what is odd in itself is told when it is read
                    held, size = [], 0
                    continue
                if state is True and size <= LINE_LIMIT:
                    continue
            yield Refused(
                "row_quotes", "a quote opens a cell here and does not end it; the next line is a row", held[0]
            )
            lines, place = [*held[1:], *lines[place:]], 0
            held, size = [], 0


def _state(line: bytes, delimiters: Sequence[bytes], *, inside: bool) -> bool | None:
    """Whether a cell is open at the end of a line; `None` if its quotes do not stand where quotes of a table do."""
    parts = line.removesuffix(b"\r").split(b'"')
    ends_inside = inside == (len(parts) % 2 == 1)
    outside = parts[1::2] if inside else parts[::2]
    last = len(outside) - 1
    for place, part in enumerate(outside):
        if not part:
            continue  # a quote that is doubled, or the edge of the line
        begins = place > 0 or inside
        ends = place < last or ends_inside
        if (begins and not part.startswith(tuple(delimiters))) or (ends and not part.endswith(tuple(delimiters))):
            return None
    return ends_inside
