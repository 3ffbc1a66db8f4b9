"""Reads a sheet of an Excel workbook, which is loaded whole; the first row names the columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO

from batcher.failures import InputError, LineError
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
        names = book.sheet_names
        name = reading.sheet if reading.sheet is not None else names[0]
        if name not in names:
            raise InputError(f"there is no sheet {name!r}; there are {', '.join(map(repr, names))}")
        cells = book.get_sheet_by_name(name).to_python(skip_empty_area=False)
    except (CalamineError, OSError, IndexError) as error:
        raise InputError(f"this is no Excel workbook that can be read: {str(error)[:200]}") from error
    reading.note(f"the sheet {name!r} is loaded whole, as Excel files can only be; a large one is better as CSV")
    header = next((place for place, row in enumerate(cells) if any(cell != "" for cell in row)), None)
    if header is None:
        raise InputError(f"the sheet {name!r} is empty")
    columns = _names(cells[header])
    seq = first
    for row in cells[header + 1 :]:
        if any(cell != "" for cell in row):
            yield Line(seq, 0, SheetRow(columns, row))
        seq += 1
    return seq


def _names(header: Sequence[Any]) -> list[str]:
    """What columns are called, those without a name left out at the right."""
    names = ["" if cell == "" else str(_cell(cell)).strip() for cell in header]
    while names and not names[-1]:
        names.pop()
    for name in names:
        if name and names.count(name) > 1:
            raise InputError(f"two columns are called {name!r:.60}; give each a name of its own")
    return names


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
        """An empty cell is null."""
        beyond = [cell for cell in self._cells[len(self._names) :] if cell != ""]
        if beyond:
            raise LineError("row_ragged", f"the row has cells beyond the {len(self._names)} columns that have a name")
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
