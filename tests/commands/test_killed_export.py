"""`batcher export`, killed at several moments: what was there before is there, whole, and the next one is made."""

from __future__ import annotations

import signal
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from support.commandline import running, until
from support.resultfiles import result

if TYPE_CHECKING:
    from pathlib import Path

    from support.commandline import Desk

pytestmark = pytest.mark.slow

ROWS = 12_000
FORMS = {"out.csv": ".out.csv.new", "out.parquet": ".out.parquet.new", "sqlite:out.db": "out.db-*"}
"""What is made, and what stands beside it meanwhile."""


def content(desk: Desk, output: str) -> Any:
    """All that is in a table: bytes, or the rows of a database."""
    if not output.startswith("sqlite:"):
        return (desk.path / output).read_bytes()
    with closing(sqlite3.connect(desk.path / output.removeprefix("sqlite:"))) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return database.execute("SELECT * FROM answers ORDER BY id").fetchall()


def beside(path: Path, pattern: str) -> int:
    """Bytes of what is being written; -1 if there is nothing yet."""
    try:
        return max((file.stat().st_size for file in path.glob(pattern)), default=-1)
    except FileNotFoundError:
        return -1


@pytest.mark.parametrize("output", FORMS)
def test_a_killed_export_leaves_the_old_table(desk: Desk, output: str) -> None:
    """From its first byte on; killed after its last, the new one is there, and whole as well."""
    desk.write("results.jsonl", *(result(n, str(n), f"first {n}") for n in range(10)))
    assert desk.call("export", "results.jsonl", "-o", output).code == 0
    old = content(desk, output)
    desk.write("results.jsonl", *(result(n, str(n), f"second {n} {n * 7919}") for n in range(ROWS)))
    ends, sizes = [], []
    for least in (0, 1, 200_000):
        with running(desk.start("export", "results.jsonl", "-o", output)) as process:
            until(lambda least=least: process.poll() is not None or beside(desk.path, FORMS[output]) >= least)  # type: ignore[misc]  # mypy sees no type of a default
            sizes.append(beside(desk.path, FORMS[output]))
            process.send_signal(signal.SIGKILL)
            ends.append(process.wait())
        found = content(desk, output)
        assert found == old if ends[-1] == -signal.SIGKILL else len(found) > len(old)
    assert ends[0] == -signal.SIGKILL, (ends, sizes)
    assert desk.call("export", "results.jsonl", "-o", output).code == 0
    assert len(content(desk, output)) > len(old)
    assert not [*desk.path.glob(FORMS[output])]
