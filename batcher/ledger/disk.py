"""Bytes that reach the disk: whole writes, syncs that hold, and files replaced in one step.

Everything here raises plain `OSError`; who calls knows which file it was and what to tell the user.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from batcher.opening import open_directory, open_regular

if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCK = 1 << 20
"""Bytes read or copied at a time."""

_APPENDING = os.O_RDWR | os.O_CREAT | os.O_APPEND

_FULL_SYNC: int | None = getattr(fcntl, "F_FULLFSYNC", None)
"""macOS: fsync hands the bytes to the drive, only this makes the drive write them."""

_write = os.write
"""A name of its own, so that a test can let the disk be full without touching every other file."""

NOT_SYNCED = "a power cut may take its name away, for the directory cannot be synced"

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_CANNOT_SYNC = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOTTY})


def open_appending(path: Path, *, new: bool = False) -> int:
    """Open a file to read and append, made for the owner alone; `new` refuses one that is there already.

    Raises UnfitError for a link and what else is no regular file. No child inherits it: one that had a locked
    descriptor would hold the lock after we are gone.
    """
    return open_regular(path, _APPENDING | (os.O_EXCL if new else 0))


def is_at(fd: int, path: Path) -> bool:
    """Whether the open file is the one that the path names, without a link."""
    try:
        return os.path.samestat(os.fstat(fd), path.lstat())
    except FileNotFoundError:
        return False


def displaced(fd: int, path: Path, end: int) -> str | None:
    """Say what someone did to an open file that was written up to `end`, if they did."""
    size = os.fstat(fd).st_size
    if size < end:
        return f"something else cut this file to {size} bytes while we wrote it; run again to redo what is missing"
    if not is_at(fd, path):
        return "was moved or deleted while we wrote it; move it back before the next run, or its jobs run again"
    return None


def write_all(fd: int, data: bytes) -> None:
    """Write every byte, however many writes it takes; waits where the descriptor is one that does not block."""
    view = memoryview(data)
    while view:
        view = view[write_some(fd, view) :]


def write_some(fd: int, view: memoryview) -> int:
    """Write as much as one write takes, and return how many bytes that is; never 0."""
    while True:
        try:
            written = _write(fd, view)
        except BlockingIOError:
            select.select([], [fd], [])
            continue
        if not written:  # no kernel should; without this line one that did would hang us
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return written


def is_full(error: BaseException | None) -> bool:
    """Whether a write failed for want of room, which someone may make: on the disk, in a quota, under a limit."""
    return isinstance(error, OSError) and error.errno in _FULL


def sync(fd: int) -> None:
    """Wait until the file's bytes and length are on the disk."""
    if _FULL_SYNC is None:
        os.fdatasync(fd)
        return
    try:
        fcntl.fcntl(fd, _FULL_SYNC)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise
        os.fsync(fd)  # a network file system


def sync_directory(path: Path) -> None:
    """Wait until the names in a directory are on the disk, where the file system can say so."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except PermissionError:
        return  # one may create files in a directory that one may not read
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise
    finally:
        let_go(fd)


def copy(source: int, target: int, start: int, end: int) -> None:
    """Append the bytes from `start` up to `end` of one file to another."""
    while start < end:
        block = os.pread(source, min(BLOCK, end - start), start)
        if not block:
            raise OSError(errno.EIO, "the file became shorter while it was read")
        write_all(target, block)
        start += len(block)


def let_go(fd: int) -> None:
    """Close a descriptor whose bytes are on the disk, or which nobody wants any more: a close that fails costs nothing.

    A file system of a network may say only then that it could not write, and the descriptor is closed all the same
    (close(2), "Dealing with error returns from close()").
    """
    with suppress(OSError):
        os.close(fd)


def replace(path: Path, data: bytes) -> None:
    """Put a whole file in the place of `path`, or leave what is there."""
    with replacing(path) as fd:
        write_all(fd, data)
    let_go(fd)


@contextmanager
def directory(path: Path) -> Iterator[int]:
    """Open a directory of ours, made for the owner alone if it is not there; a link to one is refused."""
    fd = open_directory(path)
    try:
        yield fd
    finally:
        os.close(fd)


def put(directory: int, name: str, data: bytes) -> None:
    """Put a whole file into an open directory, in the place of what has its name, or leave what is there."""
    temporary = f".{name}.new"
    with suppress(FileNotFoundError):
        os.unlink(temporary, dir_fd=directory)
    fd = open_regular(Path(temporary), _APPENDING | os.O_EXCL, dir_fd=directory)
    try:
        write_all(fd, data)
        sync(fd)
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
        os.fsync(directory)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=directory)
        raise
    finally:
        os.close(fd)


@contextmanager
def replacing(path: Path) -> Iterator[int]:
    """Give a new file to write; when the block ends well, it is on the disk in the place of `path`.

    Its descriptor stays open then, for the caller to use or to `let_go`. After an error `path` is as it was, or the new
    file if only its directory could not be synced, as `strerror` says then. One at a time for a path: the temporary
    name is fixed, so that what a crash leaves behind goes with the next replacement.
    """
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    fd = open_appending(temporary, new=True)
    try:
        yield fd
        sync(fd)
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        os.close(fd)
        raise
    try:
        sync_directory(path.parent)
    except OSError as error:
        os.close(fd)
        raise OSError(error.errno, f"the new file is in its place, and {NOT_SYNCED}: {error.strerror}") from error
