"""Rows beside their lines: in the order of the input, under their ids, whatever became of the input since."""

from __future__ import annotations

import random
from contextlib import closing
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from support.resultfiles import Files, failure, result

from batcher.inputs.comparison import DuplicateError
from batcher.inputs.formats import Line
from batcher.inputs.formats.jsonl import refused
from batcher.inputs.identity import derived_id
from batcher.inputs.recipe import Recipe
from batcher.inputs.selection import Selection
from batcher.inputs.shard import Shard
from batcher.inputs.source import Source
from batcher.outputs import joining, places
from batcher.outputs.places import Places
from batcher.outputs.taken import Taken

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def rows(*names: str) -> list[dict[str, Any]]:
    return [{"id": name, "prompt": f"ask {name}"} for name in names]


def told(table: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [(row["id"], row.get("text"), row["error"]) for row in table]


def test_rows_stand_in_the_order_of_the_input(files: Files) -> None:
    """Results come as they finish; a row that failed has its error, one that is pending nothing."""
    files.input(rows("a", "b", "c", "d"))
    files.results([result(2, "c", "C"), result(0, "a", "A")])
    files.errors([failure(1, "b", "timeout_idle"), failure(1, "b")])
    assert told(files.table()) == [
        ("a", "A", None),
        ("b", None, "cut: it broke off"),
        ("c", "C", None),
        ("d", None, None),
    ]


def test_a_result_comes_before_an_error_line_that_is_left(files: Files) -> None:
    """A run that died left the line of a failure that was made good since."""
    files.input(rows("a"))
    files.results([result(0, "a", "A")])
    files.errors([failure(0, "a")])
    assert told(files.table()) == [("a", "A", None)]


@pytest.mark.parametrize(
    "now", [["x", "a", "b", "c"], ["b", "c", "a"], ["c"], ["a", "x", "c", "b"], ["a", "a", "b", "c"]]
)
def test_lines_are_found_by_their_ids_where_the_input_has_changed(files: Files, now: list[str]) -> None:
    """Inserted, removed, moved and repeated rows: each has the answer of its own id, whatever stood in its place."""
    files.input(rows(*now))
    files.results([result(2, "c", "C"), result(0, "a", "A")])
    files.errors([failure(1, "b")])
    expected = {"a": ("a", "A", None), "b": ("b", None, "cut: it broke off"), "c": ("c", "C", None)}
    assert told(files.table()) == [expected.get(name, (name, None, None)) for name in now]


@pytest.mark.parametrize("repeat", [1, 2])
@pytest.mark.parametrize("has_failures", [False, True])
def test_a_row_under_the_id_of_another_has_not_its_answer(files: Files, *, has_failures: bool, repeat: int) -> None:
    """It was refused, which its line says, if there is one; one that asks for the same has the same answer."""
    files.input([*rows("a", "b"), {"id": "a", "prompt": "something else"}, *rows("a"), {"id": "c"}])
    names = [("a", "b")] if repeat == 1 else [("a~1", "b~1"), ("a~2", "b~2")]
    files.results(
        result(row * repeat + turn, name, name) for turn, some in enumerate(names) for row, name in enumerate(some)
    )
    if has_failures:
        data = orjson.dumps({"id": "a", "prompt": "something else"})
        name = refused(DuplicateError(""), Line(2, 2, data)).id
        files.errors([failure(2 * repeat, name, "duplicate_id")])
    table = files.table(selection=Selection(repeat=repeat))
    texts = [row.get("text") for row in table]
    answers = ["a", "b", None, "a", None] if repeat == 1 else ["a~1", "a~2", "b~1", "b~2", None, None, "a~1", "a~2"]
    assert texts == answers + [None] * (len(texts) - len(answers))
    assert bool(table[2 * repeat]["error"]) == has_failures


def test_rows_without_ids_are_known_by_what_they_are_asked_for(files: Files) -> None:
    """Equal rows have a line each, and a column that no template uses says nothing."""
    data = [{"text": "one", "n": 1}, {"text": "two", "n": 2}, {"text": "one", "n": 3}]
    recipe = Recipe.of({"prompt": "{{ text }}"}, {})
    assert recipe is not None
    names = [derived_id(recipe.identity(row) or b"") for row in data]
    files.input(data)
    files.results([result(2, f"{names[2]}#2", "third"), result(1, names[1], "second"), result(0, names[0], "first")])
    found = files.table(recipe=recipe)
    assert [(row["id"], row["n"], row["answer_text"]) for row in found] == [
        (names[0], 1, "first"),
        (names[1], 2, "second"),
        (f"{names[2]}#2", 3, "third"),
    ]


def test_a_selection_is_what_the_table_has(files: Files) -> None:
    """Rows that the run did not take are no rows of the table."""
    names = [f"r{number}" for number in range(20)]
    files.input(rows(*names))
    files.results([result(seq, name, name) for seq, name in enumerate(names)])
    shard = Shard.read("1/3")
    ids = [row["id"] for row in files.table(selection=Selection(shard=shard))]
    assert ids == [name for name in names if shard.has(name)]
    assert len(files.table(at_most=3)) == 3
    assert len(files.table(selection=Selection(sample=5))) == 5


def test_what_was_done_elsewhere_is_left_out(files: Files) -> None:
    """`--done-from` takes rows off; one that was asked here all the same stays."""
    files.input(rows("a", "b", "c"))
    files.results([result(0, "a")])
    (files.path / "other.jsonl").write_bytes(b"".join(orjson.dumps(result(0, name)) + b"\n" for name in "ab"))
    selection = Selection(done_from=(str(files.path / "other.jsonl"),))
    assert [row["id"] for row in files.table(selection=selection)] == ["a", "c"]


def test_each_turn_of_a_repeated_row_is_a_row(files: Files) -> None:
    """Under the id that the input has, in the order of the turns."""
    files.input(rows("a", "b"))
    files.results([result(3, "b~2", "b2"), result(0, "a~1", "a1"), result(1, "a~2", "a2")])
    found = files.table(selection=Selection(repeat=2))
    assert [(row["id"], row["text"]) for row in found] == [("a", "a1"), ("a", "a2"), ("b", None), ("b", "b2")]


def test_without_an_input_the_lines_are_the_rows(files: Files) -> None:
    """In the order of their numbers; two of one number are both there."""
    files.results([result(5, "f", "F"), result(1, "b", "B"), result(5, "g", "G")])
    files.errors([failure(0, "a")])
    assert told(files.table(source=None)) == [
        ("a", None, "cut: it broke off"),
        ("b", "B", None),
        ("f", "F", None),
        ("g", "G", None),
    ]


def test_columns_that_came_by_a_pipe_stand_on_the_lines(files: Files) -> None:
    files.results([result(1, "2", columns={"id": 2, "stars": 5}), result(0, "1", columns={"id": 1, "stars": 3})])
    assert [(row["id"], row["stars"]) for row in files.table(source=None)] == [(1, 3), (2, 5)]


def test_what_is_no_result_is_passed_over(files: Files) -> None:
    """Half a line, as a run that is writing may have just left, or in the midst of others, and lines of others."""
    files.input(rows("a", "b", "c"))
    files.results([result(0, "a", "A")])
    halves = [orjson.dumps(result(seq, name, name.upper()))[:-7] for seq, name in ((1, "b"), (2, "c"))]
    with (files.path / "r.jsonl").open("ab") as file:
        file.write(
            b'{"other": 1}\nno json\n' + halves[1] + b"\n" + orjson.dumps(result(2, "c", "C")) + b"\n" + halves[0]
        )
    assert told(files.table()) == [("a", "A", None), ("b", None, None), ("c", "C", None)]


def test_a_line_that_cannot_be_read_is_a_row_with_its_error(files: Files) -> None:
    (files.path / "in.jsonl").write_bytes(b'{"id": "a", "prompt": "p"}\n{broken\n')
    files.results([result(0, "a", "A")])
    files.errors([failure(1, derived_id(b"{broken"), "input_invalid")])
    assert [row["error"] for row in files.table()] == [None, "input_invalid: it broke off"]


def test_unusual_ids_are_ids(files: Files) -> None:
    """Quotes, marks of JSON, other scripts, long ones, numbers."""
    names = ['a"b', "a\\b", 'x","seq":1,', "zeile\n", "日本", "é" * 200, "~1", "a#2", " "]
    files.input(rows(*names))
    files.results([result(seq, name, f"to {seq}") for seq, name in reversed([*enumerate(names)])])
    assert [row["text"] for row in files.table()] == [f"to {seq}" for seq in range(len(names))]
    files.input(reversed(rows(*names)))
    assert [row["text"] for row in files.table()] == [f"to {seq}" for seq in reversed(range(len(names)))]


def test_long_lines_and_large_chunks(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines beyond what is read at once are whole, and chunks end where they are large enough."""
    monkeypatch.setattr(joining, "BYTES", 100_000)
    files.input(rows(*map(str, range(300))))
    files.results([result(seq, str(seq), str(seq) * (20_000 if seq % 7 == 0 else 1)) for seq in reversed(range(300))])
    assert [row["text"] for row in files.table()] == [str(s) * (20_000 if s % 7 == 0 else 1) for s in range(300)]


def test_memory_of_places_is_eight_bytes_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And as much of the lines as is to be kept."""
    monkeypatch.setattr(places, "_PIECE", 1000)
    monkeypatch.setattr(places, "KEPT", 5000)
    files = Files(tmp_path)
    files.results(result(seq, str(seq), "") for seq in range(5000))
    with (tmp_path / "r.jsonl").open("rb") as file:
        found = Places(file)
        last, first = found.all_of([4999, 1])
        assert len(found) * found._at.itemsize == 8 * 5000
        assert 0 < sum(map(len, found._kept.values())) < 5000 + 2000
        assert found.lines([last, 0, first])[1:] == [b"", orjson.dumps(result(1, "1", "")) + b"\n"]


def test_results_nearly_in_order_are_read_once(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as each row has a result: no line is read again, and nothing far ahead is kept."""
    monkeypatch.setattr(places, "_PIECE", 1000)
    order = [seq ^ 7 for seq in range(800)]  # in eights, each the wrong way round
    files.input(rows(*map(str, range(800))))
    files.results([result(seq, str(seq), f"to {seq}") for seq in order])
    with monkeypatch.context() as patch:
        patch.setattr(places, "_fetch", lambda _, wanted: {} if not wanted else pytest.fail("a line is read again"))
        assert [row["text"] for row in files.table()] == [f"to {seq}" for seq in range(800)]
    files.input(rows(*map(str, range(801))))
    assert [row.get("text") for row in files.table()] == [*(f"to {seq}" for seq in range(800)), None]


@pytest.mark.parametrize("seed", range(4))
def test_lines_are_found_however_far_from_their_rows(files: Files, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Beyond what is kept they are read again. Of two under one number the first holds; a result before failures."""
    monkeypatch.setattr(places, "_PIECE", 1000)
    monkeypatch.setattr(places, "KEPT", 5000)
    chance = random.Random(seed)
    seqs = [seq for seq in range(700) if chance.random() < (1 if seed else 0.9)]
    chance.shuffle(seqs)
    files.input(rows(*map(str, range(700))))
    files.results([result(seq, str(seq), f"to {seq}") for seq in seqs] + [result(5, "5", "another")] * (5 in seqs))
    files.errors([failure(seq, str(seq)) for seq in range(700)])
    answered = {*seqs}
    assert told(files.table()) == [
        (str(seq), f"to {seq}", None) if seq in answered else (str(seq), None, "cut: it broke off")
        for seq in range(700)
    ]


def test_a_number_that_nobody_wrote_takes_no_memory(files: Files) -> None:
    """A line with a huge `seq` is found by its id."""
    files.input(rows("a"))
    files.results([result(10**15, "a", "A")])
    assert told(files.table()) == [("a", "A", None)]


@pytest.mark.parametrize("keep", [(), ("stars",), ("stars", "id"), ("nothing",)])
def test_columns_are_chosen(files: Files, keep: tuple[str, ...]) -> None:
    """In the order in which they are named; the id is there in any case."""
    files.input([{"id": 1, "prompt": "p", "stars": 4}])
    files.results([result(0, "1", "A")])
    (row,) = files.table(keep=keep)
    wanted = [name for name in keep if name != "nothing"]
    assert [*row] == [*([] if "id" in keep else ["id"]), *wanted, "text", "error"]


@pytest.mark.parametrize("of_input", [True, False])
def test_large_rows_are_read_a_few_at_a_time(files: Files, monkeypatch: pytest.MonkeyPatch, *, of_input: bool) -> None:
    """As many as make a chunk if they are like those before."""
    monkeypatch.setattr(joining, "BYTES", 10_000)
    files.input(rows(*map(str, range(60))))
    files.results([result(seq, str(seq), "x" * 2000 if seq < 40 else "") for seq in range(60)])
    with (files.path / "r.jsonl").open("rb") as file, closing(Source(str(files.path / "in.jsonl"))) as source:
        taken = Taken(source=source) if of_input else None
        sizes = [len(chunk.records) for chunk in joining.joined(Places(file), taken)]
    assert sizes[:6] == [16, 4, 4, 4, 4, 4]
    assert sizes[8] > 4
    assert sum(sizes) == 60


@pytest.mark.parametrize("repeat", [1, 2])
def test_a_refused_row_has_not_the_answer_of_the_row_whose_id_it_bears(files: Files, repeat: int) -> None:
    """Its failure stands under an id made from its bytes, once for all times that it was to be asked."""
    files.input([*rows("a", "b"), {"id": "a", "prompt": "something else"}])
    line = b'{"id":"a","prompt":"something else"}'
    turns = [""] if repeat == 1 else ["~1", "~2"]
    files.results(
        result(seq * repeat + turn, name + end, name + end)
        for seq, name in enumerate("ab")
        for turn, end in enumerate(turns)
    )
    files.errors([failure(3 * repeat - 1, derived_id(line), "duplicate_id")])
    found = [(row.get("text"), row["error"]) for row in files.table(selection=Selection(repeat=repeat))]
    answered: list[tuple[str | None, str | None]] = [(name + end, None) for name in "ab" for end in turns]
    assert found == answered + [(None, "duplicate_id: it broke off")] * repeat
