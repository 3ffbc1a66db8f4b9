"""Tables of every format: what becomes of rows, cells and types, and what a row that is wrong costs."""

from __future__ import annotations

import csv
import io
import sqlite3
import sys
import tracemalloc
from contextlib import closing
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import partial
from itertools import chain
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import orjson
import pyarrow as pa
import pytest
from hypothesis import given, settings, strategies as st
from pyarrow import ipc, parquet
from support.datasets import DATASETS, delimited, write_sheet

from batcher.failures import ConfigError, InputError, LineError, UsageError
from batcher.inputs.formats import cutting, jsonarray, parse_job
from batcher.inputs.formats.defaults import Defaults
from batcher.inputs.formats.delimited import read_csv
from batcher.inputs.formats.jsonarray import read_json
from batcher.inputs.formats.reading import Reading
from batcher.inputs.formats.rows import values_of
from batcher.inputs.source import Source

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from typing import BinaryIO

    from batcher.inputs.formats import Line

PNG = b"\x89PNG\r\n\x1a\n" + bytes(32)
WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), min_size=1, max_size=12)


def columns(lines: Iterable[Line]) -> list[Any]:
    """What each row holds, or the code of what is wrong with it."""
    found: list[Any] = []
    for line in lines:
        assert line.data is not None
        try:
            found.append(values_of(line.data))
        except LineError as error:
            found.append(error.code)
    return found


def read(name: object, reading: Reading | None = None) -> list[Any]:
    source = Source(str(name), None, reading)
    try:
        return columns(source.all_lines())
    finally:
        source.close()


def cells(text: bytes) -> list[Any]:
    return columns(read_csv(io.BytesIO(text), Reading(), 0))


@pytest.mark.parametrize("name", [name for name, dataset in DATASETS.items() if dataset.unit != "file"])
@given(table=st.lists(st.fixed_dictionaries({"text": WORDS, "note": WORDS}), min_size=1, max_size=6))
@settings(max_examples=12, deadline=None)
def test_any_table_keeps_its_rows(
    tmp_path_factory: pytest.TempPathFactory, name: str, table: list[dict[str, str]]
) -> None:
    """Whatever stands in the cells, each row is a job of its own: same order, same id, same text."""
    if name.startswith("xlsx"):  # XML has no control characters
        table = [{key: "".join(filter(str.isprintable, text)) or "x" for key, text in row.items()} for row in table]
    dataset, path = DATASETS[name], tmp_path_factory.mktemp("tables")
    rows = [
        {"id": f"row {number}", "prompt": f"x{row['text']}", "meta": row["note"]} for number, row in enumerate(table)
    ]
    dataset.write(path / dataset.name, rows)
    told = dict(zip(dataset.args[1::2], dataset.args[2::2], strict=True))
    where = dataset.input.removeprefix("sqlite:")
    named = f"{'sqlite:' * dataset.input.startswith('sqlite:')}{path / where}"
    source = Source(named, None, Reading(encoding=told.get("--encoding"), sql=told.get("--sql")))
    jobs = [parse_job(line.data, line.seq, Defaults(model="m")) for line in source.all_lines() if line.data is not None]
    source.close()
    expected = sorted(rows, key=lambda row: row["id"]) if name == "sqlite" else rows
    assert [(job.id, job.content) for job in jobs] == [(row["id"], row["prompt"]) for row in expected]
    assert [job.seq for job in jobs] == list(range(len(rows)))


CELLS = st.text(st.sampled_from('ab,";\t\n é🙂'), max_size=6)


@given(rows=st.lists(st.lists(CELLS, min_size=3, max_size=3), max_size=5), quoting=st.sampled_from([0, 1]))
def test_csv_reads_what_csv_writes(rows: list[list[str]], quoting: Any) -> None:
    """Quotes, delimiters and newlines in cells come back as they were; a row of empty cells is none."""
    text = io.StringIO()
    csv.writer(text, quoting=quoting).writerows([["a", "b", "c"], *rows])
    lines = list(read_csv(io.BytesIO(text.getvalue().encode()), Reading(), 0))
    filled = [(number, dict(zip("abc", row, strict=True))) for number, row in enumerate(rows) if any(row)]
    assert [(line.seq, row) for line, row in zip(lines, columns(lines), strict=True)] == filled


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ('1,"a\n2,b\n3,"c"\n', ["row_quotes", {"i": "2", "t": "b"}, {"i": "3", "t": "c"}]),
        ('1,"a\n2,"b",x\n3,c\n', ["row_quotes", "row_ragged", {"i": "3", "t": "c"}]),
        ('1,a\n2,"never\n3,c', [{"i": "1", "t": "a"}, "row_quotes", {"i": "3", "t": "c"}]),
        ('1,5" pipe\n2,"x"y\n3,c\n', [{"i": "1", "t": '5" pipe'}, "row_quotes", {"i": "3", "t": "c"}]),
        ("1\n2,b,c\n3,c\n", ["row_ragged", "row_ragged", {"i": "3", "t": "c"}]),
        ("1,a\0b\n\n \n3,c\n", ["input_nul", "row_ragged", {"i": "3", "t": "c"}]),
        ('1,"a\r\nb"\r\n3,""\r\n', [{"i": "1", "t": "a\r\nb"}, {"i": "3", "t": ""}]),
    ],
)
def test_a_bad_row_costs_itself(lines: str, found: list[Any]) -> None:
    """Ragged rows, quotes that make no sense and NULs are told; what follows is read as if they had not been."""
    assert cells(f"i,t\n{lines}".encode()) == found


def test_a_wrong_byte_is_named() -> None:
    """With its place, as it stands in the row; other rows are read."""
    first, second = read_csv(io.BytesIO(b"t,u\ncaf\xe9,1\nok,2\n"), Reading(), 0)
    assert first.data is not None
    with pytest.raises(LineError, match="byte 4 is 0xe9"):
        values_of(first.data)
    assert columns([second]) == [{"t": "ok", "u": "2"}]


def test_a_field_of_ten_megabytes() -> None:
    """It is a field like any other."""
    long = ('say "hi",\n' + "x" * 90) * 100_000
    assert cells(delimited([{"id": "1", "t": long}, {"id": "2", "t": "b"}]))[0]["t"] == long


@pytest.mark.parametrize("block", [16, 64, 4096])
def test_a_line_without_end_costs_itself(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    """Also where a quoted cell is open, and at the end of the file; what is too long is not held in memory."""
    monkeypatch.setattr(cutting, "LINE_LIMIT", 5000)
    monkeypatch.setattr(cutting, "_BLOCK", block)
    long = "x" * 20_000
    text = f'a,b\n1,2\n{long}\n3,4\n5,"q\n{long}\n6,7\n{long}'
    found = [*read_csv(io.BytesIO(text.encode()), Reading(), 0)]
    assert [(line.seq, line.data is None) for line in found] == [(n, n in {1, 4, 6}) for n in range(7)]
    assert columns(line for line in found if line.data is not None) == [
        {"a": "1", "b": "2"},
        {"a": "3", "b": "4"},
        "row_quotes",
        {"a": "6", "b": "7"},
    ]
    with pytest.raises(InputError, match="the header row is longer than"):
        cells(long.encode())


def test_a_line_without_end_is_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a sparse file of gigabytes has one."""
    monkeypatch.setattr(cutting, "LINE_LIMIT", 1 << 20)
    blocks = chain([b"a,b\n"], (bytes(1 << 18) for _ in range(64)))
    file = cast("BinaryIO", SimpleNamespace(read=lambda _: next(blocks, b"")))
    tracemalloc.start()
    try:
        assert [line.data for line in read_csv(file, Reading(), 0)] == [None]
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("header", "error"),
    [
        (b"a,b,a\n1,2,3\n", "called 'a'"),
        (b"a\0,\0b\0\n\0", "--encoding utf-16-le"),
        (b"\xef\xbb\xbf\0a\0,\0b\0\n", "--encoding utf-16-be"),
        (b"\xff\xfea\0", "--encoding utf-16$"),
        ("a,b\n".encode("utf-32"), "--encoding utf-32$"),
        (b"\0\0\xfe\xff\0\0\0a", "--encoding utf-32$"),
        (b'"a\n', "quote"),
    ],
)
def test_a_header_that_is_none(header: bytes, error: str) -> None:
    """Ends the run: nobody can say what the cells below it are."""
    with pytest.raises(InputError, match=error):
        cells(header)


TITLES = [
    ("a;b;;\n1;2;;\n;;;\n3;4;;\n;;;\n", [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]),
    ("a,b\n1,2,\n3,4,,\n5,6,x\n", [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}, "row_ragged"]),
    (",a,,b\n0,1,,2\n1,3,z,4\n", [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]),
    ("a,note,b,note\n1,x,2,y\n", [{"a": "1", "b": "2"}]),
    ("sep=;\r\na;b\r\n1,5;2\r\n", [{"a": "1,5", "b": "2"}]),
    ('"sep=\t"\na\tb\n1\t2\n', [{"a": "1", "b": "2"}]),
    ("a,b\r1,2\r3,4\r", [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]),
    ("Reviews, 2026;;\nas of;May;\n;;\nid;a;b\n7;1;2\n", [{"id": "7", "a": "1", "b": "2"}]),
    (",,\n\n,a,b\n,1,2\n", [{"a": "1", "b": "2"}]),
    ("\ufeff\ufeffa,b\n1,2\n", [{"a": "1", "b": "2"}]),
    ('"Rev""ws\nof May",\na,b\n1,2\n', [{"a": "1", "b": "2"}]),
]


@pytest.mark.parametrize("step", [1, 7, 1 << 18])
@pytest.mark.parametrize(("text", "found"), TITLES)
def test_headers_as_spreadsheets_write_them(text: str, found: list[Any], step: int) -> None:
    """Titles on top, columns without names, empty rows and columns at the ends, a name twice that nobody asks for."""

    class Pieces(io.BytesIO):
        def read1(self, size: int | None = -1) -> bytes:
            return super().read1(min(size or step, step))

    notes: list[str] = []
    reading = Reading(columns=("a", "b", "id", "custom_id"), note=notes.append)
    assert columns(read_csv(Pieces(text.encode()), reading, 0)) == found
    assert bool(notes) == text.lower().startswith(("reviews", '"rev'))


def test_a_header_that_nobody_finds() -> None:
    """Then it is the first row, and what is below it are rows: these say which column they lack."""
    reading = Reading(columns=("text",))
    found = columns(read_csv(io.BytesIO(b"x,y\n1,2\n3,4\n"), reading, 0))
    assert found == [{"x": "1", "y": "2"}, {"x": "3", "y": "4"}]
    long = b"x,y\n" + b"1,2\n" * 40 + b"text,y\n5,6\n"
    assert len(columns(read_csv(io.BytesIO(long), reading, 0))) == 42
    for told in (Reading(), reading):
        with pytest.raises(InputError, match="two columns are called 'text'"):
            list(read_csv(io.BytesIO(b"text,text\n1,2\n"), told, 0))


def test_cells_without_a_template() -> None:
    """Parameters are JSON where they are, an empty cell is absent, and text is text whatever it looks like."""
    text = b'id,prompt,temperature,stop,seed,meta\n007,[1],0.5,"[""a""]",,"{""k"":1}"\n8,true,,END,3,plain\n'
    first, second = (
        parse_job(line.data, line.seq, Defaults()) for line in read_csv(io.BytesIO(text), Reading(), 0) if line.data
    )
    assert (first.id, first.content, first.params, first.meta) == (
        "007",
        "[1]",
        {"temperature": 0.5, "stop": ["a"]},
        {"k": 1},
    )
    assert (second.content, second.params, second.meta) == ("true", {"stop": ["END"], "seed": 3}, "plain")


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text('a"\\[]{},é\n', max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('a"{', max_size=2), inner, max_size=3),
    max_leaves=12,
)


@given(values=st.lists(JSONS, max_size=5), indent=st.booleans(), block=st.sampled_from([1, 5, 64, 1 << 18]))
def test_json_arrays(values: list[Any], *, indent: bool, block: int) -> None:
    """Elements are cut where they end, however the array is laid out and in whatever pieces it arrives."""
    data = orjson.dumps(values, option=orjson.OPT_INDENT_2 if indent else 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jsonarray, "_BLOCK", block)
        assert [orjson.loads(line.data or b"") for line in read_json(io.BytesIO(data), 3)] == values  # type: ignore[arg-type]  # bytes


def test_json_is_read_in_other_shapes_too() -> None:
    """Objects one behind another, JSONL under another name, and an element that is broken inside costs itself."""
    pretty = b"\n".join(orjson.dumps({"a": [n]}, option=orjson.OPT_INDENT_2) for n in range(3))
    assert columns(read_json(io.BytesIO(pretty), 0)) == [{"a": [0]}, {"a": [1]}, {"a": [2]}]
    assert columns(read_json(io.BytesIO(b'{"a":1}\nbroken\n{"a":2}\n'), 0)) == [{"a": 1}, "input_invalid", {"a": 2}]
    assert columns(read_json(io.BytesIO(b'[{"a":1}, {"a": NaN}, 5, {"a":2}]'), 0)) == [
        {"a": 1},
        "input_invalid",
        "input_invalid",
        {"a": 2},
    ]


@pytest.mark.parametrize("data", [b'[{"a":1},{"a":', b'[{"a":1}] more', b'[{"a":1},{"b":[1}'])
def test_a_json_array_that_breaks_off(data: bytes) -> None:
    """What was readable comes first."""
    lines = read_json(io.BytesIO(data), 0)
    assert columns([next(lines)]) == [{"a": 1}]
    with pytest.raises(InputError, match=r"breaks off|more behind"):
        list(lines)


def test_types_of_parquet(tmp_path: Path) -> None:
    """What JSON lacks is text, or what is nearest; an image is base64 as servers take it."""
    stamp = datetime(2026, 11, 29, 20, 30, 1, 500, UTC)
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    # fmt: off
    table = pa.table(
        {
            "day": [date(2026, 11, 29)],
            "at": [stamp],
            "clock": [time(1, 2, 3)],
            "took": [timedelta(seconds=1.5)],
            "price": [Decimal("1.10")],
            "blob": [PNG],
            "nan": [float("nan")],
            "big": pa.array([2**64 - 1], pa.uint64()),
            "map": pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int32())),
            "nest": [{"a": [date(2026, 1, 1)], "b": None}],
            "nano": pa.array([1_700_000_000_123_456_789], pa.timestamp("ns")),
            "image": pa.array([{"bytes": PNG, "path": "a.png"}], image),
            "kind": pa.array(["x"]).dictionary_encode(),
        }
    )
    parquet.write_table(table, tmp_path / "t.parquet")
    [row] = read(tmp_path / "t.parquet")
    base64 = "iVBORw0KGgoAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=="
    assert row == {
        "day": "2026-11-29",
        "at": "2026-11-29T20:30:01.000500+00:00",
        "clock": "01:02:03",
        "took": 1.5,
        "price": "1.10",
        "blob": base64,
        "nan": None,
        "big": 2**64 - 1,
        "map": {"k": 1},
        "nest": {"a": ["2026-01-01"], "b": None},
        "nano": "2023-11-14T22:13:20.123456",
        "image": base64,
        "kind": "x",
    }
    # fmt: on


STAMP = pa.timestamp("ns")
NESTED = {"t": "2023-11-14T22:13:20.123456"}


@pytest.mark.parametrize(
    ("column", "found"),
    [
        (pa.array([{"t": 1_700_000_000_123_456_789}], pa.struct([("t", STAMP)])), [NESTED]),
        (pa.array([[1_700_000_000_123_456_789]], pa.list_(STAMP)), [[NESTED["t"]]]),
        (pa.array([[1_700_000_000_123_456_789]], pa.large_list(STAMP)), [[NESTED["t"]]]),
        (pa.array([[1_700_000_000_123_456_789]], pa.list_(STAMP, 1)), [[NESTED["t"]]]),
        (pa.array([[("k", 1_700_000_000_123_456_789)]], pa.map_(pa.string(), STAMP)), [{"k": NESTED["t"]}]),
        (pa.array([1_700_000_000_123_456_789], STAMP).dictionary_encode(), [NESTED["t"]]),
        (pa.array([1_500_000_001], pa.duration("ns")), [1.5]),
        (pa.array([0], pa.timestamp("s", "Mars/Base")), ["1970-01-01T00:00:00+00:00"]),
        (pa.array([0], pa.timestamp("s", "+05:30")), ["1970-01-01T05:30:00+05:30"]),
        (pa.array([1 << 60, 0], pa.timestamp("s")), ["row_unreadable", "1970-01-01T00:00:00"]),
        (pa.array([b"\xff", b"ok"]).view(pa.string()), ["row_unreadable", "ok"]),
        (pa.array([(1, 2, 3)], pa.month_day_nano_interval()), [{"months": 1, "days": 2, "nanoseconds": 3}]),
        (pa.array([b"0123456789abcdef"], pa.uuid()), ["30313233-3435-3637-3839-616263646566"]),
        (pa.array([{"bytes": None, "path": "a.png"}]), ["a.png"]),
        (pa.array([{"bytes": None, "path": None}]), [{"bytes": None, "path": None}]),
        (pa.RunEndEncodedArray.from_arrays([2], ["a"]), ["a", "a"]),
    ],
)
def test_odd_types_of_arrow(tmp_path: Path, column: pa.Array, found: list[Any]) -> None:
    """Nested times are told as others; one value that cannot be told costs its row, and not those around it."""
    table = pa.table({"odd": column})
    with ipc.new_file(str(tmp_path / "t.arrow"), table.schema) as file:
        file.write_table(table)
    for row, expected in zip(read(tmp_path / "t.arrow"), found, strict=True):
        assert row in ({"odd": expected}, expected)


def test_parquet_reads_the_columns_that_are_used(tmp_path: Path) -> None:
    """And decodes nothing before a row is asked for: damage to pages costs the rows in them."""
    path = tmp_path / "t.parquet"
    table = pa.table({"text": [f"row {n}" for n in range(4000)], "other": ["y" * 50] * 4000})
    parquet.write_table(table, path, row_group_size=2000, compression="none", use_dictionary=False)
    reading = Reading(columns=("text", "gone"))
    assert read(path, reading)[3999] == {"text": "row 3999"}
    data = bytearray(path.read_bytes())
    place = data.index(b"row 2500")
    data[place - 60_000 // 4 : place] = bytes(60_000 // 4)
    path.write_bytes(bytes(data))
    found = read(path, reading)
    assert len(found) == 4000
    assert found[0] == {"text": "row 0"}
    assert "row_unreadable" in found[2000:]


def test_a_sheet(tmp_path: Path) -> None:
    """Whole numbers are whole, empty cells are null, and a sheet that is not there is told with those that are."""
    path, notes = tmp_path / "b.xlsx", list[str]()
    write_sheet(path, [{"id": 7, "t": "x", "p": 0.5}, {"id": 8, "t": None, "p": 2}])
    source = Source(str(path), None, Reading(note=notes.append))
    assert columns(source.all_lines()) == [{"id": 7, "t": "x", "p": 0.5}, {"id": 8, "t": None, "p": 2}]
    assert len(columns(source.all_lines())) == 2
    assert len(notes) == 1  # it is loaded once
    assert "loaded whole" in notes[0]
    source.close()
    with pytest.raises(InputError, match="'Sheet1'"):
        read(f"{path}#none")


def test_a_sheet_with_titles(tmp_path: Path) -> None:
    """The header is where the columns are; remarks beside the table are none; empty rows keep their number."""
    path, notes = tmp_path / "b.xlsx", list[str]()
    # fmt: off
    rows: list[list[Any]] = [
        ["as of", None, "May"], [None] * 4, ["id", "t", None, "u"], [7, "x", "aside", 1, "!"], [None], [8, "y", None, 2]
    ]
    # fmt: on
    write_sheet(path, [{"Reviews": row[0], **{" " * n: cell for n, cell in enumerate(row[1:], 1)}} for row in rows])
    source = Source(str(path), None, Reading(note=notes.append, columns=("t", "u")))
    lines = list(source.all_lines())
    assert columns(lines) == [{"id": 7, "t": "x", "u": 1}, {"id": 8, "t": "y", "u": 2}]
    assert [line.seq for line in lines] == [0, 2]
    assert any("begins with 'id'" in note for note in notes)
    source.close()


def test_the_first_sheet_that_shows(tmp_path: Path) -> None:
    """Hidden sheets are passed over unless they are named, and the others are told."""
    path, notes = tmp_path / "b.xlsx", list[str]()
    write_sheet(path, [{"t": "x"}], name="Data", hidden="Lists", visible="More")
    source = Source(str(path), None, Reading(note=notes.append))
    assert columns(source.all_lines()) == [{"t": "x"}]
    assert "'Data' is loaded" in notes[0]
    assert "…#More" in notes[0]
    source.close()
    assert read(f"{path}#Lists") == [{"t": "x"}]


def test_a_database_is_read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One SELECT, and nothing that writes; bad text costs its row; what a query gives stays as it was."""
    path = tmp_path / "n.db"
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE n (id, text, blob)")
        database.executemany("INSERT INTO n VALUES (?, ?, ?)", [(1, "a", PNG), (2, None, None)])
        database.execute("INSERT INTO n VALUES (3, CAST(x'636166e9' AS TEXT), NULL)")

    def asked(sql: str) -> Source:
        return Source(f"sqlite:{path}", None, Reading(sql=sql))

    source = asked("SELECT id, text, length(blob) AS size FROM n ORDER BY id")
    path.unlink()
    rows = [{"id": 1, "text": "a", "size": 40}, {"id": 2, "text": None, "size": None}, "input_encoding"]
    assert columns(source.all_lines()) == columns(source.all_lines()) == rows
    source.close()
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE n (id)")
    attach = f"ATTACH '{tmp_path / 'new.db'}' AS new"
    for sql in (
        "INSERT INTO n VALUES (1)",
        "DROP TABLE n",
        attach,
        "SELECT 1; SELECT 2",
        "SELECT nope FROM n",
        "",
        "SELECT 1 a, 2 a",
    ):
        with pytest.raises(UsageError, match="--sql"):
            asked(sql)
    assert not (tmp_path / "new.db").exists()
    with pytest.raises(UsageError, match="--sql"):
        Source(f"sqlite:{path}")
    with pytest.raises(UsageError, match="write sqlite:FILE"):
        Source(str(path), "csv", Reading(sql="SELECT 1"))
    with closing(sqlite3.connect(path)) as database:
        monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, timeout=0))  # whoever waits, waits for 5 s
        database.execute("BEGIN EXCLUSIVE")
        with pytest.raises(InputError, match="locked"):
            asked("SELECT * FROM n")
    with pytest.raises(InputError, match="no such file"):
        Source(f"sqlite:{tmp_path / 'gone.db'}", None, Reading(sql="SELECT 1"))


def test_another_answer_of_the_database_is_another_input(tmp_path: Path) -> None:
    """The fingerprint is of the rows: what a query gives by chance is never taken for what it gave before."""
    with closing(sqlite3.connect(tmp_path / "n.db")) as database:
        database.execute("CREATE TABLE n (id)")
    marks = []
    for value in ("1", "1", "random()", "random()"):
        source = Source(f"sqlite:{tmp_path / 'n.db'}", None, Reading(sql=f"SELECT {value} AS x"))
        marks.append(source.fingerprint["rows"])
        source.close()
    assert marks[0] == marks[1]
    assert marks[2] != marks[3]


@pytest.mark.parametrize(
    ("name", "library", "extra"),
    [("parquet", "pyarrow.parquet", "data"), ("xlsx", "python_calamine", "data"), ("jsonl.zst", "zstandard", "data")],
)
def test_a_missing_library_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, library: str, extra: str
) -> None:
    """With what to install (78)."""

    dataset = DATASETS[name]
    dataset.write(tmp_path / dataset.name, [{"id": "1", "prompt": "x"}])
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ConfigError, match=rf"batcher\[{extra}\]") as caught:
        read(tmp_path / dataset.name)
    assert caught.value.exit == 78
