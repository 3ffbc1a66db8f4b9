"""`batcher compare` as its users have it: joined files, unequal inputs, errors files, repeats, pages, exit codes."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings, strategies as st
from support.commandline import Desk, prompts
from view.test_statistics import failure, line

from batcher.commands.pairing import Turns, join
from batcher.commands.past import Past
from batcher.failures import Exit
from batcher.simulator import simulator_thread
from batcher.view.comparison.comparison import Comparison
from batcher.view.comparison.repeats import Repeats

if TYPE_CHECKING:
    from pathlib import Path

KINDS = ("answered", "failed", "both", "absent")


def told(desk: Desk, *args: str) -> dict[str, Any]:
    ran = desk.call("compare", *args, "--json")
    assert (ran.code, ran.err) == (0, "")
    found: dict[str, Any] = json.loads(ran.out)
    return found


def write(desk: Desk, name: str, kinds: list[str], order: list[int]) -> None:
    """A results file and its errors, in an order: of a row an answer, a failure, both, or nothing."""
    kept = [n for n in order if n < len(kinds)]
    desk.write(f"{name}.jsonl", *(line(0, 1, seq=n, text=name) for n in kept if kinds[n] in {"answered", "both"}))
    desk.write(f"{name}.errors.jsonl", *(failure(0, id=f"q{n}") for n in kept if kinds[n] in {"failed", "both"}))


@settings(max_examples=30)
@given(
    st.lists(st.tuples(st.sampled_from(KINDS), st.sampled_from(KINDS)), max_size=9),
    st.permutations(range(9)),
    st.permutations(range(9)),
)
def test_rows_are_joined_by_id(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], one: list[int], other: list[int]
) -> None:
    """In whatever order lines stand; a failure counts where the job has no answer; each row under one heading."""
    desk = Desk(tmp_path_factory.mktemp("joined"))
    write(desk, "a", [a for a, _ in rows], one)
    write(desk, "b", [b for _, b in rows], other)
    found = joined(desk.path / "a.jsonl", desk.path / "b.jsonl")
    answered = [(a in {"answered", "both"}, b in {"answered", "both"}) for a, b in rows]
    absent = [(a == "absent", b == "absent") for a, b in rows]
    assert found.joined == found.differing.count == sum(a and b for a, b in answered)
    both = [*zip(answered, absent, strict=True)]
    assert found.only_a.count == len(found.only_a.ids) or found.only_a.count > 5
    assert found.only_a.count == sum(not gone[0] and gone[1] for _, gone in both)
    assert found.only_b.count == sum(gone[0] and not gone[1] for _, gone in both)
    assert found.failed_a.count == sum(not here[0] and not gone[0] and here[1] for here, gone in both)
    assert found.failed_b.count == sum(not here[1] and not gone[1] and here[0] for here, gone in both)
    assert found.failed_both.count == sum(not any(here) and not any(gone) for here, gone in both)
    assert (found.a.lines, found.b.lines) == tuple(sum(side) for side in zip(*answered, strict=True)) or not rows


def joined(a: Path, b: Path) -> Comparison:
    found = Comparison(5)
    with ExitStack() as stack:
        one, other = Past(a), Past(b)
        one.open(stack)
        other.open(stack)
        join(one, other, found)
    return found


def test_unequal_inputs_are_said(desk: Desk) -> None:
    """Rows of one file alone, other questions, damage and repeats, with ids; and nothing where all is the same."""
    desk.write("a.jsonl", *(line(0, 2, seq=n) for n in range(4)), line(0, 1, seq=0, text="again"), {"id": "none"})
    desk.write("b.jsonl", line(0, 1, seq=9), *(line(0, 1, seq=n, hash=f"{n:016x}") for n in (3, 0)))
    ran = desk.call("compare", "a.jsonl", "b.jsonl")
    assert ran.code == 0
    for words in (
        "rows      2 answered in both · 0 of them differ",
        "only in A 2 rows of which B has no line (q1, q2)",
        "only in B 1 row of which A has no line (q9)",
        "1 row asked for something else of the same model: their hashes differ (q3)",
        "A         no result on 1 line and an earlier id on 1 line: batcher verify",
        "latency p50                 2.00 s          1.00 s           \u221250 %",
        "text      100 % the same (2 of 2)",
    ):
        assert words in ran.out
    same = desk.call("compare", "b.jsonl", "b.jsonl").out
    assert "only in" not in same
    assert "asked" not in same
    desk.write("c.jsonl", line(0, 1, seq=3, model="other", hash="f" * 16))
    assert "1 row of other models, whose hashes do not tell" in desk.call("compare", "a.jsonl", "c.jsonl").out


def _all(names: tuple[str, ...], value: Any) -> dict[str, Any]:
    return dict.fromkeys(names, value)


def test_hostile_lines_are_compared(desk: Desk) -> None:
    """Fields of another kind than their names say, and text that a terminal would obey."""
    odd = [7, [], {}, "\x1b]0;title\x07\u202eodd", None, 1e300, True]
    names = ("text", "parsed", "flags", "model", "timing", "usage", "tool_calls", "attempts", "pack", "server")
    desk.write("a.jsonl", *(line(0, 1, seq=n, **_all(names, value)) for n, value in enumerate(odd)))
    desk.write("b.jsonl", *(line(0, 1, seq=n, **_all(names, odd[n - 1])) for n, _ in enumerate(odd)))
    for form in ((), ("--json",), ("-o", "page.html"), ("--price-in", "1")):
        ran = desk.call("compare", "a.jsonl", "b.jsonl", *form)
        assert ran.code == 0
        assert not {"\x1b", "\u202e", "\x07"} & set(ran.out + ran.err)
    assert not {"\x1b", "\x07"} & set((desk.path / "page.html").read_text())


def test_answers_to_one_row_are_compared(desk: Desk) -> None:
    """In the order of arrival, whatever that is; failures are counted, and rows with one answer."""
    texts = {"a~1": "x", "b~1": "y", "a~2": "x", "b~2": "z", "a~3": "w", "c~1": "x"}
    desk.write("r.jsonl", *(line(0, 1, seq=n, id=ident, text=text) for n, (ident, text) in enumerate(texts.items())))
    desk.write("r.errors.jsonl", failure(0, id="c~2"))
    found = told(desk, "r.jsonl")
    assert (found["rows"], found["answers"], found["single"], found["failed"]) == (2, 5, 1, 1)
    assert found["text"]["pairs_that_agree"] == pytest.approx((1 / 3 + 0) / 2)
    assert [(row["id"], [each["text"] for each in row["answers"]]) for row in found["most_different"]] == [
        ("b", ["y", "z"]),
        ("a", ["x", "x", "w"]),
    ]
    assert "2 with 5 answers · 1 with one answer alone" in desk.call("compare", "r.jsonl").out
    assert desk.call("compare", "r.jsonl", "-o", "page.html").code == 0
    assert "Rows that agree least" in (desk.path / "page.html").read_text()


def test_what_cannot_be_compared_is_refused(desk: Desk) -> None:
    """One file without repeats, none at all, one of jobs, and results in the place of the page."""
    desk.write("a.jsonl", line(0, 1))
    desk.write("jobs.jsonl", *prompts(["a"]))
    before = (desk.path / "a.jsonl").read_bytes()
    assert desk.call("compare", "a.jsonl").code == Exit.USAGE
    assert desk.call("compare", "a.jsonl", "gone.jsonl").code == Exit.CANNOT_CREATE
    assert desk.call("compare", "a.jsonl", "jobs.jsonl").code == Exit.CANNOT_CREATE
    assert desk.call("compare", "a.jsonl", "a.jsonl", "-o", "a.jsonl").code == Exit.USAGE
    assert desk.call("compare", "a.jsonl", "a.jsonl", "-o", "p.html", "--json").code == Exit.USAGE
    assert desk.call("compare", "a.jsonl", "--errors-b", "a.jsonl").code == Exit.USAGE
    desk.write("others.jsonl", line(0, 1))
    assert desk.call("compare", "a.jsonl", "a.jsonl", "-o", "others.jsonl").code == Exit.CANNOT_CREATE
    assert (desk.path / "a.jsonl").read_bytes() == before


def test_two_runs_and_how_they_differ(desk: Desk) -> None:
    """What was told to one alone is said; the page has both texts, beside each other."""
    desk.write("jobs.jsonl", *prompts(["q0", "q1", "q2"]))
    with simulator_thread() as sim:
        common = ("run", "jobs.jsonl", "-m", "simulator", "--base-url", sim.url, "-q")
        assert desk.call(*common, "-o", "a.jsonl").code == 0
        assert desk.call(*common, "-o", "b.jsonl", "--param", "max_tokens=2", "--system", "Be brief.").code == 0
        assert desk.call(*common, "-o", "r.jsonl", "--repeat", "2").code == 0
    found = told(desk, "a.jsonl", "b.jsonl", "--price-in", "1", "--price-out", "1")
    assert set(found["told_otherwise"]) == {"system", "params"}
    assert found["rows"]["asked_otherwise"] == {"count": 3, "ids": ["q0", "q1", "q2"]}
    assert found["rows"]["differing"] == 3
    assert found["figures"]["completion_tokens"]["b"] == 6
    assert desk.call("compare", "a.jsonl", "b.jsonl", "-n", "1", "-o", "page.html").code == 0
    page = (desk.path / "page.html").read_text()
    assert page.count('class="beside"') == 1
    assert "<mark>" in page
    assert told(desk, "r.jsonl")["rows"] == 3


def test_what_the_answers_to_one_row_cost(desk: Desk) -> None:
    """Tokens of all of them, and what they cost as far as that is known, in words, on the page and as JSON."""
    usage = {"prompt_tokens": 1000, "completion_tokens": 500, "cached_tokens": 400}
    desk.write("r.jsonl", *(line(0, 1, seq=n, id=f"a~{n}", usage=usage if n else None) for n in range(3)))
    prices = ("--price-in", "1", "--price-cached", "0.5", "--price-out", "2")
    told_words = "0.0036 and that of 1 answer whose price is not known"
    shown = desk.call("compare", "r.jsonl", *prices).out
    assert "tokens    2,000 in (800 of them cached), 1,000 out" in shown
    assert f"cost      {told_words}" in shown
    found = told(desk, "r.jsonl", *prices)
    assert (found["cost"], found["unpriced"]) == (pytest.approx(0.0036), 1)
    assert found["tokens"] == {"prompt": 2000, "cached": 800, "completion": 1000}
    assert desk.call("compare", "r.jsonl", *prices, "-o", "page.html").code == 0
    assert f"cost: {told_words}" in (desk.path / "page.html").read_text()
    plain = told(desk, "r.jsonl")
    assert (plain["cost"], plain["unpriced"]) == (None, None)
    assert "cost" not in desk.call("compare", "r.jsonl").out


def test_rows_of_which_nothing_is_compared(desk: Desk) -> None:
    """Vectors and pictures are not called the same."""
    vector = {"text": None, "embedding": [0.5]}
    answers: list[dict[str, Any]] = [
        vector,
        vector,
        {"text": None, "parsed": 1},
        {"text": None, "tool_calls": [{"id": "x"}]},
        {},
    ]
    lines = [line(0, 1, seq=n, **more) for n, more in enumerate(answers)]
    desk.write("a.jsonl", *lines)
    found = told(desk, "a.jsonl", "a.jsonl")
    assert (found["rows"]["both"], found["rows"]["uncompared"], found["rows"]["differing"]) == (5, 2, 0)
    assert "2 rows without text, JSON or calls" in desk.call("compare", "a.jsonl", "a.jsonl").out
    desk.write("b.jsonl", line(0, 1))
    assert "not seen" not in desk.call("compare", "b.jsonl", "b.jsonl").out


def test_many_answers_to_a_row_are_chained(desk: Desk) -> None:
    """Rows of any number of answers, of which a thousand are looked at."""
    desk.write("r.jsonl", *(line(0, 1, seq=n, id=f"a~{n}", text=str(n % 2)) for n in range(1203)))
    past, found = Past(desk.path / "r.jsonl"), Repeats(1)
    with ExitStack() as stack:
        past.open(stack)
        Turns(past).gather(found)
    assert (found.rows, found.answers, found.side.lines) == (1, 1000, 1203)
    assert found.texts.mean == pytest.approx(499 / 999)
