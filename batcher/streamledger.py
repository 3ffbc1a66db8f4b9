"""Results on a pipe or terminal (`-o -`), with the same questions and answers as the results file."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Self

from batcher import disk
from batcher.done import Done
from batcher.failures import OutputError, OutputIOError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType

    from batcher.ledger import Line, Repair


class StreamLedger:
    """Results on a pipe or terminal (`-o -`): whole lines, at most one an id, and nothing to resume from."""

    repaired: Repair | None = None

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
        self._done = Done()

    def get(self, ident: str) -> str | None:
        return self._done.get(ident)

    def __contains__(self, ident: str) -> bool:
        return ident in self._done

    def __len__(self) -> int:
        return len(self._done)

    def append(self, lines: Sequence[Line]) -> int:
        """Write whole lines and return how many; raises `BrokenPipeError` when the reader is gone.

        Waits while the reader is slow. Raises `OutputIOError` when the lines cannot be written for another reason.
        """
        fresh = [line for line in lines if self._done.add(line[0], line[1])]
        self.refused += len(lines) - len(fresh)
        data = b"".join([line[2] for line in fresh])
        try:
            disk.write_all(self._fd, data)
        except BrokenPipeError:
            raise
        except OSError as error:
            before = len(self) - len(fresh)
            raise OutputIOError(f"{self._name}: cannot be written after {before} results: {error.strerror}") from error
        self.end += len(data)
        return len(fresh)

    def sync(self) -> None:
        self.synced = self.end

    def close(self) -> None:
        """Do nothing: the stream is not ours to close."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
