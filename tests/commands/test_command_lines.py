"""Command lines that nobody means: numbers without a bound, names of no file; and a few by lot, as the fuzzer draws."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from fuzz.commandlines import Lines, prepared, wrong
from fuzz.exchanges import Exchanges, wrong as wrong_exchange
from support.commandline import Desk, prompts
from support.faultcells import short_waits

from batcher.simulator import simulator_thread

if TYPE_CHECKING:
    from pathlib import Path

NO_ONE = ("--base-url", "http://127.0.0.1:9", "-m", "m", "--max-wait", "0s")


@pytest.mark.parametrize("name", ["--price-in", "--price-cached", "--price-out"])
@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e999"])
def test_prices_that_are_no_numbers(desk: Desk, name: str, value: str) -> None:
    """Python reads them as numbers; what they make cannot be told."""
    ran = desk.call("stats", desk.write("results.jsonl"), name, value)
    assert (ran.code, ran.out) == (2, "")
    assert name in ran.err


@pytest.mark.parametrize(
    "name", ["--repeat", "--limit", "--sample", "--limit-new", "--retries", "--dimensions", "--slots", "--estimate"]
)
def test_numbers_beyond_any_file(desk: Desk, name: str) -> None:
    """A number that fits nowhere is refused before anything is made for it."""
    desk.write("jobs.jsonl", *prompts(["a"]))
    ran = desk.call("run", "jobs.jsonl", *NO_ONE, name, "9" * 30)
    assert ran.code == 2
    assert f"{name} must be at most" in ran.err
    assert [path.name for path in desk.path.iterdir()] == ["jobs.jsonl"]


@pytest.mark.parametrize("name", [".", "/", ""])
def test_results_that_are_a_directory(desk: Desk, name: str) -> None:
    """`.` and `/` have no name that anything could stand beside."""
    desk.write("jobs.jsonl", *prompts(["a"]))
    desk.write("results.jsonl")
    for words in (
        ("run", "jobs.jsonl", *NO_ONE, "-o", name),
        ("merge", "results.jsonl", "results.jsonl", "-o", name),
        ("status", name),
        ("verify", "jobs.jsonl", name),
    ):
        ran = desk.call(*words)
        assert ran.code in (2, 73), (words, ran)
        assert ran.err.startswith("batcher: ")


@pytest.mark.parametrize("name", ["--endpoint", "--input-format"])
def test_a_name_that_is_not_known_says_where_it_was_given(desk: Desk, name: str) -> None:
    """Which of many options is meant is said."""
    desk.write("jobs.jsonl", *prompts(["a"]))
    ran = desk.call("verify", "jobs.jsonl", desk.write("results.jsonl"), name, "nowhere")
    assert ran.code == 2
    assert f"{name}: there is no " in ran.err


def test_a_summary_of_a_name_that_is_no_utf8(desk: Desk) -> None:
    """An argument of any bytes may stand in what the run says of itself."""
    (desk.path / "table.csv").write_text("id,prompt\n1,x\n")
    with simulator_thread() as sim:
        where = ("--base-url", sim.url, "-m", "simulator", "--summary-json", "sums.json", "--model-field", "\udcff")
        ran = desk.call("run", "table.csv", *where)
    assert ran.code == 3
    assert (desk.path / "sums.json").exists()


@pytest.mark.slow
def test_command_lines_by_lot(tmp_path: Path) -> None:
    """No traceback, no unknown code, no key; a usage error says what it is about."""
    with simulator_thread() as sim, short_waits():
        place = prepared(tmp_path / "usual", sim.url)
        lines = Lines(random.Random(1), sim.url)
        for _ in range(8):
            words = lines.draw()
            found, _code = wrong(Desk(place), words)
            assert not found, words


@pytest.mark.slow
def test_exchanges_by_lot(tmp_path: Path) -> None:
    """Each job ends as a result, an error line or pending, whatever is made of an answer."""
    exchanges = Exchanges(random.Random(2))
    with short_waits():
        for number in range(4):
            (place := tmp_path / str(number)).mkdir()
            wire, answers = exchanges.draw()
            found, _code = wrong_exchange(Desk(place), wire, answers)
            assert not found, (wire.name, answers)
