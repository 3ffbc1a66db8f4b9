"""The recipes of the README on the real llama.cpp server, word for word but for where the server is."""

from __future__ import annotations

import csv
import re
import shlex
import shutil
import sqlite3
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

import pytest
from pyarrow import parquet
from support.commandline import PROJECT, Desk
from support.realserver import serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.real, pytest.mark.timeout(600)]


def recipes(page: str, section: str) -> list[list[str]]:
    """The commands of a section of a page, without the name of the program."""
    text = (PROJECT / page).read_text().split(f"\n## {section}\n", 1)[1].split("\n## ", 1)[0]
    return [shlex.split(line) for line in re.findall(r"^batcher ((?:run|export) .*)$", text, re.MULTILINE)]


VERDICT = {
    "type": "object",
    "properties": {"label": {"enum": ["good", "bad"]}, "score": {"type": "integer", "minimum": 1, "maximum": 5}},
    "required": ["label", "score"],
}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """One server for all recipes: to start it takes longer than they do."""
    with serving() as address:
        yield address


def here(recipe: list[str], url: str, tokens: int = 4) -> list[str]:
    """A recipe's command on that server, with a few tokens an answer."""
    words = [word for word in recipe if word not in ("--local", "-m", "all-minilm", "llama3.2")]
    few = [] if "--embed" in words else ["--param", f"max_tokens={tokens}"]
    return [*words, "--base-url", url, "--no-stream", *few]


def test_the_recipes_run_one_after_the_other(url: str, tmp_path: Path) -> None:
    """Classify, translate, judge what was classified, name the notes of a folder, embed a table night by night."""
    desk = Desk(tmp_path)
    shutil.copytree(PROJECT / "jobs", tmp_path / "jobs")
    (tmp_path / "docs").mkdir()
    for name in ("bees", "ants"):
        (tmp_path / "docs" / f"{name}.md").write_text(f"# {name}\n\nThey live together.\n")
    with sqlite3.connect(tmp_path / "notes.db") as database:
        database.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, body TEXT)")
        database.executemany("INSERT INTO notes (body) VALUES (?)", [("one",), ("two",), ("one",)])
    database.close()
    told = recipes("README.md", "Datasets")[:5]  # what follows leads to other pages
    classify, translate, judge, name_them, embed = (here(recipe, url) for recipe in told)
    run = partial(desk.run, patience=120)  # the model's speed is that of the machine
    assert run(*classify).code == 0
    labels = desk.lines("labels.jsonl")
    assert [len(labels), all(line["id"].startswith("h:") for line in labels)] == [4, True]
    assert run("verify", "jobs/reviews.csv", "labels.jsonl").code == 0
    assert run(*translate).code == 0
    translated = {line["id"]: line for line in desk.lines("translated.jsonl")}
    assert set(translated) == {"greet.1", "greet.2", "greet.3", "bye.1"}
    assert {translated["greet.1"].get("copy_of"), translated["greet.3"].get("copy_of")} & {"greet.1", "greet.3"}
    assert run(*judge).code == 0
    assert desk.ids("judged.jsonl") == desk.ids("labels.jsonl")
    assert run(*name_them).code == 0
    assert {line["id"].rpartition("/")[2] for line in desk.lines("titles.jsonl")} == {"ants.md", "bees.md"}
    nightly = [word if word != "500" else "2" for word in embed]
    assert [run(*nightly).code for _ in range(2)] == [4, 0]
    vectors = {line["id"]: line for line in desk.lines("vectors.jsonl")}
    assert set(vectors) == {"1", "2", "3"}
    assert vectors["1"]["embedding"] == pytest.approx(vectors["3"]["embedding"], abs=1e-3)


def test_answers_fit_and_leave_as_tables(url: str, tmp_path: Path) -> None:
    """A verdict on each review by a schema, a table of answers, and what `export` makes of them."""
    desk = Desk(tmp_path)
    shutil.copy(PROJECT / "jobs" / "reviews.csv", tmp_path)
    desk.write("verdict.json", VERDICT)
    reviews = [row["text"] for row in csv.DictReader((tmp_path / "reviews.csv").read_text().splitlines())]
    (judge,) = recipes("docs/jobs.md", "Answers that fit")
    ran = desk.call(*here(judge, url, tokens=24))  # as long as the tests' own limit, where cores are shared
    assert ran.code == 0, ran.err
    rows = parquet.read_table(tmp_path / "verdicts.parquet").to_pylist()
    assert [(row["text"], row["error"]) for row in rows] == [(text, None) for text in reviews]
    assert all(row["label"] in ("good", "bad") and 1 <= row["score"] <= 5 for row in rows)
    tell, *exports = recipes("docs/outputs.md", "At a glance")
    ran = desk.call(*here(tell, url), "--overwrite")
    assert ran.code == 0, ran.err
    (tmp_path / "verdicts.parquet.results.jsonl").rename(tmp_path / "answers.jsonl")
    (tmp_path / "verdicts.parquet.state.json").rename(tmp_path / "answers.state.json")
    for export in exports:
        ran = desk.call(*export)
        assert ran.code == 0, (export, ran.err)
    assert (tmp_path / "openai.jsonl").read_text().count('"custom_id"') == len(reviews)
    with closing(sqlite3.connect(tmp_path / "answers.db")) as database:
        assert database.execute("SELECT count(*) FROM answers").fetchone() == (len(reviews),)
