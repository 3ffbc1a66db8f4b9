"""Takes out of a results file what a scan found to be no result; what is taken out is kept aside."""

from __future__ import annotations

import fcntl
import os
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from batcher.ledger import disk

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(slots=True)
class Findings:
    """What a scan found. `damage` holds the byte ranges, ascending, that are no results."""

    results: int = 0
    repeated: int = 0
    unreadable: int = 0
    damage: list[tuple[int, int]] = field(default_factory=list)
    marks: list[tuple[int, int]] = field(default_factory=list)
    """Byte order marks before results: they go, and nobody misses them."""
    unended: bool = False
    """The last line is a whole result that lacks its newline."""
    foreign: bool = False
    """Some of the damage is nothing that a broken write of ours leaves behind."""

    def mark(self, start: int, end: int) -> None:
        """Add a range; one that follows on the last makes it longer, so that memory grows with gaps alone."""
        if self.damage and self.damage[-1][1] == start:
            start = self.damage.pop()[0]
        self.damage.append((start, end))


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


def mend(fd: int, path: Path, aside: Path, found: Findings) -> int:
    """Move the damage out of the file at `path` to the end of the file `aside`; the results stay as they are.

    Damage at the end is cut off. Damage elsewhere needs a new file, which takes the old one's name when it is on the
    disk; its descriptor is what comes back, locked like the old one, which is closed. Until the damage is on the disk
    in `aside`, nothing is removed. Raises `OSError`, and then `fd` is still open.
    """
    if not (found.damage or found.marks or found.unended):
        return fd
    size = os.fstat(fd).st_size
    keep = _complement(sorted([*found.damage, *found.marks]), size)
    if found.damage:
        _set_aside(fd, aside, found.damage)
    if found.damage or found.marks:
        if keep and keep != [(0, keep[0][1])]:
            return _rewrite(fd, path, keep, ended=not found.unended)
        os.ftruncate(fd, keep[0][1] if keep else 0)
    if found.unended:
        disk.write_all(fd, b"\n")
    disk.sync(fd)
    return fd


def _set_aside(fd: int, aside: Path, damage: list[tuple[int, int]]) -> None:
    target = disk.open_appending(aside)
    try:
        for start, end in damage:
            disk.copy(fd, target, start, end)
            if os.pread(fd, 1, end - 1) != b"\n":
                disk.write_all(target, b"\n")
        disk.sync(target)
    finally:
        disk.let_go(target)
    disk.sync_directory(aside.parent)


def renew(fd: int, path: Path) -> int:
    """Copy a whole file to a new one that takes its name, and give that one's descriptor, locked like the old one.

    For a file that a sync failed on: the kernel may have what it could not write still in memory, and call it clean,
    so that no later sync would write it. A copy is written anew. Raises `OSError`, and then `fd` is still open.
    """
    size = os.fstat(fd).st_size
    return _rewrite(fd, path, [(0, size)] if size else [], ended=True)


def _rewrite(fd: int, path: Path, keep: list[tuple[int, int]], *, ended: bool) -> int:
    with disk.replacing(path) as new:
        os.fchmod(new, stat.S_IMODE(os.fstat(fd).st_mode))
        # before the new file has the name: nobody may find it under that name without a lock on it
        fcntl.flock(new, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for start, end in keep:
            disk.copy(fd, new, start, end)
        if not ended:
            disk.write_all(new, b"\n")
    disk.let_go(fd)
    return new


def _complement(ranges: list[tuple[int, int]], size: int) -> list[tuple[int, int]]:
    """Give the ranges before, between and behind the ones given, those with something in them."""
    starts = [0, *(end for _, end in ranges)]
    ends = [*(start for start, _ in ranges), size]
    return [(start, end) for start, end in zip(starts, ends, strict=True) if start < end]
