"""A database from somebody else brings files that SQLite opens by itself: none of them leads anywhere."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from support.commandline import names, prompts
from support.result_lines import entry

from batcher.failures import InputError, OutputError
from batcher.inputs.formats.database import query
from batcher.outputs.forms import check_database
from batcher.simulator import simulator_thread

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.commandline import Desk

NOTES = b"my notes\n"


def hot_journal(database: Path) -> bytes:
    """Leave a database as a program leaves it that is killed in the midst of a transaction; its journal."""
    journal = database.with_name(f"{database.name}-journal")
    with closing(sqlite3.connect(database, isolation_level=None)) as writer:
        writer.execute("CREATE TABLE answers (id TEXT PRIMARY KEY NOT NULL, text)")
        writer.execute("INSERT INTO answers VALUES ('old', 'as it was')")
        writer.execute("PRAGMA cache_size = 1")  # so that the journal is on the disk before the end
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("UPDATE answers SET text = 'half'")
        writer.executemany("INSERT INTO answers VALUES (?, ?)", ((f"x{n}", "y" * 500) for n in range(3000)))
        torn, played = database.read_bytes(), journal.read_bytes()
        writer.execute("ROLLBACK")
    database.write_bytes(torn)
    journal.write_bytes(played)
    return played


def trap(database: Path, victim: Path) -> None:
    """Have the journal name a super-journal, as one of a transaction over several databases does."""
    name = os.fsencode(victim)
    page = (0x40000000 // 4096 + 1).to_bytes(4, "big")
    sums = len(name).to_bytes(4, "big") + sum(name).to_bytes(4, "big")
    played = hot_journal(database)
    database.with_name(f"{database.name}-journal").write_bytes(played + page + name + sums + played[:8])


def test_the_trap_is_one(tmp_path: Path) -> None:
    """SQLite itself deletes the file; were that not so, the tests below would show nothing."""
    (tmp_path / "notes.txt").write_bytes(NOTES)
    trap(tmp_path / "a.db", tmp_path / "notes.txt")
    with closing(sqlite3.connect(tmp_path / "a.db")) as database:
        assert database.execute("SELECT text FROM answers").fetchall() == [("as it was",)]
    assert not (tmp_path / "notes.txt").exists()


def test_a_journal_that_names_a_file_of_ours(desk: Desk) -> None:
    """Neither a run nor an export into a database that somebody gave us deletes what its journal names: 73."""
    (desk.path / "notes.txt").write_bytes(NOTES)
    desk.write("jobs.jsonl", *prompts(names(1)))
    trap(desk.path / "a.db", desk.path / "notes.txt")
    (desk.path / "results.jsonl").write_bytes(entry("a")[2])
    with simulator_thread() as sim:
        ran = desk.call("run", "jobs.jsonl", "-o", "sqlite:a.db", "-m", "simulator", "--base-url", sim.url)
        assert not sim.counts
    exported = desk.call("export", "results.jsonl", "-o", "sqlite:a.db")
    assert (ran.code, exported.code) == (73, 73)
    assert all("a.db-journal: names a file of elsewhere" in one.err for one in (ran, exported))
    assert (desk.path / "notes.txt").read_bytes() == NOTES
    with pytest.raises(InputError, match="names a file of elsewhere"):
        query(desk.path / "a.db", "SELECT 1 AS one")
    assert (desk.path / "notes.txt").read_bytes() == NOTES


STRANGE: dict[str, Callable[[Path], None]] = {
    "is a link": lambda path: path.symlink_to(path.parent / "notes.txt"),
    "is not a regular file but a FIFO": os.mkfifo,
    "Is a directory": lambda path: path.mkdir(),
}


@pytest.mark.parametrize("side", ["-journal", "-wal", "-shm"])
@pytest.mark.parametrize("kind", STRANGE)
def test_what_is_no_file_beside_a_database(tmp_path: Path, side: str, kind: str) -> None:
    """A FIFO would be waited for by SQLite itself, deaf to signals; also beside what a link leads to."""
    (tmp_path / "notes.txt").write_bytes(NOTES)
    database = tmp_path / "a.db"
    with closing(sqlite3.connect(database)) as made, made:
        made.execute("CREATE TABLE answers (id TEXT PRIMARY KEY NOT NULL)")
    STRANGE[kind](tmp_path / f"a.db{side}")
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "link.db").symlink_to(database)
    for path in (database, tmp_path / "there" / "link.db"):
        with pytest.raises(OutputError, match=kind):
            check_database(path)
        with pytest.raises(InputError, match=kind):
            query(path, "SELECT 1 AS one")


def test_what_a_killed_export_leaves_is_mended(desk: Desk) -> None:
    """Its journal names nothing: it is played back as ever, and the rows come in."""
    hot_journal(desk.path / "a.db")
    (desk.path / "results.jsonl").write_bytes(entry("a")[2])
    ran = desk.call("export", "results.jsonl", "-o", "sqlite:a.db")
    assert ran.code == 0, ran.err
    with closing(sqlite3.connect(desk.path / "a.db")) as database:
        assert sorted(database.execute("SELECT id FROM answers").fetchall()) == [("a",), ("old",)]
