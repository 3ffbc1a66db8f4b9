"""Any table, in every format: its values, its rows, their order and their ids come through to the results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import HealthCheck, example, given, settings, strategies as st
from pyarrow import parquet
from support.commandline import Desk
from support.datasets import DATASETS

from batcher.inputs.formats.reading import Reading
from batcher.inputs.formats.rows import values_of
from batcher.inputs.source import Source
from batcher.simulator import simulator_thread

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from batcher.simulator import BackgroundSimulator

    Table = list[dict[str, Any]]

TYPED = ("jsonl", "json", "jsonl.zst", "parquet", "feather", "arrow")
TEXTS = ("csv", "csv-semicolon", "tsv", "csv.bz2", "csv-utf-16")
FORMATS = (*TYPED, *TEXTS, "sqlite", "xlsx")
LONG = st.integers(-(1 << 63), (1 << 63) - 1)
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
# fmt: off
HARD = st.sampled_from([
    '"', '""', "a\nb", "\r\n", "a\r", "\rb", ";", ",", ",,", "\t", "=1+1", "NULL", "007", "1e5", "true", " x ",
    "\u2028", "{{ x }}", "\ufeff", "é🙂", "a" * 3000, "[1]", "#", "sep=;",
])
# fmt: on
NESTED = st.lists(st.fixed_dictionaries({"a": TEXT | st.none(), "b": LONG}), max_size=2)
KINDS: dict[str, st.SearchStrategy[Any]] = {
    "text": TEXT | HARD,
    "other text": TEXT | HARD,
    "whole": LONG,
    "broken": st.floats(allow_nan=False, allow_infinity=False),
    "truth": st.booleans(),
    "nest": NESTED,
}


@st.composite
def tables(draw: st.DrawFn) -> Table:
    """Rows of a few typed columns with holes, some of them the same; with or without ids, whole ones or texts."""
    names = draw(st.lists(st.sampled_from(sorted(KINDS)), min_size=1, unique=True))
    one = st.fixed_dictionaries({name: st.none() | KINDS[name] for name in names})
    rows = draw(st.lists(one, min_size=1, max_size=8))
    if draw(st.booleans()):
        rows += rows[:2]
    make = draw(st.sampled_from([None, int, "row {}".format]))
    return rows if make is None else [{"id": make(number), **row} for number, row in enumerate(rows)]


def held(name: str, row: dict[str, Any]) -> dict[str, Any]:
    """What a format is given of a row: what it cannot hold is made what it can."""
    if name in TEXTS:
        return {key: "" if value is None else _text(value) for key, value in row.items()}
    if name == "sqlite":
        return {key: _text(value) if isinstance(value, list) else value for key, value in row.items()}
    if name == "xlsx":  # XML has no control characters, and Excel numbers have 53 bits
        return {key: _cell(value) for key, value in row.items()}
    return row


def _text(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _cell(value: Any) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value) if abs(value) >= 1 << 53 or not float(value).is_integer() else int(value)
    return None if value is None else "".join(filter(str.isprintable, _text(value))).strip() or None


def source_of(name: str, path: Path) -> Source:
    dataset = DATASETS[name]
    told = dict(zip(dataset.args[1::2], dataset.args[2::2], strict=True))
    where = str(path / dataset.input.removeprefix("sqlite:"))
    where = f"sqlite:{where}" if name == "sqlite" else where
    sql = "SELECT * FROM jobs" if "--sql" in told else None
    return Source(where, None, Reading(encoding=told.get("--encoding"), sql=sql))


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
@given(table=tables())
@example(table=[{"text": "\r"}, {"text": "a\r"}])
@settings(max_examples=15, deadline=None)
def test_any_table_keeps_its_values(tmp_path_factory: pytest.TempPathFactory, name: str, table: Table) -> None:
    """Every row under its number, with what its cells held; a row of empty cells is none in a spreadsheet."""
    path = tmp_path_factory.mktemp("any")
    rows = [held(name, row) for row in table]
    if name == "sqlite":
        rows = [{f'"{key}"': value for key, value in row.items()} for row in rows]
    DATASETS[name].write(path / DATASETS[name].name, rows)
    source = source_of(name, path)
    found = [(line.seq, values_of(line.data)) for line in source.all_lines() if line.data is not None]
    source.close()
    is_sheet = name in TEXTS or name == "xlsx"
    expected = [
        (seq, held(name, row))
        for seq, row in enumerate(table)
        if not is_sheet or any(value not in ("", None) for value in held(name, row).values())
    ]
    assert found == expected


@pytest.fixture(scope="module")
def sim() -> Iterator[BackgroundSimulator]:
    with simulator_thread() as simulator:
        yield simulator


def base(ident: str) -> str:
    return ident.partition("#")[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["jsonl", "json", "csv", "parquet", "sqlite", "xlsx"])
@given(table=tables())
@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_table_comes_to_results(
    tmp_path_factory: pytest.TempPathFactory, sim: BackgroundSimulator, name: str, table: Table
) -> None:
    """A line for each row, under its own id, or one that equal rows share but for its number; complete, and once."""
    desk, dataset = Desk(tmp_path_factory.mktemp("any")), DATASETS[name]
    rows = [{("n" if key == "id" else key): value for key, value in held(name, row).items()} for row in table]
    rows = [{**row, "mark": "x", **({"id": row["n"]} if "n" in row else {})} for row in rows]
    written = [{f'"{key}"': value for key, value in row.items()} for row in rows] if name == "sqlite" else rows
    dataset.write(desk.path / dataset.name, written)
    args = ("sqlite:jobs.db", "--sql", "SELECT * FROM jobs") if name == "sqlite" else (dataset.name,)
    told = ("--prompt", "{{ row | tojson }}", "-m", "simulator", "--base-url", sim.url)
    before = sim.tally.answered.total()
    for _ in range(2):
        ran = desk.call("run", *args, "-o", "results.jsonl", "--ordered", *told)
        assert ran.code == 0, ran.err
    assert sim.tally.answered.total() - before == len(table)
    lines = desk.lines()
    assert [line["seq"] for line in lines] == list(range(len(table)))
    if "id" in rows[0]:
        assert [line["id"] for line in lines] == [str(row["id"]) for row in rows]
    else:
        same: Sequence[str] = [base(line["id"]) for line in lines]
        assert len({line["id"] for line in lines}) == len(lines)
        shown = [orjson.dumps(row, option=orjson.OPT_SORT_KEYS) for row in rows]
        assert [same.index(one) for one in same] == [shown.index(one) for one in shown]
    assert desk.call("verify", *args, "results.jsonl").code == 0


@pytest.mark.slow
@pytest.mark.parametrize("form", ["parquet", "jsonl"])
@given(
    numbers=st.lists(st.integers(-(10**9), 10**9), min_size=1, max_size=8, unique=True),
    chance=st.randoms(use_true_random=False),
)
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_table_comes_through_a_run_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, sim: BackgroundSimulator, form: str, numbers: list[int], chance: Any
) -> None:
    """Rows, their order and their types, the whole way: a table in, a run that answers out of order, a table out."""
    desk = Desk(tmp_path_factory.mktemp("through"))
    rows = [
        {"id": number, "share": number / 7, "is_new": chance.random() < 0.5, "note": chance.choice([None, "", "é\n"])}
        for number in numbers
    ]
    desk.write("rows.jsonl", *rows)
    prompt = "[[sim id={{ id }} ttft={{ (id % 5) / 100 }}]]"
    where = ("--base-url", sim.url, "-m", "simulator", "--prompt", prompt)
    assert desk.call("run", "rows.jsonl", "-o", "kept.jsonl", *where).code == 0
    assert desk.call("export", "kept.jsonl", "-o", f"out.{form}", "--format", form).code == 0
    path = desk.path / f"out.{form}"
    found = (
        parquet.read_table(path).to_pylist()
        if form == "parquet"
        else [*map(orjson.loads, path.read_bytes().splitlines())]
    )
    assert [{name: row[name] for name in rows[0]} for row in found] == rows
    assert [type(row["id"]) for row in found] == [int] * len(rows)
    answered = {str(line["id"]): line["text"] for line in desk.lines("kept.jsonl")}
    assert [row["text"] for row in found] == [answered[str(number)] for number in numbers]
