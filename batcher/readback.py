"""What an opened results file holds: told from its seal where an earlier run left one, else by its ids, and mended."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO

from batcher import disk
from batcher.done import Done
from batcher.failures import OutputError
from batcher.recovery import mend, scan
from batcher.seal import Heads

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from batcher.seal import Seal


@dataclass(frozen=True, slots=True)
class Repair:
    """What opening a results file removed from it; as text, a sentence for the user."""

    results: Path
    quarantine: Path
    unreadable: int
    """Lines that are no result, a torn last one among them."""
    repeated: int
    """Lines whose id had a line before."""
    removed: int
    """Bytes."""

    def __str__(self) -> str:
        what = [
            f"{count} {name} line{'' if count == 1 else 's'}"
            for count, name in ((self.unreadable, "unreadable"), (self.repeated, "repeated"))
            if count
        ]
        return (
            f"{self.results}: moved {' and '.join(what)} ({self.removed} bytes) to {self.quarantine}; "
            "jobs without a result run again"
        )


@dataclass(slots=True)
class Readback:
    """A results file, locked, at `path`. `fd` may become another one when it is mended."""

    fd: int
    path: Path
    done: Done = field(default_factory=Done)
    heads: Heads = field(default_factory=Heads)
    unread: int = 0
    """So many bytes at its start hold results whose ids are not in `done`, since `heads` tells of them."""
    repaired: Repair | None = None

    def read(self, aside: Path, earlier: Seal | None, beat: Callable[[], object]) -> None:
        """Read it, trusting `earlier` as far as that holds, and mend it, with what is no result moved to `aside`.

        Raises `OutputError` if it is a file of something else, `OSError`, and what `beat` raises, which is called now
        and then; `fd` is open in any case.
        """
        if earlier is not None and self._is_proven(earlier, beat):
            size = os.fstat(self.fd).st_size
            if earlier.alone and size == earlier.size:
                self.unread = size
                return
        self._recover(aside, beat)
        if self.repaired is not None and earlier is not None:
            self.heads = Heads()
            self._is_proven(earlier, beat)
        with self._opened() as file:
            self.heads.read_on(file, os.fstat(self.fd).st_size, beat)

    def _is_proven(self, earlier: Seal, beat: Callable[[], object]) -> bool:
        with self._opened() as file:
            if self.heads.prove(file, earlier, beat):
                return True
        self.heads = Heads()
        return False

    def _recover(self, aside: Path, beat: Callable[[], object]) -> None:
        with self._opened() as file:
            file.seek(0)  # the place is that of the descriptor, which may have been read before
            found = scan(file, os.fstat(self.fd).st_size, self.done, beat)
        if found.foreign and not found.results:
            raise OutputError(
                f"{self.path}: holds none of our results, but {found.unreadable} other lines; give another file with "
                "-o, or --overwrite to replace what is in it"
            )
        self.fd = mend(self.fd, self.path, aside, found)
        if found.damage:
            removed = sum(end - start for start, end in found.damage)
            self.repaired = Repair(self.path, aside, found.unreadable, found.repeated, removed)

    def _opened(self) -> BinaryIO:
        return open(self.fd, "rb", buffering=disk.BLOCK, closefd=False)
