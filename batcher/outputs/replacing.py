"""Puts a file in the place of one that people may have made, which keeps its mode and has to be a regular one."""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING

from batcher.failures import OutputError
from batcher.ledger import disk

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[int]:
    """As `disk.replacing`, of a regular file that keeps its mode; complains of what is none before anything is read."""
    mode = None
    if path.exists():
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise OutputError(f"{path}: is no regular file; name another -o")
        mode = stat.S_IMODE(status.st_mode)
    with disk.replacing(path) as fd:
        if mode is not None:
            os.fchmod(fd, mode)
        yield fd
