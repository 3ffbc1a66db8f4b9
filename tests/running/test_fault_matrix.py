"""A run makes of every fault what it should, each fault in one way; all ways are in `make torture`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
from support.faultcells import CELLS, SAMPLE, Cell, Played, play, play_all, turns
from support.faultmatrix import ALL, ROWS
from support.faultoutcomes import OUTCOMES, key, outcomes
from torture.scene import shelf

from batcher.outcome import NO_HINTS

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.xdist_group("fault matrix")  # its cells are played once, and not by each worker

SHORT = [cell for cell in SAMPLE if not cell.lasts]
LONG = [cell for cell in SAMPLE if cell.lasts]


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=shelf(), prefix="matrix-") as made:
        yield Path(made)


@pytest.fixture(scope="module")
def short(place: Path) -> dict[Cell, Played]:
    return play_all(SHORT, place)


@pytest.fixture(scope="module")
def long(place: Path) -> dict[Cell, Played]:
    return play_all(LONG, place)


@pytest.mark.parametrize("cell", SHORT, ids=str)
def test_a_fault_has_its_outcome(short: dict[Cell, Played], cell: Cell) -> None:
    """Class, code, attempts, lines, exit code and requests for each job are those of the table."""
    _check(short[cell])


@pytest.mark.slow
@pytest.mark.parametrize("cell", LONG, ids=str)
def test_a_fault_that_takes_time_has_its_outcome(long: dict[Cell, Played], cell: Cell) -> None:
    """The same for silence, for servers that say wait, and for many megabytes."""
    _check(long[cell])


def _check(played: Played) -> None:
    if isinstance(played, AssertionError):
        raise played


def test_the_table_is_whole() -> None:
    """Each cell has one outcome, each key is that of a row, and each entry says something of each of its rows."""
    assert {str(cell) for cell in CELLS if len(list(outcomes(cell.row, cell.way))) != 1} == set()
    ways = {key(row): frozenset[Any]() for row in ROWS}
    for row in ROWS:
        ways[key(row)] |= row.ways
    assert {name for _, where, names in OUTCOMES for name in names if not where & ways.get(name, frozenset())} == set()
    assert {cell.way for cell in SAMPLE} == ALL


HALVES = "Reading.close", lambda reading: reading.completion
ONCE_MORE = "RetryPolicy.allows", lambda policy, counted: counted <= policy.retries + 1
DEAF = "read", lambda *_: NO_HINTS


@pytest.mark.parametrize(
    ("module", "broken", "directive"),
    [
        ("wire.dialects.reading", HALVES, "do=truncate after=2"),
        ("policy.retry", ONCE_MORE, "do=html502"),
        ("exchange.workers", DEAF, "do=throttled retry_after=7"),
    ],
)
def test_the_matrix_finds_what_is_broken(tmp_path: Path, module: str, broken: tuple[str, Any], directive: str) -> None:
    """Half an answer taken for one, one request too many, a server that is not heeded: each is a violation."""
    cell = next(cell for cell in CELLS if cell.row.directive == directive and cell.way.streamed)
    name, instead = broken
    with turns():
        assert play(cell, tmp_path) > 0
    with turns(), mock.patch(f"batcher.{module}.{name}", instead), pytest.raises(AssertionError):
        play(cell, tmp_path / "again")
