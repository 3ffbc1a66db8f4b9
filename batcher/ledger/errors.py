"""The errors file: every failure that still stands, one line a job.

    append   as failures happen; several lines for one job are fine, the last one counts
    finish   rewrites the file without the lines that no longer count

Not the truth about what is done (the results file is), so it is not mended: a half line that a crash left behind is
dropped at the next `finish`, and its job runs again anyway. A file in which anything else stands is not ours: `finish`
would throw that away.
"""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO, Final

from batcher.failures import OutputError, OutputIOError
from batcher.inputs.done import DoneIds
from batcher.ledger import disk
from batcher.ledger.closing import Closing
from batcher.ledger.lock import lock
from batcher.ledger.recovery import has_lost_pages, read_record, unmarked
from batcher.opening import UnfitError, real

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from batcher.model import Json


WAITING: Final = 256
"""Lines that are kept while the file takes none; one is 2 KB of words and up to 64 KB of partial text."""
_HEAD: Final = re.compile(rb'\{"id":"[^"\\]*","seq":[0-9]+,"line":[0-9]+,"error":\{"class":"')
_OPENING: Final = b'{"id":"'


class ErrorsFile(Closing):
    """Failures of this run and of those before it. The file is made when there is a failure to put in it.

    Errors raised: `OutputError` (73) if the file cannot be created or is another's, `LockedError` (75) if another run
    has it, `OutputIOError` (74) if it cannot be written or rewritten. A line that did not get in is kept and tried
    again with the next one and at `finish`, as far as there is memory set aside for such; `lost` counts those beyond.
    `follow`: the path was typed, and may be a link, or a device such as /dev/null.
    """

    def __init__(self, path: Path, *, overwrite: bool = False, follow: bool = True) -> None:
        # the rewriting at the end replaces the file, and must not replace a link to it
        self.path = real(path, follow=follow)
        self.lost = 0
        self._waiting: list[bytes] = []
        self._fd: int | None = None
        self._check_writable()
        self._is_device = follow and self.path.exists() and not self.path.is_file()
        self._stale = False
        self._earlier = self._end = 0
        if os.path.lexists(self.path) and not self._is_device:
            self._open()
            self._stale = overwrite

    def begin_anew(self) -> None:
        """Drop what is to be overwritten, if it is still there; `append` does so too. Raises `OutputIOError`."""
        if not self._stale:
            return
        try:
            self._remove()
        except OSError as error:
            raise OutputIOError(f"{self.path}: cannot be begun anew: {error.strerror}") from error
        self._stale = False

    def append(self, line: bytes) -> None:
        """Add one failure, a line with its newline."""
        if len(self._waiting) < WAITING:
            self._waiting.append(line)
        else:
            self.lost += 1
        self._write_waiting()

    def finish(self, done: Callable[[str], bool], *, complete: bool = False) -> int:
        """Keep the last line of each job that is not `done`, and return how many are left; no line, no file.

        `complete` says that this run read the whole input. Then lines of earlier runs about input that made no job go
        as well: had nobody mended it, this run would have complained of it again.
        """
        if self._waiting:
            self._write_waiting()
        if self._stale or self._fd is None or self._is_device or not disk.is_at(self._fd, self.path):
            return 0  # no failures of this run, or nowhere to keep them
        try:
            with open(self._fd, "rb", buffering=disk.BLOCK, closefd=False) as file:
                last = self._last_lines(file, done, since=self._earlier if complete else 0)
                if last:
                    self._rewrite(file, last)
                else:
                    self._remove()
        except OSError as error:
            if not disk.is_at(self._fd, self.path):  # the new one is there: who appends is to open it
                self.close()
            raise OutputIOError(f"{self.path}: cannot be rewritten: {error.strerror}") from error
        return len(last)

    def standing(self) -> DoneIds:
        """Give the ids of earlier runs' jobs that were tried and failed, also of those that have succeeded since."""
        failed = DoneIds()
        if self._fd is not None and not self._stale and not self._is_device:
            try:
                with open(self._fd, "rb", buffering=disk.BLOCK, closefd=False) as file:
                    for _, line in _lines(file):
                        record = _read(line)
                        if record and "attempts" in record and isinstance(about := _about(record, line), str):
                            failed.add(about, None)
            except OSError as error:
                raise OutputIOError(f"{self.path}: cannot be read: {error.strerror}") from error
        return failed

    def close(self) -> None:
        """Leave the file as it is, to other runs too; `append` opens it again."""
        if self._fd is not None:
            fd, self._fd = self._fd, None
            os.close(fd)

    def _write_waiting(self) -> None:
        self.begin_anew()
        if self._fd is None:
            self._open()
        assert self._fd is not None
        data = b"".join(self._waiting)
        try:
            disk.write_all(self._fd, data)
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(self._fd, self._end)
            raise OutputIOError(f"{self.path}: cannot be written: {error.strerror or error}") from error
        self._end += len(data)
        self._waiting.clear()

    def _check_writable(self) -> None:
        """Complain before anything is spent, though the file is made only when it is needed."""
        asked = self.path if self.path.exists() else self.path.parent
        if self.path.is_dir() or not os.access(asked, os.W_OK):
            raise OutputError(f"{self.path}: cannot be written; name another file with --errors")

    def _open(self) -> None:
        """Open the file or make it, locked and read through: what is in it is ours, or it is left alone."""
        if self._is_device:
            self._fd = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
            return
        fd = -1
        try:
            fd = disk.open_appending(self.path)
            lock(fd, self.path, "name another with --errors")
            with open(fd, "rb", buffering=disk.BLOCK, closefd=False) as file:
                self._check_ours(file)
            self._earlier = self._end = os.fstat(fd).st_size
            if self._earlier and os.pread(fd, 1, self._earlier - 1) != b"\n":
                disk.write_all(fd, b"\n")
                self._end += 1
        except BaseException as error:
            if fd >= 0:
                os.close(fd)
            if isinstance(error, OSError):
                raise OutputError(
                    f"{self.path}: {'' if isinstance(error, UnfitError) else 'cannot be opened: '}{error.strerror}; "
                    "name another with --errors"
                ) from error
            raise
        self._fd = fd

    def _check_ours(self, file: BinaryIO) -> None:
        for number, (_, line) in enumerate(_lines(file), 1):
            if not _HEAD.match(line) and not line.isspace() and _read(line) is None and not _is_torn(line):
                raise OutputError(
                    f"{self.path}: line {number} is no failure of ours, and this file would be rewritten without it; "
                    "name another with --errors"
                )

    def _last_lines(self, file: BinaryIO, done: Callable[[str], bool], since: int) -> DoneIds:
        """Where the last line of each standing failure begins, by what it is about: 25 bytes of memory for each."""
        last = DoneIds()
        for start, line in _lines(file):
            record = _read(line)
            if record is None or (start < since and "attempts" not in record):
                continue
            about = _about(record, line)
            if isinstance(about, bytes) or not done(about):
                last.discard(about)
                last.add(about, _place(start))
        return last

    def _rewrite(self, file: BinaryIO, last: DoneIds) -> None:
        assert self._fd is not None
        with disk.replacing(self.path) as fd:
            os.fchmod(fd, stat.S_IMODE(os.fstat(self._fd).st_mode))
            lock(fd, self.path, "name another with --errors")  # before it has the name
            size = 0
            for start, line in _lines(file):
                record = _read(line)
                if record is not None and last.get(_about(record, line)) == _place(start):
                    kept = unmarked(line).removesuffix(b"\n") + b"\n"
                    disk.write_all(fd, kept)
                    size += len(kept)
        before, self._fd = self._fd, fd
        self._earlier = self._end = size
        disk.let_go(before)

    def _remove(self) -> None:
        """Take the file away, and no other that has its name by now."""
        if self._fd is not None and disk.is_at(self._fd, self.path):
            self.path.unlink(missing_ok=True)
        self.close()
        self._earlier = self._end = 0


def failed_id(line: bytes) -> str | None:
    """The id of the job whose failure a line tells; `None` if it tells none."""
    record = _read(line)
    about = _about(record, line) if record is not None else None
    return about if isinstance(about, str) else None


def _lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    file.seek(0)
    start = 0
    for line in file:
        yield start, line
        start += len(line)


def _read(line: bytes) -> dict[str, Json] | None:
    """The failure on a line: an object with an error in it as ours have it."""
    record = read_record(line)
    error = record.get("error") if record is not None else None
    return record if isinstance(error, dict) and isinstance(error.get("code"), str) and "class" in error else None


def _is_torn(line: bytes) -> bool:
    """Whether a line that cannot be read may be what a crash left of a failure."""
    rest = unmarked(line)
    return has_lost_pages(rest) or (read_record(line) is None and rest[: len(_OPENING)] == _OPENING[: len(rest)])


def _about(record: dict[str, Json], line: bytes) -> str | bytes:
    """The id of the job that failed; the line itself where it has none."""
    ident = record.get("id")
    return line if ident is None else str(ident)


def _place(start: int) -> str:
    """Where a line begins, as `DoneIds` keeps numbers."""
    return f"{start:016x}"
