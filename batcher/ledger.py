"""The results file: who may write it, what is in it already, and how a line gets in for good.

    open     lock, scan, repair          one writer; after it the file holds whole results only
    append   one write a group           a line is in the file whole or not at all, and an id has one line at most
    sync     fdatasync                   what was appended survives a power cut as well

The file itself is the only record of what is done: two files cannot be committed together, so a journal beside it
would be ahead of the results or behind them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self, TypeAlias

from batcher import disk, state
from batcher.done import Done
from batcher.failures import OutputError, OutputIOError
from batcher.lock import complaint, open_locked
from batcher.recovery import mend, renew, scan

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from batcher.streamledger import StreamLedger

AnyLedger: TypeAlias = "Ledger | StreamLedger"
"""Where results go; both are asked and told the same."""

Line: TypeAlias = "tuple[str, str, bytes]"
"""A job's id, the hash of its request (16 hex digits, or "" if there is none), and its line with the newline."""

PART: Final = ".part"
"""What is added to the name of a results file that takes that name when it is complete (`--atomic`)."""


def _stem(results: Path) -> str:
    return results.with_name(results.name.removesuffix(PART)).stem


def errors_path(results: Path) -> Path:
    """Name the file of the failures that still stand: results.jsonl → results.errors.jsonl."""
    return results.with_name(f"{_stem(results)}.errors.jsonl")


def quarantine_path(results: Path) -> Path:
    """Name the file of the bytes that repair removed: results.jsonl → results.quarantine."""
    return results.with_name(f"{_stem(results)}.quarantine")


def state_path(results: Path) -> Path:
    """Name the file of the run's parameters: results.jsonl → results.state.json."""
    return results.with_name(f"{_stem(results)}.state.json")


def superseded_path(results: Path) -> Path:
    """Name the file of replaced results: results.jsonl → results.superseded.jsonl."""
    return results.with_name(f"{_stem(results)}.superseded.jsonl")


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
    is known to be on the disk. After a failed sync (`sync_failed`) the next run has to distrust what comes after it.
    `changed`: it may hold something else than when it was opened.
    """

    waits = False
    """Whether a write may have to wait for someone, as on a pipe; then it is not for the event loop."""

    def __init__(self, fd: int, path: Path, done: Done, repaired: Repair | None = None) -> None:
        self.path = path
        self.repaired = repaired
        self.refused = 0
        self.end = self.synced = os.fstat(fd).st_size
        self.sync_failed = self.changed = False
        self._fd = fd
        self._done = done
        self._fault: OutputIOError | None = None

    @classmethod
    def open(cls, path: Path, *, overwrite: bool = False) -> Self:
        """Create or reopen a results file, lock it, mend it, and read what is done; `overwrite` empties it instead.

        If the state file says that a sync of it failed, what is in it is written anew.
        Raises `LockedError` (75) if another run has it, `OutputError` (73) if it cannot be created, written or locked
        or holds something else than results, `OutputIOError` (74) if it cannot be read or mended.
        """
        path = Path(os.path.realpath(path))  # a repair replaces the file, and must not replace a link to it
        fd = open_locked(path)
        try:
            done = Done()
            repaired = None
            if overwrite:
                os.ftruncate(fd, 0)
                disk.sync(fd)
            else:
                fd, repaired = _recover(fd, path, done)
                if _is_in_doubt(path):
                    fd = renew(fd, path)
            disk.sync_directory(path.parent)
            return cls(fd, path, done, repaired)
        except BaseException as error:
            os.close(fd)
            if isinstance(error, OSError):
                raise OutputIOError(complaint(path, "cannot be read back and mended", error)) from error
            raise

    @property
    def done(self) -> Done:
        """What is known of each id; whoever reads the input notes in it what he meets."""
        return self._done

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
        self.changed = self.changed or bool(fresh)
        try:
            disk.write_all(self._fd, data)
        except OSError as error:
            self._roll_back(fresh)
            raise OutputIOError(
                complaint(self.path, f"cannot be written; {len(self)} results are safe in it", error)
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
        except OSError as error:
            self.sync_failed = True
            self._fault = OutputIOError(complaint(self.path, f"is safe only up to byte {self.synced}", error))
            raise self._fault from error
        self._check_place(end)
        self.synced = end

    def check(self) -> None:
        """Raise what `sync` would raise of a file that was moved, deleted or cut short; waits for no disk."""
        self._check_sound()
        self._check_place(self.end)

    def replace(self, make: Callable[[int, Path], tuple[int, Path]]) -> None:
        """Sync, and go on with the file and the name that `make` gives for the ones it gets.

        The new file holds the same results and the lock. Raises what `make` raises, and then nothing has changed.
        """
        self.sync()
        self.changed = True
        self._fd, self.path = make(self._fd, self.path)
        self.end = self.synced = os.fstat(self._fd).st_size

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

    def _check_place(self, end: int) -> None:
        try:
            fault = _displaced(self._fd, self.path, end)
        except OSError as error:
            self._fault = OutputIOError(complaint(self.path, "cannot be looked at any more", error))
            raise self._fault from error
        if fault:
            self._fault = OutputIOError(f"{self.path}: {fault}")
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
            self._fault = OutputIOError(complaint(self.path, "ends in half a line that cannot be cut off", error))


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


def _is_in_doubt(path: Path) -> bool:
    """Whether the disk refused some of the file in an earlier run: what is read back may be in memory alone."""
    last, _ = state.read(state_path(path))
    return last is not None and last.untrusted is not None


def _displaced(fd: int, path: Path, end: int) -> str | None:
    """Say what someone did to the open file, if they did."""
    size = os.fstat(fd).st_size
    if size < end:
        return f"something else cut this file to {size} bytes while we wrote it; run again to redo what is missing"
    if not disk.is_at(fd, path):
        return "was moved or deleted while we wrote it; move it back before the next run, or its jobs run again"
    return None
