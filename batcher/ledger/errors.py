"""The errors file: every failure that still stands, one line a job.

    append   as failures happen; several lines for one job are fine, the last one counts
    finish   rewrites the file without the lines that no longer count

Not the truth about what is done (the results file is), so it is neither mended nor locked: a half line that a crash
left behind is dropped at the next `finish`, and its job runs again anyway.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, Self

import orjson

from batcher import codec
from batcher.failures import OutputError, OutputIOError
from batcher.inputs.done import DoneIds
from batcher.ledger import disk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from batcher.model import Json


WAITING: Final = 256
"""Lines that are kept while the file takes none; one is 2 KB of words and up to 64 KB of partial text."""


class ErrorsFile:
    """Failures of this run and of those before it. The file is made when there is a failure to put in it.

    `appended` counts this run's lines. Errors raised: `OutputError` (73) if the file cannot be created,
    `OutputIOError` (74) if it cannot be written or rewritten. A line that did not get in is kept and tried again with
    the next one and at `finish`, as far as there is memory set aside for such; `lost` counts those beyond.
    """

    def __init__(self, path: Path, *, overwrite: bool = False) -> None:
        # the rewriting at the end replaces the file, and must not replace a link to it
        self.path = Path(os.path.realpath(path)) if path.is_file() else path
        self.appended = 0
        self.lost = 0
        self._waiting: list[bytes] = []
        self._fd: int | None = None
        self._check_writable()
        self._stale = overwrite and self.path.is_file()
        self._earlier = self._end = self.path.stat().st_size if self.path.is_file() else 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def begin_anew(self) -> None:
        """Drop what is to be overwritten, if it is still there; `append` does so too. Raises `OutputIOError`."""
        if not self._stale:
            return
        try:
            self._remove()
        except OSError as error:
            raise OutputIOError(f"{self.path}: cannot be begun anew: {error.strerror}") from error
        self._stale = False
        self._earlier = self._end = 0

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
        self.close()
        if self._stale or not self.path.is_file():
            return 0  # no failures of this run, or a device such as /dev/null
        try:
            with self.path.open("rb", buffering=disk.BLOCK) as file:
                last = self._last_lines(file, done, since=self._earlier if complete else 0)
                if last:
                    self._rewrite(file, last)
                else:
                    self._remove()
        except OSError as error:
            raise OutputIOError(f"{self.path}: cannot be rewritten: {error.strerror}") from error
        self._earlier = self._end = self.path.stat().st_size if last else 0
        return len(last)

    def standing(self) -> DoneIds:
        """Give the ids of earlier runs' jobs that were tried and failed, also of those that have succeeded since."""
        failed = DoneIds()
        if self.path.is_file() and not self._stale:
            try:
                with self.path.open("rb", buffering=disk.BLOCK) as file:
                    for _, line in _lines(file):
                        record = _read(line)
                        if record and _was_sent(record) and isinstance(about := _about(record, line), str):
                            failed.add(about, None)
            except OSError as error:
                raise OutputIOError(f"{self.path}: cannot be read: {error.strerror}") from error
        return failed

    def close(self) -> None:
        """Leave the file as it is; `append` opens it again."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _write_waiting(self) -> None:
        self.begin_anew()
        if self._fd is None:
            self._fd = self._open()
        data = b"".join(self._waiting)
        try:
            disk.write_all(self._fd, data)
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(self._fd, self._end)
            raise OutputIOError(f"{self.path}: cannot be written: {error.strerror or error}") from error
        self._end += len(data)
        self.appended += len(self._waiting)
        self._waiting.clear()

    def _check_writable(self) -> None:
        """Complain before anything is spent, though the file is made only when it is needed."""
        asked = self.path if self.path.exists() else self.path.parent
        if self.path.is_dir() or not os.access(asked, os.W_OK):
            raise OutputError(f"{self.path}: cannot be written; name another file with --errors")

    def _open(self) -> int:
        try:
            fd = disk.open_appending(self.path)
            if self._earlier and os.pread(fd, 1, self._earlier - 1) != b"\n":
                disk.write_all(fd, b"\n")
                self._end += 1
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be opened: {error.strerror}; name another with --errors") from error
        return fd

    def _last_lines(self, file: BinaryIO, done: Callable[[str], bool], since: int) -> DoneIds:
        """Where the last line of each standing failure begins, by what it is about: 25 bytes of memory for each."""
        last = DoneIds()
        for start, line in _lines(file):
            record = _read(line)
            if record is None or (start < since and not _was_sent(record)):
                continue
            about = _about(record, line)
            if isinstance(about, bytes) or not done(about):
                last.discard(about)
                last.add(about, _place(start))
        return last

    def _rewrite(self, file: BinaryIO, last: DoneIds) -> None:
        with disk.replacing(self.path) as fd:
            for start, line in _lines(file):
                record = _read(line)
                if record is not None and last.get(_about(record, line)) == _place(start):
                    disk.write_all(fd, line if line.endswith(b"\n") else line + b"\n")
        os.close(fd)

    def _remove(self) -> None:
        self.path.unlink(missing_ok=True)


def _lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    file.seek(0)
    start = 0
    for line in file:
        yield start, line
        start += len(line)


def _read(line: bytes) -> dict[str, Json] | None:
    try:
        record: Json = codec.loads(line)
    except orjson.JSONDecodeError:
        return None
    return record if isinstance(record, dict) else None


def _about(record: dict[str, Json], line: bytes) -> str | bytes:
    """The id of the job that failed; the line itself where it has none."""
    ident = record.get("custom_id", record.get("id"))
    return line if ident is None else str(ident)


def _place(start: int) -> str:
    """Where a line begins, as `DoneIds` keeps numbers."""
    return f"{start:016x}"


def _was_sent(record: dict[str, Json]) -> bool:
    """Whether it is about a job that was tried; OpenAI batch lines do not say, and are taken for such."""
    return "attempts" in record or "custom_id" in record
