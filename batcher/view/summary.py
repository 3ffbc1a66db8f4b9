"""What a run gives back: its sums, and the same in words and for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batcher.view import block, record
from batcher.view.sums import Sums

if TYPE_CHECKING:
    from pathlib import Path

    from batcher.model import Json


class Summary(Sums):
    """The sums of a run, which can tell themselves to people and programs."""

    __slots__ = ()

    def render(self, results: Path | str | None = None, errors: Path | str | None = None) -> str:
        """Write the block for a terminal, the last line of which says what to do if something is."""
        return block.render(self, results, errors)

    def one_line(self, errors: Path | str | None = None) -> str:
        """Say in one line what became of the run and what to do: what cron mails and a journal keeps."""
        return block.one_line(self, errors)

    def to_dict(self) -> dict[str, Json]:
        """Give the sums in JSON types, durations in seconds; quantiles are within 1 %."""
        return record.record(self)
