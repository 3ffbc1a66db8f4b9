"""A disk with room for so many bytes more, by a write that the tests put in the place of the system's."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


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
