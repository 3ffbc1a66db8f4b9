"""Where the line of each row of an input stands, in the results or among the failures: 8 bytes of memory a row.

A line stands under its `seq`. Whoever asks for a row sees by the id on the line whether it is that row's; where the
input has changed since, the line is found by the id, for which all ids are read once: 30 bytes more a row.

Reads what is there, without a lock: a line that is half written, or no result, is passed over.
"""

from __future__ import annotations

import os
import re
from array import array
from dataclasses import dataclass, field
from itertools import accumulate, chain
from typing import TYPE_CHECKING, BinaryIO, Final

from batcher.inputs.done import DoneIds
from batcher.ledger.errors import failed_id
from batcher.ledger.recovery import parse, read_record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

_HEAD: Final = re.compile(rb'\{"id":"([^"\\]*)","seq":([0-9]{1,9}),"hash":"[0-9a-f]{16}"[,}]')
_FAILURE: Final = re.compile(
    rb'\{"id":"[^"\\]*","seq":([0-9]{1,9}),(?:"file":"[^"\\]*",)?(?:"(?:line|row)":[0-9]+,)?"error":\{"class"'
)
_PIECE: Final = 1 << 18
_FARTHEST: Final = 1 << 28
"""Numbers under which a line is kept: memory grows with the highest. What lies beyond is found by its id."""
_NEAR: Final = 1 << 16
"""Bytes between two lines that are read over rather than begun anew."""
_TAIL: Final = 1 << 12
"""Bytes in which a last line is looked for at first."""
NOWHERE: Final = 0


@dataclass(slots=True)
class Places:
    """Call `read` once, then ask. A place is a number that says nothing, `NOWHERE` where there is no line.

    `checkpoint` is called now and then; what it raises ends the reading. Raises OSError.
    """

    results: BinaryIO
    errors: BinaryIO | None = None
    checkpoint: Callable[[], object] = bool
    strays: list[int] = field(default_factory=list)
    """Places of lines whose number another line has, or that have none that can be kept."""
    _at: array[int] = field(default_factory=lambda: array("Q"))
    _ids: DoneIds | None = None

    def read(self) -> None:
        """Note where all lines stand; of failures of one row the last holds, and only where it has no result."""
        at = self._at
        for found in self._results():
            self._reach(max((seq for _, seq, _ in found if seq < _FARTHEST), default=0))
            for _, seq, place in found:
                if 0 <= seq < _FARTHEST and not at[seq]:
                    at[seq] = place
                else:
                    self.strays.append(place)
        for seq, place in self._failures():
            if 0 <= seq < _FARTHEST and (not (known := self.of(seq)) or _is_failure(known)):
                self._reach(seq)
                at[seq] = place

    def __len__(self) -> int:
        """One more than the highest number that has a line."""
        return len(self._at)

    def of(self, seq: int) -> int:
        """The place of the line under this number."""
        return self._at[seq] if seq < len(self._at) else NOWHERE

    def all_of(self, seqs: Sequence[int]) -> list[int]:
        """The places of the lines under these numbers."""
        at, end = self._at, len(self._at)
        return [at[seq] if seq < end else NOWHERE for seq in seqs]

    def of_id(self, ident: str) -> int:
        """The place of the line of this id; the first time all ids are read."""
        if self._ids is None:
            self._ids = self._all_ids()
        return int(self._ids.get(ident) or "0", 16)

    def lines(self, places: Sequence[int]) -> list[bytes]:
        """The lines at these places, in their order, and nothing for `NOWHERE`; neighbours are read together."""
        wanted = sorted({place for place in places if place})
        failures = [place for place in wanted if place & 1]
        if not failures:
            found = _fetch(self.results.fileno(), wanted)
        else:
            assert self.errors is not None
            found = _fetch(self.results.fileno(), [place for place in wanted if not place & 1])
            found |= _fetch(self.errors.fileno(), failures)
        found[NOWHERE] = b""
        return [found[place] for place in places]

    def _results(self) -> Iterator[list[tuple[str | bytes, int, int]]]:
        """(id, number, place) of each line that is a result, of many lines at a time."""
        offset = 0
        for lines in _pieces(self.results, self.checkpoint):
            places = accumulate([2 * len(line) for line in lines], initial=offset + 1 << 1)
            offset += sum(map(len, lines))
            heads = [_HEAD.match(line) if line[-2:] == b"}\n" else None for line in lines]
            if None not in heads:
                yield [(head[1], int(head[2]), place) for head, place in zip(heads, places, strict=False)]  # type: ignore[index]  # as the line before says
            else:
                yield [*_read(lines, heads, places)]

    def _failures(self) -> Iterator[tuple[int, int]]:
        """(number, place) of each line that is a failure."""
        if self.errors is None:
            return
        offset = 0
        for line in _lines(self.errors, self.checkpoint):
            match = _FAILURE.match(line)
            if match is not None and line[-2:] == b"}\n":
                yield int(match[1]), offset + 1 << 1 | 1
            elif line[-1:] == b"\n" and failed_id(line) is not None:
                seq = (read_record(line) or {}).get("seq")
                yield seq if type(seq) is int else -1, offset + 1 << 1 | 1
            offset += len(line)

    def _reach(self, seq: int) -> None:
        """Make room for a number."""
        if seq >= len(self._at):
            self._at.frombytes(bytes(8 * (seq + 1 - len(self._at))))

    def _all_ids(self) -> DoneIds:
        """Where the line of each id stands, in the place of the hash that is mostly kept there."""
        found, failed = DoneIds(), DoneIds()
        for ident, _, place in chain.from_iterable(self._results()):
            found.add(ident, f"{place:016x}")
        if self.errors is None:
            return found
        for turn in ("last", "all"):
            offset = 0
            for line in _lines(self.errors, self.checkpoint):
                where = f"{offset + 1 << 1 | 1:016x}"
                offset += len(line)
                about = failed_id(line) if line[-1:] == b"\n" else None
                if about is None:
                    continue
                if turn == "last":
                    failed.discard(about)
                    failed.add(about, where)
                elif failed.get(about) == where:
                    found.add(about, where)
        return found


def _is_failure(place: int) -> bool:
    return bool(place & 1)


def _pieces(file: BinaryIO, checkpoint: Callable[[], object]) -> Iterator[list[bytes]]:
    """The lines of a file, many at a time."""
    file.seek(0)
    while lines := file.readlines(_PIECE):
        checkpoint()
        yield lines


def _lines(file: BinaryIO, checkpoint: Callable[[], object]) -> Iterator[bytes]:
    return chain.from_iterable(_pieces(file, checkpoint))


def _read(
    lines: Sequence[bytes], heads: Sequence[re.Match[bytes] | None], places: Iterable[int]
) -> Iterator[tuple[str | bytes, int, int]]:
    """(id, number, place) of each line that is a result, where some do not begin as batcher writes them."""
    for line, head, place in zip(lines, heads, places, strict=False):  # the last place is that of what follows
        if head is not None:
            yield head[1], int(head[2]), place
        elif line[-1:] == b"\n" and (identity := parse(line)) is not None:
            yield identity[0], (read_record(line) or {})["seq"], place


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
        found.update(zip(near, [data[begin : find(b"\n", begin)] for begin in begins], strict=True))
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
    return b"".join([*read, piece.partition(b"\n")[0]])
