"""The store keeps what lines name, whatever breaks: rows torn, heads torn, disks full, files of others."""

from __future__ import annotations

import os
import struct
import sys
from pathlib import Path
from zlib import crc32

import pytest
from hypothesis import given, strategies as st

from batcher.failures import OutputError, OutputIOError
from batcher.ledger import disk
from batcher.ledger.ledger import Ledger
from batcher.outputs import checksums
from batcher.outputs.store import HEAD, Row, Store, renamed, row_named


def row(number: int) -> bytes:
    return struct.pack("<3f", number, number + 0.5, -1.0)


def filled(path: Path, count: int) -> list[Row]:
    with Store.open(path) as store:
        rows = store.append("m", [row(n) for n in range(count)])
        store.sync()
    return rows


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "notes.vectors"


def test_rows_are_numbered_by_arrival_and_read_back(path: Path) -> None:
    first = filled(path, 3)
    with Store.open(path) as store:
        assert (store.model, store.dim, store.rows, store.synced) == ("m", 3, 3, 3)
        more = store.append("m", [row(7), row(8)])
        assert [*first, *more] == [Row(n, crc32(row(k))) for n, k in enumerate([0, 1, 2, 7, 8])]
        assert [*store.read([4, 0, 1, 2, 9, 3])] == [row(8), row(0), row(1), row(2), b"", row(7)]
        assert store.synced == 3
    assert path.stat().st_size == HEAD + 5 * 12


@pytest.mark.parametrize("has_isal", [True, False])
def test_checksums_are_the_same_whoever_makes_them(monkeypatch: pytest.MonkeyPatch, *, has_isal: bool) -> None:
    """Rows that were written where isal is installed are held to their checksums where it is not."""
    if not has_isal:
        monkeypatch.setitem(sys.modules, "isal", None)
        monkeypatch.delitem(sys.modules, "isal.isal_zlib", raising=False)
    checksums.crc32.cache_clear()
    try:
        quick = checksums.crc32()
        assert (quick is crc32) is not has_isal
        assert [quick(bytes(range(size))) for size in range(256)] == [crc32(bytes(range(size))) for size in range(256)]
    finally:
        checksums.crc32.cache_clear()


@given(numbers=st.lists(st.integers(0, 12), max_size=30))
def test_any_rows_come_in_the_order_asked_for(numbers: list[int], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("store") / "v"
    filled(path, 10)
    with Store.open_to_read(path) as store:
        assert [*store.read(numbers)] == [row(n) if n < 10 else b"" for n in numbers]


@pytest.mark.parametrize("size", [0, 1, 30, 100, 2048, 2063, HEAD - 1, HEAD, HEAD + 1, HEAD + 12, HEAD + 13, HEAD + 35])
def test_a_store_cut_anywhere_keeps_its_whole_rows(path: Path, size: int) -> None:
    """What is cut off is told by the checksums of the lines, and new rows are good."""
    rows = filled(path, 3)
    os.truncate(path, size)
    whole = max(0, (size - HEAD) // 12)
    with Store.open(path) as store:
        assert store.rows == whole
        assert store.synced <= whole
        assert path.stat().st_size == (HEAD + 12 * whole if size >= HEAD else 0)
        assert [*store.faults(rows)] == [n >= whole for n in range(3)]
        store.append("m", [row(9)])
        assert [*store.read([whole])] == [row(9)]
    with Store.open(path) as store:
        assert store.rows == whole + 1


def test_a_changed_byte_is_found(path: Path) -> None:
    rows = filled(path, 5)
    with path.open("r+b") as file:
        file.seek(HEAD + 2 * 12 + 5)
        file.write(b"?")
    with Store.open_to_read(path) as store:
        assert [*store.faults(rows)] == [False, False, True, False, False]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"my own file, which is long " * 300, "is no store of vectors"),
        (b"{}", "is no store of vectors"),
        (b'{"file":"vectors of batcher","version":9,"dtype":"float32","dim":3,"model":"m"}'.ljust(HEAD), "no store"),
        *(
            (b'{"file":"vectors of batcher","version":1,%b}'.ljust(HEAD + 24) % about, "is no store of vectors")
            for about in (
                b'"dtype":"float32","dim":-1,"model":"m"',
                b'"dtype":"float32","dim":0,"model":"m"',
                b'"dtype":"float32","dim":true,"model":"m"',
                b'"dtype":"float32","dim":1e400,"model":"m"',
                b'"dtype":"float32","dim":"3","model":"m"',
                b'"dtype":["float32"],"dim":3,"model":"m"',
                b'"dtype":"float32","dim":3,"model":{}',
            )
        ),
    ],
)
def test_files_of_others_are_left_alone(path: Path, content: bytes, words: str) -> None:
    path.write_bytes(content)
    with pytest.raises(OutputError, match=words):
        Store.open(path)
    assert path.read_bytes() == content


def test_links_are_not_followed(path: Path) -> None:
    filled(path, 1)
    link = path.with_name("link.vectors")
    link.symlink_to(path)
    with pytest.raises(OutputError):
        Store.open(link)


def test_another_width_is_refused(path: Path) -> None:
    filled(path, 1)
    with pytest.raises(OutputError, match="float32, and float16 is asked for"):
        Store.open(path, "float16")


def test_another_model_or_length_does_not_fit(path: Path) -> None:
    with Store.open(path) as store:
        assert store.differs("any", 9) is None
        store.append("m", [row(0)])
        assert store.differs("m", 3) is None
        assert "holds vectors of m, and other made" in (store.differs("other", 3) or "")
        assert "3 numbers, and this one has 4" in (store.differs("m", 4) or "")


@pytest.mark.parametrize("before", [0, 2])
def test_a_full_disk_leaves_whole_rows(path: Path, before: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What did not get in may be written again when there is room, under the same numbers."""
    with Store.open(path) as store:
        if before:
            store.append("m", [row(n) for n in range(before)])
        left = [HEAD // 2 if not before else 17]

        def write(fd: int, view: memoryview) -> int:
            if not left[0]:
                raise OSError(28, "No space left on device")
            taken = os.write(fd, view[: left[0]])
            left[0] -= taken
            return taken

        with monkeypatch.context() as patched:
            patched.setattr(disk, "_write", write)
            with pytest.raises(OutputIOError, match="No space left") as caught:
                store.append("m", [row(5), row(6)])
        assert disk.is_full(caught.value.__cause__)
        assert store.rows == before
        assert path.stat().st_size == (HEAD + 12 * before if before else 0)
        assert [one.number for one in store.append("m", [row(5), row(6)])] == [before, before + 1]
    with Store.open(path) as store:
        assert [*store.read(range(before + 2))] == [*map(row, range(before)), row(5), row(6)]


def test_after_a_failed_sync_nothing_more_is_taken(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store.open(path) as store:
        store.append("m", [row(0)])
        with monkeypatch.context() as patched:
            patched.setattr(os, "fdatasync", lambda _: (_ for _ in ()).throw(OSError(5, "Input/output error")))
            with pytest.raises(OutputIOError, match="safe only up to row 0"):
                store.sync()
        for again in (store.sync, lambda: store.append("m", [row(1)])):
            with pytest.raises(OutputIOError, match="safe only up to row 0"):
                again()


def test_an_emptied_store_begins_anew(path: Path) -> None:
    filled(path, 3)
    with Store.open(path) as store:
        store.empty()
        store.append("other", [struct.pack("<2f", 1, 2)])
    with Store.open(path) as store:
        assert (store.model, store.dim, store.rows) == ("other", 2, 1)


def test_lines_name_rows() -> None:
    assert row_named(b'{"id":"a","vector":{"row":12,"crc32":345},"timing":{}}\n') == Row(12, 345)
    assert row_named(b'{"id":"a","embedding":[1.0]}\n') is None


OTHERS = b'"meta":{"vector":{"row":7,"crc32":8},"more":[{"vector":{"row":12,"crc32":345}}]}'


@pytest.mark.parametrize(
    ("line", "after"),
    [
        (b'{"id":"a","vector":{"row":12,"crc32":345},%b}\n', b'{"id":"a","vector":{"row":3,"crc32":345},%b}\n'),
        (b'{"id":"a",%b,"vector":{"row":12,"crc32":345}}\n', b'{"id":"a",%b,"vector":{"row":3,"crc32":345}}\n'),
        (b'{"id":"a",%b}\n', None),
        (b'{"id":"a",%b,"vector":null}\n', None),
        (b'{"id":"a","x\\"vector":[],%b}', None),
    ],
)
def test_what_others_say_names_no_row(line: bytes, after: bytes | None) -> None:
    """A `meta` of the user's, or a column, may have such a key; the line's own is the one that counts."""
    line = line.replace(b"%b", OTHERS)
    assert row_named(line) == (None if after is None else Row(12, 345))
    assert renamed(line, 3) == (line if after is None else after.replace(b"%b", OTHERS))
    assert renamed(line, 12) == line


def test_rows_are_on_the_disk_before_the_lines_that_name_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut then costs lines, and never leaves one that names nothing."""
    ledger = Ledger.open(tmp_path / "results.jsonl")
    with Store.open(tmp_path / "results.vectors") as store:
        ledger.sync_before = store.sync
        store.append("m", [row(0)])
        ledger.append([("a", "0" * 16, b'{"id":"a","seq":0,"hash":"' + b"0" * 16 + b'"}\n')])
        synced: list[str] = []
        sync = disk.sync

        def noted(fd: int) -> None:
            synced.append(Path(f"/proc/self/fd/{fd}").readlink().name)
            sync(fd)

        monkeypatch.setattr(disk, "sync", noted)
        ledger.close()
    assert synced == ["results.vectors", "results.jsonl"]
