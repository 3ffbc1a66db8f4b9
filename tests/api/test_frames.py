"""Frames as rows: of pandas, polars, pyarrow and DuckDB, by the one way in which all of them can be read."""

from __future__ import annotations

import datetime as dt
import sys
from typing import TYPE_CHECKING, Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from support.commandline import names

import batcher
from batcher.api.frames import is_frame, rows_of
from batcher.failures import ConfigError
from batcher.simulator import text

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.usefixtures("sim")

COLUMNS: dict[str, list[Any]] = {
    "id": [3, 1, 2],
    "text": ["a", "b", "c"],
    "note": ["x", None, "z"],
    "seen": [dt.datetime(2026, 1, day) for day in (1, 2, 3)],  # noqa: DTZ001 - frames have times without zones
}


FRAMES: dict[str, Callable[[dict[str, list[Any]]], Any]] = {
    "pandas": pd.DataFrame,
    "pandas with an index": lambda columns: pd.DataFrame(columns).set_index(pd.Index([7, 8, 9])),
    "polars": pl.DataFrame,
    "pyarrow": pa.table,
    "pyarrow stream": lambda columns: pa.table(columns).to_reader(),
    "duckdb": lambda columns: duckdb.connect().from_arrow(pa.table(columns)),
}


@pytest.mark.parametrize("kind", FRAMES)
def test_rows_of_frames(kind: str) -> None:
    """Each row has the columns by name, holes as None, and its place; results are in the order of the frame."""
    frame = FRAMES[kind](COLUMNS)
    assert is_frame(frame)
    results = batcher.map(frame, prompt="[[sim id={{ text }}]]", concurrency=3)
    assert [result.text for result in results] == [text(name) for name in "abc"]
    assert [result.id for result in results] == ["3", "1", "2"]
    assert [(result.row["id"], result.row["note"]) for result in results] == [(3, "x"), (1, None), (2, "z")]
    assert [result.row.keys() for result in results] == [COLUMNS.keys()] * 3
    assert results[0].row["seen"] == dt.datetime(2026, 1, 1)  # noqa: DTZ001 - as above


def test_a_hole_that_a_template_uses_fails_its_row() -> None:
    """And one that is no matter to it is none; without a template an empty cell is as if it were not there."""
    frame = pl.DataFrame({"id": ["a", "b"], "text": ["x", None], "system": [None, "Be short."]})
    results = batcher.map(frame, prompt="{{ text }}")
    assert [result.failure.code if result.failure else "" for result in results] == ["", "template_null"]
    plain = batcher.map(pl.DataFrame({"prompt": ["x", "y"], "temperature": [0.5, None], "images": [None, None]}))
    assert [result.ok for result in plain] == [True, True]


def test_a_frame_is_read_in_pieces() -> None:
    """Batch by batch, and no further than the rows that are asked for."""
    read = 0

    def batches() -> Any:
        nonlocal read
        for _ in range(100):
            read += 1
            yield pa.record_batch({"text": names(100)})

    reader = pa.RecordBatchReader.from_batches(pa.schema([("text", pa.string())]), batches())
    rows = rows_of(reader)
    assert [next(rows)["text"] for _ in range(150)] == (names(100) * 2)[:150]
    assert read == 2


def test_a_column_of_a_frame_is_rows_too() -> None:
    """A series is an iterable of its values."""
    for column in (
        pd.Series(["a", None]),
        pl.Series(["a", None]),
        pa.array(["a", None]),
        pa.chunked_array([["a", None]]),
    ):
        results = batcher.map(column)
        assert [result.ok for result in results] == [True, False]


def test_frames_whose_results_are_kept(tmp_path: Any) -> None:
    """They are taken up again as other rows are."""
    frame = pd.DataFrame({"id": [1, 2], "text": ["a", "b"]})
    kept = [batcher.map(frame, prompt="{{ text }}", output=tmp_path / "out.jsonl") for _ in range(2)]
    assert [[result.row["id"] for result in results] for results in kept] == [[1, 2], [1, 2]]
    assert [result.text for result in kept[0]] == [result.text for result in kept[1]]


def test_without_pyarrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what to install."""
    frame = pl.DataFrame({"prompt": ["Hi"]})
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises((ConfigError, batcher.BatcherError), match=r"pip install 'batcher\[data\]'"):
        batcher.map(frame)
