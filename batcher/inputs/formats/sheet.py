"""Reads a sheet of an Excel workbook, which is loaded whole; the first row names the columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO

from batcher.failures import InputError
from batcher.inputs.formats.header import found
from batcher.inputs.formats.lines import Line
from batcher.inputs.formats.reading import missing
from batcher.inputs.formats.values import plain
from batcher.inputs.formats.workbook import check

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batcher.inputs.formats.reading import Reading, Rows
    from batcher.model import Json


def read_sheet(file: BinaryIO, reading: Reading, first: int) -> Rows:
    """The rows below the header of one sheet. Raises `InputError`, and `ConfigError` if the library is not there."""
    try:
        from python_calamine import CalamineError, CalamineWorkbook
    except ImportError:
        raise missing("Excel", "python-calamine", "data") from None
    check(file)
    try:
        book = CalamineWorkbook.from_filelike(file)
        name, others = _chosen(book, reading.sheet)
        cells = book.get_sheet_by_name(name).to_python(skip_empty_area=False)
    except (CalamineError, OSError, IndexError) as error:
        raise InputError(f"this is no Excel workbook that can be read: {_instead(file) or str(error)[:200]}") from error
    if not any(cell != "" for row in cells for cell in row):
        reading.note(f"the sheet {name!r} is empty{others}")
        return first
    reading.note(
        f"the sheet {name!r} is loaded whole, as Excel files can only be; a large one is better as CSV{others}"
    )
    if (top := found(cells, _texts, reading)) is None:
        return first
    names, header, _ = top
    place = next(place for place, row in enumerate(cells) if row is header)
    seq = first
    for row in cells[place + 1 :]:
        if any(cell != "" for cell in row):
            yield Line(seq, 0, SheetRow(names, row))
        seq += 1
    return seq


def _instead(file: BinaryIO) -> str:
    """What a file is that many programs call a workbook, so that Excel opens it."""
    file.seek(0)
    head = file.read(1024)
    if not head or b"\0" in head or head.startswith(b"PK"):
        return ""
    if b"<html" in head.lower() or b"<table" in head.lower():
        return "it is an HTML page; open it in Excel and save it as a workbook"
    return "it is text; say --input-format csv or tsv"


def _chosen(book: Any, said: str | None) -> tuple[str, str]:
    """(the sheet, else the first that is not hidden; what to say of the others). Raises `InputError`."""
    from python_calamine import SheetVisibleEnum

    names: list[str] = book.sheet_names
    if said is not None and said not in names:
        raise InputError(f"there is no sheet {said!r}; there are {', '.join(map(repr, names))}")
    shown = [about.name for about in book.sheets_metadata if about.visible == SheetVisibleEnum.Visible] or names
    if said is not None or len(shown) == 1:
        return said or shown[0], ""
    return shown[0], f" (to have another one say …#{shown[1]}: there are {', '.join(map(repr, shown[1:]))})"


def _texts(header: Sequence[Any]) -> list[str]:
    """What may be the names of columns."""
    return ["" if cell == "" else str(_cell(cell)) for cell in header]


def _cell(value: Any) -> Json:
    """A cell; Excel has no whole numbers, so that those that are whole are taken for such."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1 << 53:
        return int(value)
    return plain(value)


class SheetRow:
    """A row of a sheet. See `rows.Row`."""

    __slots__ = ("_cells", "_names")

    def __init__(self, names: Sequence[str], cells: Sequence[Any]) -> None:
        self._names, self._cells = names, cells

    def values(self) -> dict[str, Json]:
        """An empty cell is null; one below no name is a remark."""
        padded = [*self._cells, *[""] * (len(self._names) - len(self._cells))]
        cells = zip(self._names, padded, strict=False)
        return {name: None if cell == "" else _cell(cell) for name, cell in cells if name}

    def record(self) -> dict[str, Json]:
        """All but what is empty; ids and prompts as text, whatever Excel made of them."""
        from batcher.inputs.formats.parameters import TEXT_KEYS

        found = {name: value for name, value in self.values().items() if value is not None}
        return {name: str(value) if name in TEXT_KEYS else value for name, value in found.items()}

    def raw(self) -> None:
        return None
