"""Opens the results file for one run alone: the lock is on the file itself, and dies with the process."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from typing import TYPE_CHECKING, BinaryIO, Final

from batcher.failures import LockedError, OutputError
from batcher.ledger import disk
from batcher.opening import UnfitError

if TYPE_CHECKING:
    from pathlib import Path

_OPENINGS = 8
"""Times to open a file that other runs replace before we give up."""
GLANCES: Final = 20
GLANCE: Final = 0.01
"""Seconds between so many tries at a lock: `batcher verify` asks for it by having it for a moment."""


def open_locked(path: Path) -> int:
    """Open or create a results file and lock it until its descriptor is closed, by us or by our death.

    Raises `LockedError` (75) if another run has it, `OutputError` (73) if it cannot be created, written or locked.
    """
    for _ in range(_OPENINGS):
        fd = _open(path)
        try:
            lock(fd, path, "give this run another file with -o")
            if disk.is_at(fd, path):
                return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # between open and lock another run put a mended file in its place: once more
    raise LockedError(f"{path}: other processes keep replacing this file; run again when they are done")


def _open(path: Path) -> int:
    try:
        return disk.open_appending(path)
    except OSError as error:
        raise _refusal(path, error) from error


def lock(fd: int, path: Path, instead: str) -> None:
    """Lock an open file for this run alone. Raises `LockedError` (75), `OutputError` (73)."""
    for left in reversed(range(GLANCES)):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if not left:
                raise LockedError(
                    f"{path}: another run is writing this file; wait for it to end, or {instead}"
                ) from error
            time.sleep(GLANCE)
        except OSError as error:
            raise OutputError(complaint(path, "cannot be locked; put it on a local disk", error)) from error
        else:
            return


def share(fd: int, path: Path) -> None:
    """Keep runs from an open file as long as it is open; others may read it too. Raises `LockedError` (75)."""
    for left in reversed(range(GLANCES)):
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if not left:
                raise LockedError(f"{path}: a run is writing this file; wait for it to end, or stop it") from error
            time.sleep(GLANCE)
        except OSError:
            return  # a file system without locks; no run would have started
        else:
            return


def is_locked(file: BinaryIO) -> bool:
    """Whether a run has the file. Asked by trying, since flock has no other question; the lock is gone at once."""
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False  # a file system without locks; no run would have started
    fcntl.flock(file, fcntl.LOCK_UN)
    return False


def _refusal(path: Path, error: OSError) -> OutputError:
    if isinstance(error, UnfitError):
        return OutputError(f"{path}: {error.strerror}; name a file with -o FILE, or write to a pipe with -o -")
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR:
            return OutputError(f"{path}: there is no directory {path.parent}; make it first, or choose another with -o")
        case errno.EISDIR:
            return OutputError(f"{path}: is a directory; name a file in it: -o {path / 'results.jsonl'}")
        case _:
            return OutputError(complaint(path, "cannot be created or written; choose another place with -o", error))


def complaint(path: Path, what: str, error: OSError) -> str:
    """Say which file, what happened to it, and the system's own words."""
    return f"{path}: {what}: {error.strerror or error}"
