"""What people see first, replayed on a terminal: messages one below the other, and one live line below them all."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from support.commandline import names, prompts
from support.screen import on_a_screen

from batcher.simulator import simulator_thread

if TYPE_CHECKING:
    from support.commandline import Desk
    from support.screen import Shown

pytestmark = pytest.mark.slow

LIVE = re.compile(r"\d in flight|\bETA \d")
"""What only the live line says."""


def run(desk: Desk, url: str, *more: str, **settings: int) -> Shown:
    args = ("run", "jobs.jsonl", "-o", "results.jsonl", "-m", "simulator", "--base-url", url, "-c", "3", *more)
    return on_a_screen(desk, *args, **settings)


def check_line(shown: Shown, others: re.Pattern[str]) -> None:
    """The live line is there, alone in its row and the last, whenever it is there; and it is gone at the end."""
    seen = 0
    for rows in shown.moments:
        live = [place for place, row in enumerate(rows) if LIVE.search(row)]
        seen += bool(live)
        assert len(live) <= 1, "\n".join(rows)
        for place in live:
            assert not others.search(rows[place]), rows[place]
            assert not any(rows[place + 1 :]), "\n".join(rows)
    assert seen > 3
    assert not any(LIVE.search(row) for row in shown.rows)


@pytest.mark.parametrize(("columns", "lines"), [(100, 30), (60, 12)])
def test_each_answer_has_a_row_of_its_own(desk: Desk, columns: int, lines: int) -> None:
    """With -v, as `make demo` has it: above the line, in the order in which they came, and the sums below."""
    wanted = names(20)
    desk.write("jobs.jsonl", *prompts(wanted, "ttft=0.06 say=short"))
    with simulator_thread() as sim:
        shown = run(desk, sim.url, "-v", columns=columns, lines=lines)
    assert shown.code == 0
    check_line(shown, re.compile(r"q\d{3}  "))
    answers = [found[1] for row in shown.rows if (found := re.match(r"batcher: (q\d{3})  \d+\.\d\ds  ", row))]
    assert sorted(answers) == wanted
    assert answers == [line["id"] for line in desk.lines()]
    rows = [row for row in shown.rows if row]
    assert rows[-1].startswith("results")


def test_a_long_answer_and_hostile_or_wide_words_keep_their_rows(desk: Desk) -> None:
    """What is wider than the terminal is cut, or goes on in the next row; the line stays below it."""
    wanted = names(9)
    desk.write("jobs.jsonl", *prompts(wanted, "ttft=0.1 say=" + "%E8%93%9D%F0%9F%8C%8A%20" * 40))
    with simulator_thread() as sim:
        shown = run(desk, sim.url, "-v", columns=50, lines=20)
    assert shown.code == 0
    check_line(shown, re.compile(r"q\d{3}  "))
    assert sum(bool(re.match(r"batcher: q\d{3}  ", row)) for row in shown.rows) == len(wanted)


def test_notes_and_failures_stand_above_it(desk: Desk) -> None:
    """What the run says of itself is not lost in the line either."""
    desk.write("jobs.jsonl", {"id": "odd", "prompt": "x", "promt": 1}, *prompts(names(8), "ttft=0.1 do=bad"))
    with simulator_thread() as sim:
        shown = run(desk, sim.url, "-v")
    check_line(shown, re.compile("batcher:"))
    assert sum("FAILED bad_request" in row for row in shown.rows) == 8
    assert all(row.startswith("batcher: ") for row in shown.rows if "FAILED" in row)
    assert any(row.startswith("batcher: ") and "promt" in row for row in shown.rows)


def test_results_that_go_to_the_terminal_have_it_to_themselves(desk: Desk) -> None:
    """With -o - and nothing redirected, no line is drawn among the results."""
    desk.write("jobs.jsonl", *prompts(names(4), "ttft=0.1"))
    with simulator_thread() as sim:
        args = ("run", "jobs.jsonl", "-o", "-", "-m", "simulator", "--base-url", sim.url)
        shown = on_a_screen(desk, *args, columns=2000, stdout=True)
    assert shown.code == 0
    before = [row for rows in shown.moments for row in rows if not row.startswith("limit")]  # the sums name it too
    assert not any(LIVE.search(row) for row in before)
    assert sum(row.startswith('{"id":"q00') and row.endswith("}") for row in shown.rows) == 4
