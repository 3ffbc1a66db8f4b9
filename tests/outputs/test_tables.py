"""Tables of every format: rows, order and types are those of the input, and what was there stays until the end."""

from __future__ import annotations

import csv
import os
import sqlite3
from contextlib import closing
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import orjson
import pyarrow as pa
import pytest
from hypothesis import given, settings, strategies as st
from pyarrow import ipc, parquet
from support.resultfiles import Files, failure, result

from batcher.failures import OutputError, OutputIOError
from batcher.inputs.recipe import Recipe
from batcher.outputs import joining
from batcher.outputs.columns import fields_of
from batcher.outputs.table import Shape

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def read_csv(path: Path, delimiter: str = ",") -> list[dict[str, Any]]:
    with path.open(newline="") as file:
        return [*csv.DictReader(file, delimiter=delimiter)]


def read_arrow(path: Path) -> list[dict[str, Any]]:
    with ipc.open_file(path) as file:
        rows: list[dict[str, Any]] = file.read_all().to_pylist()
        return rows


def read_parquet(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
    return rows


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def read_json(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = orjson.loads(path.read_bytes())
    return rows


TYPED: dict[str, Callable[[Path], list[dict[str, Any]]]] = {
    "parquet": read_parquet,
    "arrow": read_arrow,
    "json": read_json,
    "jsonl": read_lines,
}
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
WHOLE = st.integers(-(1 << 63), (1 << 63) - 1)
KINDS: dict[str, st.SearchStrategy[Any]] = {
    "whole": WHOLE,
    "number": st.floats(allow_nan=False, allow_infinity=False),
    "flag": st.booleans(),
    "text": TEXT,
    "list": st.lists(st.integers(0, 9), min_size=1, max_size=3),
    "object": st.fixed_dictionaries({"a": st.integers(0, 9), "b": TEXT}),
}


@st.composite
def tables(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Rows with an integer id, and columns of one kind each in which a value may be null."""
    names = draw(st.lists(st.sampled_from([*KINDS]), min_size=1, max_size=6, unique=True))
    count = draw(st.integers(1, 12))
    columns = {name: [draw(st.none() | KINDS[name]) for _ in range(count)] for name in names}
    return [
        {"id": number, "prompt": "p", **{name: values[number] for name, values in columns.items()}}
        for number in range(count)
    ]


@settings(max_examples=60)
@given(rows=tables(), seed=st.randoms(use_true_random=False), form=st.sampled_from([*TYPED]), size=st.integers(1, 5))
def test_a_table_keeps_rows_order_and_types(rows: list[dict[str, Any]], seed: Any, form: str, size: int) -> None:
    """Whatever order results came in, and however few rows are looked at together."""
    with TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
        patch.setattr(joining, "ROWS", size)
        files = Files(Path(directory))
        files.input(rows)
        records = [result(number, str(number), f"answer {number}") for number in range(len(rows))]
        seed.shuffle(records)
        files.results(records)
        files.export("out", form)
        found = TYPED[form](files.path / "out")
    assert found == [{**row, "text": f"answer {row['id']}", "error": None} for row in rows] or "text" in rows[0]
    if "text" in rows[0]:
        assert found == [{**row, "answer_text": f"answer {row['id']}", "error": None} for row in rows]
    assert [[type(value) for value in row.values()][:-2] for row in found] == [
        [*map(type, row.values())] for row in rows
    ]


@settings(max_examples=60)
@given(rows=st.lists(st.fixed_dictionaries({"id": st.integers(0, 99), "a": TEXT, "b": TEXT}), min_size=1, max_size=8))
def test_texts_come_back_from_csv(rows: list[dict[str, Any]]) -> None:
    """With the guard off every text is what it was, but for NUL, which no table may have."""
    rows = [{**row, "id": number} for number, row in enumerate(rows)]
    with TemporaryDirectory() as directory:
        files = Files(Path(directory))
        files.input(rows)
        files.results([result(number, str(number)) for number in range(len(rows))])
        files.export("out", "csv", guard=False)
        found = read_csv(files.path / "out")
    assert [(row["a"], row["b"]) for row in found] == [
        (row["a"].replace("\0", "\ufffd"), row["b"].replace("\0", "\ufffd")) for row in rows
    ]


RICH = pa.table(
    {
        "id": pa.array([1, 2, 3], pa.int16()),
        "prompt": ["p"] * 3,
        "price": pa.array([Decimal("1.10"), None, Decimal("-3.25")], pa.decimal128(10, 2)),
        "day": pa.array([date(2026, 11, 29), None, date(1, 1, 1)], pa.date32()),
        "at": pa.array([datetime(2026, 1, 1), None, None], pa.timestamp("ns")),  # noqa: DTZ001 - as tables have them
        "took": pa.array([timedelta(seconds=1), None, None], pa.duration("us")),
        "data": pa.array([b"\0\xff", b"", None], pa.binary()),
        "kind": pa.array(["a", "b", "a"]).dictionary_encode(),
        "map": pa.array([[("a", 1)], [], None], pa.map_(pa.string(), pa.int8())),
        "half": pa.array([0.5, None, 1.5], pa.float32()),
    }
)


@pytest.mark.parametrize("form", ["parquet", "arrow"])
@pytest.mark.parametrize("rows", [1, 3])
def test_columns_of_parquet_keep_their_types(
    files: Files, form: str, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decimals, dates, bytes, nanoseconds, maps: what JSON has no word for goes through as it is."""
    monkeypatch.setattr(joining, "ROWS", rows)
    parquet.write_table(RICH, files.path / "in.parquet", row_group_size=2)
    files.results([result(2, "3", "C"), result(0, "1", "A")])
    files.errors([failure(1, "2")])
    files.export("out", form, source="in.parquet")
    given_back = (
        parquet.read_table(files.path / "out") if form == "parquet" else ipc.open_file(files.path / "out").read_all()
    )
    asked = parquet.read_table(files.path / "in.parquet")
    assert given_back.select(asked.column_names).cast(asked.schema).equals(asked)
    assert given_back.schema.field("price").type == pa.decimal128(10, 2)
    assert given_back.column("text").to_pylist() == ["A", None, "C"]


def test_columns_that_show_late_are_there_for_all_rows(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also a type that shows late, and a name that the answers had until then."""
    monkeypatch.setattr(joining, "ROWS", 1)
    files.input([{"id": 0, "prompt": "p", "n": 1}, {"id": 1, "prompt": "p", "n": 0.5}, {"id": "x", "text": "mine"}])
    files.results([result(0, "0", "A"), result(1, "1", "B", parsed={"label": "good"}), result(2, "x", "C")])
    for form, read in (*TYPED.items(), ("csv", read_csv)):
        files.export("out", form)
        found = read(files.path / "out")
        assert [*found[0]] == ["id", "prompt", "n", "text", "answer_text", "label", "error"]
        assert [row["answer_text"] for row in found] == ["A", "B", "C"]
    files.export("out", "parquet")
    schema = parquet.read_schema(files.path / "out")
    assert (schema.field("id").type, schema.field("n").type) == (pa.string(), pa.float64())


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, None, 2], pa.int64()),
        ([1 << 63, 1], pa.uint64()),
        ([1 << 63, -1], pa.string()),
        ([1 << 70], pa.string()),
        ([1, 0.5], pa.float64()),
        ([(1 << 53) + 1, 0.5], pa.string()),
        ([True, 1], pa.string()),
        ([None, None], pa.string()),
        (["a", 1], pa.string()),
        ([[1], "a"], pa.string()),
        ([[], {}], pa.string()),
        ([[[1]], [["a"]]], pa.string()),
        ([{"a": 1}, {"a": "x"}], pa.string()),
        ([{}], pa.string()),
        ([{"a": {}}], pa.string()),
        ([[1.5], [2]], pa.list_(pa.float64())),
        ([{"a": 1}, {"b": None}], pa.struct([("a", pa.int64()), ("b", pa.null())])),
    ],
)
@pytest.mark.parametrize("rows", [1, 100])
def test_types_hold_what_a_column_has(
    files: Files, values: list[Any], kind: Any, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The narrowest type that loses nothing; where there is none, texts as they are and JSON for the rest."""
    monkeypatch.setattr(joining, "ROWS", rows)
    (files.path / "in.jsonl").write_bytes(
        b"".join(orjson.dumps({"id": n})[:-1] + b', "v": ' + str_of(value) + b"}\n" for n, value in enumerate(values))
    )
    files.results([result(number, str(number)) for number in range(len(values))])
    files.export("out", "parquet")
    found = parquet.read_table(files.path / "out").column("v")
    assert found.type == kind
    if kind == pa.string():
        told = [None if v is None else v if isinstance(v, str) else str_of(v).decode() for v in values]
        assert [text and text.replace(" ", "") for text in found.to_pylist()] == [
            t and t.replace(" ", "") for t in told
        ]


def str_of(value: Any) -> bytes:
    """As JSON, integers of any length too."""
    return str(value).encode() if type(value) is int else orjson.dumps(value)


def test_vectors_are_lists_of_float32(files: Files) -> None:
    """Numbers or base64, a file of either: the same column, whose lists have one length where all vectors do."""
    files.input([{"id": 0, "text": "a"}, {"id": 1, "text": "b"}])
    vectors: list[Any] = [[0.5, -2.0], "AAAAPwAAAMA="]
    for pair in (vectors[:1] * 2, vectors[1:] * 2, vectors):
        files.results(
            [{"id": str(n), "seq": n, "hash": "0" * 16, "embedding": vector} for n, vector in enumerate(pair)]
        )
        files.export("out", "parquet")
        column = parquet.read_table(files.path / "out").column("embedding")
        assert column.type == pa.list_(pa.float32(), 2)
        assert column.to_pylist() == [[0.5, -2.0]] * 2
    uneven: list[Any] = [[0.5, -2.0], [1.0, 2.0, 3.0]]
    files.results([{"id": str(n), "seq": n, "hash": "0" * 16, "embedding": vector} for n, vector in enumerate(uneven)])
    files.export("out", "parquet")
    column = parquet.read_table(files.path / "out").column("embedding")
    assert (column.type, column.to_pylist()) == (pa.list_(pa.float32()), uneven)


def test_a_field_of_the_answer_stands_beside_one_of_the_input(files: Files) -> None:
    """Names that are taken, also in another case, get a prefix; of two columns none is lost."""
    files.input([{"id": 1, "prompt": "p", "Label": "mine", "text": "t", "answer_text": "u", "error": 5}])
    files.results([result(0, "1", "A", parsed={"label": "theirs", "error": "field", "text": "x", "PROMPT": "y"})])
    (row,) = files.table()
    assert row == {
        "id": 1,
        "prompt": "p",
        "Label": "mine",
        "text": "t",
        "answer_text": "u",
        "error": 5,
        "answer_text_2": "A",
        "answer_label": "theirs",
        "answer_error": "field",
        "answer_text_3": "x",
        "answer_PROMPT": "y",
        "answer_error_2": None,
    }


def test_json_that_is_no_object_has_a_column_of_its_own(files: Files) -> None:
    files.input([{"id": n, "prompt": "p"} for n in range(3)])
    files.results([result(0, "0", parsed=[1]), result(1, "1", parsed={"a": 1}), result(2, "2")])
    assert [(row["a"], row["parsed"]) for row in files.table()] == [(None, [1]), (1, None), (None, None)]


def test_fields_of_a_schema_are_columns_before_any_answer_has_them(files: Files) -> None:
    schema = {"type": "object", "properties": {"label": {}, "score": {}}}
    assert (
        fields_of(schema) == fields_of({"type": "json_schema", "json_schema": {"schema": schema}}) == ["label", "score"]
    )
    assert (
        fields_of(None) == fields_of("json") == fields_of({"properties": 3}) == fields_of({"type": "json_schema"}) == []
    )
    files.input([{"id": 1, "prompt": "p"}])
    files.results([])
    (row,) = files.table(fields=fields_of(schema))
    assert [*row] == ["id", "prompt", "label", "score", "error"]


@pytest.mark.parametrize("form", [*TYPED, "csv", "tsv"])
def test_a_table_of_nothing_is_a_table(files: Files, form: str) -> None:
    files.input([])
    files.results([])
    assert files.export("out", form).rows == 0
    read = {**TYPED, "csv": read_csv, "tsv": read_csv}[form]
    assert read(files.path / "out") == []


@pytest.mark.parametrize("form", [*TYPED, "csv"])
def test_what_was_there_stays_where_an_export_fails(files: Files, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The input cannot be read to its end, or the disk is full: the old table is whole, and nothing lies about."""
    (files.path / "out").write_text("old")
    files.input([{"id": 1, "prompt": "p"}])
    files.results([result(0, "1")])

    def full(_fd: int, _data: bytes) -> int:
        raise OSError(28, os.strerror(28))

    class BrokenError(Exception):
        pass

    take, taken = Shape.take, []

    def broken(shape: Shape, chunk: Any) -> Any:
        taken.append(chunk)
        if len(taken) > 1:
            raise BrokenError
        return take(shape, chunk)

    monkeypatch.setattr(joining, "ROWS", 1)
    files.input([{"id": 1, "prompt": "p"}, {"id": 2, "prompt": "p"}])
    before = {*files.path.iterdir()}
    with monkeypatch.context() as patch:
        patch.setattr("batcher.outputs.table.Shape.take", broken)
        with pytest.raises(BrokenError):
            files.export("out", form)
    if form in ("csv", "json", "jsonl"):
        with monkeypatch.context() as patch:
            patch.setattr("batcher.ledger.disk._write", full)
            with pytest.raises(OutputIOError, match="No space left"):
                files.export("out", form)
    assert (files.path / "out").read_text() == "old"
    assert {*files.path.iterdir()} == before


def test_a_table_keeps_the_mode_of_the_one_before(files: Files) -> None:
    (files.path / "out").write_text("old")
    (files.path / "out").chmod(0o640)
    files.input([{"id": 1, "prompt": "p"}])
    files.results([result(0, "1")])
    files.export("out", "csv")
    assert (files.path / "out").stat().st_mode & 0o777 == 0o640


def test_results_are_not_written_over(files: Files) -> None:
    """A file that holds results, whatever its name, is none to put a table into; nor is what is no file."""
    files.input([{"id": 1, "prompt": "p"}])
    files.results([result(0, "1")])
    (files.path / "out.csv").write_bytes((files.path / "r.jsonl").read_bytes())
    with pytest.raises(OutputError, match="holds results of batcher"):
        files.export("out.csv", "csv")
    os.mkfifo(files.path / "fifo")
    with pytest.raises(OutputError, match="no regular file"):
        files.export("fifo", "csv")


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
        ("-2+3", "'-2+3"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("\uff1d1", "'\uff1d1"),
        ("-5", "-5"),
        ("\n=1", "'\n=1"),
        ("+49", "+49"),
        ("-1.5e-3", "-1.5e-3"),
        ("-12%", "-12%"),
        ("- a list", "'- a list"),
        ("a=1", "a=1"),
        ("", ""),
        ("plain", "plain"),
    ],
)
def test_no_spreadsheet_runs_a_cell(files: Files, text: str, cell: str) -> None:
    """Of the input and of the answer alike; what is a number stays one; the header is guarded too."""
    files.input([{"id": 1, "=name": text}])
    files.results([result(0, "1", text)])
    for form, delimiter in (("csv", ","), ("tsv", "\t")):
        files.export("out", form)
        (row,) = read_csv(files.path / "out", delimiter)
        assert (row["'=name"], row["text"]) == (cell, cell)
        files.export("out", form, guard=False)
        (row,) = read_csv(files.path / "out", delimiter)
        assert (row["=name"], row["text"]) == (text, text)


def test_numbers_are_no_formulas(files: Files) -> None:
    files.input([{"id": 1, "n": -5, "x": -0.5, "f": True, "o": {"a": [1]}, "z": None}])
    files.results([result(0, "1")])
    files.export("out", "csv")
    (row,) = read_csv(files.path / "out")
    assert (row["n"], row["x"], row["f"], row["o"], row["z"]) == ("-5", "-0.5", "true", '{"a":[1]}', "")


def select(files: Files, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(files.path / "a.db")) as database:
        return database.execute(sql).fetchall()


def test_rows_go_into_a_database_by_their_ids(files: Files) -> None:
    """What is there is put in its place; rows and columns of others stay; what is pending is not there yet."""
    target = f"sqlite:{files.path / 'a.db'}"
    files.input([{"id": n, "prompt": "p", "n": n / 2, "o": [n], "big": (1 << 64) - 1} for n in range(4)])
    files.results([result(2, "2", "old"), result(0, "0", "A")])
    files.errors([failure(1, "1")])
    assert files.export(target, "sqlite").rows == 3
    columns = "id, n, o, text, error, typeof(id), typeof(n), big"
    assert select(files, f"SELECT {columns} FROM answers ORDER BY id")[1:] == [
        (1, 0.5, "[1]", None, "cut: it broke off", "integer", "real", str((1 << 64) - 1)),
        (2, 1.0, "[2]", "old", None, "integer", "real", str((1 << 64) - 1)),
    ]
    with closing(sqlite3.connect(files.path / "a.db")) as database, database:
        database.execute("ALTER TABLE answers ADD COLUMN mine")
        database.execute("UPDATE answers SET mine = 'kept'")
        database.execute("INSERT INTO answers (id, mine) VALUES (99, 'other')")
    files.results([result(2, "2", "new", parsed={"label": "x"}), result(1, "1", "B"), result(0, "0", "A")])
    assert files.export(target, "sqlite").rows == 3
    assert select(files, "SELECT id, text, error, label, mine FROM answers ORDER BY id") == [
        (0, "A", None, None, "kept"),
        (1, "B", None, None, "kept"),
        (2, "new", None, "x", "kept"),
        (99, None, None, None, "other"),
    ]


def test_a_database_has_vectors_as_bytes_and_other_tables(files: Files) -> None:
    target = f"sqlite:{files.path / 'a.db'}"
    files.input([{"id": "a", "text": "t", "ID": 1, "Text": 2}])
    files.results([{"id": "a", "seq": 0, "hash": "0" * 16, "embedding": [0.5, -2.0]}])
    files.export(target, "sqlite", table='od"d')
    assert select(files, 'SELECT id, ID_2, text, Text_2, hex(embedding) FROM "od""d"') == [
        ("a", 1, "t", 2, "0000003F000000C0")
    ]
    with closing(sqlite3.connect(files.path / "a.db")) as database, database:
        database.execute("CREATE TABLE free (id TEXT)")
    with pytest.raises(OutputError, match="primary key, or unique"):
        files.export(target, "sqlite", table="free")
    for name in ("sqlite_master", "", "a\0b"):
        with pytest.raises(OutputError, match="--table"):
            files.export(target, "sqlite", table=name)
    (files.path / "no.db").write_text("this is no database, and has more than a hundred bytes of other text in it" * 3)
    with pytest.raises(OutputError, match="no SQLite database"):
        files.export(f"sqlite:{files.path / 'no.db'}", "sqlite")


def test_a_database_is_as_it_was_where_an_export_fails(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joining, "ROWS", 1)
    target = f"sqlite:{files.path / 'a.db'}"
    files.input([{"id": n, "prompt": "p"} for n in range(3)])
    files.results([result(n, str(n), "old") for n in range(3)])
    with closing(sqlite3.connect(files.path / "a.db")) as database, database:
        database.execute("CREATE TABLE answers (id INTEGER PRIMARY KEY)")
    files.export(target, "sqlite")
    files.results([result(n, str(n), "new") for n in range(3)])
    files.input([{"id": 0, "prompt": "p"}, {"id": 1, "prompt": "p"}])
    with (files.path / "in.jsonl").open("ab") as file:
        file.write(b'{"id": "x", "prompt": "p"}\n')
    files.errors([failure(2, "x")])
    with pytest.raises(OutputIOError, match="datatype mismatch"):
        files.export(target, "sqlite")
    assert select(files, "SELECT text FROM answers") == [("old",)] * 3


def test_a_template_s_columns_are_not_all(files: Files) -> None:
    """CSV cells are texts; with a template those that it does not name are there as well."""
    (files.path / "in.csv").write_text("id,review,stars\n007,good,5\n8,bad,-1\n")
    files.results([result(0, "007", "A"), result(1, "8", "B")])
    recipe = Recipe.of({"prompt": "{{ review }}"}, {})
    files.export("out", "parquet", source="in.csv", recipe=recipe)
    found = read_parquet(files.path / "out")
    assert [(row["id"], row["stars"], row["text"]) for row in found] == [("007", "5", "A"), ("8", "-1", "B")]


def test_a_database_takes_ids_of_another_type_later(files: Files) -> None:
    """Numbers stay numbers, and a text among them is no mismatch."""
    files.input([*({"id": number, "prompt": "p"} for number in range(40)), {"id": "x", "prompt": "p"}])
    files.results(result(number, "x" if number == 40 else str(number)) for number in range(41))
    assert files.export(f"sqlite:{files.path / 'a.db'}", "sqlite").rows == 41
    with closing(sqlite3.connect(files.path / "a.db")) as database:
        kinds = database.execute("SELECT typeof(id), count(*) FROM answers GROUP BY 1").fetchall()
    assert kinds == [("integer", 40), ("text", 1)]


@pytest.mark.parametrize("form", TYPED)
def test_what_an_answer_cost_stands_beside_its_tokens(files: Files, form: str) -> None:
    """Where there are prices: a number, or nothing where it is not known; a column of the input keeps its name."""
    files.input([{"id": name, "prompt": "x", "cost": 7} for name in "abc"])
    files.results([result(0, "a", usage={"prompt_tokens": 3}), result(1, "b", cost=9)])
    files.export("plain", form)
    assert "answer_cost" not in TYPED[form](files.path / "plain")[0]
    files.export("priced", form, price=lambda record: 0.5 if "usage" in record else None)
    rows = TYPED[form](files.path / "priced")
    assert [(row["cost"], row["answer_cost"]) for row in rows] == [(7, 0.5), (7, None), (7, None)]
    assert [*rows[0]][-4:] == ["prompt_tokens", "completion_tokens", "answer_cost", "error"]
