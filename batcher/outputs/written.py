"""Where the vectors are that a run has put into its store, by the numbers of their rows of the input.

What the run itself has written need not be read back from its results to make the array. 12 bytes a row.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class Written:
    """Places and checksums (`store.Row`) of vectors whose lines are in the results file."""

    __slots__ = ("_rows", "_sums")

    def __init__(self) -> None:
        self._rows = array("Q")
        self._sums = array("I")

    def note(self, seq: int, row: tuple[int, int]) -> None:
        """The vector of the row `seq` is there; its line is in the results."""
        if seq >= len(self._rows):
            more = max(seq + 1, len(self._rows) * 9 // 8) - len(self._rows)
            self._rows.frombytes(bytes(more * self._rows.itemsize))
            self._sums.frombytes(bytes(more * self._sums.itemsize))
        self._rows[seq], self._sums[seq] = row[0] + 1, row[1]

    def of(self, seqs: Sequence[int]) -> list[tuple[int, int]] | None:
        """The places of the vectors of some rows, in ascending order; `None` unless all of them are known."""
        if not seqs or seqs[-1] >= len(self._rows):
            return None
        rows, sums = [*map(self._rows.__getitem__, seqs)], map(self._sums.__getitem__, seqs)
        return None if 0 in rows else [(row - 1, crc) for row, crc in zip(rows, sums, strict=True)]
