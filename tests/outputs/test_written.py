"""What a run has written itself is not read back to make its array, unless it may stand elsewhere by now."""

from __future__ import annotations

import json
import struct
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Final
from zlib import crc32

import numpy as np
import pytest

from batcher.inputs.identity import derived_id
from batcher.inputs.selection import Selection
from batcher.inputs.source import Source
from batcher.outputs.arrays import write_array
from batcher.outputs.store import Store
from batcher.outputs.taken import Taken
from batcher.outputs.written import Written

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COUNT: Final = 20
ROWS: Final = [struct.pack("<2f", n, -1.0) for n in range(COUNT)]


@pytest.fixture
def names(tmp_path: Path) -> list[str]:
    """Texts, their results, and a store, in which the vector of each begins with its number."""
    names = [f"t{n}" for n in range(COUNT)]
    (tmp_path / "texts.jsonl").write_text("".join(f'{{"id":"{name}","input":"text"}}\n' for name in names))
    with Store.open(tmp_path / "store") as store:
        rows = store.append("m", ROWS)
    lines = (
        f'{{"id":"{name}","seq":{n},"hash":"{n:016x}","vector":{{"row":{row.number},"crc32":{row.crc32}}}}}\n'
        for n, (name, row) in enumerate(zip(names, rows, strict=True))
    )
    (tmp_path / "results.jsonl").write_text("".join(lines))
    return names


@contextmanager
def reading(folder: Path, selection: Selection | None = None) -> Iterator[Taken]:
    with closing(Source(str(folder / "texts.jsonl"))) as source:
        yield Taken(source=source, selection=selection)


def firsts(folder: Path, taken: Taken, written: Written | None) -> list[float]:
    """With what each row of the array begins."""
    with Store.open_to_read(folder / "store") as store, (folder / "results.jsonl").open("rb") as results:
        write_array(folder / "v.npy", store, results, taken, written=written)
    array: list[float] = np.load(folder / "v.npy")[:, 0].tolist()
    return array


def backwards(*known: int) -> Written:
    """What tells of the last row's vector that it is the first's, and so on: who asks it is found out."""
    written = Written()
    for seq in known:
        row = COUNT - 1 - seq
        written.note(seq, (row, crc32(ROWS[row])))
    return written


def test_what_was_written_is_not_looked_for(tmp_path: Path, names: list[str]) -> None:
    with reading(tmp_path) as taken:
        assert firsts(tmp_path, taken, None) == [*range(COUNT)]
        assert firsts(tmp_path, taken, backwards(*range(COUNT))) == [*reversed(range(COUNT))]
    assert json.loads((tmp_path / "v.npy.ids.json").read_text()) == names


@pytest.mark.usefixtures("names")
@pytest.mark.parametrize("missing", [0, 15, 16, COUNT - 1])
def test_a_row_that_is_not_known_has_those_beside_it_looked_for(tmp_path: Path, missing: int) -> None:
    """Sixteen rows are read first, and then the others."""
    with reading(tmp_path) as taken:
        found = firsts(tmp_path, taken, backwards(*(n for n in range(COUNT) if n != missing)))
    looked_for = range(16) if missing < 16 else range(16, COUNT)
    assert found == [n if n in looked_for else COUNT - 1 - n for n in range(COUNT)]


def test_another_input_is_looked_through(tmp_path: Path, names: list[str]) -> None:
    """A text in front gives all the others another number."""
    texts = tmp_path / "texts.jsonl"
    with reading(tmp_path) as taken:
        with texts.open("r+b") as file:
            data = file.read()
            file.seek(0)
            file.write(b'{"id":"new","input":"text"}\n' + data)
        found = firsts(tmp_path, taken, backwards(*range(COUNT)))
    assert np.isnan(found[0])
    assert found[1:] == [*range(COUNT)]
    assert json.loads((tmp_path / "v.npy.ids.json").read_text()) == ["new", *names]


@pytest.mark.usefixtures("names")
def test_numbers_of_a_selection_are_looked_for(tmp_path: Path) -> None:
    with reading(tmp_path, Selection(seed=1)) as taken:
        assert firsts(tmp_path, taken, backwards(*range(COUNT))) == [*range(COUNT)]


def test_ids_that_are_made_stand_on_lines_alone(tmp_path: Path, names: list[str]) -> None:
    """Equal texts have a number behind their ids, which is told there."""
    (tmp_path / "texts.jsonl").write_text("".join('{"input":"text"}\n' for _ in names))
    made = [derived_id(b'{"input":"text"}') + (f"#{n + 1}" if n else "") for n in range(COUNT)]
    results = tmp_path / "results.jsonl"
    lines = results.read_text().splitlines()
    results.write_text("".join(f'{{"id":"{made[n]}"{line[line.index(",") :]}\n' for n, line in enumerate(lines)))
    with reading(tmp_path) as taken:
        assert firsts(tmp_path, taken, backwards(*range(COUNT))) == [*range(COUNT)]
    assert json.loads((tmp_path / "v.npy.ids.json").read_text()) == made


def test_places_are_known_up_to_the_last() -> None:
    written = Written()
    assert written.of([]) is None
    assert written.of([0]) is None
    written.note(5, (0, 7))
    written.note(1000, (1, 0xFFFFFFFF))
    assert written.of([5]) == [(0, 7)]
    assert written.of([5, 1000]) == [(0, 7), (1, 0xFFFFFFFF)]
    assert written.of([5, 6]) is None
    assert written.of([1000, 5000]) is None
