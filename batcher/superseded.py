"""Moves results that are to be asked for anew out of the results file, so that no id ever has two lines in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batcher import disk
from batcher.failures import OutputIOError
from batcher.ledger import superseded_path
from batcher.recovery import Findings, identify, mend

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from batcher.ledger import Ledger


def supersede(ledger: Ledger, changed: Callable[[str | bytes], bool]) -> int:
    """Move the lines of `changed` ids to the end of the superseded file, forget them, and return how many they were.

    They are on the disk there before they leave the results file, which is replaced in one step. A crash in between
    leaves copies behind, and the next run moves the lines again. Raises `OutputIOError` (74), and nothing has changed.
    """

    def take_out(fd: int, path: Path) -> tuple[int, Path]:
        found = Findings()
        with open(fd, "rb", buffering=disk.BLOCK, closefd=False) as file:
            file.seek(0)
            end = 0
            for line in file:
                start, end = end, end + len(line)
                identity = identify(line)
                if identity is not None and changed(identity[0]):
                    found.mark(start, end)
        return mend(fd, path, superseded_path(path), found), path

    try:
        ledger.replace(take_out)
    except OSError as error:
        raise OutputIOError(f"{ledger.path}: cannot be rewritten: {error.strerror or error}") from error
    return ledger.done.discard_changed()
