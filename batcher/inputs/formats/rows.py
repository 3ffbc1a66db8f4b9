"""What a row of a dataset is to whoever makes a job of it: its columns, or what is wrong with it, read when asked for.

    bytes   a line of JSON, as JSONL and JSON arrays have it: the short way, which is taken by most
    Row     anything else that has columns

Where a row stands is told by its `seq`, which counts through all inputs in the order of the arguments (`Source.place`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeAlias

from batcher.failures import LineError
from batcher.inputs.formats.objects import read_object

if TYPE_CHECKING:
    from batcher.model import Json


class Row(Protocol):
    """A row that is no line of JSON. Each call reads anew and gives what the caller may change."""

    def values(self) -> dict[str, Json]:
        """Give every column, under its name and with its type, as a template has it. Raises `LineError`."""

    def record(self) -> dict[str, Json]:
        """Give what a line of JSONL would hold that asks for the same, without a template. Raises `LineError`."""

    def raw(self) -> bytes | None:
        """Give bytes that it is known again by: with the same, it has the same columns. `None` if it must be read."""


Data: TypeAlias = "bytes | Row"
"""What stands on a line of the input (`Line.data`)."""


class Refused:
    """A row of which no more is known than what is wrong with it, and its bytes."""

    __slots__ = ("_code", "_message", "_raw")

    def __init__(self, code: str, message: str, raw: bytes) -> None:
        self._code, self._message, self._raw = code, message, raw

    def values(self) -> dict[str, Json]:
        raise LineError(self._code, self._message)

    record = values

    def raw(self) -> bytes:
        return self._raw


def values_of(data: Data) -> dict[str, Json]:
    """Give the columns of a row, whatever it is. Raises `LineError`."""
    return read_object(data) if isinstance(data, bytes) else data.values()


def raw_of(data: Data) -> bytes | None:
    """Give the bytes that a row is known again by, if it has some."""
    return data if isinstance(data, bytes) else data.raw()
