"""Files that are made of results take the place of nothing that they are made of, and of no lines of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest
from support.commandline import Desk
from support.resultfiles import failure, result

from batcher.ledger.state import State, Status, write

if TYPE_CHECKING:
    from pathlib import Path

MADE = {"stats": ("stats",), "rows": ("stats", "--format", "csv"), "report": ("report",), "compare": ("compare",)}


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A run's files, each of them with something in it, as its state file tells of them."""
    desk = Desk(tmp_path)
    lines = {
        "r.jsonl": [result(0, "a"), result(1, "b~1"), result(2, "b~2")],
        "r.errors.jsonl": [failure(3, "c")],
        "other.errors.jsonl": [failure(3, "c")],
    }
    for name, records in lines.items():
        (tmp_path / name).write_bytes(b"".join(orjson.dumps(record) + b"\n" for record in records))
    write(tmp_path / "r.state.json", State(status=Status.COMPLETE, input={"path": str(tmp_path / "jobs.jsonl")}))
    for name in ("jobs.jsonl", "r.vectors", "r.quarantine", "r.superseded.jsonl"):
        (tmp_path / name).write_text("")
    (tmp_path / "prices.toml").write_text("[m]\nin = 1\nout = 2\n")
    return desk


def made(desk: Desk, what: str, output: str, *more: str) -> Any:
    verb, *options = MADE[what]
    return desk.call(verb, "r.jsonl", *options, "-o", output, *more)


@pytest.mark.parametrize("what", MADE)
@pytest.mark.parametrize(
    ("output", "code"),
    [
        *((name, 2) for name in ("r.jsonl", "r.errors.jsonl", "r.state.json", "r.vectors", "r.quarantine")),
        *((name, 2) for name in ("r.superseded.jsonl", "jobs.jsonl", "prices.toml", "-")),
        ("other.errors.jsonl", 73),
    ],
)
def test_what_is_needed_stays(desk: Desk, what: str, output: str, code: int) -> None:
    before = {path.name: path.read_bytes() for path in desk.path.iterdir()}
    assert made(desk, what, output, "--price-file", "prices.toml").code == code
    assert {path.name: path.read_bytes() for path in desk.path.iterdir()} == before


@pytest.mark.parametrize("what", MADE)
def test_a_link_is_followed(desk: Desk, what: str) -> None:
    (desk.path / "target").write_text("before")
    (desk.path / "link").symlink_to("target")
    assert made(desk, what, "link").code == 0
    assert (desk.path / "link").is_symlink()
    assert (desk.path / "target").read_text() != "before"


def test_the_name_says_the_format(desk: Desk) -> None:
    assert made(desk, "stats", "told.json").code == 0
    assert orjson.loads((desk.path / "told.json").read_bytes())["answers"] == 3
    assert made(desk, "stats", "told.csv").code == 0
    assert (desk.path / "told.csv").read_text().startswith("id,seq,ok,")
    assert made(desk, "rows", "told.parquet").code == 2
