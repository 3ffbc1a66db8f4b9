"""What a reader of an input is told, and what it gives: rows, numbered on from those of the inputs before it."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import BinaryIO, Final, TypeAlias

from batcher.failures import ConfigError
from batcher.inputs.formats.lines import Line

Rows: TypeAlias = Generator[Line, None, int]
"""Rows of one input. What it returns is the number that the first row of the next input has."""


_OFTEN: Final = {"id", "custom_id", "images"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How inputs are read. `encoding` is that of text, `sql` what is asked of a database."""

    encoding: str | None = None
    sql: str | None = None
    sheet: str | None = None
    columns: tuple[str, ...] | None = None
    """Columns that are asked for; all, where it cannot be said."""
    is_whole: bool = False
    """The others are read as well."""
    note: Callable[[str], object] = bool
    """Tells people something that does not end the run."""

    @property
    def wanted(self) -> frozenset[str]:
        """Columns that rows are asked for; an id, or images, may be missing."""
        return frozenset(self.columns or ()) - _OFTEN


Reader: TypeAlias = "Callable[[BinaryIO, Reading, int], Rows]"
"""Gives the rows of a file, numbered from the last argument on. Raises `InputError` if it is no such file."""


def missing(what: str, library: str, extra: str) -> ConfigError:
    """The error (78) for an input that wants a library which is not installed."""
    return ConfigError(f"{what}: {library} is not installed; pip install 'batcher[{extra}]'")
