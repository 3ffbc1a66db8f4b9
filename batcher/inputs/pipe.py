"""Reads what nobody should have to wait for, a pipe or a file that is far away, in a thread, some way ahead."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Final

from batcher.failures import BatcherError, InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from batcher.inputs.formats import Line

_HELD: Final = 4096
"""Lines held in memory; past that the thread waits, and so does whoever writes into the pipe."""
_HELD_BYTES: Final = 16 << 20
"""The most that these may hold together; one line may be longer."""
_ROW: Final = 4096
"""What a row is taken to hold that is no line."""


class Pipe:
    """A thread that reads lines, bounded by count and bytes, so that a fast writer is held back.

    `notify` is called when there is something to take, and at the end. The thread starts with the first `take`.
    """

    def __init__(self, lines: Iterator[Line], notify: Callable[[], None]) -> None:
        self._lines: deque[Line] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._notify = notify
        self._over = False
        self._error: Exception | None = None
        self._source = lines
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
        with self._changed:
            line = self._lines.popleft()
            self._bytes -= _size(line)
            self._changed.notify()
        return line

    def _read(self) -> None:
        try:
            for line in self._source:
                self._put(line)
        except BatcherError as error:
            self._error = error
        except OSError as error:
            self._error = InputError(f"the input broke off: {error.strerror or error}")
        except Exception as error:  # noqa: BLE001 - raised where the lines are taken
            self._error = error
        self._over = True
        self._notify()

    def _put(self, line: Line) -> None:
        with self._changed:
            while self._is_full(line):
                self._notify()  # whoever waits for a line must not wait for the rest of the chunk
                self._changed.wait()
            was_empty = not self._lines
            self._lines.append(line)
            self._bytes += _size(line)
        if was_empty:
            self._notify()

    def _is_full(self, line: Line) -> bool:
        return bool(self._lines) and (len(self._lines) >= _HELD or self._bytes + _size(line) > _HELD_BYTES)


def _size(line: Line) -> int:
    if isinstance(line.data, bytes):
        return len(line.data)
    return _ROW if line.data is not None else 0
