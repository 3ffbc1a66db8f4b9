"""Reads a text as prompts, one a line."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, Final

from batcher.inputs.formats.encodings import decoded
from batcher.inputs.formats.lines import read_rows

if TYPE_CHECKING:
    from batcher.inputs.formats.reading import Reading, Rows
    from batcher.model import Json

COLUMN: Final = "text"
"""What templates call a line."""


def read_text(file: BinaryIO, reading: Reading, first: int) -> Rows:
    """The lines that are not blank, numbered with those that are."""
    if lacking := sorted(reading.wanted - {COLUMN}):
        words = f"a line of text has the column {COLUMN!r} alone, and {lacking[0]!r:.40} is asked for"
        reading.note(f"{words}; if the first line names columns, say --input-format csv")
    return (yield from read_rows(file, Prompt, first))


class Prompt:
    """A line of text. See `rows.Row`."""

    __slots__ = ("_data",)

    def __init__(self, data: bytes) -> None:
        self._data = data

    def values(self) -> dict[str, Json]:
        return {COLUMN: decoded(self._data)}

    def record(self) -> dict[str, Json]:
        return {"prompt": decoded(self._data)}

    def raw(self) -> bytes:
        return self._data
