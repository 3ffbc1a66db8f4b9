"""Where input lines come from: a file, read as it is needed, or a pipe, read by a thread so that nothing waits."""

from __future__ import annotations

import os
import stat
import sys
import threading
from collections import deque
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from batcher.failures import BatcherError, InputError
from batcher.inputs.formats.lines import LineSplitter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from batcher.inputs.formats import Format, Line
    from batcher.model import Json

_CHUNK: Final = 256 * 1024
_STRETCH: Final = 1 << 16
_HELD: Final = 4096
"""Lines of a pipe held in memory; past that the thread waits, and so does whoever writes into the pipe."""


class Source:
    """An input file or pipe. `lines()` yields None where nothing has arrived yet and `on_arrival` will be called.

    Raises InputError when the input cannot be opened.
    """

    def __init__(self, path: str, form: Format) -> None:
        self.path = path
        self._format = form
        self._file: BinaryIO = sys.stdin.buffer if path == "-" else _open(Path(path))
        status = os.fstat(self._file.fileno())
        self.is_regular = stat.S_ISREG(status.st_mode)
        self.identity = (status.st_dev, status.st_ino) if self.is_regular else None
        self.fingerprint: dict[str, Json] = (
            {**_fingerprint(path, status), "format": form.name} if self.is_regular else {}
        )
        self.size = status.st_size
        """In bytes, of a file."""
        self.on_arrival: Callable[[], None] = lambda: None

    def lines(self) -> Iterator[Line | None]:
        """Every line once, from the start."""
        if not self.is_regular:
            return self._arriving()
        self._file.seek(0)
        return self._format.read(self._file)

    def all_lines(self) -> Iterator[Line]:
        """As `lines`, and it waits for what a pipe has yet to bring."""
        if self.is_regular:
            self._file.seek(0)
        return self._format.read(self._file)

    def count(self, checkpoint: Callable[[], object]) -> int:
        """Count the lines of a file; `checkpoint` is called now and then, and what it raises ends the counting."""
        lines = self.all_lines()
        total = 0
        while read := sum(1 for _ in islice(lines, _STRETCH)):
            checkpoint()
            total += read
        return total

    def close(self) -> None:
        if self.is_regular:
            self._file.close()

    def _arrived(self) -> None:
        self.on_arrival()

    def _arriving(self) -> Iterator[Line | None]:
        pipe = _Pipe(self._file, self._arrived)
        while True:
            line = pipe.take()
            if line is None and pipe.ended:
                return
            yield line


class _Pipe:
    """A thread that cuts a pipe into lines; bounded by count, so that a fast writer is held back."""

    def __init__(self, file: BinaryIO, notify: Callable[[], None]) -> None:
        self._lines: deque[Line] = deque()
        self._room = threading.Semaphore(_HELD)
        self._notify = notify
        self._over = False
        self._error: BatcherError | None = None
        self._file = file
        # A daemon: a read from a pipe that nobody writes to cannot be interrupted, and must not hold up the exit.
        threading.Thread(target=self._read, name="input", daemon=True).start()

    @property
    def ended(self) -> bool:
        """Nothing is held and nothing will come. Raises what ended the reading, if it was an error."""
        if not self._over or self._lines:
            return False
        if self._error is not None:
            raise self._error
        return True

    def take(self) -> Line | None:
        if not self._lines:
            return None
        line = self._lines.popleft()
        self._room.release()
        return line

    def _read(self) -> None:
        splitter = LineSplitter()
        descriptor = self._file.fileno()
        try:
            while chunk := os.read(descriptor, _CHUNK):
                self._put(splitter.feed(chunk))
            self._put(splitter.close())
        except BatcherError as error:
            self._error = error
        except OSError as error:
            self._error = InputError(f"the input broke off: {error.strerror}")
        self._over = True
        self._notify()

    def _put(self, lines: list[Line]) -> None:
        for line in lines:
            if not self._room.acquire(blocking=False):
                self._notify()  # whoever waits for a line must not wait for the rest of the chunk, which waits for room
                self._room.acquire()
            self._lines.append(line)
        if lines:
            self._notify()


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except IsADirectoryError:
        raise InputError(f"{path} is a directory; name a file of jobs, or - for standard input") from None
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; the current directory is {Path.cwd()}") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None


def _fingerprint(path: str, status: os.stat_result) -> dict[str, Json]:
    """By what an input file is known again: name, size in bytes, time of its last change in ns, and its inode.

    Anyone can set back `mtime`, and nobody `ctime`.
    """
    times = {"mtime_ns": status.st_mtime_ns, "ctime_ns": status.st_ctime_ns}
    return {"path": path, "size": status.st_size, **times, "inode": status.st_ino}
