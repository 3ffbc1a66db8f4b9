"""`batcher stats` and `batcher report` as their users have them: words, JSON, rows, pages."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from pyarrow import parquet
from support.commandline import names, prompts
from view.test_statistics import failure, line

from batcher.failures import Exit
from batcher.outputs.measurements import COLUMNS
from batcher.simulator import simulator_thread
from batcher.view.bottleneck import Bottleneck, Kind

if TYPE_CHECKING:
    from support.commandline import Desk

PRICES = ("--price-in", "1", "--price-cached", "0.5", "--price-out", "2")
FAILED = ("--errors", "failures.jsonl")


def told(desk: Desk, *args: str) -> dict[str, Any]:
    ran = desk.call("stats", *args, "--json")
    assert (ran.code, ran.err) == (0, "")
    found: dict[str, Any] = json.loads(ran.out)
    return found


def test_failures_count_as_long_as_they_stand(desk: Desk) -> None:
    """Not where the job has a result since, and of several lines of a job the last alone; damage is counted."""
    desk.write("answers.jsonl", line(0, 1), line(1, 1, seq=1), {"id": "no result"})
    with (desk.path / "answers.jsonl").open("ab") as file:
        file.write(b'{"id":"q9","seq":9,"hash":"0000')  # a run is writing it
    twice = [failure(2, "truncated", id="q7"), failure(3, "timeout_idle", id="q7")]
    desk.write("failures.jsonl", failure(1, id="q1"), *twice)
    found = told(desk, "answers.jsonl", "--errors", "failures.jsonl")
    assert (found["answers"], found["failed"], found["superseded"], found["unreadable"]) == (2, 1, 2, 1)
    assert found["failures"] == {"timeout_idle": 1}
    assert found["events"] is None
    desk.write("others.jsonl", failure(9, id="q8"))
    assert told(desk, "answers.jsonl", "--errors", "others.jsonl")["failed"] == 1


def test_words_for_a_terminal(desk: Desk) -> None:
    """The sums, the cost with what is unknown, and nothing that a terminal would obey."""
    odd = "m\x1b[31m\u202eodd\x07"
    desk.write("answers.jsonl", *(line(n, 1 + n, seq=n, model=odd) for n in range(9)), line(9, 1, usage={}))
    desk.write("failures.jsonl", failure(1, id="\x1b]0;title\x07f", attempts=2))
    ran = desk.call("stats", "answers.jsonl", *FAILED, *PRICES)
    assert ran.code == 0
    assert "answers   10 · 1 failed" in ran.out
    assert "cost      0.00" in ran.out
    assert "1 answer whose price is not known" in ran.out
    assert "modd" in ran.out
    assert not {"\x1b", "\u202e", "\x07"} & set(ran.out)
    for form in ("--json", *PRICES), ("--format", "text", "-o", "out.txt"):
        ran = desk.call("stats", "answers.jsonl", *FAILED, *form)
        assert not {"\x1b", "\u202e", "\x07"} & set(ran.out + ran.err)
    assert "answers   10 · 1 failed" in (desk.path / "out.txt").read_text()


def test_the_sentence_of_the_run_itself_is_told(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a finished run said held it up is kept, and `stats` and `report` say that, and not what lines would tell."""
    words = "the disk: results waited for it for 9 s of 10 s; another disk would help"
    monkeypatch.setattr("batcher.view.sums.bottleneck", lambda _: Bottleneck(Kind.DISK, words))
    desk.write("jobs.jsonl", *prompts(names(3)))
    with simulator_thread() as sim:
        run = ("run", "jobs.jsonl", "-o", "answers.jsonl", "--base-url", sim.url, "-m", "simulator")
        assert words in desk.call(*run).err
    found = told(desk, "answers.jsonl")
    assert (found["bottleneck"], found["bottleneck_is_told"]) == (words, True)
    assert words in desk.call("stats", "answers.jsonl").out
    assert desk.call("report", "answers.jsonl", "-o", "page.html").code == 0
    assert words in (desk.path / "page.html").read_text()
    (desk.path / "answers.state.json").unlink()
    assert told(desk, "answers.jsonl")["bottleneck"] is None


def test_parquet_goes_to_whoever_reads_it(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """To a pipe or a file behind > as it is; a terminal is told to name a file, and -o - that it is left out."""
    desk.write("answers.jsonl", line(0, 2), line(1, 3, seq=1))
    asked = ("stats", "answers.jsonl", "--format", "parquet")
    out = os.dup(1)
    with (desk.path / "taken").open("wb") as taken:
        os.dup2(taken.fileno(), 1)
        try:
            ran = desk.call(*asked)
        finally:
            os.dup2(out, 1)
            os.close(out)
    assert (ran.code, ran.err) == (0, "")
    assert parquet.read_table(desk.path / "taken").column("id").to_pylist() == ["q0", "q1"]
    ran = desk.call(*asked, "-o", "-")
    assert (ran.code, "stats and compare print without -o" in ran.err) == (2, True)
    monkeypatch.setattr("os.isatty", lambda fd: fd == 1)
    ran = desk.call(*asked)
    assert (ran.code, "name a file with -o" in ran.err) == (2, True)


def test_a_row_a_request(desk: Desk) -> None:
    """Parquet and CSV have the same rows, answers and then failures, with types, cost and no formula."""
    desk.write("answers.jsonl", line(0, 2, id="=1+1", flags=["length", "empty"]), line(1, 3, seq=1, timing=[], usage=7))
    desk.write("failures.jsonl", failure(2))
    for form in ("csv", "parquet"):
        assert desk.call("stats", "answers.jsonl", *FAILED, "--format", form, "-o", f"rows.{form}", *PRICES).code == 0
    rows = parquet.read_table(desk.path / "rows.parquet").to_pylist()
    assert [*rows[0]] == [*COLUMNS]
    assert [row["ok"] for row in rows] == [True, True, False]
    assert (rows[0]["id"], rows[0]["flags"], rows[0]["total_s"], rows[0]["characters"]) == (
        "=1+1",
        "length empty",
        2.0,
        1,
    )
    assert rows[0]["cost"] == pytest.approx((6 * 1 + 4 * 0.5 + 5 * 2) / 1e6)
    assert (rows[1]["cost"], rows[1]["total_s"]) == (None, None)
    assert (rows[2]["error_code"], rows[2]["failed_at"][:19]) == ("timeout_idle", "2026-11-30T12:00:02")
    cells = [*csv.DictReader(io.StringIO((desk.path / "rows.csv").read_text()))]
    assert cells[0]["id"] == "'=1+1"
    assert [cell["total_s"] for cell in cells] == ["2.0", "", ""]


def test_what_is_no_results_file_is_refused(desk: Desk) -> None:
    """A file of jobs, none at all, and results or errors in the place of the page."""
    desk.write("jobs.jsonl", *prompts(["a"]))
    desk.write("answers.jsonl", line(0, 1))
    desk.write("failures.jsonl", failure(1))
    assert desk.call("stats", "jobs.jsonl").code == Exit.CANNOT_CREATE
    assert desk.call("stats", "gone.jsonl").code == Exit.CANNOT_CREATE
    assert desk.call("stats", "answers.jsonl", "--json", "--format", "csv").code == Exit.USAGE
    for name in ("answers.jsonl", "failures.jsonl"):
        before = (desk.path / name).read_bytes()
        assert desk.call("report", "answers.jsonl", *FAILED, "-o", name).code == Exit.USAGE
        assert desk.call("stats", "answers.jsonl", *FAILED, "-o", name).code == Exit.USAGE
        assert (desk.path / name).read_bytes() == before
    desk.write("others.jsonl", line(0, 1))
    assert desk.call("report", "answers.jsonl", "-o", "others.jsonl").code == Exit.CANNOT_CREATE


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (
            gzip.compress(b'{"id":"a"}\n' * 9, mtime=0),
            "is compressed, and lines are read as they were written: unpack it first",
        ),
        (b"\x28\xb5\x2f\xfd\n" * 9, "is compressed, and lines"),
        (b"PAR1\n\n\nPAR1\n", "is a table, made of results; name the file of results"),
        (b"SQLite format 3\0\n", "is a table"),
        (b'{"id":"a","prompt":"x"}\n', "holds none of our results, but 1 other line; name the file of results"),
        (b'{"id":"a","prompt":"x"}', "holds none of our results, but 1 other line; name the file of results"),
    ],
    ids=["gzip", "zstd", "parquet", "sqlite", "jobs", "a job without an end"],
)
def test_what_people_have_for_results(desk: Desk, data: bytes, words: str) -> None:
    """It is told as what it is, in words that hold for a command that reads alone."""
    (desk.path / "a.jsonl").write_bytes(data)
    for command in (("stats",), ("report", "-o", "page.html"), ("compare", "a.jsonl")):
        ran = desk.call(*command, "a.jsonl")
        assert (ran.code, f"a.jsonl: {words}" in ran.err) == (Exit.CANNOT_CREATE, True), ran.err
        assert "--overwrite" not in ran.err


def test_a_run_and_its_report(desk: Desk) -> None:
    """What a run did is told as it was, and what it was told is on the page."""
    desk.write("jobs.jsonl", *prompts(names(12)), *prompts(["bad"], "status=400"))
    with simulator_thread() as sim:
        ran = desk.call(
            *("run", "jobs.jsonl", "-o", "results.jsonl", "-m", "simulator", "--base-url", sim.url, "-q"),
            *("--param", "temperature=0"),
        )
    assert ran.code == Exit.SOME_FAILED
    found = told(desk, "results.jsonl")
    lines = desk.lines()
    assert (found["answers"], found["failed"], found["events"] is None) == (12, 1, False)
    assert found["tokens"]["completion"] == sum(line["usage"]["completion_tokens"] for line in lines)
    assert found["latency_s"]["max"] == max(line["timing"]["total_s"] for line in lines)
    report = desk.call("report", "results.jsonl", "-o", "page.html")
    assert (report.code, "page.html: 12 answers, 1 failure, " in report.err) == (0, True)
    page = (desk.path / "page.html").read_text()
    assert "{&#34;temperature&#34;:0}" in page
    assert "There was no hold and no outage" in page
    assert "jobs.jsonl" in page


@pytest.mark.slow
def test_rows_into_a_pipe(desk: Desk) -> None:
    """Standard output has the rows and nothing else."""
    desk.write("answers.jsonl", line(0, 1), line(1, 1, seq=1))
    ran = desk.run("stats", "answers.jsonl", "--format", "csv")
    assert (ran.code, ran.err) == (0, "")
    assert [row["id"] for row in csv.DictReader(io.StringIO(ran.out))] == ["q0", "q1"]


@pytest.mark.parametrize(
    "command", [("stats", "r.jsonl"), ("report", "r.jsonl", "-o", "p.html"), ("compare", "r.jsonl")]
)
@pytest.mark.parametrize("number", ["nan", "inf", "-inf", "1e999", "-1"])
def test_what_is_no_price(desk: Desk, command: tuple[str, ...], number: str) -> None:
    """Nobody pays it, though Python takes it for a number."""
    desk.write("r.jsonl")
    ran = desk.call(*command, "--price-out", number)
    assert (ran.code, ran.out, "'--price-out'" in ran.err) == (2, "", True)
