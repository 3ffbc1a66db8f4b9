"""The results file: made, locked, appended to, synced; what is in it stays whole whatever a write does."""

from __future__ import annotations

import errno
import os
import resource
import stat
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.result_lines import entry, ids

from batcher.failures import Exit, LockedError, OutputError, OutputIOError
from batcher.ledger import disk
from batcher.ledger.ledger import Ledger
from batcher.ledger.names import errors_path, quarantine_path, state_path, superseded_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results.jsonl"


def test_made_for_the_owner_alone(path: Path) -> None:
    """A new results file can be read by its owner and nobody else."""
    Ledger.open(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_append_and_reopen(path: Path) -> None:
    """What was appended is known at once, and again after reopening, with its hash."""
    with Ledger.open(path) as ledger:
        assert ledger.append([entry("a"), entry("b", digest="00000000000000ff")]) == 2
        assert (ledger.get("a"), ledger.get("b"), ledger.get("c")) == ("0123456789abcdef", "00000000000000ff", None)
    with Ledger.open(path) as ledger:
        assert (ledger.get("b"), len(ledger), ledger.repaired) == ("00000000000000ff", 2, None)
        assert "a" in ledger
        assert "c" not in ledger
    assert ids(path) == ["a", "b"]


@pytest.mark.parametrize("ident", ['quo"te', "back\\slash", "größe-日本-🙂", "line\nend", "", "nul\0", '","seq":1'])
def test_any_id(path: Path, ident: str) -> None:
    """An id may hold anything that JSON text can."""
    with Ledger.open(path) as ledger:
        ledger.append([entry("first"), entry(ident), entry("last")])
    with Ledger.open(path) as ledger:
        assert ident in ledger
        assert (len(ledger), ledger.repaired) == (3, None)


def test_second_line_refused(path: Path) -> None:
    """An id gets one line: a second is refused within a group, in a later group, and in a later run."""
    with Ledger.open(path) as ledger:
        assert ledger.append([entry("a"), entry("a", text="other")]) == 1
        assert ledger.append([entry("a"), entry("b")]) == 1
        assert ledger.refused == 2
    with Ledger.open(path) as ledger:
        assert ledger.append([entry("b")]) == 0
    assert ids(path) == ["a", "b"]


def test_overwrite(path: Path) -> None:
    """Overwriting forgets what was done, and empties the file, whatever it held, when there is something new."""
    path.write_bytes(old := b"no results at all\n")
    Ledger.open(path, overwrite=True).close()
    with Ledger.open(path, overwrite=True) as ledger:
        told: list[bytes] = []
        ledger.emptied = lambda: told.append(path.read_bytes())
        assert len(ledger) == 0
        ledger.append([])
        ledger.sync()
        assert path.read_bytes() == old
        ledger.append([entry("b")])
        ledger.empty()
        assert told == [b""]
    assert ids(path) == ["b"]


def test_link_is_followed(path: Path) -> None:
    """A results file that is a link stays one, also when repair replaces the file behind it."""
    real = path.with_name("real.jsonl")
    real.write_bytes(b"junk\n" + entry("a")[2])
    path.symlink_to(real)
    Ledger.open(path).close()
    assert path.is_symlink()
    assert ids(real) == ["a"]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("", "is a directory"),
        ("none/results.jsonl", "there is no directory"),
        ("file/x.jsonl", "there is no directory"),
    ],
)
def test_where_no_file_can_be(tmp_path: Path, name: str, says: str) -> None:
    """A path that cannot be a file is refused with code 73 and a hint."""
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=says) as caught:
        Ledger.open(tmp_path / name)
    assert caught.value.exit == Exit.CANNOT_CREATE


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_unwritable(path: Path) -> None:
    """A file that may not be written is refused with code 73."""
    path.touch(mode=0o400)
    with pytest.raises(OutputError, match="Permission denied") as caught:
        Ledger.open(path)
    assert caught.value.exit == Exit.CANNOT_CREATE


def test_device_refused() -> None:
    """A device or pipe cannot be locked, read back and cut: it is refused."""
    with pytest.raises(OutputError, match="not a regular file"):
        Ledger.open(Path("/dev/null"))


def test_locked_in_this_process(path: Path) -> None:
    """A file that is open already is refused, and free again when it is closed."""
    with Ledger.open(path), pytest.raises(LockedError, match="another run"):
        Ledger.open(path)
    Ledger.open(path).close()


@pytest.mark.slow
def test_locked_by_another_process(path: Path) -> None:
    """Another process has the file until it dies, however it dies; a child it leaves behind does not."""
    program = (
        "import subprocess, sys, pathlib; from batcher.ledger.ledger import Ledger\n"
        "ledger = Ledger.open(pathlib.Path(sys.argv[1]))\n"
        "child = subprocess.Popen(['sleep', '30'], stdout=subprocess.DEVNULL)\n"
        "print(child.pid, flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        try:
            with pytest.raises(LockedError) as caught:
                Ledger.open(path)
            assert caught.value.exit == Exit.LOCKED
            process.kill()
            process.wait()
            Ledger.open(path).close()
        finally:
            os.kill(child, 9)


def test_replaced_between_open_and_lock(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock on a file that no longer has the name is worthless: the one that has it is opened instead."""
    path.write_bytes(entry("old")[2])
    other = path.with_name("other")
    other.write_bytes(entry("new")[2])
    opening = disk.open_appending

    def open_late(path: Path) -> int:
        fd = opening(path)
        if other.exists():
            other.rename(path)
        return fd

    monkeypatch.setattr(disk, "open_appending", open_late)
    with Ledger.open(path) as ledger:
        assert "new" in ledger
        assert "old" not in ledger


def test_short_writes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that takes three bytes at a time gets them all, in order."""
    monkeypatch.setattr(disk, "_write", lambda fd, data: os.write(fd, data[:3]))
    with Ledger.open(path) as ledger:
        ledger.append([entry("a"), entry("b")])
    assert path.read_bytes() == entry("a")[2] + entry("b")[2]


def test_failing_at_every_byte(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever in a group the disk is full: whole lines stay, the rest is cut off, and can be appended later."""
    group = [entry("a"), entry("b", text="ß"), entry("c")]
    whole = [0, *(sum(len(line) for *_, line in group[: n + 1]) for n in range(3))]
    for room in range(whole[-1]):
        left = room

        def write(fd: int, data: memoryview) -> int:
            nonlocal left
            if not left:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            written = os.write(fd, data[:left])
            left -= written
            return written

        with monkeypatch.context() as patch, Ledger.open(path, overwrite=True) as ledger:
            patch.setattr(disk, "_write", write)
            fitting = sum(end <= room for end in whole[1:])
            with pytest.raises(OutputIOError, match=f"{fitting} results are safe in it: No space") as caught:
                ledger.append(group)
            assert caught.value.exit == Exit.IO
            assert path.stat().st_size == ledger.end == whole[fitting]
            assert [line[0] in ledger for line in group] == [n < fitting for n in range(3)]
            patch.undo()
            ledger.append([line for line in group if line[0] not in ledger])
            assert ledger.refused == 0
        assert ids(path) == ["a", "b", "c"]


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_file_size_limit(path: Path) -> None:
    """The system's own refusal in mid-line leaves whole lines behind."""
    with Ledger.open(path) as ledger:
        with largest_file(100_000), pytest.raises(OutputIOError, match="File too large"):
            ledger.append([entry(f"job-{n}", text="x" * 1000) for n in range(200)])
        assert 80 < len(ledger) < 100
        assert len(ids(path)) == len(ledger)


def test_rest_of_a_line_that_stays(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where half a line cannot be cut off again, nothing is glued to it, and the next run mends the file."""

    def fail(fd: int, data: memoryview) -> int:
        os.write(fd, data[:10])
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def refuse(*_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch, Ledger.open(path) as ledger:
        ledger.append([entry("a")])
        patch.setattr(disk, "_write", fail)
        patch.setattr(os, "ftruncate", refuse)
        with pytest.raises(OutputIOError, match="1 results are safe"):
            ledger.append([entry("b")])
        patch.undo()
        with pytest.raises(OutputIOError, match="half a line"):
            ledger.append([entry("c")])
    with Ledger.open(path) as ledger:
        assert ledger.repaired is not None
        assert len(ledger) == 1
    assert ids(path) == ["a"]


def test_failed_sync_is_final(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a failed sync nothing is tried again: the kernel may have dropped the pages and call them clean."""
    calls = []

    def fail(fd: int) -> None:
        calls.append(fd)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    ledger = Ledger.open(path)
    ledger.append([entry("a")])
    ledger.sync()
    safe = ledger.end
    assert ledger.synced == safe
    monkeypatch.setattr(disk, "sync", fail)
    ledger.append([entry("b")])
    for attempt in (ledger.sync, ledger.sync, lambda: ledger.append([entry("c")])):
        with pytest.raises(OutputIOError, match=f"safe only up to byte {safe}"):
            attempt()
    ledger.close()
    assert len(calls) == 1
    assert ledger.synced < ledger.end


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (lambda path: path.rename(path.with_name("elsewhere")), "moved or deleted"),
        (lambda path: path.unlink(), "moved or deleted"),
        (lambda path: os.truncate(path, 3), "cut this file to 3 bytes"),
    ],
    ids=["moved", "deleted", "cut"],
)
def test_harm_from_outside(path: Path, harm: Callable[[Path], object], says: str) -> None:
    """A file that others move, delete or cut while it is written is noticed at the next sync."""
    ledger = Ledger.open(path)
    ledger.append([entry("a")])
    harm(path)
    with pytest.raises(OutputIOError, match=says):
        ledger.sync()
    ledger.close()


def test_names_beside() -> None:
    """The other files of a run stand beside the results, named by their stem."""
    results = Path("out/results.jsonl")
    assert [str(name(results)) for name in (errors_path, quarantine_path, state_path, superseded_path)] == [
        "out/results.errors.jsonl",
        "out/results.quarantine",
        "out/results.state.json",
        "out/results.superseded.jsonl",
    ]
