"""Whatever a program hands in as rows: what can be asked is asked, and what cannot costs its own row alone."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import sqlite3
from collections import UserDict
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from support.commandline import names, prompts
from support.programs import agen, all_of

import batcher
from batcher.api.rows import Carried, Reader
from batcher.failures import LineError, UsageError
from batcher.inputs.formats.defaults import Defaults
from batcher.inputs.formats.jsonl import parse_job, refused
from batcher.options import Options
from batcher.running.wiring import recipe_of
from batcher.simulator import text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from batcher.simulator import BackgroundSimulator

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("sim")]


class Opaque:
    def __repr__(self) -> str:
        return "secret words"


ODD = [
    (None, None, "a row is a text or a mapping, not None"),
    (7, None, "a row is a text or a mapping, not of the type int"),
    (["Hi"], None, "a row is a text or a mapping, not of the type list"),
    ({"id": "m", "prompt": "Hi", "meta": Opaque()}, "m", "meta is of the type Opaque, which JSON does not have"),
    ({"id": 3, "prompt": "Hi", "meta": {"a": [1, Opaque()]}}, "3", "meta.a[1] is of the type Opaque"),
    ({"id": "s", "prompt": "\ud800"}, "s", "prompt holds half of a character"),
    ({"id": "k", "prompt": "Hi", 5: "x"}, "k", "the name of a column is of the type int, not text"),
    ({"id": np.int64(4), "prompt": "Hi", "meta": {2: 1}}, "4", "the name of a column in meta is of the type int"),
    ("half \udfff", None, "prompt holds half of a character"),
    ({"id": "f", "prompt": "Hi", "meta": Fraction(1, 3)}, "f", "meta is of the type Fraction"),
]


@pytest.mark.parametrize(("row", "ident", "words"), ODD)
@pytest.mark.parametrize("source", [list, iter, agen])
async def test_odd_rows_fail_alone(row: Any, ident: str | None, words: str, source: Callable[[Any], Any]) -> None:
    """They are failed results under their number and their id, with what is wrong; the others are asked."""
    found = {result.seq: result for result in await all_of(source(["one", row, "two"]))}
    assert [found[seq].ok for seq in range(3)] == [True, False, True]
    result = found[1]
    assert result.failure is not None
    assert result.failure.code == "input_invalid"
    assert words in result.failure.message
    assert result.failure.message.startswith("row 2" if ident is None else f"row 2 (id '{ident}')")
    assert "secret" not in result.failure.message
    assert result.row is row
    if ident is not None:
        assert result.id == ident


async def test_holes_in_a_column_are_failed_rows() -> None:
    """`None` among texts, from a source that is read in a thread, ends nothing."""
    results = await all_of(word for word in ["one", None, "two", None])
    assert sorted((result.seq, result.ok) for result in results) == [(0, True), (1, False), (2, True), (3, False)]


async def test_a_mapping_that_cannot_be_read_costs_its_row() -> None:
    """Whatever a row of the caller's own making raises."""

    class Broken(UserDict[str, str]):
        def __iter__(self) -> Any:
            raise OSError("gone")

    [result] = await all_of([Broken()])
    assert result.failure is not None
    assert "row 1 cannot be read: OSError: gone" in result.failure.message


@pytest.mark.parametrize(
    ("value", "asked"),
    [
        (np.int64(7), "7"),
        (np.float32(0.5), "0.5"),
        (np.array([True])[0], "true"),
        (np.str_("word"), "word"),
        (np.array([[1, 2], [3, 4]])[:, 0], "[1, 3]"),
        (Decimal("1.10"), "1.10"),
        (dt.date(2026, 1, 2), "2026-01-02"),
        (dt.datetime(2026, 1, 2, 3, 4, tzinfo=dt.UTC), "2026-01-02T03:04:00+00:00"),
        (dt.timedelta(minutes=2), "120.0"),
        ((1, 2), "[1, 2]"),
        (2**70, str(2**70)),
        (b"\x00\x01", "AAE="),
    ],
)
async def test_values_are_what_they_are_in_tables(value: Any, asked: str) -> None:
    """Numbers of numpy are numbers; dates, decimals and bytes become what they are in a table."""
    defaults = Defaults(model="m", recipe=recipe_of(Options.of({"prompt": "<{{ v }}>"})))
    line = Reader("text").line({"v": value}, 0)
    assert line.data is not None
    assert parse_job(line.data, 0, defaults).content == f"<{asked}>"


class Mark(str, enum.Enum):  # noqa: UP042 - those of Python 3.10 are such, and str() of them is another text
    GOOD = "good"


class Level(enum.IntEnum):
    LOW = 1


class Told(NamedTuple):
    id: int
    prompt: str


@dataclasses.dataclass
class Asked:
    id: int
    prompt: str


def of_a_database() -> Iterator[sqlite3.Row]:
    connection = sqlite3.connect(":memory:")
    connection.row_factory = sqlite3.Row
    yield from connection.execute("SELECT 7 AS id, 'Hi' AS prompt")
    connection.close()


@pytest.mark.parametrize("rows", [lambda: [Told(7, "Hi")], lambda: [Asked(7, "Hi")], of_a_database])
async def test_rows_that_name_their_columns_are_mappings(rows: Callable[[], Any]) -> None:
    """As cursors give them, and as programs keep them; the row that comes back is the one that went in."""
    [result] = await all_of(rows())
    assert (result.ok, result.id) == (True, "7")
    assert not isinstance(result.row, dict)


@dataclasses.dataclass
class Point:
    x: int
    of: list[Mark]


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (UUID("12345678123456781234567812345678"), "12345678-1234-5678-1234-567812345678"),
        (Mark.GOOD, "good"),
        (Level.LOW, 1),
        (Point(1, [Mark.GOOD]), {"x": 1, "of": ["good"]}),
    ],
)
async def test_what_a_value_is_does_not_depend_on_those_beside_it(value: Any, told: Any) -> None:
    """Where one of the row is none that the quick way knows, the others are what they were."""
    for beside in ({}, {"price": Decimal("1.5")}, {"big": 2**70}):
        [result] = await all_of([{"id": "a", "prompt": "Hi", "meta": {"v": value, **beside}}])
        assert result.ok, result.failure
        assert result.meta["v"] == told
    [failed] = await all_of([{"id": UUID(int=1), "prompt": object()}])
    assert failed.id == str(UUID(int=1))


async def test_ids_keep_their_type_in_the_row() -> None:
    """In a result an id is text; the row has it as it came."""
    rows = [{"id": np.int64(5), "prompt": "Hi"}, {"id": 6, "prompt": "Hi"}, {"id": "7", "prompt": "Hi"}]
    found = {result.id: result.row["id"] for result in await all_of(rows)}
    assert found == {"5": 5, "6": 6, "7": "7"}
    assert {name: type(value) for name, value in found.items()} == {"5": np.int64, "6": int, "7": str}


async def test_texts_are_prompts_or_the_column_of_a_template(sim: BackgroundSimulator) -> None:
    """A text is what is asked where no template asks; with one it is the column `text`."""
    [plain] = await all_of(["[[sim id=a]]"])
    [made] = await all_of(["b"], prompt="[[sim id={{ text }}]]")
    assert (plain.text, made.text) == (text("a"), text("b"))
    assert (plain.row, made.row) == ("[[sim id=a]]", "b")


async def test_a_duplicate_keeps_its_id() -> None:
    """One that asks something else under another's id is refused under that id, and one that repeats it as well."""
    rows = [{"id": 1, "prompt": "a"}, {"id": 1, "prompt": "b"}, {"id": "1", "prompt": "a"}, {"n": 1, "prompt": "c"}]
    found = {result.seq: result for result in await all_of(rows)}
    codes = [found[seq].failure.code if found[seq].failure else None for seq in range(4)]  # type: ignore[union-attr]  # so it says
    assert codes == [None, "duplicate_id", "repeated", None]
    assert [found[seq].id for seq in range(3)] == ["1", "1", "1"]
    assert [found[seq].row for seq in range(4)] == rows


async def test_equal_rows_without_ids_are_each_asked() -> None:
    """As lines of a file are: they get numbers."""
    results = await all_of(["Hi", "Hi", "Hi"])
    assert len({result.id for result in results}) == 3
    assert all(result.ok for result in results)


@pytest.mark.parametrize("rows", ["Hello", b"Hello", {"prompt": "Hi"}, 5, None, object()])
def test_what_is_no_rows_is_told(rows: Any) -> None:
    """One row in the place of rows, or nothing to iterate over, is a usage error before anything is asked."""
    with pytest.raises(UsageError, match="rows are wanted"):
        batcher.stream(rows)
    with pytest.raises(UsageError, match="rows are wanted"):
        batcher.map(rows)


async def test_rows_ride_along_with_repeats_and_shards() -> None:
    """Whatever is chosen of the rows, each result has its own."""
    rows = [{"id": name, "prompt": "Hi"} for name in names(20)]
    results = await all_of(rows, repeat=3)
    assert sorted(result.id for result in results) == sorted(f"{name}~{n}" for name in names(20) for n in (1, 2, 3))
    assert all(result.id.startswith(result.row["id"]) for result in results)
    halves = [await all_of(iter(rows), shard=f"{n}/2") for n in (1, 2)]
    assert sorted(result.row["id"] for half in halves for result in half) == names(20)
    assert all(result.id == result.row["id"] for half in halves for result in half)


async def test_meta_comes_back() -> None:
    """What a row has under `meta` is the result's, beside the row."""
    [result] = await all_of([{"prompt": "Hi", "meta": {"a": np.int64(1)}}])
    assert (result.meta, result.to_dict()["meta"]) == ({"a": 1}, {"a": 1})
    assert prompts(["q"])[0].keys() == {"id", "prompt"}


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | st.builds(Opaque)
    | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters()) | st.integers(), inner),
    max_leaves=8,
)


@settings(max_examples=50)
@given(st.lists(VALUES | st.dictionaries(st.sampled_from(["id", "prompt", "meta", "text", "x"]), VALUES), max_size=4))
async def test_no_row_raises_anything_else(rows: list[Any]) -> None:
    """Each row is a job or a refusal with words, whatever it holds; its line is JSON, and its row rides along."""
    reader = Reader("prompt")
    for seq, row in enumerate(rows):
        line = reader.line(row, seq)
        assert line.seq == seq
        assert line.data is not None
        try:
            job = reader.parse(line.data, seq, Defaults(model="m"))
        except LineError as error:
            ident = refused(error, line).id
        else:
            ident = job.id
            assert type(job.meta) is Carried
            assert job.meta.row is row
            assert parse_job(line.data, seq, Defaults(model="m")).hash == job.hash
        assert ident
