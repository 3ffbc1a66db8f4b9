"""Reads a text as prompts, one a line."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from batcher.inputs.formats.encodings import decoded
from batcher.inputs.formats.lines import read_rows

if TYPE_CHECKING:
    from batcher.inputs.formats.reading import Rows
    from batcher.model import Json


def read_text(file: BinaryIO, first: int) -> Rows:
    """The lines that are not blank, numbered with those that are."""
    return (yield from read_rows(file, Prompt, first))


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
