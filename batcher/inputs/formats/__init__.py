"""The table of input formats: how each cuts a file into rows, and how a row becomes a job.

A new format is one new file here and one line in `FORMATS`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, BinaryIO, Final, Protocol

from batcher.failures import InputError, UsageError
from batcher.inputs.formats.jsonl import parse_job
from batcher.inputs.formats.lines import FOREIGN_MARKS, LINE_LIMIT, Line, read_lines
from batcher.inputs.formats.reading import Reading

if TYPE_CHECKING:
    from batcher.inputs.formats.defaults import Defaults
    from batcher.inputs.formats.reading import Reader, Rows
    from batcher.inputs.formats.rows import Data
    from batcher.inputs.identity import Ids
    from batcher.model import Job


class Parser(Protocol):
    """Makes a job of a row; raises `LineError` if it is none, with the id if it has one."""

    def __call__(self, data: Data, seq: int, defaults: Defaults, ids: Ids | None = ...) -> Job: ...


def _jsonl(file: BinaryIO, _reading: Reading, first: int) -> Rows:
    return read_lines(file, first=first)


def _json(file: BinaryIO, _reading: Reading, first: int) -> Rows:
    from batcher.inputs.formats.jsonarray import read_json

    return read_json(file, first)


def _csv(file: BinaryIO, reading: Reading, first: int) -> Rows:
    from batcher.inputs.formats.delimited import read_csv

    return read_csv(file, reading, first)


def _tsv(file: BinaryIO, reading: Reading, first: int) -> Rows:
    from batcher.inputs.formats.delimited import read_tsv

    return read_tsv(file, reading, first)


def _text(file: BinaryIO, reading: Reading, first: int) -> Rows:
    from batcher.inputs.formats.text import read_text

    return read_text(file, reading, first)


def _parquet(file: BinaryIO, reading: Reading, first: int) -> Rows:
    from batcher.inputs.formats.columnar import read_parquet

    return read_parquet(file, reading, first)


def _arrow(file: BinaryIO, reading: Reading, first: int) -> Rows:
    from batcher.inputs.formats.columnar import read_arrow

    return read_arrow(file, reading, first)


def _xlsx(file: BinaryIO, reading: Reading, first: int) -> Rows:
    from batcher.inputs.formats.sheet import read_sheet

    return read_sheet(file, reading, first)


@dataclass(frozen=True, slots=True)
class Format:
    """One input format: its name, its file extensions, how it is read, and what its rows are called."""

    name: str
    extensions: tuple[str, ...]
    read: Reader
    unit: str = "row"
    is_text: bool = True
    """It has an encoding; what has none is read from places all over the file, and by no pipe."""
    is_whole: bool = False
    """It is loaded whole."""
    magic: tuple[bytes, ...] = ()
    """How its files begin."""


FORMATS: Final[dict[str, Format]] = {
    form.name: form
    for form in (
        Format("jsonl", (".jsonl", ".ndjson"), _jsonl, unit="line"),
        Format("json", (".json",), _json),
        Format("csv", (".csv",), _csv),
        Format("tsv", (".tsv", ".tab"), _tsv),
        Format("text", (".txt",), _text, unit="line"),
        Format(
            "xlsx",
            (".xlsx", ".xlsm", ".xls", ".ods"),
            _xlsx,
            is_text=False,
            is_whole=True,
            magic=(b"PK\x03\x04", b"\xd0\xcf\x11\xe0"),
        ),
        Format("parquet", (".parquet", ".pq"), _parquet, is_text=False, magic=(b"PAR1",)),
        Format(
            "arrow", (".arrow", ".feather", ".arrows"), _arrow, is_text=False, magic=(b"ARROW1", b"\xff\xff\xff\xff")
        ),
    )
}
FILES: Final = "files"
"""Said in place of a format: a directory or a pattern is a job a file, whatever the files are."""
_DOCUMENTS: Final = re.compile(
    r"\.(?:md|markdown|rst|adoc|tex|html?|xml|eml|srt|vtt|pdf|docx?|odt|rtf|pptx?|epub|png|jpe?g|gif|webp|bmp|tiff?"
    r"|py|js|ts|java|c|h|cpp|go|rs|sql|ya?ml|toml|ipynb)",
    re.IGNORECASE,
)
"""Ends of names of what is read as a whole: a shell makes many of `notes/*.md`."""
HEAD: Final = 64 * 1024
"""Bytes of a file that are looked at where neither its name nor anybody says what it is."""


def named(name: str) -> Format:
    """The format of a name. Raises `UsageError` on an unknown one."""
    if name not in FORMATS:
        raise UsageError(f'--input-format: there is no input format "{name}"; known are {", ".join([*FORMATS, FILES])}')
    return FORMATS[name]


def refuse_documents(path: str) -> None:
    """Raise `UsageError` for a file whose name says that it is one text, or an image: no rows, but one."""
    end = PurePath(path).suffix
    if _DOCUMENTS.fullmatch(end):
        raise UsageError(
            f"{path} is no file of rows. Give a directory, or a pattern in quotes ('*{end}'), and each file is a job; "
            "or say --input-format text, and each line is one"
        )


def by_extension(path: str) -> Format | None:
    """The format that the end of a file's name tells."""
    extension = PurePath(path).suffix.lower()
    return next((form for form in FORMATS.values() if extension in form.extensions), None)


def by_look(head: bytes, reading: Reading | None = None) -> Format:
    """The format that the beginning of a file tells: its magic bytes, else JSON, a header of CSV, or text.

    Raises `InputError` for what is none of them.
    """
    for form in FORMATS.values():
        if head.startswith(form.magic):
            return form
    if head[257:262] == b"ustar":  # POSIX.1-1988, "ustar" Interchange Format
        raise InputError("this is an archive of files (tar); unpack it, and give the directory or one of the files")
    is_recoded = reading is not None and reading.encoding is not None
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith(b"["):
        return FORMATS["json"]
    if text.partition(b"\n")[0].strip() == b"{":
        return FORMATS["json"]  # objects as `jq` and others write them for people
    if not text or text.startswith(b"{") or b"\n{" in text:
        return FORMATS["jsonl"]
    if not is_recoded and (
        text.startswith((b"%PDF-", b"Obj\1")) or (b"\0" in text and not text.startswith(tuple(FOREIGN_MARKS)))
    ):
        raise InputError("this is no text, and none of the formats that are read; see --input-format and --encoding")
    from batcher.inputs.formats.delimited import is_header

    return FORMATS["csv" if is_header(text, (reading or Reading()).wanted) else "text"]


__all__ = [
    "FILES",
    "FORMATS",
    "HEAD",
    "LINE_LIMIT",
    "Format",
    "Line",
    "Parser",
    "by_extension",
    "by_look",
    "named",
    "parse_job",
    "read_lines",
]
