"""The rows that a run took of its input, as what stands on them is read: some at a time, each with its columns and id.

A row that cannot be read is a row all the same, without columns.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice, repeat
from operator import contains
from typing import TYPE_CHECKING, Any

import orjson

from batcher import codec
from batcher.failures import LineError
from batcher.inputs.formats.columnar import Record
from batcher.inputs.formats.jsonl import known_by, read_row, refused
from batcher.inputs.formats.rows import values_of
from batcher.inputs.identity import derived_id, own_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence, Set as AbstractSet

    from batcher.inputs.formats import Line
    from batcher.inputs.recipe import Recipe
    from batcher.inputs.selection import Selection
    from batcher.inputs.source import Source
    from batcher.model import Json


@dataclass(slots=True, kw_only=True)
class Taken:
    """An input, and what of it a run took: rows made by `recipe`, the first `at_most`, of these those of `selection`.

    `selection` has to be prepared.
    """

    source: Source
    recipe: Recipe | None = None
    at_most: int | None = None
    selection: Selection | None = None

    @property
    def repeat(self) -> int:
        return 1 if self.selection is None else self.selection.repeat

    def lines(self) -> Iterator[Line]:
        lines = islice(self.source.all_lines(), self.at_most)
        if self.selection is None:
            yield from lines
        else:
            yield from (line for line in self.selection.lines(lines) if line is not None)


@dataclass(slots=True)
class Group:
    """Some rows on their way to their lines, side by side: numbers, columns, ids, and whether these are their own.

    To an id that is derived lines may add a number. `texts` are the lines as they stand in their files.
    """

    seqs: list[int] = field(default_factory=list)
    rows: list[Mapping[str, Json]] = field(default_factory=list)
    idents: list[str] = field(default_factory=list)
    owns: list[bool] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    pieces: list[tuple[Any, int]] = field(default_factory=list)
    texts: list[bytes] = field(default_factory=list)
    records: list[dict[str, Json]] = field(default_factory=list)
    """The objects on these lines, empty ones where there is none."""
    keys: AbstractSet[str] = frozenset()
    """All keys that are in these."""
    named: list[tuple[int, int]] = field(default_factory=list)
    """Where the vectors of the rows are, if that is known without their lines: then there are none."""
    size: int = 0
    """Bytes of the rows, about."""

    def add(self, seq: int, row: Mapping[str, Json], ident: str, *, is_own: bool) -> None:
        self.seqs.append(seq)
        self.rows.append(row)
        self.idents.append(ident)
        self.owns.append(is_own)


def group_of(lines: Sequence[Line], taken: Taken) -> Group:
    """What stands on lines of the input: read together where they are JSON."""
    group = Group(lines=[*lines])
    data = [line.data for line in lines]
    are_json = set(map(type, data)) == {bytes}
    records: list[dict[str, Json]] = [{}] * len(lines)
    if are_json:
        has_long = codec.has_long_integer(b" ".join(data))  # type: ignore[arg-type]  # as the line before says
        records = read_all(data, _unread, has_long=has_long)  # type: ignore[arg-type]  # as above
    if (idents := _own_ids(records, taken.recipe)) is not None:
        group.seqs, group.rows, group.idents = [line.seq for line in lines], [*records], idents
        group.owns = [True] * len(lines)
        group.size = sum(map(len, data))  # type: ignore[arg-type]  # they are JSON
        return group
    for line, record in zip(lines, records, strict=True):
        if not (record and _add(group, line, record, taken.recipe)):
            _add_unusual(group, line, taken)
    group.size = sum(map(len, data)) if are_json else sum(map(_weight, group.rows))  # type: ignore[arg-type]  # as above
    return group


def _own_ids(records: Sequence[dict[str, Json]], recipe: Recipe | None) -> list[str] | None:
    """The ids that rows have themselves, if each has one and nothing else may be its id: nearly always."""
    column = "id" if recipe is None or recipe.id_field is None else recipe.id_field
    found = [record.get(column) for record in records]
    if not set(map(type, found)) <= {int, str} or "" in found:
        return None
    if any(map(contains, records, repeat("custom_id"))):
        return None
    return [value if type(value) is str else str(value) for value in found]


def _add(group: Group, line: Line, values: dict[str, Json], recipe: Recipe | None) -> bool:
    """Add a row whose columns are read; false if it has to be looked at again."""
    try:
        _add_read(group, line, values, recipe)
    except LineError:
        return False
    return True


def _add_unusual(group: Group, line: Line, taken: Taken) -> None:
    """Add a row of any kind; one that cannot be read has no columns."""
    data = line.data
    if data is None:
        group.add(line.seq, {}, f"line:{line.seq // taken.repeat + 1}", is_own=True)
        return
    try:
        _add_read(group, line, values_of(data), taken.recipe)
        if isinstance(data, Record):
            group.pieces.append(data.piece())
    except LineError as error:
        group.add(line.seq, {}, refused(error, line).id, is_own=True)


def _add_read(group: Group, line: Line, values: dict[str, Json], recipe: Recipe | None) -> None:
    """Add a row whose columns are read. Raises LineError if there can be no id."""
    data = line.data
    assert data is not None
    is_read = type(data) is bytes or (recipe is not None and recipe.asks)
    row = values if is_read else read_row(data, recipe)
    explicit = own_id(row) if recipe is None else recipe.own_id(row)
    if explicit is not None:
        group.add(line.seq, values, explicit, is_own=True)
    else:
        group.add(line.seq, values, derived_id(known_by(data, row, recipe)), is_own=False)


def _unread(_data: bytes) -> None:
    """Leave a line to be looked at alone."""


def read_all(
    texts: Sequence[bytes], read: Callable[[bytes], dict[str, Json] | None], *, has_long: bool
) -> list[dict[str, Json]]:
    """The objects on lines, empty ones where there is none; what is unusual about one of them is looked at by `read`.

    `has_long`: there may be integers among them that orjson makes fractions of.
    """
    if not has_long:
        with suppress(orjson.JSONDecodeError):
            found = [orjson.loads(text) if text else {} for text in texts]
            if set(map(type, found)) == {dict}:
                return found
    return [(read(text) if text else None) or {} for text in texts]


def _weight(values: Mapping[str, Json]) -> int:
    """The bytes of a row, about."""
    return sum([len(value) for value in values.values() if type(value) is str])
