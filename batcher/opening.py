"""Opens files: regular ones, through a link only where the user typed the path, and without waiting for anybody.

A directory may come from somebody else. A link, a FIFO or a device under a name that batcher makes itself leads to
what is not batcher's, or nowhere. What is asked about a file is asked about the one that is open, so that no name can
be given to another one between the question and the use.
"""

from __future__ import annotations

import errno
import io
import os
import select
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, BinaryIO

SMALL: Final = 64 << 20
"""Bytes of the largest file that is read at once."""
TAKEN: Final = 10.0
"""Seconds that whoever reads a pipe has for each piece of what it is given."""
_OPENINGS: Final = 8
"""Times to open a file that gets another one in its place."""
_PASSING: Final = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC
"""To go through a directory, which one may do, on Linux, in some that one may not read."""
_TURN: Final = 100
"""Milliseconds after which one who waits for a pipe looks whether it still has to."""
_KINDS: Final = {
    stat.S_IFREG: "a regular file",
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFLNK: "a link",
}


class UnfitError(OSError):
    """A file that is there and is not to be used; `strerror` says why."""


def open_regular(
    path: Path, flags: int = os.O_RDONLY, *, follow: bool = False, own: bool = True, dir_fd: int | None = None
) -> int:
    """Open a regular file, made for the owner alone if it is to be made; `follow`: through a link, too.

    In a directory that everybody may write to (`/tmp`), one with a name that batcher makes (`own`) has to be the
    user's, under this one name: others put files there. Raises UnfitError and OSError.
    """
    for _ in range(_OPENINGS):
        fd = _open(path, flags, follow=follow, dir_fd=dir_fd)
        try:
            _check_regular(path, os.fstat(fd))
            if not own or follow or dir_fd is not None or _is_kept(path, fd):
                return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # another run of ours has put one in its place: once more
    raise _unfit(path, "is exchanged for another file again and again")


def _open(path: Path, flags: int, *, follow: bool, dir_fd: int | None) -> int:
    flags |= os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    try:
        return os.open(path, flags, 0o600, dir_fd=dir_fd)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK) and not follow:
            raise _unfit(path, "is a link, and a link is followed only where its path is typed") from None
        if error.errno == errno.ENXIO:  # a FIFO without a reader, a socket
            raise _unfit(path, "is not a regular file") from None
        raise


def open_below(base: Path, path: Path) -> int:
    """Open a regular file below a directory, both as `real` gives them; a link that has come since is not followed.

    Each directory on the way is opened in the one before it: what is one file by its name when it is looked at may be
    another when it is opened, by any part of its name. Raises UnfitError and OSError.
    """
    *folders, name = path.relative_to(base).parts or (".",)
    fd = os.open(base, _PASSING)
    try:
        for folder in folders:
            inner = os.open(folder, _PASSING | os.O_NOFOLLOW, dir_fd=fd)
            outer, fd = fd, inner
            os.close(outer)
        return open_regular(Path(name), dir_fd=fd)
    finally:
        os.close(fd)


def open_directory(path: Path) -> int:
    """Open a directory of ours, made for the owner alone if it is not there. Raises UnfitError and OSError."""
    with suppress(FileExistsError):
        path.mkdir(0o700)
    check_own(path, stat.S_IFDIR)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        is_kept = _is_kept(path, fd)
    except BaseException:
        os.close(fd)
        raise
    if not is_kept:
        os.close(fd)
        raise _unfit(path, "was exchanged for another while it was opened")
    return fd


def check_own(path: Path, kind: int = stat.S_IFREG) -> None:
    """Raise UnfitError if what has a name that batcher makes is nothing that batcher made; nothing may be there."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return
    _check_kind(path, status, kind)
    if _is_everybodys(path.parent):
        _check_whose(path, status)


def read_small(path: Path) -> bytes:
    """Read a file that batcher made, whole. Raises UnfitError and OSError."""
    with os.fdopen(open_regular(path), "rb") as file:
        return _whole(path, file, SMALL)


def open_typed(path: Path) -> BinaryIO:
    """Open to read what the user typed, whatever it is: a FIFO does not wait for its writer here. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    os.set_blocking(fd, True)
    try:
        return os.fdopen(fd, "rb")
    except IsADirectoryError:
        os.close(fd)
        raise


class Arriving(io.RawIOBase):
    """An open pipe; a read gives what is there by now, and waits for the first byte.

    `checkpoint` is called now and then while it waits; what it raises ends the waiting.
    """

    def __init__(self, fd: int, checkpoint: Callable[[], object] = bool, *, closes: bool = False) -> None:
        super().__init__()
        self._fd = fd
        self._checkpoint = checkpoint
        self._awaited = False
        self._closes = closes

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        # Until a FIFO has been opened by a writer it reads as if it had ended.
        if not self._awaited or self._checkpoint is not bool:
            self._awaited = True
            poll = select.poll()
            poll.register(self._fd, select.POLLIN)
            while not poll.poll(None if self._checkpoint is bool else _TURN):
                self._checkpoint()
        return os.readv(self._fd, [buffer])

    def close(self) -> None:
        if self._closes and not self.closed:
            os.close(self._fd)
        super().close()


def open_given(path: Path, checkpoint: Callable[[], object] = bool) -> io.BufferedReader:
    """Open to read a file beside the input that the user named: a regular one, or a pipe, as the shell's `<(…)` is.

    A pipe waits for its writer, as everywhere, but `checkpoint` is called meanwhile. Of devices only `/dev/null` is
    read. Raises UnfitError and OSError.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(fd)
        os.set_blocking(fd, True)
        if stat.S_ISFIFO(status.st_mode):
            return io.BufferedReader(Arriving(fd, checkpoint, closes=True))
        if not (stat.S_ISCHR(status.st_mode) and status.st_rdev == Path(os.devnull).stat().st_rdev):
            _check_regular(path, status)
        return os.fdopen(fd, "rb")
    except BaseException:
        os.close(fd)
        raise


def read_given(path: Path, most: int = SMALL, checkpoint: Callable[[], object] = bool) -> bytes:
    """Read whole, up to so many bytes, what `open_given` opens. Raises UnfitError and OSError."""
    with open_given(path, checkpoint) as file:
        return _whole(path, file, most)


def write_given(path: Path, data: bytes) -> None:
    """Write to a pipe or a device that the user named, which somebody has to read. Raises OSError."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError as error:
        if error.errno == errno.ENXIO:
            raise _unfit(path, "has nobody who reads it") from None
        raise
    try:
        poll = select.poll()
        poll.register(fd, select.POLLOUT)
        while data:
            if not poll.poll(TAKEN * 1000):
                raise _unfit(path, f"was not read for {TAKEN:g} s")
            data = data[os.write(fd, data) :]
    finally:
        os.close(fd)


def real(path: Path, *, follow: bool) -> Path:
    """The path itself with the links in its directory resolved, and the one in its last name too with `follow`."""
    return Path(os.path.realpath(path)) if follow else Path(os.path.realpath(path.parent)) / path.name


def is_directory(path: Path) -> bool:
    """Whether a path that was typed is one; false, where `Path.is_dir` raises, for a name that is too long."""
    try:
        return path.is_dir()
    except OSError:
        return False


def _whole(path: Path, file: BinaryIO, most: int) -> bytes:
    data = file.read(most + 1)
    if len(data) > most:
        raise _unfit(path, f"is larger than {f'{most >> 20} MiB' if most >> 20 else f'{most} bytes'}")
    return data


def _check_regular(path: Path, status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):  # as the system says it of one that is to be written
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    _check_kind(path, status, stat.S_IFREG)


def _check_kind(path: Path, status: os.stat_result, kind: int) -> None:
    found = stat.S_IFMT(status.st_mode)
    if found != kind:
        raise _unfit(path, f"is not {_KINDS[kind]} but {_KINDS.get(found, 'something else')}")


def _is_kept(path: Path, fd: int) -> bool:
    """Check whose an open file is by what its name says now, where everybody may give names; false if it has another.

    Whether it has a second name is asked of the name: somebody's file has one name only, too, if it was given ours to
    be opened, and that was taken away again.
    """
    if not _is_everybodys(path.parent):
        return True
    try:
        status = path.lstat()
    except FileNotFoundError:
        return False
    if not os.path.samestat(status, os.fstat(fd)):
        return False
    _check_whose(path, status)
    return True


def _is_everybodys(directory: Path) -> bool:
    return bool(directory.stat().st_mode & stat.S_IWOTH)


def _check_whose(path: Path, status: os.stat_result) -> None:
    if status.st_uid != os.geteuid():
        raise _unfit(path, "belongs to another user, in a directory that everybody may write to")
    if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
        raise _unfit(path, "has a second name (a hard link), in a directory that everybody may write to")


def _unfit(path: Path, why: str) -> UnfitError:
    return UnfitError(errno.EINVAL, why, str(path))
