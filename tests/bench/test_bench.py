"""The benchmark measures what it says: every client really does the jobs, and wrong output never counts."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from bench import memory, slots, start, streams
from bench.answers import EMBEDDINGS, NATIVE, text, vector
from bench.case import Case, cases
from bench.clients import BATCHER
from bench.measure import Cost, Side
from bench.peers.run import BY_CASE
from bench.run import cost
from bench.table import Row, Target, table

if TYPE_CHECKING:
    from collections.abc import Callable

RUN = Path(__file__).with_name("run.py")


@pytest.mark.slow
@pytest.mark.parametrize("case", cases(scale=0.002)[::2], ids=lambda case: case.name)
def test_every_client_does_every_job(case: Case) -> None:
    """One turn of a few jobs gives each client's cost, which it does only if every answer was verified."""
    (row,) = cost(case, turns=1)
    assert set(row.figures) == {"batcher", "plain", "best"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "measure",
    [
        lambda: start.help_text(1),
        lambda: start.first_request(1),
        lambda: start.check(1),
        lambda: streams.measure(1, scale=0.02, records=2),
        lambda: memory.measure(1, (20, 200)),
    ],
    ids=["help", "run", "check", "streams", "memory"],
)
def test_each_measure_has_figures_and_a_target(measure: Callable[[], list[Row]]) -> None:
    """What is no matter of CPU beside a bare loop is measured as well: start, streams and memory."""
    for row in measure():
        assert "batcher" in row.figures
        assert row.target is not None


@pytest.mark.slow
def test_no_client_is_quicker_than_the_slots_allow() -> None:
    """With a fixed number in flight and a number found out, all jobs take at least the ideal time."""
    fixed, auto = slots.measure(1, scale=0.02)
    assert max(fixed.values + auto.values) <= 1


def test_peers_are_measured_in_cases_that_exist() -> None:
    """A case renamed, or a script moved, would leave a peer out in silence."""
    assert set(BY_CASE) <= {case.name for case in cases()}
    for peer in chain.from_iterable(BY_CASE.values()):
        assert peer.client(Path("python")).path.exists()


@pytest.mark.slow
def test_the_script_writes_its_figures(tmp_path: Path) -> None:
    """`make bench` runs this file as a script; its table and its JSON name the same measures."""
    command = [sys.executable, str(RUN), "--turns", "1", "--scale", "0.002", "--only", "SSE, coalesced"]
    done = subprocess.run(
        [*command, "--json", str(tmp_path / "figures.json")], capture_output=True, text=True, check=False
    )
    assert "SSE, coalesced, a record" in done.stdout, done.stderr
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert [row["what"] for row in figures["rows"]] == ["SSE, coalesced, a record"]


@pytest.mark.slow
def test_rows_are_measured_with_every_answer() -> None:
    """`make bench-rows` says what a template costs, and that of rows that repeat each has its answer."""
    command = [sys.executable, str(RUN.with_name("rows.py")), "--turns", "1", "--scale", "0.01"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert re.search(r"rows with an answer +200 +200 *\n", done.stdout), done.stderr
    assert re.search(r"requests, of rows +2\d of 200 ", done.stdout)


@pytest.mark.parametrize(
    "lines",
    [
        [{"id": "job-0", "text": text(3)}],
        [{"id": "job-0", "text": text(3)}, {"id": "job-0", "text": text(3)}],
        [{"id": "job-0", "text": text(3)}, {"id": "job-1", "text": text(2)}],
        [{"id": "job-0", "text": text(3)}, {"id": "job-1", "text": text(3)}, {"id": "job-2", "text": text(3)}],
    ],
    ids=["missing", "repeated", "cut", "extra"],
)
def test_wrong_output_does_not_count(lines: list[dict[str, str]], tmp_path: Path) -> None:
    """A results file with a line missing, an id repeated, a text cut or a job that was not asked is refused."""
    with pytest.raises(ValueError, match=r"results\.jsonl"):
        Case("any", NATIVE, jobs=2, stream=True, words=3).verify(written(lines, tmp_path))


def test_a_vector_of_another_text_does_not_count(tmp_path: Path) -> None:
    """Vectors in the wrong order are refused."""
    case = Case("any", EMBEDDINGS, jobs=2)
    case.verify(written([{"id": f"job-{number}", "embedding": vector(number)} for number in range(2)], tmp_path))
    with pytest.raises(ValueError, match=r"results\.jsonl"):
        case.verify(
            written([{"id": f"job-{number}", "embedding": vector(1 - number)} for number in range(2)], tmp_path)
        )


def written(lines: list[dict[str, Any]], directory: Path) -> Path:
    results = directory / "results.jsonl"
    results.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return results


@pytest.mark.parametrize(
    ("step", "client", "server", "trouble"),
    [
        (None, 0.5, 0.5, ""),
        (None, 0.5, 0.9, "SERVER TOO SLOW"),
        (None, 0.95, 0.9, ""),
        (0.01, 0.5, 0.5, ""),
        (0.01, 0.95, 0.5, "CLIENT FULL"),
    ],
)
def test_a_figure_counts_only_if_the_server_was_quick_enough(
    step: float | None, client: float, server: float, trouble: str
) -> None:
    """A busy server counts for nothing, unless the client was as busy; a busy client gets no record on its own."""
    case = Case("any", NATIVE, jobs=2, stream=True, step=step)
    side = Side.of(BATCHER, case)
    side.start, side.full = [Cost(0.0, 0.0, 0.0)], [Cost(cpu=client, wall=1.0, server=server)]
    assert side.trouble == trouble


def test_the_table_says_whether_a_target_is_met() -> None:
    """A bound from above and one from below, with the median of the turns held against them."""
    over = Row("a job", "µs", {"batcher": 3.0}, [1.0, 1.5, 2.0], "of plain", Target(1.2))
    under = Row("slots", "s", {"batcher": 51.0}, [0.98], "of ideal", Target(0.99, least=True))
    met = Row("start", "ms", {"batcher": 51.0}, [0.3], "s", Target(0.35))
    lines = table([over, under, met], ["batcher"]).splitlines()[1:]
    for line, verdict in zip(lines, ["≤ 1.2 OVER", "≥ 0.99 UNDER", "≤ 0.35 met"], strict=True):
        assert line.endswith(verdict)
    assert over.as_json()["value"] == 1.5
