"""By what an input that has changed is known again in part: a checksum of every thousand rows, under their numbers.

What an earlier run proved of rows holds as long as these are the same under the same numbers. So one changed row costs
the thousand beside it a closer look, and not the whole input.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from itertools import islice
from operator import attrgetter
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias
from zlib import crc32

from batcher.inputs.formats.rows import raw_of
from batcher.inputs.lineset import LineSet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from batcher.inputs.formats import Line

ROWS: Final = 1024
"""Rows of a block, all but the last."""
_KEPT: Final = 16 << 20
"""Bytes of rows that are kept to be looked at; where there are more, the input is read again."""


Sums: TypeAlias = tuple[int, int]
_NEVER: Final = 1 << 62
"""A number that no row has."""
_SEQ: Final = attrgetter("seq")


class Block(NamedTuple):
    """Rows that follow on one another: up to which number, that one not among them; their bytes, and the checksum."""

    end: int
    size: int
    crc: int


class Blocks:
    """The blocks of an input as they are read; those that are `known` are taken over."""

    __slots__ = ("_held", "blocks", "unknown")

    def __init__(self, known: Iterable[Sequence[int]] = ()) -> None:
        self.blocks: list[Sequence[int]] = [*known]
        self._held: list[Line] = []
        self.unknown = Block(*self.blocks[-1]).end if self.blocks else 0
        """The number of the first row that no block has."""

    def add(self, line: Line) -> None:
        """Take in a row from `unknown` on; they come in order, each pass from the start."""
        held = self._held
        held.append(line)
        if len(held) == ROWS:
            self.put(line.seq + 1, checksum(held))
            held.clear()

    def put(self, end: int, found: Sums | None) -> None:
        """Note the checksum of the rows up to `end`. Where there is none, there is none of what follows."""
        if found is None:
            self.unknown = _NEVER
        elif self.unknown < _NEVER:
            self.unknown = end
            self.blocks.append((end, *found))


class Unchanged(NamedTuple):
    """What is left of an earlier input: rows that are the same, and the others, `None` if they are too many to keep."""

    lines: LineSet
    rest: list[Line] | None
    read: int
    """Rows in all."""
    blocks: Blocks
    """Those of the input as it is now."""


def unchanged(
    lines: Iterable[Line],
    known: Iterable[Sequence[int]],
    proven: LineSet,
    *,
    at_most: int | None = None,
    checkpoint: Callable[[], object] = bool,
) -> Unchanged:
    """Find which of the rows that were `proven` are the same still; the first `at_most` are the whole input."""
    same, rest, now = LineSet(), _Rest(), Blocks()
    rows = islice(lines, at_most)
    held: list[Line] = []
    blocks = (Block(*block) for block in known)
    begin = read = 0
    while True:
        block = next(blocks, None)
        end = begin + ROWS if block is None else block.end
        if not held or held[-1].seq < end:
            held += islice(rows, max(0, end - (held[-1].seq + 1 if held else begin)))
        if not held:
            return Unchanged(same, rest.lines, read, now)
        is_whole = held[-1].seq >= end - 1
        count = len(held) if held[-1].seq < end else bisect_left(held, end, key=_SEQ)  # blank lines have no row
        stretch, held = held[:count], held[count:]
        checkpoint()
        read += count
        begin = end
        if not stretch:
            continue
        found = checksum(stretch)
        if is_whole:
            now.put(end, found)
        if block is None or found != (block.size, block.crc):
            rest.add(stretch)
        elif count == end - stretch[0].seq and proven.has_all(stretch[0].seq, end):
            same.add_all(stretch[0].seq, end)
        else:
            same.update([line.seq for line in stretch if line.seq in proven])
            rest.add([line for line in stretch if line.seq not in same])


class _Rest:
    """Rows to be looked at, as long as they are few."""

    def __init__(self) -> None:
        self.lines: list[Line] | None = []
        self._bytes = 0

    def add(self, lines: list[Line]) -> None:
        if self.lines is None:
            return
        self._bytes += sum(len(line.data) if isinstance(line.data, bytes) else ROWS for line in lines)
        self.lines.extend(lines)
        if self._bytes > _KEPT:
            self.lines = None


def checksum(lines: Sequence[Line]) -> Sums | None:
    """Bytes and checksum of rows and their numbers; `None` if one tells its bytes only by being read."""
    raws = [line.data if isinstance(line.data, bytes) else _raw(line) for line in lines]
    crc = 0
    for raw in raws:
        if raw is None:
            return None
        crc = crc32(raw, crc)
    sizes = array("Q", map(len, raws))  # type: ignore[arg-type]  # there is no None among them
    if lines[-1].seq - lines[0].seq != len(lines) - 1:
        crc = crc32(array("Q", map(_SEQ, lines)), crc)
    return sum(sizes), crc32(sizes, crc)  # where rows end counts too


def _raw(line: Line) -> bytes | None:
    return b"" if line.data is None else raw_of(line.data)
