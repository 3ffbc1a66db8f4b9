"""The table of input formats: how each cuts a file into lines and makes jobs of them.

A new format is one new file here and one line in `FORMATS`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, BinaryIO, Protocol

from batcher.failures import UsageError
from batcher.inputs.formats.jsonl import parse_job
from batcher.inputs.formats.lines import LINE_LIMIT, Line, read_lines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batcher.inputs.formats.defaults import Defaults
    from batcher.inputs.identity import Ids
    from batcher.model import Job


class Reader(Protocol):
    """Cuts a file into lines; raises `InputError` if it is no such file."""

    def __call__(self, file: BinaryIO, longest: int = ...) -> Iterator[Line]: ...


class Parser(Protocol):
    """Makes a job of a line; raises `LineError` if it is none."""

    def __call__(self, data: bytes, seq: int, defaults: Defaults, ids: Ids | None = ...) -> Job: ...


@dataclass(frozen=True, slots=True)
class Format:
    """One input format: its name, its file extensions, and how it is read."""

    name: str
    extensions: tuple[str, ...]
    read: Reader
    parse: Parser


FORMATS: dict[str, Format] = {
    "jsonl": Format("jsonl", (".jsonl", ".ndjson"), read_lines, parse_job),
}


FOREIGN = frozenset({".csv", ".tsv", ".txt", ".parquet", ".xlsx", ".gz", ".zst", ".bz2", ".zip"})
"""Extensions of files that are no JSONL, whatever their name promises."""


def format_of(path: str, name: str | None = None) -> Format:
    """The format by its name, else by the file's extension, else JSONL. Raises `UsageError` on an unknown name."""
    if name is not None:
        if name not in FORMATS:
            raise UsageError(f'there is no input format "{name}"; known are {", ".join(FORMATS)}')
        return FORMATS[name]
    extension = PurePath(path).suffix.lower()
    if extension in FOREIGN:
        raise UsageError(f"{path}: {extension} files cannot be read yet; make it JSONL (or say --input-format jsonl)")
    return next((known for known in FORMATS.values() if extension in known.extensions), FORMATS["jsonl"])


__all__ = ["FORMATS", "LINE_LIMIT", "Format", "Line", "Parser", "Reader", "format_of", "parse_job", "read_lines"]
