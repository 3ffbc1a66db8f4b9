"""Puts a results file in the order of its input (`--ordered`), with 16 bytes of memory for each job.

Results are written as they come. When the run is complete, a second file is written in input order and takes the
first one's name; a crash before that leaves the file as it was, out of order and whole.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
from array import array
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, BinaryIO, Final

from batcher.failures import OutputIOError
from batcher.inputs.done import id_hash
from batcher.ledger import disk
from batcher.ledger.recovery import parse

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from batcher.ledger.ledger import Ledger

_PLACE: Final = re.compile(rb'\{"id":"([^"\\]*)","seq":([0-9]+),')
_BUFFER: Final = 1 << 16
"""Bytes read around a line: neighbours in the file are mostly neighbours in the input."""
_UNSEEN: Final = 0
_NOBODY: Final = 1
_NOWHERE: Final = -1
_HALF: Final = (1 << 64) - 1
"""Half the hash of an id: it compares two ids of one place, or finds a moved one; at worst, two lines swap places."""


@dataclass(slots=True)
class InputOrder:
    """Which job stands where in the input, noted while it is read: 8 bytes for each line."""

    _keys: array[int] = field(default_factory=lambda: array("Q"))

    def note(self, seq: int, ident: str) -> None:
        """Say whose line the input has at `seq`, "" for a line that is no job."""
        if seq >= len(self._keys):
            self._keys.frombytes(bytes(8 * (seq + 1 - len(self._keys))))
        self._keys[seq] = _key(ident) if ident else _NOBODY

    def arrange(self, lines: Iterable[tuple[int, str | bytes, int]]) -> array[int]:
        """Give the offsets of lines of results (`places`) in the order in which they should stand.

        A line stands at its `seq`, unless the input has another job there by now. Then its job is looked for; lines
        whose job is not in the input come last, in the order they had.
        """
        offsets = array("Q", [0]) * len(self._keys)  # each plus 1: 0 is a place without a result
        moved: dict[int, int] = {}
        last: list[int] = []
        for offset, ident, seq in lines:
            key = _key(ident)
            if 0 <= seq < len(offsets) and self._keys[seq] in (key, _UNSEEN) and not offsets[seq]:
                offsets[seq] = offset + 1
            elif key in moved:  # half a hash may be shared, and no line may be lost
                last.append(offset)
            else:
                moved[key] = offset
        if moved:
            for seq, key in enumerate(self._keys):
                if key in moved and not offsets[seq]:
                    offsets[seq] = moved.pop(key) + 1
        _close_gaps(offsets)
        offsets.extend(sorted([*moved.values(), *last]))
        return offsets


def put_in_order(ledger: Ledger, input_order: InputOrder) -> bool:
    """Rewrite an open results file in the order of the input; false, and nothing happens, if it is in order.

    Raises OutputIOError if it cannot be rewritten; then it is as it was, with all its results.
    """
    with ledger.reading(_BUFFER) as file:
        order = input_order.arrange(places(file))
        if all(earlier < later for earlier, later in pairwise(order)):
            return False

        def rewrite(fd: int, path: Path) -> tuple[int, Path]:
            with disk.replacing(path) as new:
                os.fchmod(new, stat.S_IMODE(os.fstat(fd).st_mode))
                # Before the new file has the name: nobody may find it under that name without a lock on it.
                fcntl.flock(new, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _copy(file, new, order)
            disk.let_go(fd)
            return new, path

        try:
            ledger.replace(rewrite)
        except OSError as error:
            raise OutputIOError(
                f"{ledger.path}: cannot be put in order: {error.strerror}; all its {len(ledger)} results are safe in "
                "it, and the next run with --ordered tries again"
            ) from error
    return True


def _copy(file: BinaryIO, target: int, order: array[int]) -> None:
    lines: list[bytes] = []
    size = 0
    for offset in order:
        file.seek(offset)
        line = file.readline()
        lines.append(line)
        size += len(line)
        if size >= disk.BLOCK:
            disk.write_all(target, b"".join(lines))
            lines.clear()
            size = 0
    disk.write_all(target, b"".join(lines))


def _close_gaps(offsets: array[int]) -> None:
    """Drop the zeros and take 1 off the rest, in place."""
    kept = 0
    for offset in offsets:
        if offset:
            offsets[kept] = offset - 1
            kept += 1
    del offsets[kept:]


def places(file: BinaryIO) -> Iterator[tuple[int, str | bytes, int]]:
    """The offset, the id and the `seq` of each line of a mended results file; `_NOWHERE` for lines without one."""
    offset = 0
    for line in file:
        yield offset, *place_on(line)
        offset += len(line)


def place_on(line: bytes) -> tuple[str | bytes, int]:
    """The id and the `seq` on a line of results; `_NOWHERE` if that is not said as ours say it."""
    match = _PLACE.match(line)
    if match:
        return match[1], int(match[2])
    ident, _ = parse(line) or ("", "")
    return ident, _NOWHERE


def _key(ident: str | bytes) -> int:
    return id_hash(ident) & _HALF
