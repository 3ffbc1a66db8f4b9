"""What people see first, replayed on a terminal: messages one below the other, and one live line below them all."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from support.commandline import names, prompts
from support.screen import RESIZED_AFTER, on_a_screen

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
    """The live line is there, alone in its row, with nothing below it but its own rows; and it is gone at the end."""
    seen = 0
    for rows in shown.moments:
        live = [place for place, row in enumerate(rows) if LIVE.search(row)]
        seen += bool(live)
        assert len(live) <= 1, "\n".join(rows)
        for place in live:
            assert not others.search(rows[place]), rows[place]
            assert all(row.startswith("  ") for row in rows[place + 1 :] if row), "\n".join(rows)
    assert seen
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


def below(shown: Shown) -> set[str]:
    """All rows that were seen below the live line."""
    found = set()
    for rows in shown.moments:
        for place, row in enumerate(rows):
            if LIVE.search(row):
                found |= {one.strip() for one in rows[place + 1 :] if one}
    return found


def live_rows(shown: Shown) -> list[str]:
    return [row for rows in shown.moments for row in rows if LIVE.search(row)]


def test_a_rate_limit_is_told_and_is_in_the_eta(desk: Desk) -> None:
    """What is waited for, and for how long, without the server's URL; it bounds how soon the end can be."""
    desk.write("jobs.jsonl", *prompts(names(40)))
    with simulator_thread() as sim:
        shown = run(desk, sim.url, "--rpm", "60", "--max-duration", "6s", "--grace", "1s", columns=60)
    assert shown.code == 4
    waits = [row for row in below(shown) if re.match(r"waiting: rate limit: [\d.]+ s \(60 requests a minute\)", row)]
    assert waits
    assert sim.url not in "".join(live_rows(shown) + waits)
    etas = [int(found[1]) for row in live_rows(shown) if (found := re.search(r"ETA (\d+) s", row))]
    assert etas
    assert min(etas) >= 30
    assert any(row.startswith("jobs     ") and " of 40 jobs done · " in row for row in shown.rows)


def test_failures_are_told_when_they_happen(desk: Desk) -> None:
    """The newest reason, harmless and in a row of its own, while the run goes on; causes apart at its end."""
    words = "no%1B%5B2J%20way%1B%5D0;x%07"
    bad = [*prompts(names(2), f"do=bad message={words}"), *prompts(["odd"], "do=bad message=too%20long")]
    desk.write("jobs.jsonl", *bad, *prompts([f"g{n}" for n in range(8)], "ttft=0.2"))
    with simulator_thread() as sim:
        shown = run(desk, sim.url, columns=70)
    assert below(shown) & {"failed: bad_request: no way", "failed: bad_request: too long"}
    failed = [row for row in shown.rows if row.startswith("failed ")]
    assert [re.sub(r" \(.*", "", row) for row in failed] == [
        "failed   2 × bad_request: no way",  # noqa: RUF001 - times
        "failed   1 × bad_request: too long",  # noqa: RUF001 - times
    ]


def test_tokens_are_counted_as_they_arrive(desk: Desk) -> None:
    """A slow answer shows its speed long before it ends."""
    desk.write("jobs.jsonl", *prompts(["a"], "tokens=60 delay=0.03"))
    with simulator_thread() as sim:
        shown = run(desk, sim.url)
    first = [row for row in live_rows(shown) if "0/1 0%" in row and "tok/s" in row]
    assert first
    assert float(re.findall(r"([\d.]+) tok/s", first[-1])[0]) > 0


def test_each_of_several_servers_has_a_row(desk: Desk) -> None:
    """How much it did and has in flight; and one that is away says so, while the others go on."""
    desk.write("jobs.jsonl", *prompts(names(40), "ttft=0.15"))
    with simulator_thread() as first, simulator_thread() as second:
        second.kill()
        more = ("--dialect", "native", "--base-url", second.url, "--max-wait", "20s")
        shown = run(desk, first.url, *more, columns=100)
    assert shown.code == 0
    rows = below(shown)
    assert any(row.startswith(f"{first.url} · ") and "/3 in flight" in row for row in rows)
    assert any(row.startswith(f"{second.url} · 0 done · ") and "the server is away" in row for row in rows)


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_terminals_without_colours_or_cursors(desk: Desk, name: str, value: str) -> None:
    """Without colours the words are the same; where the cursor cannot be moved there is no display, and no escape."""
    desk.write("jobs.jsonl", *prompts(names(8), "ttft=0.1"))
    desk.env[name] = value
    with simulator_thread() as sim:
        shown = run(desk, sim.url, columns=40)
    assert shown.code == 0
    assert "38;" not in shown.raw
    assert "\x1b[3" not in shown.raw
    if name == "TERM":
        assert "\x1b" not in shown.raw
        assert not live_rows(shown)
    else:
        assert live_rows(shown)
        assert all(len(row) <= 40 for row in live_rows(shown))


def test_a_terminal_that_is_resized(desk: Desk) -> None:
    """The next drawing fits the new width, and nothing of the display is left at the end."""
    desk.write("jobs.jsonl", *prompts(names(30), "ttft=0.15"))
    with simulator_thread() as sim:
        shown = run(desk, sim.url, columns=100, resized_to=50)
    assert shown.code == 0
    late = [row for rows in shown.moments[RESIZED_AFTER + 4 :] for row in rows if LIVE.search(row)]
    assert late
    assert [row for row in late if len(row) > 50] == []
    assert not any(LIVE.search(row) for row in shown.rows)
