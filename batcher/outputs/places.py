"""Where the line of each row of an input stands, in the results or among the failures: 8 bytes of memory a row.

A line stands under its `seq`. Whoever asks for a row sees by the id on the line whether it is that row's; where the
input has changed since, the line is found by the id, for which all ids are read once: 30 bytes more a row.

Results stand nearly in the order of their rows. So they are read on as far as rows are asked for, and a line that was
met is kept until it is asked for: as long as each row has a result, the file is read once. The first that has none
takes reading all of it, for its result may stand anywhere.

Reads what is there, without a lock: a line that is half written, or no result, is passed over.
"""

from __future__ import annotations

import os
import re
from array import array
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple

from batcher.inputs.done import DoneIds
from batcher.ledger.errors import failed_id
from batcher.ledger.recovery import parse, read_record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_HEAD: Final = re.compile(rb'\{"id":"([^"\\]*)","seq":([0-9]{1,9}),"hash":"[0-9a-f]{16}"[,}]')
_FAILURE: Final = re.compile(
    rb'\{"id":"[^"\\]*","seq":([0-9]{1,9}),(?:"file":"[^"\\]*",)?(?:"(?:line|row)":[0-9]+,)?"error":\{"class"'
)
_PIECE: Final = 1 << 18
KEPT: Final = 8 << 20
"""Bytes of lines that are kept until they are asked for; beyond that they are read again."""
_FARTHEST: Final = 1 << 28
"""Numbers under which a line is kept: memory grows with the highest. What lies beyond is found by its id."""
_NEAR: Final = 1 << 16
"""Bytes between two lines that are read over rather than begun anew."""
_TAIL: Final = 1 << 12
"""Bytes in which a last line is looked for at first."""
NOWHERE: Final = 0


class _Found(NamedTuple):
    """Some lines side by side: their ids, numbers and places, and themselves."""

    idents: list[str | bytes]
    seqs: list[int]
    places: list[int]
    lines: list[bytes]


@dataclass(slots=True)
class Places:
    """A place is a number that says nothing, `NOWHERE` where there is no line.

    `checkpoint` is called now and then; what it raises ends the reading. Raises OSError.
    """

    results: BinaryIO
    errors: BinaryIO | None = None
    checkpoint: Callable[[], object] = bool
    _at: array[int] = field(default_factory=lambda: array("Q"))
    _strays: list[int] = field(default_factory=list)
    _ids: DoneIds | None = None
    _ahead: Iterator[_Found] | None = None
    """The results that are yet to be read."""
    _is_read: bool = False
    _kept: dict[int, bytes] = field(default_factory=dict)
    """Lines that were read and not yet asked for, by their places: `_size` bytes."""
    _size: int = 0

    def read(self) -> None:
        """Note where the lines stand that have not been met; of a row's failures the last, if it has no result."""
        while self._read_on():
            pass

    def numbered(self) -> Iterator[int]:
        """The places of all lines by their numbers, and then of those whose number another has, or that have none."""
        self.read()
        yield from filter(None, self._at)
        yield from self._strays

    def __len__(self) -> int:
        """One more than the highest number that was met on a line."""
        return len(self._at)

    def all_of(self, seqs: Sequence[int]) -> list[int]:
        """The places of the lines under these numbers."""
        found = self._met(seqs)
        while NOWHERE in found and self._read_on():
            found = self._met(seqs)
        return found

    def of_id(self, ident: str) -> int:
        """The place of the line of this id; the first time all ids are read."""
        if self._ids is None:
            self._ids = self._all_ids()
        return int(self._ids.get(ident) or "0", 16)

    def lines(self, places: Sequence[int]) -> list[bytes]:
        """The lines at these places with their ends, in their order, and nothing for `NOWHERE`."""
        take = self._kept.pop
        lines = [take(place, b"") for place in places]
        self._size -= sum(map(len, lines))
        if b"" in lines:
            again = self._again({place for place, line in zip(places, lines, strict=True) if place and not line})
            lines = [line or again.get(place, b"") for place, line in zip(places, lines, strict=True)]
        return lines

    def _again(self, places: set[int]) -> dict[int, bytes]:
        """Lines that are read again, neighbours together, by their places."""
        found = _fetch(self.results.fileno(), sorted(place for place in places if not _is_failure(place)))
        if failures := sorted(filter(_is_failure, places)):
            assert self.errors is not None
            found |= _fetch(self.errors.fileno(), failures)
        return found

    def _met(self, seqs: Sequence[int]) -> list[int]:
        """The places that are known by now."""
        at, end = self._at, len(self._at)
        return [at[seq] if seq < end else NOWHERE for seq in seqs]

    def _read_on(self) -> bool:
        """Note where some more lines stand; false if all was read."""
        if self._is_read:
            return False
        if self._ahead is None:
            self._ahead = _results(self.results, self.checkpoint)
        some = next(self._ahead, None)
        if some is None:
            self._is_read, self._ahead = True, None
            self._note_failures()
        else:
            self._note(some)
        return True

    def _note(self, found: _Found) -> None:
        self._reach(max((seq for seq in found.seqs if seq < _FARTHEST), default=0))
        at, stray = self._at, self._strays.append
        for seq, place in zip(found.seqs, found.places, strict=True):
            if seq < _FARTHEST and not at[seq]:
                at[seq] = place
            else:
                stray(place)
        if self._size > KEPT:
            self._kept.clear()
            self._size = 0
        self._kept.update(zip(found.places, found.lines, strict=True))
        self._size += sum(map(len, found.lines))

    def _note_failures(self) -> None:
        at = self._at
        for seq, place in _failures(self.errors, self.checkpoint):
            if 0 <= seq < _FARTHEST and (seq >= len(at) or not at[seq] or _is_failure(at[seq])):
                self._reach(seq)
                at[seq] = place

    def _reach(self, seq: int) -> None:
        """Make room for a number."""
        if seq >= len(self._at):
            self._at.frombytes(bytes(8 * (seq + 1 - len(self._at))))

    def _all_ids(self) -> DoneIds:
        """Where the line of each id stands, in the place of the hash that is mostly kept there."""
        found, failed = DoneIds(), DoneIds()
        for some in _results(self.results, self.checkpoint):
            for ident, place in zip(some.idents, some.places, strict=True):
                found.add(ident, f"{place:016x}")
        if self.errors is None:
            return found
        for turn in ("last", "all"):
            for offset, lines in _pieces(self.errors, self.checkpoint):
                for line, place in zip(lines, _places(offset, lines), strict=False):
                    about = failed_id(line) if line[-1:] == b"\n" else None
                    if about is None:
                        continue
                    where = f"{place | 1:016x}"
                    if turn == "last":
                        failed.discard(about)
                        failed.add(about, where)
                    elif failed.get(about) == where:
                        found.add(about, where)
        return found


def _is_failure(place: int) -> bool:
    return bool(place & 1)


def _pieces(file: BinaryIO, checkpoint: Callable[[], object]) -> Iterator[tuple[int, list[bytes]]]:
    """The lines of a file, many at a time, and where the first of them begins. Others may read it in between."""
    offset = 0
    while file.seek(offset) == offset and (lines := file.readlines(_PIECE)):
        checkpoint()
        yield offset, lines
        offset += sum(map(len, lines))


def _places(offset: int, lines: Sequence[bytes]) -> Iterator[int]:
    """Where lines stand, of which the first begins at `offset`; and what follows them."""
    return accumulate([2 * len(line) for line in lines], initial=offset + 1 << 1)


def _results(file: BinaryIO, checkpoint: Callable[[], object]) -> Iterator[_Found]:
    """Those lines that are results, many at a time."""
    for offset, lines in _pieces(file, checkpoint):
        places = [*_places(offset, lines)]
        places.pop()  # of what follows
        heads = [_HEAD.match(line) if line.endswith(b"}\n") else None for line in lines]
        if None not in heads:
            idents, seqs = [head[1] for head in heads], [int(head[2]) for head in heads]  # type: ignore[index]  # as the line before says
            yield _Found(idents, seqs, places, lines)
        else:
            yield _read(lines, heads, places)


def _failures(file: BinaryIO | None, checkpoint: Callable[[], object]) -> Iterator[tuple[int, int]]:
    """(number, place) of each line that is a failure."""
    for offset, lines in _pieces(file, checkpoint) if file is not None else ():
        for line, place in zip(lines, _places(offset, lines), strict=False):
            match = _FAILURE.match(line)
            if match is not None and line[-2:] == b"}\n":
                yield int(match[1]), place | 1
            elif line[-1:] == b"\n" and failed_id(line) is not None:
                seq = (read_record(line) or {}).get("seq")
                yield seq if type(seq) is int else -1, place | 1


def _read(lines: list[bytes], heads: list[re.Match[bytes] | None], places: list[int]) -> _Found:
    """Those lines that are results, where some do not begin as batcher writes them."""
    found = _Found([], [], [], [])
    ident: str | bytes
    for line, head, place in zip(lines, heads, places, strict=True):
        if head is not None:
            ident, seq = head[1], int(head[2])
        elif line[-1:] == b"\n" and (identity := parse(line)) is not None:
            ident, seq = identity[0], (read_record(line) or {})["seq"]
        else:
            continue
        found.idents.append(ident)
        found.seqs.append(seq)
        found.places.append(place)
        found.lines.append(line)
    return found


def _fetch(fd: int, wanted: list[int]) -> dict[int, bytes]:
    """The lines of a file at these places, which are in ascending order, by their places."""
    found: dict[int, bytes] = {}
    start = 0
    while start < len(wanted):
        end = start + 1
        while end < len(wanted) and wanted[end] - wanted[end - 1] <= 2 * _NEAR:
            end += 1
        first, last = wanted[start], wanted[end - 1]
        data = os.pread(fd, (last - first >> 1) + _TAIL, (first >> 1) - 1)
        find, near = data.find, wanted[start:end]
        begins = [place - first >> 1 for place in near]
        found.update(zip(near, [data[begin : find(b"\n", begin) + 1] for begin in begins], strict=True))
        if find(b"\n", begins[-1]) < 0:
            found[last] = _long_line(fd, (last >> 1) - 1, data[begins[-1] :])
        start = end
    return found


def _long_line(fd: int, offset: int, pieces: bytes) -> bytes:
    """The line of which the beginning is known."""
    read = [pieces]
    offset += len(pieces)
    while (piece := os.pread(fd, _NEAR, offset)) and b"\n" not in piece:
        read.append(piece)
        offset += len(piece)
    return b"".join([*read, piece[: piece.find(b"\n") + 1]])
