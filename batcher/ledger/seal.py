"""By what a results file is known again: a checksum over the beginnings of its lines, and the input lines they are of.

    seal      size and checksum of a file whose every line is the result of the input line that its `seq` names
    proven    what an earlier run sealed and is there as it was: its `seq`s tell what is done, and nothing is parsed

A line's beginning holds its id, its `seq` and the hash of its request; lines that went, came, moved or became others
change the checksum, or the place where it ends. A seal holds for one input and one set of parameters: those beside it
in the state file. Where anything is missing or odd there is no seal, and results are found by their ids.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, Final
from zlib import crc32

from batcher.inputs.lineset import LineSet

if TYPE_CHECKING:
    from array import array
    from collections.abc import Callable, Sequence

    from batcher.inputs.done import DoneIds

HEAD: Final = 160
"""Bytes of a line that count. An id so long that the hash is not among them leaves the file without a seal."""
_PIECE: Final = 1 << 18
_HEADS: Final = re.compile(rb'\0\{"id":"[^"\\\0]*","seq":([0-9]{1,8}),"hash":"[0-9a-f]{16}"')
_IDENTITIES: Final = re.compile(rb'\0\{"id":"([^"\\\0]*)","seq":([0-9]{1,8}),"hash":"([0-9a-f]{16})"')
# no more than eight digits: memory grows with the highest


@dataclass(frozen=True, slots=True)
class Seal:
    """The first `size` bytes of a results file, whole lines. `alone`: each line of the input is a job of its own."""

    size: int = 0
    crc: int = 0
    alone: bool = False

    def over(self, lines: Sequence[bytes]) -> Seal:
        """Give the seal of what it is of and some more lines."""
        return Seal(self.size + sum(map(len, lines)), crc32(_heads(lines), self.crc))


@dataclass(slots=True)
class Prefixes:
    """What the beginnings of a results file's lines tell. Ask it before lines are added; a new file has a seal."""

    seal: Seal | None = field(default_factory=Seal)
    """Of all lines, if the lines of the input that they are of are known; then those that were added count as well."""
    lines: LineSet = field(default_factory=LineSet)
    """The lines of the input that the file had results of when it was opened."""
    proven: Seal | None = None
    """The part that an earlier run sealed."""
    proven_lines: LineSet = field(default_factory=LineSet)
    order: array[int] | None = None
    """The lines of the input in the order of their results, if that will be asked for."""

    def add(self, lines: Sequence[bytes]) -> None:
        """Take in lines that were appended."""
        if self.seal is not None:
            self.seal = self.seal.over(lines)

    def forget(self) -> None:
        """The file holds other lines by now."""
        self.seal = self.proven = None

    def prove(
        self, file: BinaryIO, earlier: Seal, checkpoint: Callable[[], object], done: DoneIds | None = None
    ) -> bool:
        """Read as far as an earlier seal goes, and say whether all is as it was; if not, nothing is known.

        On the way what each line is a result of is put into `done`; it counts for nothing if all is not as it was.
        """
        self._read(file, earlier.size, checkpoint, done)
        if self.seal is None or (self.seal.size, self.seal.crc) != (earlier.size, earlier.crc):
            self.forget()
            return False
        self.proven, self.proven_lines = earlier, self.lines.copy()
        return True

    def read_on(self, file: BinaryIO, size: int, checkpoint: Callable[[], object]) -> None:
        """Read up to the end, which is at `size` bytes."""
        self._read(file, size, checkpoint)
        if self.seal is not None and self.seal.size != size:
            self.seal = None

    def _read(self, file: BinaryIO, end: int, checkpoint: Callable[[], object], done: DoneIds | None = None) -> None:
        seal = self.seal
        if seal is None:
            return
        count = len(self.lines)
        file.seek(seal.size)
        # readlines(n) goes on until it has more than n bytes, and does not stop at all for 0
        while seal.size < end and (lines := file.readlines(min(_PIECE, max(end - seal.size - 1, 1)))):
            checkpoint()
            piece, prefixes = b"".join(lines), _heads(lines)
            seqs: Sequence[bytes]
            if done is None:
                seqs = _HEADS.findall(prefixes)
            else:
                idents, seqs, digests = zip(*(_IDENTITIES.findall(prefixes) or [(b"", b"", b"")]), strict=True)
                if not seal.size:
                    done.expect(len(lines) * end // len(piece))
                done.add_all(idents, b"".join(digests))
            if len(seqs) != len(lines) or b"\0" in piece:
                self.seal = None
                return
            numbers = [*map(int, seqs)]
            self.lines.update(numbers)
            if self.order is not None:
                self.order.extend(numbers)
            count += len(lines)
            seal = self.seal = Seal(seal.size + len(piece), crc32(prefixes, seal.crc))
        if count != len(self.lines):  # two results of one line
            self.seal = None


def _heads(lines: Sequence[bytes]) -> bytes:
    return b"\0".join([b"", *[line[:HEAD] for line in lines]])
