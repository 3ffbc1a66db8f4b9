"""What a run gives back: its sums, and the same in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batcher.view import block
from batcher.view.sums import Sums

if TYPE_CHECKING:
    from pathlib import Path


class Summary(Sums):
    """The sums of a run, which can tell themselves to people."""

    __slots__ = ()

    def render(self, results: Path | str | None = None, errors: Path | str | None = None) -> str:
        """Write the block for a terminal, the last line of which says what to do if something is."""
        return block.render(self, results, errors)

    def one_line(self, errors: Path | str | None = None) -> str:
        """Say in one line what became of the run and what to do: what cron mails and a journal keeps."""
        return block.one_line(self, errors)
