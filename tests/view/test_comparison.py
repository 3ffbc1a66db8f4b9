"""Sums over two results files, and within rows asked several times, held against the plainest way to work them out."""

from __future__ import annotations

import json
import re
from itertools import combinations
from statistics import fmean
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from view.test_report import ELEMENTS, HOSTILE, Read
from view.test_statistics import line

from batcher.view.comparison.comparison import NAMED, Comparison, Row, compared
from batcher.view.comparison.likeness import (
    DEEPEST,
    NAMES,
    READ,
    WHOLE,
    calls_of,
    canonical,
    fields_of,
    similarity,
    words_of,
)
from batcher.view.comparison.page import BUDGET, Page
from batcher.view.comparison.repeats import Repeats, row_of
from batcher.view.comparison.shown import MARKED, marked, window
from batcher.view.comparison.sides import Side, figures
from batcher.view.comparison.telling import comparison_as_dict, repeats_as_dict
from batcher.view.comparison.words import LINES, comparison_lines, percent, repeats_lines
from batcher.view.prices import prices_of

LONG = "a" * 3000 + " b" * 2000
texts = st.sampled_from(["", " ", "yes", "no", "Yes it is", "it is yes", "漢字だ", "漢字か", "a b c", "a  b c"])
values = st.sampled_from([1, 1.0, True, "1", None, [1], [1.0], [True], {}, {"b": 1}, {"b": 1.0}, {"b": {"c": "x"}}])
parsed = st.dictionaries(st.sampled_from("abc"), values, max_size=3) | values
tools = st.sampled_from([None, [{"id": "1", "function": {"name": "f", "arguments": {"x": 1, "y": 2}}}], [7], "f"])


@st.composite
def answers(draw: st.DrawFn) -> dict[str, Any]:
    """A line as runs write them, with fields that may be absent."""
    record = line(0, draw(st.sampled_from([1.0, 2.0, 8.0])), model=draw(st.sampled_from("xy")))
    record["hash"] = draw(st.sampled_from(["0" * 16, "1" * 16]))
    record["text"] = draw(texts)
    if draw(st.booleans()):
        del record["text"]
    if draw(st.booleans()):
        record["parsed"] = draw(parsed)
    if draw(st.booleans()):
        record["usage"] = {}
    if (calls := draw(tools)) is not None:
        record["tool_calls"] = calls
    return record


def equal(a: Any, b: Any) -> bool:
    """Whether JSON values are, in the plainest way."""
    if isinstance(a, bool) or isinstance(b, bool) or type(a) is not type(b):
        return type(a) is type(b) and a == b if not {type(a), type(b)} <= {int, float} else a == b
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(equal, a, b))
    return bool(a == b)


def flat(record: dict[str, Any]) -> dict[str, Any]:
    """The fields of an answer's JSON."""
    if "parsed" not in record:
        return {}
    value = record["parsed"]
    if not isinstance(value, dict) or not value:
        return {WHOLE: value}
    found: dict[str, Any] = {}
    for key, item in value.items():
        inner = flat({"parsed": item}) if isinstance(item, dict) and item else {"": item}
        found |= {f"{key}.{name}" if name else key: each for name, each in inner.items()}
    return found


def told(a: list[dict[str, Any]], b: list[dict[str, Any]], most: int = 3) -> tuple[Comparison, dict[str, Any]]:
    found = Comparison(most, Side(prices_of(1, None, 1)), Side(prices_of(1, None, 1)))
    for place, pair in enumerate(zip(a, b, strict=True)):
        found.add(*pair, (place, place))
    found.settle()
    rows = [Row(each.distance, str(a[each.a]["id"]), [a[each.a], b[each.b]]) for each in found.differing.ranked()]
    return found, comparison_as_dict(found, rows)


@settings(max_examples=40)
@given(st.lists(st.tuples(answers(), answers()), min_size=1, max_size=20))
def test_agreement_is_that_of_the_lines(pairs: list[tuple[dict[str, Any], dict[str, Any]]]) -> None:
    """Texts, fields, figures and what was asked: counted one by one from the lines."""
    _, shown = told([a for a, _ in pairs], [b for _, b in pairs])
    both = [(a, b) for a, b in pairs if "text" in a and "text" in b]
    with_text = [
        (a["text"], b["text"])
        for a, b in both
        if a["text"] or b["text"] or not any(isinstance(each.get("tool_calls"), list) for each in (a, b))
    ]
    assert shown["text"]["compared"] == len(with_text)
    assert shown["text"]["exact"] == sum(a == b for a, b in with_text)
    if with_text:
        assert shown["text"]["similarity"]["mean"] == pytest.approx(fmean(similarity(*pair) for pair in with_text))
    for name, field in shown["fields"].items():
        values = [(flat(a), flat(b)) for a, b in pairs]
        here = [(a[name], b[name]) for a, b in values if name in a and name in b]
        assert field == {
            "both": len(here),
            "same": sum(equal(a, b) for a, b in here),
            "only_a": sum(name in a and name not in b for a, b in values),
            "only_b": sum(name in b and name not in a for a, b in values),
        }
    assert shown["fields"].keys() == {name for pair in pairs for each in pair for name in flat(each)}
    others = [(a, b) for a, b in pairs if a["hash"] != b["hash"]]
    assert shown["rows"]["asked_otherwise"]["count"] == sum(a["model"] == b["model"] for a, b in others)
    assert shown["rows"]["of_other_models"] == sum(a["model"] != b["model"] for a, b in others)
    for side, lines in (("a", [a for a, _ in pairs]), ("b", [b for _, b in pairs])):
        counted = [each["usage"] for each in lines if each["usage"]]
        assert shown["a" if side == "a" else "b"]["models"] == {
            name: n for name in "xy" if (n := sum(each["model"] == name for each in lines))
        }
        cost = shown["figures"].get("cost", {}).get(side)
        assert cost == (pytest.approx(15e-6 * len(counted)) if counted else None)
        if "unpriced" in shown["figures"]:
            assert shown["figures"]["unpriced"][side] == len(lines) - len(counted)


@settings(max_examples=40)
@given(answers(), answers())
def test_how_much_a_row_differs_has_no_side(a: dict[str, Any], b: dict[str, Any]) -> None:
    """From 0 to 1, the same from both sides, and nothing of what is the same."""
    assert 0 <= compared(a, b).distance <= 1
    assert compared(a, b).distance == compared(b, a).distance
    assert compared(a, {**a, "id": "other", "timing": {}}).distance == 0


@settings(max_examples=40)
@given(st.lists(st.lists(answers(), min_size=1, max_size=4), min_size=1, max_size=6))
def test_agreement_within_rows_is_that_of_pairs(rows: list[list[dict[str, Any]]]) -> None:
    """The part of all pairs of answers to a row that are the same, and rows in which all are."""
    found = Repeats(3)
    for place, row in enumerate(rows):
        found.add(row, place)
    found.settle()
    several = [row for row in rows if len(row) > 1]
    shown = repeats_as_dict(found, [])
    assert (shown["rows"], shown["single"]) == (len(several), len(rows) - len(several))
    for name, field in found.fields.items():
        parts = [
            [
                (name in a) == (name in b) and (name not in a or equal(a[name], b[name]))
                for a, b in combinations(map(flat, row), 2)
            ]
            for row in several
            if any(name in flat(answer) for answer in row)
        ]
        assert field.rows == len(parts)
        assert field.unanimous == sum(all(part) for part in parts)
        assert field.mean == pytest.approx(fmean(map(fmean, parts)))


@pytest.mark.parametrize(
    ("a", "b", "alike"),
    [
        ("yes", "yes", 1.0),
        ("yes", "no", 0.0),
        ("", "yes", 0.0),
        ("a  b\nc", "a b c", 1.0),
        ("dog bites man", "man bites dog", 0.0),
        ("Yes.", "Yes", 2 / 5),
        ("a b c d", "a b c e", 6 / 10),
        ("漢字だ", "漢字か", 4 / 8),
        ("a a a a", "a a a", 8 / 9),
        ("a" * READ + "b", "a" * READ + "c", 1.0),
    ],
)
def test_how_alike_texts_are(a: str, b: str, alike: float) -> None:
    """Worked out by hand from pairs of neighbouring words."""
    assert similarity(a, b) == similarity(b, a) == pytest.approx(alike)


def test_values_that_are_the_same() -> None:
    """As JSON has it; ids of calls are made up, and what nests too deep costs no stack."""
    assert canonical({"a": 1, "b": [1.0]}) == canonical({"b": [1], "a": 1.0})
    others: list[Any] = [1, True, "1", None, [1], [True], {}, [], "", "null"]
    assert len({canonical(value) for value in others}) == len(others)
    assert canonical(10**30) != canonical(10**30 + 1)
    assert fields_of({"parsed": {"a": {"b": 1, "c": {}}}}).keys() == {"a.b", "a.c"}
    assert len(fields_of({"parsed": {f"f{n}": n for n in range(9 * NAMES)}})) == NAMES
    deep: Any = 1
    for _ in range(3 * DEEPEST):
        deep = [deep]
    assert canonical(deep) == canonical([*deep])
    call = {"id": "x", "function": {"name": "f", "arguments": {}}}
    assert calls_of({"tool_calls": [call]}) == calls_of({"tool_calls": [{**call, "id": "y"}]})
    assert calls_of({"tool_calls": []}) is None


def test_rows_that_differ_most_come_first() -> None:
    """Of those that differ as much the first; what agrees is not among them."""
    a = [line(0, 1, seq=n, text="a b c d e") for n in range(6)]
    b = [{**a[n], "text": text} for n, text in enumerate(["a b c d e", "a b c d x", "x", "a b c d x", "y", "a b"])]
    _, shown = told(a, b, most=4)
    assert [row["id"] for row in shown["most_different"]] == ["q2", "q4", "q5", "q1"]
    assert shown["rows"]["differing"] == 5
    assert told(a, b, most=0)[1]["most_different"] == []


def test_rows_are_named_by_their_ids() -> None:
    assert row_of("q~1~2") == "q~1"
    assert [row_of(ident) for ident in ("q", "q~", "~1", "q~x", "q~1 ")] == [None] * 5


def test_what_changed_is_said() -> None:
    """A part more or less; many times; and nothing of what is not known."""
    found, _ = told([line(0, 2.0, usage={})], [line(0, 1.0)])
    cells = {figure.key: figure.cells() for figure in figures(found.a, found.b)}
    assert cells["latency_p50_s"] == ("2.00 s", "1.00 s", "\u221250 %")
    assert cells["prompt_tokens"] == ("0", "10", "")
    assert cells["cost"][0] == "-"
    assert [percent(part) for part in (0, 1e-5, 0.5, 0.99999, 1)] == ["0 %", "<0.1 %", "50 %", ">99.9 %", "100 %"]


def test_texts_are_shown_from_where_they_differ() -> None:
    """Not the beginning that all share, if it is long; and as much as there is room for."""
    shown = window(["x" * 5000 + "a", "x" * 5000 + "b"], 200)
    assert [text[-1] for text in shown] == ["a", "b"]
    assert all(text.startswith("…") and len(text) < 100 for text in shown)
    assert window(["short", "text"], 200) == ["short", "text"]
    assert window(["a" * 300, "b"], 200)[0].endswith("aaa … (300 characters in all)")


@settings(max_examples=40)
@given(st.text(st.sampled_from("ab .漢\n"), max_size=20), st.text(st.sampled_from("ab .漢\n"), max_size=20))
def test_marked_words_are_those_of_the_text(a: str, b: str) -> None:
    """Nothing is lost, and what is not marked is the same on both sides."""
    left, right = marked(a, b)
    assert ("".join(piece.text for piece in left), "".join(piece.text for piece in right)) == (a, b)
    shared = ["".join(piece.text for piece in side if not piece.is_other) for side in (left, right)]
    assert shared[0] == shared[1]
    assert len(words_of(LONG)) > MARKED
    assert not any(piece.is_other for piece in marked(LONG, "x")[0])


@settings(max_examples=25)
@given(st.lists(HOSTILE, min_size=5, max_size=5), st.integers(20, 130))
def test_what_others_wrote_stays_text(words: list[str], width: int) -> None:
    """Whatever ids, models, texts, flags and fields say: pages have their own elements, and lines command nothing."""
    ident, model, text, other, name = words
    a = line(0, 1, id=f"{ident}~1", model=model, text=text, flags=[name], parsed={name: text})
    b = line(0, 1, id=f"{ident}~1", model=name, text=other + "x", tool_calls=[name], parsed={name: {other: name}})
    found, shown = told([a], [b])
    assert json.dumps(shown)
    found.only_a.add(ident)
    rows = [Row(1.0, ident, [a, b])]
    repeats = Repeats(2)
    repeats.add([a, b], 0)
    repeats.settle()
    for page in (
        Page(name=name, version="1", rows=rows).of_two(found, (name, other)),
        Page(name=name, version="1", rows=rows).of_one(repeats),
    ):
        read = Read(page)
        assert read.names <= {*ELEMENTS, "mark"}
        assert not read.open
        assert not [each for each in read.attributes if each[1].startswith("on") or each[1] in {"style", "src", "href"}]
    for lines in (comparison_lines(found, rows, width), repeats_lines(repeats, rows, width)):
        beside = [each for each in lines if each[:1] in "┌│├└" and each]
        assert beside
        assert not {"\x1b", "\x07", "\u202e", "\0"} & set("".join(beside))


@pytest.mark.parametrize("width", [20, 40, 60, 100, 200])
def test_texts_stand_beside_each_other_where_there_is_room(width: int) -> None:
    """Lines are no wider than the terminal, in cells, and of each answer there are no more than so many."""
    from rich.cells import cell_len

    a, b = line(0, 1, text="漢字 word " * 400), line(0, 1, text="unbroken" * 400 + "\n" * 50)
    found, _ = told([a], [b])
    shown = [*comparison_lines(found, [Row(1.0, "q0", [a, b])], width)]
    beside = [each for each in shown if each[:1] in {"┌", "│", "├", "└"}]
    assert max(map(cell_len, beside)) <= width
    assert len(beside) <= 2 * (LINES + 1) + 3
    assert any("word" in each and "unbroken" in each for each in beside) == (width >= 60)


def test_fields_that_differ_are_shown_of_several_answers() -> None:
    """What makes a row differ stands there, though its texts are all the same: the values of each such field."""
    told_so = [{"label": "a", "n": 1, "same": "x"}, {"label": "b", "n": 1.0, "same": "x"}, {"same": "x"}]
    row = [line(0, 1, id=f"q~{n}", parsed=value) for n, value in enumerate(told_so)]
    found = Repeats(3)
    found.add(row, 0)
    found.settle()
    page = Page(name="n", version="1", rows=[Row(1.0, "q", row)]).of_one(found)
    [table] = re.findall(r'aria-label="Fields that differ".*?</table>', page, re.DOTALL)
    cells = re.findall(r"<t[hd](?: [^>]*)?>(?:<bdi>)?(.*?)(?:</bdi>)?</t[hd]>", table)
    assert cells == ["field", "q~0", "q~1", "q~2", "label", "a", "b", "-", "n", "1", "1.0", "-"]


def test_a_page_is_no_larger_than_it_may_be() -> None:
    """Texts are cut, rows that find no room are left out, and the page says so."""
    a, b = (line(0, 1, text=text * 50_000, parsed={f"{n}": "<" * 900 for n in range(90)}) for text in "<&")
    found, _ = told([a], [b])
    page = Page(name="n", version="1", rows=[Row(1.0, "q", [a, b])] * 900).of_two(found, ("a", "b"))
    assert len(page.encode()) < 3_000_000
    assert "rows are left out: the page is full" in page
    assert BUDGET < 3_000_000


def test_ids_are_named_as_examples() -> None:
    found, _ = told([], [])
    for n in range(NAMED + 2):
        found.only_b.add(f"q{n}")
    [words] = [each for each in comparison_lines(found, [], 80) if "of which A has no line" in each]
    assert words.endswith("(q0, q1, q2, q3, q4, …)")
