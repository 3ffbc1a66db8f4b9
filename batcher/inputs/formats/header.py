"""Which row of a table is its header, and what its columns are called.

The header is the first row that holds anything; where it lacks a column that is asked for, the first of those below it
that has all of them: spreadsheets have titles on top. A column without a name is none, and what two columns are called
can be asked of neither.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, TypeVar

from batcher.failures import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from batcher.inputs.formats.reading import Reading

T = TypeVar("T")
AHEAD: Final = 20
"""Rows that may be the header."""


def named(cells: Iterable[str], reading: Reading) -> list[str]:
    """What columns are called, "" for one without a name; those at the right are left out.

    Of those that share one, none has a name if it is not asked for. Raises `InputError` if it is, or may be.
    """
    names = [cell.strip() for cell in cells]
    shared = unique(names, reading)
    while names and not names[-1]:
        names.pop()
    return ["" if name in shared else name for name in names]


def unique(names: Iterable[str], reading: Reading) -> set[str]:
    """Give the names that several columns have. Raises `InputError` if one of them is asked for, or may be."""
    shared = {name for name, count in Counter(names).items() if name and count > 1}
    for name in shared if reading.columns is None else shared & {*reading.columns}:
        raise InputError(f"two columns are called {name!r:.60}; give each a name of its own")
    return shared


def found(
    rows: Iterable[T], read: Callable[[T], Sequence[str]], reading: Reading
) -> tuple[list[str], T, list[T]] | None:
    """(names, header, rows below it that were looked at) of a table, `None` of one in which nothing stands at all.

    `read` gives the cells of a row as text. Raises `InputError` if it does of the first row.
    """
    seen: list[tuple[T, list[str] | InputError]] = []
    for row in rows:
        names: list[str] | InputError
        try:
            cells = read(row)
            if not any(cells):
                continue
            names = named(cells, reading)
        except InputError as error:
            names = error
        else:
            if reading.wanted <= {*names}:
                if seen:
                    words = "what stands above it is left out"
                    reading.note(f"the header is the row that begins with {cells[0]!r:.40}; {words}")
                return names, row, []
        seen.append((row, names))
        if not reading.wanted or len(seen) == AHEAD:
            break
    if not seen:
        return None
    header, names = seen[0]
    if isinstance(names, InputError):
        raise names
    return names, header, [row for row, _ in seen[1:]]
