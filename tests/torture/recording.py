"""Writes down what is done to the files of one directory: every write, sync, cut, rename and removal, in order."""

from __future__ import annotations

import errno
import os
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

from torture.evidence import whole_lines

from batcher.ledger import disk
from batcher.ledger.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass(frozen=True, slots=True)
class Op:
    """One thing done. `file` is a number that a file keeps when it is renamed; `upto` is what a sync covers."""

    what: str
    file: int = -1
    name: str = ""
    target: str = ""
    data: bytes = b""
    size: int = 0
    upto: int = 0
    promised: tuple[bytes, ...] = ()
    """The lines that the ledger called synced at this moment."""


@dataclass(slots=True)
class Log:
    """What was done in `place`, which held `before` at the start. `room` bytes are left on the disk, if that counts."""

    place: Path
    before: dict[str, bytes]
    ops: list[Op] = field(default_factory=list)
    room: int | None = None
    _numbers: dict[int, int] = field(default_factory=dict)
    """Inode → file number."""
    _open: dict[int, int] = field(default_factory=dict)
    """Descriptor → file number; the directory is -1."""

    def opened(self, fd: int, path: Any, *, made: bool) -> None:
        path = Path(os.fsdecode(path))
        if path == self.place:
            self._open[fd] = -1
        elif path.parent == self.place:
            inode = os.fstat(fd).st_ino
            if made or inode not in self._numbers:
                self._numbers[inode] = len(self._numbers)
                self.ops.append(Op("create" if made else "find", self._numbers[inode], path.name))
            self._open[fd] = self._numbers[inode]

    def closed(self, fd: int) -> None:
        self._open.pop(fd, None)

    def number(self, fd: int) -> int | None:
        return self._open.get(fd)

    def written(self, fd: int, data: Any, write: Callable[[int, Any], int]) -> int:
        if (number := self.number(fd)) is None:
            return write(fd, data)
        data = bytes(data)
        if self.room is not None:
            if data and not self.room:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            data = data[: self.room]
            self.room -= len(data)
        count = write(fd, data)
        self.ops.append(Op("write", number, data=data[:count]))
        return count

    def synced(self, fd: int, sync: Callable[[int], None]) -> None:
        upto = len(self.ops)
        sync(fd)
        if (number := self.number(fd)) is not None:
            self.ops.append(Op("sync", number, upto=upto))

    def truncated(self, fd: int, size: int) -> None:
        if (number := self.number(fd)) is not None:
            self.ops.append(Op("truncate", number, size=size))

    def named(self, what: str, path: Any, target: Any = "") -> None:
        path, target = Path(os.fsdecode(path)), Path(os.fsdecode(target))
        if path.parent == self.place:
            self.ops.append(Op(what, name=path.name, target=target.name))

    def promise(self, ledger: Ledger) -> None:
        if ledger.path.parent == self.place:
            lines = whole_lines(ledger.path.read_bytes()[: ledger.synced])
            self.ops.append(Op("promise", promised=tuple(lines)))


@contextmanager
def recording(place: Path) -> Iterator[Log]:
    """Record what this process does in a directory while the block lasts; other directories are let alone."""
    log = Log(place, {path.name: path.read_bytes() for path in place.iterdir()})
    open_, close, write, sync = os.open, os.close, os.write, Ledger.sync
    fsync, fdatasync, ftruncate, rename, unlink = os.fsync, os.fdatasync, os.ftruncate, os.rename, os.unlink

    def opening(path: Any, flags: int, *rest: Any, **more: Any) -> int:
        made = bool(flags & os.O_CREAT) and not os.path.lexists(path)
        fd = open_(path, flags, *rest, **more)
        log.opened(fd, path, made=made)
        return fd

    def closing(fd: int) -> None:
        log.closed(fd)
        close(fd)

    def truncating(fd: int, size: int) -> None:
        ftruncate(fd, size)
        log.truncated(fd, size)

    def renaming(old: Any, new: Any, **more: Any) -> None:
        rename(old, new, **more)
        log.named("rename", old, new)

    def removing(path: Any, **more: Any) -> None:
        unlink(path, **more)
        log.named("unlink", path)

    def syncing(ledger: Ledger) -> None:
        sync(ledger)
        log.promise(ledger)

    patches: list[tuple[Any, str, Any]] = [
        (os, "open", opening),
        (os, "close", closing),
        (os, "write", lambda fd, data: log.written(fd, data, write)),
        (disk, "_write", lambda fd, data: log.written(fd, data, write)),
        (os, "fsync", lambda fd: log.synced(fd, fsync)),
        (os, "fdatasync", lambda fd: log.synced(fd, fdatasync)),
        (os, "ftruncate", truncating),
        (os, "rename", renaming),
        (os, "replace", renaming),
        (os, "unlink", removing),
        (disk, "_FULL_SYNC", None),
        (Ledger, "sync", syncing),
    ]
    with ExitStack() as stack:
        for owner, name, replacement in patches:
            stack.enter_context(mock.patch.object(owner, name, replacement))
        yield log
