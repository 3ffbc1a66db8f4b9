"""A set of line numbers of an input, at one byte a line: which lines have a result, which are to be passed over."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_AHEAD = 4096


class LineSet:
    """Numbers from 0 on; memory grows with the highest. `len` counts, in a time that grows with the highest as well."""

    __slots__ = ("_marks",)
    __hash__ = None  # type: ignore[assignment]  # it changes

    def __init__(self) -> None:
        self._marks = bytearray()

    def add(self, seq: int) -> None:
        if seq >= len(self._marks):
            self._marks.extend(bytes(seq + _AHEAD - len(self._marks)))
        self._marks[seq] = 1

    def update(self, seqs: Sequence[int]) -> None:
        """Add many at once."""
        if seqs:
            self.add(max(seqs))
        marks = self._marks
        for seq in seqs:
            marks[seq] = 1

    def add_all(self, first: int, end: int) -> None:
        """Add all numbers from the first up to an end that is not among them."""
        self.add(end - 1)
        self._marks[first:end] = bytes([1]) * (end - first)

    def has_all(self, first: int, end: int) -> bool:
        """Whether all of these are here."""
        return self._marks[first:end].count(1) == end - first

    def among(self, seqs: Sequence[int]) -> bytes:
        """Say of each number whether it is here: 1, or 0."""
        marks = self._marks
        if seqs and max(seqs) >= len(marks):
            marks = marks + bytes(max(seqs) + 1 - len(marks))
        return bytes(map(marks.__getitem__, seqs))

    def copy(self) -> LineSet:
        twin = LineSet()
        twin._marks = self._marks[:]
        return twin

    def __contains__(self, seq: int) -> bool:
        return seq < len(self._marks) and self._marks[seq] == 1

    def __len__(self) -> int:
        return self._marks.count(1)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LineSet) and self._marks.rstrip(b"\0") == other._marks.rstrip(b"\0")
