"""The benchmark measures what it says: both sides of every case really do the jobs, and wrong output never counts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from bench.case import Case, cases
from bench.measure import SIDES, compare, help_walls
from bench.server import text

RUN = Path(__file__).parent / "bench" / "run.py"


@pytest.mark.slow
@pytest.mark.parametrize("case", cases(scale=0.002), ids=lambda case: case.name)
def test_both_sides_do_every_job(case: Case) -> None:
    """One turn of a few jobs gives each side's cost, which it does only if every answer was verified."""
    comparison = compare(case, turns=1)
    assert all(len(comparison.sides[side].full) == 1 for side in SIDES)


@pytest.mark.slow
def test_the_start_is_measured() -> None:
    """`batcher --help` and the interpreter it is compared with both run."""
    ours, theirs = help_walls(turns=1)
    assert len(ours) == len(theirs) == 1


@pytest.mark.slow
def test_the_script_writes_its_figures(tmp_path: Path) -> None:
    """`make bench` runs this file as a script; its table and its JSON name the same cases."""
    command = [sys.executable, str(RUN), "--turns", "1", "--scale", "0.002", "--only", "SSE, coalesced"]
    done = subprocess.run(
        [*command, "--json", str(tmp_path / "figures.json")], capture_output=True, text=True, check=False
    )
    assert "SSE, coalesced, a record" in done.stdout, done.stderr
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert [case["name"] for case in figures["cases"]] == ["SSE, coalesced"]


@pytest.mark.parametrize(
    "lines",
    [
        [{"id": "job-0", "text": text(3)}],
        [{"id": "job-0", "text": text(3)}, {"id": "job-0", "text": text(3)}],
        [{"id": "job-0", "text": text(3)}, {"id": "job-1", "text": text(2)}],
    ],
    ids=["missing", "repeated", "cut"],
)
def test_wrong_output_does_not_count(lines: list[dict[str, str]], tmp_path: Path) -> None:
    """A results file with a line missing, an id repeated or a text cut is refused."""
    results = tmp_path / "results.jsonl"
    results.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    with pytest.raises(ValueError, match=r"results\.jsonl"):
        Case("any", "/api/chat", stream=True, jobs=2, words=3).verify(results)
