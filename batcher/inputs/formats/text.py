"""Reads a text as prompts, one a line."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from batcher.inputs.formats.delimited import decoded
from batcher.inputs.formats.lines import Line, read_lines

if TYPE_CHECKING:
    from batcher.inputs.formats.reading import Rows
    from batcher.model import Json


def read_text(file: BinaryIO, first: int) -> Rows:
    """The lines that are not blank, numbered with those that are."""
    lines = read_lines(file, first=first)
    while True:
        try:
            line = next(lines)
        except StopIteration as end:
            return int(end.value)
        yield Line(line.seq, line.offset, Prompt(line.data)) if isinstance(line.data, bytes) else line


class Prompt:
    """A line of text. See `rows.Row`."""

    __slots__ = ("_data",)

    def __init__(self, data: bytes) -> None:
        self._data = data

    def values(self) -> dict[str, Json]:
        return {"text": decoded(self._data)}

    def record(self) -> dict[str, Json]:
        return {"prompt": decoded(self._data)}

    def raw(self) -> bytes:
        return self._data
