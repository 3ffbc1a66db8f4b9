"""Workbooks of others: what would take the memory when it is loaded is refused before."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING
from zipfile import ZIP_DEFLATED, ZipFile

import pyarrow as pa
import pytest
from pyarrow import parquet
from support.datasets import write_sheet

from batcher.failures import InputError, LineError, UsageError
from batcher.inputs.formats import columnar, database, workbook
from batcher.inputs.formats.columnar import read_parquet
from batcher.inputs.formats.reading import Reading
from batcher.inputs.formats.rows import values_of
from batcher.inputs.formats.sheet import read_sheet

if TYPE_CHECKING:
    from pathlib import Path

    from batcher.inputs.formats import Line


def rows_of(path: Path) -> list[Line]:
    with path.open("rb") as file:
        return list(read_sheet(file, Reading(), 0))


def packed_sheet(path: Path, *rows: str) -> Path:
    """A workbook whose sheet holds these rows of XML."""
    write_sheet(path, [{"text": "x"}])
    parts = {entry: archive.read(entry) for archive in [ZipFile(path)] for entry in archive.namelist()}
    sheet = parts["xl/worksheets/sheet1.xml"].decode()
    with ZipFile(path, "w", ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            more = sheet.replace("</sheetData>", "".join(rows) + "</sheetData>") if "sheet1" in name else None
            archive.writestr(name, data if more is None else more)
    return path


CORNER = '<row r="{0}"><c {1}="{2}" t="inlineStr"><is><t>x</t></is></c></row>'


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([CORNER.format(1048576, "r", "XFD1048576")], "most of them empty"),
        ([CORNER.format(1048576, "r", "AZZ1048576")], "most of them empty"),
        (['<row r="1048576">' + "<c/>" * 2000 + "</row>"], "most of them empty"),
        (["<row/>" * 1_000_000, "<row>" + "<c/>" * 2000 + "</row>"], "most of them empty"),
    ],
    ids=["the last corner", "far", "far, by its row", "many rows and many columns"],
)
def test_a_workbook_that_would_take_the_memory(tmp_path: Path, rows: list[str], words: str) -> None:
    """It is refused before the library loads it, which would end the process."""
    with pytest.raises(InputError, match=words):
        rows_of(packed_sheet(tmp_path / "b.xlsx", *rows))


def test_a_workbook_that_unpacks_to_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it is."""
    monkeypatch.setattr(workbook, "UNPACKED", 1 << 20)
    with pytest.raises(InputError, match="unpacks to more than 1 MiB"):
        rows_of(packed_sheet(tmp_path / "b.xlsx", "<row>" + " " * workbook.UNPACKED + "</row>"))


def test_a_workbook_that_lies_about_its_size(tmp_path: Path) -> None:
    """What a part holds beyond what it says is damage."""
    path = packed_sheet(tmp_path / "b.xlsx", "<row>" + " " * 10_000_000 + "</row>")
    with ZipFile(path) as archive:
        size = archive.getinfo("xl/worksheets/sheet1.xml").file_size
    path.write_bytes(path.read_bytes().replace(size.to_bytes(4, "little"), (100).to_bytes(4, "little")))
    with pytest.raises(InputError, match="no Excel workbook that can be read"):
        rows_of(path)


def test_a_workbook_that_begins_far_down(tmp_path: Path) -> None:
    """A place that is named is one place, however far."""
    path = packed_sheet(tmp_path / "b.xlsx", *[f'<row r="{n}"><c r="A{n}"><v>1</v></c></row>' for n in range(3, 2000)])
    assert len(rows_of(path)) == 1998


def test_values_of_a_database_have_a_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A view in it can make one of any size."""
    monkeypatch.setattr(database, "LINE_LIMIT", 1000)
    path = tmp_path / "a.db"
    with closing(sqlite3.connect(path)) as made:
        made.execute("CREATE VIEW large AS SELECT hex(zeroblob(1000)) AS text")
    with pytest.raises(UsageError, match="too big"):
        database.query(path, "SELECT text FROM large")
    file, _ = database.query(path, "SELECT hex(zeroblob(100)) AS text")
    with file:
        assert len(file.read()) > 200


def test_a_row_of_a_columnar_file_has_a_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cell of hundreds of megabytes takes kilobytes of a file; it costs its row, and the others are read."""
    monkeypatch.setattr(columnar, "LINE_LIMIT", 1000)
    monkeypatch.setattr(columnar, "_BYTES", 1)
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"text": ["a", "x" * 2000, "b"]}), path, use_dictionary=False)
    found = []
    with path.open("rb") as file:
        for line in read_parquet(file, Reading(), 0):
            assert line.data is not None
            try:
                found.append(values_of(line.data)["text"])
            except LineError as error:
                found.append(error.code)
    assert found == ["a", "line_too_large", "b"]
