"""Puts the rows of an input and the lines of their results side by side, in the order of the input.

A row has the line under its number if that bears its id, else the line of its id, wherever that stands: the input may
have changed, and equal rows have one line. A row of which there is no line is a row all the same. Without an input the
lines themselves are the rows.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import orjson

from batcher import codec
from batcher.failures import LineError
from batcher.inputs.formats.columnar import Record
from batcher.inputs.formats.jsonl import known_by, read_row, refused
from batcher.inputs.identity import derived_id, own_id
from batcher.inputs.rows import values_of
from batcher.ledger.recovery import read_record
from batcher.outputs.places import NOWHERE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from batcher.inputs.formats import Line
    from batcher.inputs.recipe import Recipe
    from batcher.inputs.selection import Selection
    from batcher.inputs.source import Source
    from batcher.model import Json
    from batcher.outputs.places import Places

ROWS: Final = 1024
"""Rows of a chunk at most: what is read of them stays in the caches of the processor."""
BYTES: Final = 4 << 20
"""Bytes of a chunk that are aimed at."""
_FOREIGN: Final = frozenset({"parsed", "columns", "tool_calls", "choices", "turns"})
"""Keys under which values of others stand that come into tables."""
_AT_ONCE: Final = 256
"""Rows whose lines are fetched together."""


@dataclass(slots=True)
class Chunk:
    """Some rows: what each has in the input, and the object on its line; empty where there is none.

    `pieces` are the record batches that the rows come from and their places in these, where all come from such.
    """

    rows: list[Mapping[str, Json]] = field(default_factory=list)
    records: list[dict[str, Json]] = field(default_factory=list)
    idents: list[str] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    """The rows as they are read, where there is an input."""
    pieces: list[tuple[Any, int]] = field(default_factory=list)
    size: int = 0

    @property
    def is_full(self) -> bool:
        return len(self.rows) >= ROWS or self.size >= BYTES


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
    size: int = 0
    """Bytes of the rows, about."""

    def add(self, seq: int, row: Mapping[str, Json], ident: str, *, is_own: bool) -> None:
        self.seqs.append(seq)
        self.rows.append(row)
        self.idents.append(ident)
        self.owns.append(is_own)


def joined(places: Places, taken: Taken | None, keep: Sequence[str] | None = None) -> Iterator[Chunk]:
    """The rows with their lines, some at a time; of the input's columns those to `keep`, all if nothing is said.

    Raises InputError if the input cannot be read, OSError if the results cannot.
    """
    groups = _alone(places) if taken is None else _of_input(places, taken)
    chunk = Chunk()
    for group in groups:
        records = group.records
        chunk.records += records
        # without an input its columns stand on the lines, if they came by a pipe
        rows = [record.get("columns") or {} for record in records] if taken is None else group.rows
        chunk.rows += rows if keep is None else [_kept(row, keep) for row in rows]
        chunk.idents += [record["id"] for record in records] if all(records) else _ids(records, group.idents)
        chunk.lines += group.lines
        chunk.pieces += group.pieces
        chunk.size += sum(map(len, group.texts)) + group.size
        if chunk.is_full:
            yield chunk
            chunk = Chunk()
    if chunk.rows:
        yield chunk


def _alone(places: Places) -> Iterator[Group]:
    """Every line, by its number, and then those that have none."""
    for found in _some(_numbered(places)):
        texts = places.lines(found)
        yield Group(texts=texts, records=_records(texts))


def _numbered(places: Places) -> Iterator[int]:
    yield from (place for seq in range(len(places)) if (place := places.of(seq)))
    yield from places.strays


def _of_input(places: Places, taken: Taken) -> Iterator[Group]:
    repeat = taken.repeat
    for lines in _some(taken.lines()):
        group = _group(lines, taken)
        found = [places.of(seq) for seq in group.seqs]
        group.texts = places.lines(found)
        group.records = _records(group.texts)
        if [record.get("id") for record in group.records] != group.idents:
            _look_closer(group, found, places, repeat)
        yield group if taken.selection is None else _chosen(group, taken.selection, found)


def _look_closer(group: Group, found: list[int], places: Places, repeat: int) -> None:
    """Find the lines of rows under whose numbers others stand, or none."""
    for number, (ident, record) in enumerate(zip(group.idents, group.records, strict=True)):
        name = record.get("id")
        if name == ident:
            continue
        turn = group.seqs[number] % repeat if repeat > 1 else None
        if name is not None and _is_of(ident, name, turn, group.owns[number]):
            continue
        found[number] = places.of_id(ident if turn is None else f"{ident}~{turn + 1}")
        group.texts[number] = text = places.lines([found[number]])[0]
        group.records[number] = (read_record(text) if text else None) or {}


def _chosen(group: Group, selection: Selection, found: Sequence[int]) -> Group:
    """Those of some rows that a run took."""
    kept = [
        number
        for number, ident in enumerate(group.idents)
        if selection.takes(ident if selection.repeat == 1 else f"{ident}~1")
        and (found[number] != NOWHERE or not selection.has_elsewhere(ident))
    ]
    left = Group(size=group.size)
    for number in kept:
        left.add(group.seqs[number], group.rows[number], group.idents[number], is_own=group.owns[number])
        left.texts.append(group.texts[number])
        left.records.append(group.records[number])
        left.lines.append(group.lines[number])
    if len(group.pieces) == len(group.rows):
        left.pieces = [group.pieces[number] for number in kept]
    return left


def _group(lines: Sequence[Line], taken: Taken) -> Group:
    """What stands on lines of the input: read together where they are JSON."""
    group = Group(lines=[*lines])
    data = [line.data for line in lines]
    are_json = set(map(type, data)) == {bytes}
    records: list[dict[str, Json]] = [{}] * len(lines)
    if are_json:
        has_long = codec.has_long_integer(b" ".join(data))  # type: ignore[arg-type]  # as the line before says
        records = _read_all(data, _unread, has_long=has_long)  # type: ignore[arg-type]  # as above
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
    if not set(map(type, found)) <= {int, str} or "" in found or any("custom_id" in record for record in records):
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


def _ids(records: Sequence[Mapping[str, Json]], idents: Sequence[str]) -> list[str]:
    """The ids on lines, and of rows that have none their own."""
    return [record.get("id", ident) for record, ident in zip(records, idents, strict=True)]


def _is_of(ident: str, name: str, turn: int | None, is_own: bool) -> bool:  # noqa: FBT001 - it belongs to the id
    """Whether a line of this name is that of a row, asked for the `turn`-th time from 0 if several times."""
    if turn is not None:
        name, _, number = name.rpartition("~")
        if number != str(turn + 1):
            return False
    return name == ident or (not is_own and name.partition("#")[0] == ident)


def _records(texts: Sequence[bytes]) -> list[dict[str, Json]]:
    """The objects on lines of results, empty ones where there is none; numbers of others stand under few keys."""
    records = _read_all(texts, read_record, has_long=False)
    if not _FOREIGN.isdisjoint(set().union(*records)) and codec.has_long_integer(b" ".join(texts)):
        records = _read_all(texts, read_record, has_long=True)
    return records


def _read_all(
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


def _kept(values: Mapping[str, Json], keep: Sequence[str]) -> Mapping[str, Json]:
    return {name: values[name] for name in keep if name in values}


def _weight(values: Mapping[str, Json]) -> int:
    """The bytes of a row, about."""
    return sum([len(value) for value in values.values() if type(value) is str])


def _some(items: Iterator[Any]) -> Iterator[list[Any]]:
    while some := list(islice(items, _AT_ONCE)):
        yield some
