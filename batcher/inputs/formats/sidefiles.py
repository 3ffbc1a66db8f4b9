"""The files that SQLite opens beside a database by itself, as soon as it reads it: that they do no harm.

A database comes from somebody else with what stands beside it. A FIFO there is waited for. A journal is played back
into the database, and one that names a super-journal has SQLite delete the file of that name, wherever it is
(`pager_delsuper` in sqlite/src/pager.c): a directory that was cloned could take any file of its user away.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from batcher.opening import UnfitError, open_regular, real

if TYPE_CHECKING:
    from pathlib import Path

_JOURNAL: Final = "-journal"
_SIDES: Final = (_JOURNAL, "-wal", "-shm")
_MAGIC: Final = bytes.fromhex("d9d505f920a163d7")
"""Begins a journal, and ends one that names a super-journal (sqlite.org/fileformat2.html, the rollback journal)."""
_TAIL: Final = 16
"""Bytes at the end of such a one: length of the name, its sum, and the magic number."""


def check_sides(database: Path) -> None:
    """Raise UnfitError, or another OSError, if what stands beside a database is not to be opened with it."""
    whole = real(database, follow=True)  # SQLite resolves links before it puts its own names together
    for side in _SIDES:
        path = whole.with_name(whole.name + side)
        try:
            fd = open_regular(path)
        except FileNotFoundError:
            continue
        with os.fdopen(fd, "rb") as file:
            size = os.fstat(fd).st_size
            file.seek(max(0, size - _TAIL))
            tail = file.read(_TAIL)
        if side == _JOURNAL and tail.endswith(_MAGIC) and any(tail[:4]):
            raise UnfitError(0, "names a file of elsewhere, which SQLite would delete", str(path))
