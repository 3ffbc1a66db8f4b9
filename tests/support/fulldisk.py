"""A disk with room for so many bytes more, or that fails, by what the tests put in the place of the system's."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest


def write_with_room(room: int) -> Callable[[int, memoryview], int]:
    """Return a write that takes `room` bytes in all, the last of them short, and then raises ENOSPC."""
    left = room

    def write(fd: int, data: memoryview) -> int:
        nonlocal left
        if not left:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = os.write(fd, data[:left])
        left -= written
        return written

    return write


def refuse_to_sync(path: Path) -> None:
    """Fail as the sync of a directory does on a failing disk."""
    raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))


def complain_of_closing(patch: pytest.MonkeyPatch) -> list[int]:
    """Let each file be closed with an error, as Linux does it: it is closed all the same. Return those that were."""
    close, closed = os.close, list[int]()

    def complain(fd: int) -> None:
        close(fd)
        closed.append(fd)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    patch.setattr(os, "close", complain)
    return closed
