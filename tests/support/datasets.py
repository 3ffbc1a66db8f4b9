"""One table of rows in every format that is read: the same ids, prompts and parameters."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import lzma
import sqlite3
import zipfile
from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple
from xml.sax.saxutils import escape

import orjson
import pyarrow as pa
import zstandard
from pyarrow import feather, ipc, parquet

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    Rows = Sequence[dict[str, Any]]


class Dataset(NamedTuple):
    """How rows are written in a format, and what a command is told to read them."""

    name: str
    write: Callable[[Path, Rows], object]
    args: tuple[str, ...] = ()
    unit: str = "row"
    """What its rows are called in messages."""

    @property
    def input(self) -> str:
        return self.args[0] if self.args else self.name


def jsonl(rows: Rows) -> bytes:
    return b"".join(orjson.dumps(row) + b"\n" for row in rows)


def array(rows: Rows) -> bytes:
    return orjson.dumps(list(rows), option=orjson.OPT_INDENT_2)


def delimited(rows: Rows, delimiter: str = ",", encoding: str = "utf-8", **settings: Any) -> bytes:
    """Absent values are empty cells; what is no text stands as JSON."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, **settings)
    writer.writerow(names)
    for row in rows:
        writer.writerow([_cell(row.get(name)) for name in names])
    return text.getvalue().encode(encoding)


def _cell(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else orjson.dumps(value).decode()


def table(rows: Rows) -> pa.Table:
    names = list(dict.fromkeys(name for row in rows for name in row))
    return pa.table({name: [row.get(name) for row in rows] for name in names})


def write_sheet(path: Path, rows: Rows, name: str = "Sheet1", hidden: str = "", visible: str = "") -> None:
    """An Excel workbook with one sheet, by hand (ECMA-376, part 1, 18.3); others that are named show the same one."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines: list[list[Any]] = [[*names], *([row.get(name) for name in names] for row in rows)]
    cells = "".join(f"<row>{''.join(map(_sheet_cell, line))}</row>" for line in lines)
    shown = [("hidden", hidden), ("visible", name), ("visible", visible)]
    sheets = "".join(
        f'<sheet name="{escape(one)}" sheetId="{number}" state="{state}" r:id="r1"/>'
        for number, (state, one) in enumerate(shown, 1)
        if one
    )
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006"
    with zipfile.ZipFile(path, "w") as book:
        book.writestr(
            "[Content_Types].xml",
            f'<Types xmlns="{package}/content-types"><Default Extension="xml" ContentType="application/xml"/></Types>',
        )
        book.writestr(
            "_rels/.rels",
            f'<Relationships xmlns="{package}/relationships"><Relationship Id="r1" Type="{office}/officeDocument" '
            'Target="xl/workbook.xml"/></Relationships>',
        )
        book.writestr(
            "xl/workbook.xml",
            f'<workbook xmlns="{main}" xmlns:r="{office}"><sheets>{sheets}</sheets></workbook>',
        )
        book.writestr(
            "xl/_rels/workbook.xml.rels",
            f'<Relationships xmlns="{package}/relationships"><Relationship Id="r1" Type="{office}/worksheet" '
            'Target="worksheets/sheet1.xml"/></Relationships>',
        )
        book.writestr(
            "xl/worksheets/sheet1.xml", f'<worksheet xmlns="{main}"><sheetData>{cells}</sheetData></worksheet>'
        )


def _sheet_cell(value: Any) -> str:
    if value is None:
        return "<c/>"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"<c><v>{value}</v></c>"
    return f'<c t="inlineStr"><is><t xml:space="preserve">{escape(_cell(value))}</t></is></c>'


def write_database(path: Path, rows: Rows) -> None:
    names = list(dict.fromkeys(name for row in rows for name in row))
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(f"CREATE TABLE jobs ({', '.join(names)})")
        marks = ", ".join("?" * len(names))
        database.executemany(f"INSERT INTO jobs VALUES ({marks})", [[row.get(name) for name in names] for row in rows])


def write_files(path: Path, rows: Rows) -> None:
    """A file a row, its prompt in it."""
    path.mkdir(exist_ok=True)
    for old in path.glob("*.md"):
        old.unlink()
    for row in rows:
        (path / f"{row['id']}.md").write_text(row["prompt"])


def _stream(path: Path, rows: Rows) -> None:
    whole = table(rows)
    with ipc.new_stream(path, whole.schema) as stream:
        stream.write_table(whole)


def _written(make: Callable[[Rows], bytes]) -> Callable[[Path, Rows], object]:
    return lambda path, rows: path.write_bytes(make(rows))


BOM = b"\xef\xbb\xbf"
UTF_16 = ("jobs.csv", "--encoding", "utf-16")
SQL = ("sqlite:jobs.db", "--sql", "SELECT * FROM jobs ORDER BY id")
DATASETS: dict[str, Dataset] = {
    "jsonl": Dataset("jobs.jsonl", _written(jsonl), unit="line"),
    "json": Dataset("jobs.json", _written(array)),
    "csv": Dataset("jobs.csv", _written(delimited)),
    "csv-semicolon": Dataset(
        "jobs.csv", _written(lambda rows: b"\xef\xbb\xbf" + delimited(rows, ";", quoting=csv.QUOTE_ALL))
    ),
    "csv-utf-16": Dataset(
        "jobs.csv", _written(lambda rows: delimited(rows, "\t", "utf-16")), ("jobs.csv", "--encoding", "utf-16")
    ),
    "tsv": Dataset("jobs.tsv", _written(lambda rows: delimited(rows, "\t"))),
    "xlsx": Dataset("jobs.xlsx", write_sheet),
    "xlsx-sheet": Dataset("jobs.xlsx", lambda path, rows: write_sheet(path, rows, "My rows"), ("jobs.xlsx#My rows",)),
    "parquet": Dataset("jobs.parquet", lambda path, rows: parquet.write_table(table(rows), path, row_group_size=3)),
    "arrow": Dataset("jobs.arrow", _stream),
    "feather": Dataset("jobs.feather", lambda path, rows: feather.write_feather(table(rows), path)),
    "sqlite": Dataset("jobs.db", write_database, SQL),
    "folder": Dataset("jobs", write_files, unit="file"),
    "pattern": Dataset("jobs", write_files, ("jobs/*.md",), unit="file"),
    "looked-at": Dataset("jobs", _written(jsonl), ("jobs",), unit="line"),
    "array-looked-at": Dataset("jobs.dat", _written(array), ("jobs.dat",)),
    "parquet-looked-at": Dataset("jobs.dat", lambda path, rows: parquet.write_table(table(rows), path), ("jobs.dat",)),
    "jsonl.gz": Dataset("jobs.jsonl.gz", _written(lambda rows: gzip.compress(jsonl(rows))), unit="line"),
    "csv.bz2": Dataset("jobs.csv.bz2", _written(lambda rows: bz2.compress(delimited(rows)))),
    "json.xz": Dataset("jobs.json.xz", _written(lambda rows: lzma.compress(array(rows)))),
    "jsonl.zst": Dataset(
        "jobs.jsonl.zst", _written(lambda rows: zstandard.ZstdCompressor().compress(jsonl(rows))), unit="line"
    ),
    "gzip-looked-at": Dataset("jobs.dat", _written(lambda rows: gzip.compress(array(rows))), ("jobs.dat",)),
}
"""Format, or what else is special → how it is written and read."""
