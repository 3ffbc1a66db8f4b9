"""The results file: who may write it, what is in it already, and how a line gets in for good.

    open     lock, scan, repair          one writer; after it the file holds whole results only
    append   one write a group           a line is in the file whole or not at all, and an id has one line at most
    sync     fdatasync                   what was appended survives a power cut as well

The file itself is the only record of what is done: two files cannot be committed together, so a journal beside it
would be ahead of the results or behind them.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeAlias

from batcher import disk
from batcher.done import Done
from batcher.failures import LockedError, OutputError, OutputIOError
from batcher.recovery import mend, scan

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from batcher.streamledger import StreamLedger

AnyLedger: TypeAlias = "Ledger | StreamLedger"
"""Where results go; both are asked and told the same."""

Line: TypeAlias = "tuple[str, str, bytes]"
"""A job's id, the hash of its request (16 hex digits, or "" if there is none), and its line with the newline."""

_OPENINGS = 8
"""Times to open a file that other runs replace before we give up."""


def errors_path(results: Path) -> Path:
    """Name the file of the failures that still stand: results.jsonl → results.errors.jsonl."""
    return results.with_name(f"{results.stem}.errors.jsonl")


def quarantine_path(results: Path) -> Path:
    """Name the file of the bytes that repair removed: results.jsonl → results.quarantine."""
    return results.with_name(f"{results.stem}.quarantine")


def state_path(results: Path) -> Path:
    """Name the file of the run's parameters: results.jsonl → results.state.json."""
    return results.with_name(f"{results.stem}.state.json")


def superseded_path(results: Path) -> Path:
    """Name the file of replaced results: results.jsonl → results.superseded.jsonl."""
    return results.with_name(f"{results.stem}.superseded.jsonl")


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


class Ledger:
    """A results file open for appending, locked against other runs until it is closed.

    Not for two threads, save that `sync` may run in another one while lines are appended. `refused` counts lines that
    were not written because their id has one; `end` and `synced` are bytes: what is in the file, and how much of that
    is known to be on the disk.
    """

    def __init__(self, fd: int, path: Path, done: Done, repaired: Repair | None = None) -> None:
        self.path = path
        self.repaired = repaired
        self.refused = 0
        self.end = self.synced = os.fstat(fd).st_size
        self._fd = fd
        self._done = done
        self._fault: OutputIOError | None = None

    @classmethod
    def open(cls, path: Path, *, overwrite: bool = False) -> Self:
        """Create or reopen a results file, lock it, mend it, and read what is done; `overwrite` empties it instead.

        Raises `LockedError` (75) if another run has it, `OutputError` (73) if it cannot be created, written or locked
        or holds something else than results, `OutputIOError` (74) if it cannot be read or mended.
        """
        path = Path(os.path.realpath(path))  # a repair replaces the file, and must not replace a link to it
        fd = _open_locked(path)
        try:
            done = Done()
            repaired = None
            if overwrite:
                os.ftruncate(fd, 0)
                disk.sync(fd)
            else:
                fd, repaired = _recover(fd, path, done)
            disk.sync_directory(path.parent)
            return cls(fd, path, done, repaired)
        except BaseException as error:
            os.close(fd)
            if isinstance(error, OSError):
                raise OutputIOError(_complaint(path, "cannot be read back and mended", error)) from error
            raise

    def get(self, ident: str) -> str | None:
        """Give the hash of the request an id has a result for; "" if unknown, `None` if there is no result."""
        return self._done.get(ident)

    def __contains__(self, ident: str) -> bool:
        return ident in self._done

    def __len__(self) -> int:
        return len(self._done)

    def append(self, lines: Sequence[Line]) -> int:
        """Write whole lines in one go and return how many; a line for an id that has one is refused.

        Raises `OutputIOError` if the file does not take them all. The lines that fit whole are in, and their ids are
        in `self`; the rest is cut off again and may be appended later. The `OSError` is the cause.
        """
        self._check_sound()
        fresh = [line for line in lines if self._done.add(line[0], line[1])]
        self.refused += len(lines) - len(fresh)
        data = b"".join([line[2] for line in fresh])
        try:
            disk.write_all(self._fd, data)
        except OSError as error:
            self._roll_back(fresh)
            raise OutputIOError(
                _complaint(self.path, f"cannot be written; {len(self)} results are safe in it", error)
            ) from error
        self.end += len(data)
        return len(fresh)

    def sync(self) -> None:
        """Wait until all that was appended before this call is on the disk.

        Raises `OutputIOError` if it is not, or if the file was moved, deleted or cut short behind our back. Either
        way no later call succeeds: after a failed sync the kernel may call the lost pages clean.
        """
        self._check_sound()
        end = self.end
        try:
            if end > self.synced:
                disk.sync(self._fd)
            fault = _displaced(self._fd, self.path, end)
        except OSError as error:
            self._fault = OutputIOError(_complaint(self.path, f"is safe only up to byte {self.synced}", error))
            raise self._fault from error
        if fault:
            self._fault = OutputIOError(f"{self.path}: {fault}")
            raise self._fault
        self.synced = end

    def close(self) -> None:
        """Sync, and let the lock go; raises as `sync` does, and a second call does nothing."""
        if self._fd < 0:
            return
        try:
            if self._fault is None:
                self.sync()
        finally:
            fd, self._fd = self._fd, -1
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_sound(self) -> None:
        if self._fault is not None:
            raise self._fault

    def _roll_back(self, lines: Sequence[Line]) -> None:
        """Keep the lines that got in whole, cut off the one that did not, and forget it and those after it."""
        try:
            room = os.fstat(self._fd).st_size - self.end
            for ident, _, data in lines:
                room -= len(data)
                if room < 0:
                    self._done.discard(ident)
                else:
                    self.end += len(data)
            os.ftruncate(self._fd, self.end)
        except OSError as error:
            # the next line would be glued to half a line: no more of them; the next run cuts it off
            self._fault = OutputIOError(_complaint(self.path, "ends in half a line that cannot be cut off", error))


def _open_locked(path: Path) -> int:
    for _ in range(_OPENINGS):
        fd = _open(path)
        try:
            _lock(fd, path)
            if disk.is_at(fd, path):
                return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # between open and lock another run put a mended file in its place: once more
    raise LockedError(f"{path}: other processes keep replacing this file; run again when they are done")


def _open(path: Path) -> int:
    try:
        fd = disk.open_appending(path)
    except OSError as error:
        raise _refusal(path, error) from error
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OutputError(f"{path}: is not a regular file; name one with -o FILE, or write to a pipe with -o -")
    return fd


def _lock(fd: int, path: Path) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise LockedError(
            f"{path}: another run is writing this file; wait for it to end, or give this run another file with -o"
        ) from error
    except OSError as error:
        raise OutputError(_complaint(path, "cannot be locked; put it on a local disk", error)) from error


def _refusal(path: Path, error: OSError) -> OutputError:
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR:
            return OutputError(f"{path}: there is no directory {path.parent}; make it first, or choose another with -o")
        case errno.EISDIR:
            return OutputError(f"{path}: is a directory; name a file in it: -o {path / 'results.jsonl'}")
        case _:
            return OutputError(_complaint(path, "cannot be created or written; choose another place with -o", error))


def _recover(fd: int, path: Path, done: Done) -> tuple[int, Repair | None]:
    """Read what is done and mend the file; raises `OSError`, and then `fd` is still open and the file's."""
    size = os.fstat(fd).st_size
    with open(fd, "rb", buffering=disk.BLOCK, closefd=False) as file:
        found = scan(file, size, done)
    if found.foreign and not found.results:
        raise OutputError(
            f"{path}: holds none of our results, but {found.unreadable} other lines; give another file with -o, "
            "or --overwrite to replace what is in it"
        )
    aside = quarantine_path(path)
    fd = mend(fd, path, aside, found)
    if not found.damage:
        return fd, None
    removed = sum(end - start for start, end in found.damage)
    return fd, Repair(path, aside, found.unreadable, found.repeated, removed)


def _displaced(fd: int, path: Path, end: int) -> str | None:
    """Say what someone did to the open file, if they did."""
    size = os.fstat(fd).st_size
    if size < end:
        return f"something else cut this file to {size} bytes while we wrote it; run again to redo what is missing"
    if not disk.is_at(fd, path):
        return "was moved or deleted while we wrote it; move it back before the next run, or its jobs run again"
    return None


def _complaint(path: Path, what: str, error: OSError) -> str:
    return f"{path}: {what}: {error.strerror or error}"
