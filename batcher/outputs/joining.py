"""Puts the rows of an input and the lines of their results side by side, in the order of the input.

A row has the line under its number if that bears its id, else the line of its id, wherever that stands: the input may
have changed, and equal rows have one line. A row under the id of an earlier one that asks for something else has none
of these: that line is of the earlier one's request. A row of which there is no line is a row all the same. Without an
input the lines themselves are the rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from batcher import codec
from batcher.inputs.comparison import DuplicateError
from batcher.inputs.formats.jsonl import refused
from batcher.ledger.recovery import read_record
from batcher.outputs.clashes import clashing
from batcher.outputs.places import NOWHERE
from batcher.outputs.taken import Group, group_of, read_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence, Set as AbstractSet

    from batcher.inputs.formats import Line
    from batcher.inputs.selection import Selection
    from batcher.model import Json
    from batcher.outputs.places import Places
    from batcher.outputs.taken import Taken
    from batcher.outputs.written import Written

ROWS: Final = 256
"""Rows of a chunk at most: what is read of them stays in the caches of the processor until it is written."""
FIRST: Final = 16
"""Rows of the first chunk: how large they are is not known."""
BYTES: Final = 4 << 20
"""Bytes of a chunk that are aimed at: it has as many rows as would have them if they were like those before."""
_FOREIGN: Final = frozenset({"parsed", "columns", "tool_calls", "choices", "turns"})
"""Keys under which values of others stand that come into tables."""
_DUPLICATE: Final = DuplicateError("")
"""Why a row that bears the id of an earlier one was refused, under an id made from its bytes."""


@dataclass(slots=True)
class Chunk:
    """Some rows: what each has in the input, and the object on its line; empty where there is none.

    `pieces` are the record batches that the rows come from and their places in these, where all come from such.
    """

    rows: list[Mapping[str, Json]]
    records: list[dict[str, Json]]
    idents: list[str]
    lines: list[Line]
    """The rows as they are read, where there is an input."""
    pieces: list[tuple[Any, int]]
    keys: AbstractSet[str]
    """All keys that are in `records`."""
    named: list[tuple[int, int]]
    """Where the vectors of the rows are, in the place of `records`, where that is known."""


def joined(
    places: Places, taken: Taken | None, keep: Sequence[str] | None = None, written: Written | None = None
) -> Iterator[Chunk]:
    """The rows with their lines, some at a time; of the input's columns those to `keep`, all if nothing is said.

    Of rows whose vectors were `written` no lines are looked for. Raises InputError if the input cannot be read, OSError
    if the results cannot.
    """
    groups = _alone(places) if taken is None else _of_input(places, taken, written)
    for group in groups:
        records = group.records
        # without an input its columns stand on the lines, if they came by a pipe
        rows = [_columns(record) for record in records] if taken is None else group.rows
        if keep is not None:
            rows = [_kept(row, keep) for row in rows]
        if group.named:
            idents = group.idents
        else:
            idents = [record["id"] for record in records] if all(records) else _ids(records, group.idents)
        yield Chunk(rows, records, idents, group.lines, group.pieces, group.keys, group.named)


def _alone(places: Places) -> Iterator[Group]:
    """Every line, by its number, and then those that have none."""
    numbered, count = places.numbered(), min(FIRST, ROWS)
    while some := list(islice(numbered, count)):
        group = Group()
        _put_lines(group, places.lines(some))
        count = _fitting(group)
        if not all(group.records):  # what is no JSON after all: others may have written it
            group.records = [record for record in group.records if record]
        yield group


def _of_input(places: Places, taken: Taken, written: Written | None) -> Iterator[Group]:
    repeat = taken.repeat
    if taken.selection is not None or not taken.source.is_unchanged():
        written = None  # a row may have another number, or be another row, than when it was asked
    lines, count = taken.lines(), min(FIRST, ROWS)
    refused_rows = cache(lambda: clashing(taken, places.checkpoint))  # one more reading, which few need
    while some := list(islice(lines, count)):
        group = group_of(some, taken)
        if written is not None and all(group.owns) and (named := written.of(group.seqs)) is not None:
            group.named = named
            yield group
            count = _fitting(group)
            continue
        found = places.all_of(group.seqs)
        _put_lines(group, places.lines(found))
        if [record.get("id") for record in group.records] != group.idents:
            _look_closer(group, found, places, repeat, refused_rows)
        yield group if taken.selection is None else _chosen(group, taken.selection, found)
        count = _fitting(group)


def _put_lines(group: Group, texts: list[bytes]) -> None:
    """Have the lines of results stand beside their rows; numbers of others stand under few keys of them."""
    group.texts, group.records = texts, read_all(texts, read_record, has_long=False)
    group.keys = set().union(*group.records)
    if not _FOREIGN.isdisjoint(group.keys) and codec.has_long_integer(b" ".join(texts)):
        group.records = read_all(texts, read_record, has_long=True)


def _look_closer(
    group: Group, found: list[int], places: Places, repeat: int, clashes: Callable[[], AbstractSet[int]]
) -> None:
    """Find the lines of rows under whose numbers others stand, or none.

    `clashes` gives the rows whose id is that of an earlier one, with another request.
    """
    for number, (ident, record) in enumerate(zip(group.idents, group.records, strict=True)):
        name = record.get("id")
        if name == ident:
            continue
        turn = group.seqs[number] % repeat if repeat > 1 else None
        if name is not None and _is_of(ident, name, turn, group.owns[number]):
            continue
        place = NOWHERE
        if "error" in record or turn is not None:
            place = _refusal(group.lines[number], group.seqs[number] - (turn or 0), places, repeat)
        if place == NOWHERE:
            place = places.of_id(ident if turn is None else f"{ident}~{turn + 1}")
            if place != NOWHERE and group.owns[number] and group.seqs[number] in clashes():
                place = NOWHERE
        found[number] = place
        group.texts[number] = text = places.lines([place])[0]
        group.records[number] = (read_record(text) if text else None) or {}
    group.keys = set().union(*group.records)


def _refusal(line: Line, seq: int, places: Places, repeat: int) -> int:
    """Where a row's own failure stands that bears an id made from its bytes: once, if it is asked several times."""
    name = refused(_DUPLICATE, line).id
    for place in places.all_of(range(seq, seq + repeat)):
        text = places.lines([place])[0]
        if text and (read_record(text) or {}).get("id") == name:
            return place
    return NOWHERE


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
    left.keys = set().union(*left.records)
    return left


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


def _columns(record: Mapping[str, Json]) -> Mapping[str, Json]:
    columns = record.get("columns")
    return columns if type(columns) is dict else {}


def _kept(values: Mapping[str, Json], keep: Sequence[str]) -> Mapping[str, Json]:
    return {name: values[name] for name in keep if name in values}


def _fitting(group: Group) -> int:
    """How many rows make a chunk if they are like these."""
    size = group.size + sum(map(len, group.texts))
    return max(1, min(ROWS, BYTES * len(group.named or group.texts) // max(size, 1)))
