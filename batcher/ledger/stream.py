"""Results on a pipe or terminal (`-o -`), with the same questions and answers as the results file."""

from __future__ import annotations

import errno
import os
import select
import stat
import sys
from typing import TYPE_CHECKING

from batcher.failures import OutputError, OutputIOError
from batcher.inputs.done import DoneIds
from batcher.ledger import disk
from batcher.ledger.closing import Closing

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from batcher.ledger.lines import Entry
    from batcher.ledger.repair import Repair

_READER_GONE = select.POLLERR | select.POLLHUP


class StreamLedger(Closing):
    """Results on a pipe or terminal (`-o -`): whole lines, at most one an id, and nothing to resume from."""

    repaired: Repair | None = None
    waits = True
    """Whether a write may have to wait for someone, as for a slow reader; then it is not for the event loop."""

    def __init__(self, fd: int | None = None, name: str = "stdout") -> None:
        """Write to a descriptor, or to stdout; raises `OutputError` (73) if the process was started without one."""
        if fd is None:
            if sys.__stdout__ is None:
                raise OutputError("stdout is closed; name a file with -o FILE")
            fd = sys.__stdout__.fileno()
        self.path: Path | None = None
        self.refused = 0
        self.end = self.synced = 0
        self._fd = fd
        self._name = name
        self._done = DoneIds()
        self._unsent = memoryview(b"")

    @property
    def done(self) -> DoneIds:
        """What is known of each id; whoever reads the input notes in it what he meets."""
        return self._done

    def get(self, ident: str) -> str | None:
        return self._done.get(ident)

    def __contains__(self, ident: str) -> bool:
        return ident in self._done

    def __len__(self) -> int:
        return len(self._done)

    def append(self, lines: Sequence[Entry]) -> int:
        """Write whole lines and return how many; raises `BrokenPipeError` when the reader is gone.

        Waits while the reader is slow. Raises `OutputIOError` when the lines cannot be written for another reason;
        what was not written of them goes before the lines of the next call, since half a line cannot be taken back.
        """
        fresh = [line for line in lines if self._done.add(line[0], line[1])]
        self.refused += len(lines) - len(fresh)
        data = b"".join([line[2] for line in fresh])
        self._unsent = memoryview(bytes(self._unsent) + data if self._unsent else data)
        try:
            while self._unsent:
                sent = disk.write_some(self._fd, self._unsent)
                self._unsent = self._unsent[sent:]
                self.end += sent
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputIOError(
                f"{self._name}: cannot be written after {self.end} bytes of results: {error.strerror}"
            ) from error
        return len(fresh)

    def empty(self) -> None:
        """Do nothing: a stream holds nothing that could be overwritten."""

    def sync(self) -> None:
        """Do what `check` does: how safe the reader keeps the results is the reader's business."""
        self.check()
        self.synced = self.end

    def check(self) -> None:
        """Raise `BrokenPipeError` if the reader is gone, though there may be nothing to write just now."""
        if _is_pipe(self._fd):
            poll = select.poll()
            poll.register(self._fd, 0)
            if any(event & _READER_GONE for _, event in poll.poll(0)):
                raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))

    def close(self) -> None:
        """Do nothing: the stream is not ours to close."""


def _is_pipe(fd: int) -> bool:
    mode = os.fstat(fd).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
