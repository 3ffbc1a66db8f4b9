"""Where input lines come from: a file, read as it is needed, or a pipe, read by a thread so that nothing waits."""

from __future__ import annotations

import io
import os
import select
import stat
import sys
import threading
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from batcher.failures import BatcherError, InputError
from batcher.inputs.formats.lines import Line, LineSplitter
from batcher.inputs.opening import open_typed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from batcher.inputs.formats import Format
    from batcher.model import Json

_CHUNK: Final = 256 * 1024
_HELD: Final = 4096
"""Lines of a pipe held in memory; past that the thread waits, and so does whoever writes into the pipe."""
_HELD_BYTES: Final = 16 << 20
"""The most that these may hold together; one line may be longer."""


class Source:
    """An input file or pipe. `lines()` yields None where nothing has arrived yet and `on_arrival` will be called.

    A file is read from its start, as standard input from where whoever opened it left off. A FIFO is waited for where
    it is read. Raises InputError when the input cannot be opened, and when it breaks off.
    """

    def __init__(self, path: str, form: Format) -> None:
        self.path = path
        self._format = form
        self._file: BinaryIO = _stdin() if path == "-" else _open(Path(path))
        status = os.fstat(self._file.fileno())
        self.is_regular = stat.S_ISREG(status.st_mode)
        self._start = os.lseek(self._file.fileno(), 0, os.SEEK_CUR) if self.is_regular and path == "-" else 0
        self.identity = (status.st_dev, status.st_ino) if self.is_regular else None
        self.fingerprint: dict[str, Json] = (
            {**_fingerprint(path, status, self._start), "format": form.name} if self.is_regular else {}
        )
        self.on_arrival: Callable[[], None] = lambda: None
        self._pipe: _Pipe | None = None

    def lines(self) -> Iterator[Line | None]:
        """Every line once, from the start."""
        return self._format.read(self._window()) if self.is_regular else self._arriving()

    def all_lines(self) -> Iterator[Line]:
        """As `lines`, and it waits for what a pipe has yet to bring."""
        if self.is_regular:
            return self._format.read(self._window())
        _await_writer(self._file.fileno())
        return self._format.read(self._file)

    def count(self, checkpoint: Callable[[], object]) -> int:
        """Count the lines of a file; `checkpoint` is called now and then, and what it raises ends the counting.

        Others may read the lines meanwhile.
        """
        return sum(1 for _ in self._format.read(self._window(checkpoint)))

    def close(self) -> None:
        """Close the input, save where a thread still reads: that goes on until the process ends."""
        if self.is_regular or (self.path != "-" and (self._pipe is None or self._pipe.over)):
            self._file.close()

    def _window(self, checkpoint: Callable[[], object] = bool) -> BinaryIO:
        return io.BufferedReader(_Window(self._file.fileno(), self._start, self.path, checkpoint), _CHUNK)

    def _arrived(self) -> None:
        self.on_arrival()

    def _arriving(self) -> Iterator[Line | None]:
        pipe = self._pipe = _Pipe(self._file, self._arrived)
        while True:
            line = pipe.take()
            if line is None and pipe.ended:
                return
            yield line


class _Window(io.RawIOBase):
    """Reads an open file with a place of its own in it, so that several may read at once."""

    def __init__(self, fd: int, start: int, path: str, checkpoint: Callable[[], object]) -> None:
        super().__init__()
        self._fd = fd
        self._place = start
        self._path = path
        self._checkpoint = checkpoint

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._checkpoint()
        try:
            count = os.preadv(self._fd, [buffer], self._place)
        except OSError as error:
            raise InputError(f"{self._path}: the input broke off: {error.strerror}") from error
        self._place += count
        return count


class _Pipe:
    """A thread that cuts a pipe into lines; bounded by count and bytes, so that a fast writer is held back."""

    def __init__(self, file: BinaryIO, notify: Callable[[], None]) -> None:
        self._lines: deque[Line] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._notify = notify
        self.over = False
        self._error: BatcherError | None = None
        self._file = file
        # A daemon: a read from a pipe that nobody writes to cannot be interrupted, and must not hold up the exit.
        threading.Thread(target=self._read, name="input", daemon=True).start()

    @property
    def ended(self) -> bool:
        """Nothing is held and nothing will come. Raises what ended the reading, if it was an error."""
        if not self.over or self._lines:
            return False
        if self._error is not None:
            raise self._error
        return True

    def take(self) -> Line | None:
        if not self._lines:
            return None
        with self._changed:
            line = self._lines.popleft()
            self._bytes -= _size(line)
            self._changed.notify()
        return line

    def _read(self) -> None:
        splitter = LineSplitter()
        descriptor = self._file.fileno()
        try:
            _await_writer(descriptor)
            while chunk := os.read(descriptor, _CHUNK):
                self._put(splitter.feed(chunk))
            self._put(splitter.close())
        except BatcherError as error:
            self._error = error
        except OSError as error:
            self._error = InputError(f"the input broke off: {error.strerror}")
        self.over = True
        self._notify()

    def _put(self, lines: list[Line]) -> None:
        for line in lines:
            with self._changed:
                while self._is_full(line):
                    self._notify()  # whoever waits for a line must not wait for the rest of the chunk
                    self._changed.wait()
                self._lines.append(line)
                self._bytes += _size(line)
        if lines:
            self._notify()

    def _is_full(self, line: Line) -> bool:
        return bool(self._lines) and (len(self._lines) >= _HELD or self._bytes + _size(line) > _HELD_BYTES)


def _size(line: Line) -> int:
    return len(line.data) if line.data is not None else 0


def _stdin() -> BinaryIO:
    if sys.stdin is None:
        raise InputError("standard input is closed; name a file of jobs")
    return sys.stdin.buffer


def _open(path: Path) -> BinaryIO:
    try:
        return open_typed(path)
    except IsADirectoryError:
        raise InputError(f"{path} is a directory; name a file of jobs, or - for standard input") from None
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; the current directory is {Path.cwd()}") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None


def _await_writer(descriptor: int) -> None:
    """Wait until a FIFO has been opened by a writer: before that it reads as if it had ended."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    poll.poll()


def _fingerprint(path: str, status: os.stat_result, start: int) -> dict[str, Json]:
    """By what an input file is known again: name, size in bytes, time of its last change in ns, and its inode.

    Anyone can set back `mtime`, and nobody `ctime`. `start` is where reading begins, if that is not at the start.
    """
    times = {"mtime_ns": status.st_mtime_ns, "ctime_ns": status.st_ctime_ns}
    place = {"start": start} if start else {}
    return {"path": path, "size": status.st_size, **times, "inode": status.st_ino, **place}
