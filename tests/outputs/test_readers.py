"""Tables as those open them for whom they are made: pandas, polars, DuckDB and SQLite, each by its own reader."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from pyarrow import parquet as pq
from support.resultfiles import Files, failure, result

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ROWS = [
    {"id": 7, "text": 'a "quoted", text\nof two lines', "stars": 5, "price": 0.5, "is_new": True},
    {"id": 3, "text": "=1+1", "stars": None, "price": 2.0, "is_new": False},
    {"id": 5, "text": "ünïcödé \U0001f600", "stars": 1, "price": -1.25, "is_new": True},
]
ANSWERS = ["good", None, "bad, but\n\tlong"]
SAFE = [ROWS[0]["text"], "'=1+1", ROWS[2]["text"]]
"""The texts as CSV has them, where a cell that a spreadsheet would run is guarded."""

NAMES = {"csv": "out.csv", "json": "out.json", "jsonl": "out.jsonl", "parquet": "out.parquet", "arrow": "out.arrow"}
PANDAS: dict[str, Callable[[Path], pd.DataFrame]] = {
    "csv": pd.read_csv,
    "json": pd.read_json,
    "jsonl": lambda path: pd.read_json(path, lines=True),
    "parquet": pd.read_parquet,
    "arrow": pd.read_feather,
}
POLARS: dict[str, Callable[[Path], pl.DataFrame]] = {
    "csv": pl.read_csv,
    "json": pl.read_json,
    "jsonl": pl.read_ndjson,
    "parquet": pl.read_parquet,
    "arrow": pl.read_ipc,
}
DUCKDB = {"csv": "read_csv", "json": "read_json", "jsonl": "read_json", "parquet": "read_parquet"}


@pytest.fixture
def files(tmp_path: Path) -> Files:
    files = Files(tmp_path)
    files.input(ROWS)
    files.results([result(2, "5", ANSWERS[2]), result(0, "7", ANSWERS[0])])  # type: ignore[arg-type]  # they are texts
    files.errors([failure(1, "3")])
    return files


def check(form: str, columns: dict[str, list[Any]]) -> None:
    """Hold what a reader found against the rows: their order, their types, and the answers beside them."""
    assert [*columns] == ["id", "text", "stars", "price", "is_new", "answer_text", "error"]
    assert columns["id"] == [7, 3, 5]
    assert {type(value) for value in columns["id"]} == {int}
    assert columns["text"] == (SAFE if form == "csv" else [row["text"] for row in ROWS])
    assert [None if pd.isna(value) else value for value in columns["stars"]] == [5, None, 1]
    assert columns["price"] == [0.5, 2.0, -1.25]
    assert columns["is_new"] == [True, False, True]
    assert [None if pd.isna(value) else value for value in columns["answer_text"]] == ANSWERS
    assert [str(value).startswith("cut: ") for value in columns["error"]] == [False, True, False]


@pytest.mark.parametrize("form", [*PANDAS])
def test_pandas_opens_them(files: Files, form: str) -> None:
    files.export(NAMES[form], form)
    check(form, PANDAS[form](files.path / NAMES[form]).to_dict("list"))


@pytest.mark.parametrize("form", [*POLARS])
def test_polars_opens_them(files: Files, form: str) -> None:
    files.export(NAMES[form], form)
    frame = POLARS[form](files.path / NAMES[form])
    assert frame.schema["stars"] == pl.Int64
    check(form, frame.to_dict(as_series=False))


@pytest.mark.parametrize("form", [*DUCKDB])
def test_duckdb_opens_them(files: Files, form: str) -> None:
    files.export(NAMES[form], form)
    with duckdb.connect() as database:
        table = database.sql(f"SELECT * FROM {DUCKDB[form]}('{files.path / NAMES[form]}')")
        assert table.types[2] == "BIGINT"
        check(
            form,
            {
                name: list(values)
                for name, values in zip(table.columns, zip(*table.fetchall(), strict=True), strict=True)
            },
        )


def test_sqlite_has_them_with_their_types(files: Files) -> None:
    files.export(f"sqlite:{files.path / 'out.db'}", "sqlite")
    with closing(sqlite3.connect(files.path / "out.db")) as database:
        cursor = database.execute("SELECT * FROM answers ORDER BY id = 5, id DESC")
        names = [column[0] for column in cursor.description]
        rows = cursor.fetchall()
        kinds = database.execute("SELECT typeof(id), typeof(price), typeof(text) FROM answers").fetchall()
    assert set(kinds) == {("integer", "real", "text")}
    check("sqlite", {name: list(values) for name, values in zip(names, zip(*rows, strict=True), strict=True)})


def test_vectors_are_lists_of_one_length_to_all_readers(files: Files) -> None:
    """A fixed-size list of float32 in the file, which readers take for an array or a list of such numbers."""
    vectors = [[0.5, -2.0, 3.0], [1.0, 0.25, -4.0]]
    files.input([{"id": "a", "text": "x"}, {"id": "b", "text": "y"}])
    files.results([{"id": i, "seq": n, "hash": "0" * 16, "embedding": vectors[n]} for n, i in enumerate("ab")])
    files.errors([])
    files.export("out.parquet", "parquet")
    path = files.path / "out.parquet"
    assert pq.read_schema(path).field("embedding").type == pa.list_(pa.float32(), 3)
    assert [[*map(float, vector)] for vector in pd.read_parquet(path)["embedding"]] == vectors
    frame = pl.read_parquet(path)
    assert frame.schema["embedding"] == pl.Array(pl.Float32, 3)
    assert frame["embedding"].to_list() == vectors
    with duckdb.connect() as database:
        told = database.execute(f"SELECT embedding, typeof(embedding) FROM '{path}' ORDER BY id")
        found = told.fetchall()
    assert [[*vector] for vector, _ in found] == vectors
    assert {kind for _, kind in found} <= {"FLOAT[]", "FLOAT[3]"}
