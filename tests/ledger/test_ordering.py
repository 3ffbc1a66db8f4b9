"""A results file in the order of its input: no line lost on the way, whatever the lines say and whenever it dies."""

from __future__ import annotations

import errno
import io
import os
import stat
import tracemalloc
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, strategies as st
from support.fulldisk import complain_of_closing, refuse_to_sync
from support.result_lines import entry, ids
from support.stepkill import killed

from batcher.failures import Exit, LockedError, OutputIOError
from batcher.ledger import disk
from batcher.ledger.ledger import Ledger
from batcher.ledger.ordering import InputOrder, places as each_place, put_in_order

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results.jsonl"


def places(*names: str) -> InputOrder:
    """The input: one id a line, "" for a line that is no job."""
    made = InputOrder()
    for seq, name in enumerate(names):
        made.note(seq, name)
    return made


def arranged(made: InputOrder, lines: list[bytes]) -> list[bytes]:
    data = b"".join(lines)
    return [data[start : data.index(b"\n", start) + 1] for start in made.arrange(each_place(io.BytesIO(data)))]


def order(made: InputOrder, *results: tuple[str, int]) -> str:
    """The ids of results, given as (id, seq) in the order of the file, as they should stand."""
    lines = [entry(ident, seq)[2] for ident, seq in results]
    by_line = {line: ident for line, (ident, _) in zip(lines, results, strict=True)}
    return "".join(by_line[line] for line in arranged(made, lines))


@pytest.mark.parametrize(
    ("given_places", "results", "expected"),
    [
        (places("a", "b", "c"), [("c", 2), ("a", 0), ("b", 1)], "abc"),
        (places("a", "b", "c"), [("c", 2), ("a", 0)], "ac"),
        (places("c", "b", "a"), [("a", 0), ("b", 1), ("c", 2)], "cba"),
        (places("n", "a", "b"), [("a", 0), ("b", 1), ("n", 0)], "nab"),
        (places("b", "a"), [("x", 0), ("a", 1), ("b", 2), ("y", 1)], "baxy"),
        (places("", "a", ""), [("x", 0), ("a", 7), ("y", 2)], "axy"),
        (places(), [("b", 1), ("a", 0)], "ba"),
        (places("a"), [], ""),
    ],
    ids=["finished as it came", "one failed", "reordered", "line put in", "lines gone", "no job", "no input", "empty"],
)
def test_where_lines_stand(given_places: InputOrder, results: list[tuple[str, int]], expected: str) -> None:
    """Jobs stand as in the input of now, whatever line they once had; what is not in it comes last."""
    assert order(given_places, *results) == expected


def test_lines_that_were_not_noted_stand_at_their_seq() -> None:
    """A job that was passed over unread keeps the place that its line names."""
    made = InputOrder()
    made.note(3, "d")
    assert order(made, ("d", 3), ("c", 2), ("a", 0)) == "acd"


def test_lines_of_others() -> None:
    """A line without our beginning is found by its id, escapes and all."""
    tail = b'"hash":"0123456789abcdef","seq":9}\n'
    lines = [b'{"id":"b",' + tail, b'{"text":"x","id":"a\\"",' + tail, entry("c", 2)[2]]
    assert arranged(places('a"', "b", "c"), lines) == [lines[1], lines[0], lines[2]]


@given(st.data())
def test_any_order(data: st.DataObject) -> None:
    """Each line is there once; those of the input in its order, then the others in the order they had."""
    names = data.draw(st.lists(st.integers(0, 30).map(str), unique=True))
    known = data.draw(st.lists(st.sampled_from([*names, "x", "y", "z", 'q"', "ü"]), unique=True))
    results = [(name, data.draw(st.integers(0, 40))) for name in known]
    lines = [entry(*result)[2] for result in results]
    expected = sorted(known, key=lambda name: names.index(name) if name in names else len(names))
    expected_lines = [lines[known.index(name)] for name in expected]
    assert arranged(places(*names), lines) == expected_lines


def test_memory() -> None:
    """Arranging costs 8 bytes a job beside the 8 that the places cost, however long the lines are."""
    count = 10_000
    made = places(*map(str, range(count)))
    file = io.BytesIO(b"".join(entry(str(seq), seq, "x" * 50)[2] for seq in reversed(range(count))))
    tracemalloc.start()
    try:
        assert len(made.arrange(each_place(file))) == count
        assert tracemalloc.get_traced_memory()[1] < 9 * count + 10_000
    finally:
        tracemalloc.stop()


def test_rewritten_once(path: Path) -> None:
    """The file is rewritten with its mode and goes on being the ledger; a second time there is nothing to do."""
    path.touch(mode=0o640)
    with Ledger.open(path) as ledger:
        ledger.append([entry("c", 2), entry("a", 0), entry("b", 1, "x" * 100_000)])
        assert put_in_order(ledger, places("a", "b", "c", "d"))
        assert ids(path) == ["a", "b", "c"]
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        inode = path.stat().st_ino
        assert not put_in_order(ledger, places("a", "b", "c", "d"))
        assert path.stat().st_ino == inode
        ledger.append([entry("d", 3), entry("a", 0)])
    assert ids(path) == ["a", "b", "c", "d"]
    with Ledger.open(path) as ledger:
        assert (len(ledger), ledger.repaired) == (4, None)


def test_old_file_that_cannot_be_closed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file whose place was taken may fail to be closed: the new one is the ledger all the same."""
    with Ledger.open(path) as ledger:
        ledger.append([entry("b", 1), entry("a", 0)])
        with monkeypatch.context() as patch:
            closed = complain_of_closing(patch)
            assert put_in_order(ledger, places("a", "b", "c"))
        assert closed
        ledger.append([entry("c", 2)])
        with pytest.raises(LockedError):
            Ledger.open(path)
    assert ids(path) == ["a", "b", "c"]


def test_larger_than_a_block(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of many blocks comes out as whole as a small one."""
    monkeypatch.setattr(disk, "BLOCK", 1000)
    names = [f"q{number}" for number in range(100)]
    with Ledger.open(path) as ledger:
        ledger.append([entry(name, seq, "y" * seq) for seq, name in reversed([*enumerate(names)])])
        put_in_order(ledger, places(*names))
    assert ids(path) == names


def test_locked_all_the_time(path: Path) -> None:
    """The new file is locked as the old one was, and free when the ledger is closed."""
    with Ledger.open(path) as ledger:
        ledger.append([entry("b", 1), entry("a", 0)])
        put_in_order(ledger, places("a", "b"))
        with pytest.raises(LockedError):
            Ledger.open(path)
    Ledger.open(path).close()


def test_no_room_for_a_second_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the disk is full, the file stays as it was and can be written on, and the message says so."""

    def full(fd: int, data: memoryview) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with Ledger.open(path) as ledger:
        ledger.append([entry("b", 1), entry("a", 0)])
        with monkeypatch.context() as patch:
            patch.setattr(disk, "_write", full)
            with pytest.raises(OutputIOError, match="No space left on device; all its 2 results are safe") as caught:
                put_in_order(ledger, places("a", "b"))
        assert caught.value.exit == Exit.IO
        ledger.append([entry("c", 2)])
    assert ids(path) == ["b", "a", "c"]
    assert [file.name for file in path.parent.iterdir()] == [path.name]


ORDER = """
from batcher.ledger.ledger import Ledger
from batcher.ledger.ordering import InputOrder, places as each_place, put_in_order
places = InputOrder()
for seq, name in enumerate("abcd"):
    places.note(seq, name)
with Ledger.open(Path(sys.argv[2])) as ledger:
    put_in_order(ledger, places)
"""


@pytest.mark.slow
def test_killed_at_every_step(path: Path) -> None:
    """Killed between any two steps, the file is whole: in the old order or in the new one, never in between."""
    lines = [entry(name, seq)[2] for seq, name in ((3, "d"), (1, "b"), (2, "c"), (0, "a"))]
    path.write_bytes(b"".join(lines))
    new = b"".join(lines[n] for n in (3, 1, 2, 0))
    seen = set()
    for _ in killed(ORDER, path):
        content = path.read_bytes()
        assert content in (b"".join(lines), new)
        seen.add(content)
        path.write_bytes(b"".join(lines))
    assert path.read_bytes() == new
    assert len(seen) == 2
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_in_order_and_perhaps_not_to_stay(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the directory cannot be synced the file in order is there: nobody has moved the one that was."""
    ledger = Ledger.open(path)
    ledger.append([entry("b", 1), entry("a", 0)])
    with monkeypatch.context() as patch:
        patch.setattr(disk, "sync_directory", refuse_to_sync)
        with pytest.raises(OutputIOError, match=r"the new file is in its place, and .*: Input/output error"):
            put_in_order(ledger, places("a", "b"))
    with pytest.raises(OutputIOError, match="is in its place"):
        ledger.append([entry("c", 2)])
    ledger.close()
    assert ids(path) == ["a", "b"]
