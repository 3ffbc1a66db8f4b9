"""Tables of a run and of `batcher export`, as users see them: files, words, exit codes, however the run ended."""

from __future__ import annotations

import csv
import signal
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
import pytest
from pyarrow import parquet
from support.commandline import ended, running, until

from batcher.simulator import Simulator, simulator_thread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.commandline import Desk, Ran

pytestmark = pytest.mark.slow

ROWS = [{"id": number, "review": f"review {number}", "stars": number % 5} for number in range(20)]
PROMPT = ("--prompt", "Is this good? {{ review }}")


@pytest.fixture
def sim() -> Iterator[Simulator]:
    with simulator_thread() as server:
        yield server


def run(desk: Desk, sim: Simulator, output: str, *args: str) -> Ran:
    return desk.call("run", "rows.jsonl", "-o", output, "--base-url", sim.url, "-m", "simulator", *PROMPT, *args)


def cells(desk: Desk, name: str) -> list[dict[str, Any]]:
    with (desk.path / name).open(newline="") as file:
        return [*csv.DictReader(file)]


def test_a_run_leaves_a_table_and_the_results_beside_it(desk: Desk, sim: Simulator) -> None:
    """The second run asks nothing, and makes the table again where it is gone."""
    desk.write("rows.jsonl", *ROWS, {"id": 20})
    ran = run(desk, sim, "out.parquet")
    assert ran.code == 3
    assert "out.parquet, made of out.parquet.results.jsonl" in ran.err
    table = parquet.read_table(desk.path / "out.parquet")
    assert table.column("id").to_pylist() == [*range(21)]
    assert table.column("stars").to_pylist()[:5] == [0, 1, 2, 3, 4]
    assert table.column("error").to_pylist()[20].startswith("template_column: ")
    assert sorted(path.name for path in desk.path.iterdir()) == [
        "out.parquet",
        "out.parquet.errors.jsonl",
        "out.parquet.results.jsonl",
        "out.parquet.state.json",
        "rows.jsonl",
    ]
    (desk.path / "out.parquet").unlink()
    asked = sim.tally.paths["/api/generate"]
    assert run(desk, sim, "out.parquet").code == 3
    assert sim.tally.paths["/api/generate"] == asked
    assert parquet.read_table(desk.path / "out.parquet").equals(table)


def test_a_changed_input_changes_the_table(desk: Desk, sim: Simulator) -> None:
    """Rows that are inserted or gone move the others, and none gets another's answer."""
    desk.write("rows.jsonl", *ROWS)
    assert run(desk, sim, "out.csv").code == 0
    before = {row["id"]: row["text"] for row in cells(desk, "out.csv")}
    desk.write("rows.jsonl", {"id": 77, "review": "new", "stars": 1}, *ROWS[5:], ROWS[2])
    assert run(desk, sim, "out.csv", "--keep", "stars,id").code == 0
    found = cells(desk, "out.csv")
    assert [row["id"] for row in found] == ["77", *(str(row["id"]) for row in ROWS[5:]), "2"]
    assert [row["text"] for row in found[1:]] == [before[row["id"]] for row in found[1:]]
    assert [*found[0]][:3] == ["stars", "id", "text"]


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_stopped_leaves_a_table_of_what_is_there(desk: Desk, stop: signal.Signals) -> None:
    """A killed one leaves the old table, and `export` makes one of what it has, also while it runs."""
    with simulator_thread(prompt_delay=0.05) as slow:
        desk.write("rows.jsonl", *ROWS * 1, *({"id": 100 + n, "review": "r", "stars": 0} for n in range(200)))
        args = ("run", "rows.jsonl", "-o", "out.csv", "--base-url", slow.url, "-m", "simulator", "-c", "2", *PROMPT)
        (desk.path / "other.csv").write_text("old")
        with running(desk.start(*args)) as process:
            until(lambda: len((desk.path / "out.csv.results.jsonl").read_bytes().splitlines()) > 5
                  if (desk.path / "out.csv.results.jsonl").exists() else False)  # fmt: skip
            exported = desk.call("export", "out.csv.results.jsonl", "-o", "other.csv")
            process.send_signal(stop)
            ran = ended(process)
    assert ran.code == -stop
    assert exported.code == 0
    assert len(cells(desk, "other.csv")) == 220
    assert sum(bool(row["text"]) for row in cells(desk, "other.csv")) >= 5
    if stop is signal.SIGKILL:
        assert not (desk.path / "out.csv").exists()
        return
    done = [row for row in cells(desk, "out.csv") if row["text"]]
    assert len(done) == len(desk.lines("out.csv.results.jsonl"))
    assert len(cells(desk, "out.csv")) == 220


def test_a_run_without_a_server_leaves_a_table(desk: Desk, sim: Simulator) -> None:
    """It ends with 69, and what earlier runs have is in the table all the same."""
    desk.write("rows.jsonl", *ROWS)
    assert run(desk, sim, "out.csv", "-n", "3").code == 0
    (desk.path / "out.csv").unlink()
    ran = desk.call(
        *("run", "rows.jsonl", "-o", "out.csv", "--base-url", "http://127.0.0.1:9", "--dialect", "native"),
        *("-m", "simulator", *PROMPT, "--max-wait", "0s"),
    )
    assert ran.code == 69
    assert [bool(row["text"]) for row in cells(desk, "out.csv")] == [True] * 3 + [False] * 17


def test_columns_from_a_pipe_come_along(desk: Desk, sim: Simulator) -> None:
    """They stand on the lines, also on those of failures, since a pipe cannot be read again."""
    lines = b"".join(orjson.dumps(row) + b"\n" for row in [*ROWS, {"id": 20, "stars": 3}]).decode()
    args = ("--base-url", sim.url, "-m", "simulator", *PROMPT)
    ran = desk.run("run", "-", "-o", "out.parquet", *args, stdin=lines)
    assert ran.code == 3
    rows = parquet.read_table(desk.path / "out.parquet").to_pylist()
    assert [(row["id"], row["stars"]) for row in rows] == [*((n, n % 5) for n in range(20)), (20, 3)]
    assert rows[20]["error"].startswith("template_column")


def test_rows_go_into_a_database(desk: Desk, sim: Simulator) -> None:
    """Under a name of its own, beside what is there, which may be the input."""
    with closing(sqlite3.connect(desk.path / "a.db")) as database, database:
        database.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, review)")
        database.executemany("INSERT INTO notes VALUES (?, ?)", [(n, f"review {n}") for n in range(5)])
    sql = ("--sql", "SELECT * FROM notes")
    server = ("--base-url", sim.url, "-m", "simulator", *PROMPT)
    for _ in range(2):
        ran = desk.call("run", "sqlite:a.db", *sql, "-o", "sqlite:a.db", "--table", "said", *server)
        assert ran.code == 0, ran.err
    with closing(sqlite3.connect(desk.path / "a.db")) as database:
        found = database.execute("SELECT id, review, length(text) > 0 FROM said ORDER BY id").fetchall()
    assert found == [(n, f"review {n}", 1) for n in range(5)]


class Stranger(NamedTuple):
    """What stands under the name of the table before the run: text, a directory (None), nothing."""

    output: str
    there: str | None
    code: int
    words: str


STRANGERS = (
    Stranger("rows.jsonl", "", 2, "is the input"),
    Stranger("rows.csv", "x,y\n1,2\n", 73, "is there, and no results beside it"),
    Stranger("old.json", '{"id":"a","seq":0,"hash":"0123456789abcdef","text":"x"}\n', 73, "holds results of batcher"),
    Stranger("directory.csv", None, 73, "is no regular file"),
    Stranger(
        "sqlite:text.db", "a text that is long enough not to be taken for an empty one" * 3, 73, "no SQLite database"
    ),
)


@pytest.mark.parametrize("stranger", STRANGERS, ids=str)
def test_other_people_s_files_are_left_alone(desk: Desk, sim: Simulator, stranger: Stranger) -> None:
    """What no run of ours made is replaced only where `--overwrite` says so."""
    desk.write("rows.jsonl", *ROWS)
    path = desk.path / stranger.output.removeprefix("sqlite:")
    if stranger.there is None:
        path.mkdir()
        (desk.path / "directory.csv.results.jsonl").touch()
    elif stranger.there:
        path.write_text(stranger.there)
    ran = run(desk, sim, stranger.output)
    assert (ran.code, stranger.words in ran.err) == (stranger.code, True), ran.err
    if stranger.there:
        assert path.read_text() == stranger.there
    if stranger.code == 73:
        assert sim.tally.paths["/api/generate"] == 0


def test_overwrite_begins_the_table_anew(desk: Desk, sim: Simulator) -> None:
    desk.write("rows.jsonl", *ROWS)
    (desk.path / "rows.csv").write_text("x,y\n1,2\n")
    assert run(desk, sim, "rows.csv", "--overwrite").code == 0
    assert len(cells(desk, "rows.csv")) == 20


def test_an_atomic_run_has_a_table_when_it_is_complete(desk: Desk, sim: Simulator) -> None:
    desk.write("rows.jsonl", *ROWS)
    assert run(desk, sim, "out.csv", "--atomic", "--limit-new", "5").code == 4
    assert not (desk.path / "out.csv").exists()
    assert run(desk, sim, "out.csv", "--atomic").code == 0
    assert len(cells(desk, "out.csv")) == 20


def test_export_knows_the_run_by_its_state(desk: Desk, sim: Simulator) -> None:
    """Input, template, selection; each can be said, and where the input is gone the table is of results alone."""
    desk.write("rows.jsonl", *({key: value for key, value in row.items() if key != "id"} for row in ROWS))
    assert run(desk, sim, "results.jsonl", "--sample", "7").code == 0
    done = desk.call("export", "results.jsonl", "-o", "out.csv")
    assert (done.code, done.err) == (0, "batcher: out.csv: 7 rows\n")
    assert all(row["text"] and row["review"] for row in cells(desk, "out.csv"))
    (desk.path / "rows.jsonl").rename(desk.path / "moved.jsonl")
    alone = desk.call("export", "results.jsonl", "-o", "alone.csv")
    assert "say where with --input" in alone.err
    assert [*cells(desk, "alone.csv")[0]][:2] == ["id", "text"]
    again = desk.call("export", "results.jsonl", "-o", "again.csv", "--input", "moved.jsonl", "-q")
    assert (again.code, again.err) == (0, "")
    assert cells(desk, "again.csv") == cells(desk, "out.csv")


def test_export_tells_that_the_input_is_another(desk: Desk, sim: Simulator) -> None:
    """Answers are found by ids: what is asked under one may have changed."""
    desk.write("rows.jsonl", *ROWS)
    assert run(desk, sim, "results.jsonl").code == 0
    assert "has changed" not in desk.call("export", "results.jsonl", "-o", "out.csv").err
    desk.write("rows.jsonl", *({**row, "review": "another"} for row in ROWS))
    done = desk.call("export", "results.jsonl", "-o", "out.csv")
    assert (done.code, "rows.jsonl has changed since the run" in done.err) == (0, True)


def test_export_names_columns_that_no_row_has(desk: Desk, sim: Simulator) -> None:
    desk.write("rows.jsonl", *ROWS)
    assert run(desk, sim, "results.jsonl").code == 0
    done = desk.call("export", "results.jsonl", "-o", "out.csv", "--keep", "reviw,id")
    assert (done.code, "rows, none of which has a column 'reviw'\n" in done.err) == (0, True)


def test_export_refuses_what_it_cannot_make(desk: Desk, sim: Simulator) -> None:
    desk.write("rows.jsonl", *ROWS)
    assert run(desk, sim, "results.jsonl").code == 0
    for args, code, words in (
        (("-o", "out.what"), 2, "say with --format"),
        (("-o", "out.jsonl"), 2, "--format (jsonl, messages, openai-batch)"),
        (("-o", "-", "--format", "csv"), 2, "into a file"),
        (("-o", "/dev/null", "--format", "csv"), 73, "no regular file"),
        (("-o", "results.jsonl", "--format", "jsonl"), 2, "is the results"),
        (("-o", "results.state.json"), 2, "state file"),
        (("-o", "rows.jsonl", "--format", "jsonl"), 2, "is the input"),
        (("-o", "sqlite:a.db", "--format", "csv"), 2, "rows of a database go to"),
        (("-o", "a.db", "--format", "sqlite"), 2, "rows of a database go to"),
        (("-o", "nowhere/out.csv"), 74, "No such file"),
        (("-o", "out.csv", "--input", "gone.jsonl"), 65, "gone.jsonl"),
    ):
        ran = desk.call("export", "results.jsonl", *args)
        assert (ran.code, words in ran.err) == (code, True), (args, ran.err)
    assert desk.call("export", "gone.jsonl", "-o", "out.csv").code == 73
    assert desk.call("export", "rows.jsonl", "-o", "out.csv").code == 0  # nothing in it is a result


def test_prices_make_a_column(desk: Desk, sim: Simulator) -> None:
    """In the table of a run and in one that is made later, each what the sums say; a file of prices is none to make."""
    desk.write("rows.jsonl", *ROWS[:3])
    priced = ("--price-in", "1", "--price-out", "2")
    ran = run(desk, sim, "out.csv", *priced, "--summary-json", "sums.json")
    assert ran.code == 0, ran.err
    cost = orjson.loads((desk.path / "sums.json").read_bytes())["cost"]
    assert cost > 0
    assert desk.call("export", "out.csv.results.jsonl", "-o", "later.csv", *priced, "-q").code == 0
    for name in ("out.csv", "later.csv"):
        assert sum(float(row["cost"]) for row in cells(desk, name)) == pytest.approx(cost)
    assert desk.call("export", "out.csv.results.jsonl", "-o", "plain.csv", "-q").code == 0
    assert "cost" not in cells(desk, "plain.csv")[0]
    (desk.path / "prices.csv").write_text("[simulator]\nin = 1\nout = 2\n")
    before = (desk.path / "prices.csv").read_bytes()
    made = desk.call("export", "out.csv.results.jsonl", "-o", "prices.csv", "--price-file", "prices.csv")
    assert (made.code, "the file of prices" in made.err) == (2, True)
    assert (desk.path / "prices.csv").read_bytes() == before
