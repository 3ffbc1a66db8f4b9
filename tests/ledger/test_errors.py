"""The errors file: made when needed, the last word on each job, gone when nothing is left."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
import pytest
from support.fulldisk import refuse_to_sync, write_with_room

from batcher.failures import Exit, LockedError, OutputError, OutputIOError
from batcher.ledger import disk
from batcher.ledger.errors import ErrorsFile

if TYPE_CHECKING:
    from collections.abc import Callable


def failure(ident: str | None, code: str = "bad", attempts: int = 1) -> bytes:
    record = {"id": ident, "error": {"class": "permanent", "code": code}} | ({"attempts": attempts} if attempts else {})
    return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)


def nothing_done(ident: str) -> bool:
    return False


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results.errors.jsonl"


def test_no_failure_no_file(path: Path) -> None:
    """A run without failures makes no file."""
    with ErrorsFile(path) as errors:
        assert errors.finish(nothing_done) == 0
    assert not path.exists()


def test_there_at_once(path: Path) -> None:
    """A failure is in the file as soon as it is told, for its owner alone."""
    with ErrorsFile(path) as errors:
        errors.append(failure("a"))
        assert path.read_bytes() == failure("a")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_last_word_counts(path: Path) -> None:
    """Of several lines for a job the last stays, in its place; jobs that have succeeded since go."""
    path.write_bytes(failure("a", "old") + failure("b") + failure("c"))
    with ErrorsFile(path) as errors:
        errors.append(failure("d"))
        errors.append(failure("a", "new"))
        assert errors.finish({"b", "d"}.__contains__) == 2
    assert path.read_bytes() == failure("c") + failure("a", "new")
    assert list(path.parent.iterdir()) == [path]


def test_gone_when_nothing_is_left(path: Path) -> None:
    """When every failure has become a success, also one of an earlier run, the file goes."""
    path.write_bytes(failure("a"))
    assert ErrorsFile(path).finish(lambda ident: ident == "a") == 0
    assert not path.exists()


def test_goes_on_after_finish(path: Path) -> None:
    """A file that was rewritten or removed can be appended to."""
    with ErrorsFile(path) as errors:
        errors.append(failure("a"))
        assert errors.finish(lambda _: True) == 0
        errors.append(failure("b"))
        assert errors.finish(nothing_done) == 1
        errors.append(failure("c"))
        assert errors.finish(nothing_done) == 2
    assert path.read_bytes() == failure("b") + failure("c")


def test_torn_end(path: Path) -> None:
    """Half a line of a crashed run is not glued to the next one, and goes at the end."""
    path.write_bytes(failure("a") + failure("b")[:-9])
    with ErrorsFile(path) as errors:
        errors.append(failure("c"))
        assert path.read_bytes().splitlines()[-1] == failure("c").rstrip()
        assert errors.finish(nothing_done) == 2
    assert path.read_bytes() == failure("a") + failure("c")


def test_input_lines_mended_since(path: Path) -> None:
    """A run that read the whole input drops the complaints about lines that it did not make again; others keep them."""
    path.write_bytes(failure("h:1", attempts=0) + failure("h:2", attempts=0) + failure(None, attempts=0) + failure("a"))
    with ErrorsFile(path) as errors:
        errors.append(failure("h:2", "again", attempts=0))
        assert errors.finish(nothing_done) == 4
    with ErrorsFile(path) as errors:
        errors.append(failure("h:2", "and again", attempts=0))
        assert errors.finish(nothing_done, complete=True) == 2
    assert path.read_bytes() == failure("a") + failure("h:2", "and again", attempts=0)


FOREIGN = {
    "notes": b"buy milk\n",
    "jobs": b'{"id":"a","prompt":"hello"}\n',
    "results": b'{"id":"a","seq":0,"hash":"0123456789abcdef","text":"hello"}\n',
    "another's errors": b'{"id":"batch_req_1","custom_id":"a","response":null,"error":{"code":"x"}}\n',
    "no line end": b"buy milk",
    "a number": b"7\n",
    "not UTF-8": b"caf\xe9\n",
    "notes in UTF-16": "buy milk\n{and bread}\n".encode("utf-16"),
    "notes in UTF-16 without a mark": "buy milk\n{and bread}\n".encode("utf-16-be"),
    "a picture": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06",
    "a database": b"SQLite format 3\0\x10\0\x01\x01\0" + b"\0" * 50,
}


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("before", [b"", failure("a")], ids=["alone", "behind ours"])
@pytest.mark.parametrize("content", FOREIGN.values(), ids=list(FOREIGN))
def test_a_file_with_anything_else_in_it_is_left_alone(
    path: Path, content: bytes, before: bytes, *, overwrite: bool
) -> None:
    """A line that is no failure of ours would be thrown away at the end: the file is refused and stays."""
    path.write_bytes(before + content)
    with pytest.raises(OutputError, match="is no failure of ours") as caught:
        ErrorsFile(path, overwrite=overwrite)
    assert caught.value.exit == Exit.CANNOT_CREATE
    assert path.read_bytes() == before + content


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + failure("a"),
        failure("a") + b"\xef\xbb\xbf" + failure("b"),
        failure("a")[:9] + b"\n" + failure("a"),
        failure("a") + b"\0" * 50 + b"\n",
        failure("a") + failure("c")[:20] + b"\0" * 50 + failure("d")[30:],
        failure("a") + b"\0" * 50 + failure("d")[30:],
        failure("a") + b"\n" + failure("a").replace(b"\n", b"\r\n"),
    ],
    ids=[
        "mark",
        "mark in the middle",
        "torn line",
        "zeros",
        "zeros within",
        "zeros before",
        "blank line and others' line ends",
    ],
)
def test_what_editors_and_crashes_leave_is_no_foreign_line(path: Path, content: bytes) -> None:
    """Such lines are read, or go at the end; no byte order mark stays behind."""
    path.write_bytes(content)
    with ErrorsFile(path) as errors:
        assert "a" in errors.standing()
        assert errors.finish(nothing_done) == content.count(b'"b"') + 1
    assert b"\xef\xbb\xbf" not in path.read_bytes()
    assert all(orjson.loads(line) for line in path.read_bytes().splitlines())


def test_mode_is_kept(path: Path) -> None:
    """A file that is rewritten stays as readable as its owner made it."""
    path.write_bytes(failure("a") + failure("b"))
    path.chmod(0o644)
    with ErrorsFile(path) as errors:
        errors.append(failure("c"))
        assert errors.finish(lambda ident: ident == "a") == 2
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_one_run_at_a_time(path: Path) -> None:
    """While one run has the file another is refused, also when it was rewritten; afterwards it is free."""
    path.write_bytes(failure("a"))
    with ErrorsFile(path) as errors:
        for _ in range(2):
            with pytest.raises(LockedError, match="--errors"):
                ErrorsFile(path)
            errors.append(failure("b"))
            errors.finish(nothing_done)
    ErrorsFile(path).close()


@pytest.mark.parametrize("done", [lambda _: True, nothing_done], ids=["done", "not done"])
def test_a_file_that_took_the_name_meanwhile(path: Path, done: Callable[[str], bool]) -> None:
    """What another program put in its place is neither rewritten nor removed."""
    with ErrorsFile(path) as errors:
        errors.append(failure("a"))
        path.unlink()
        path.write_bytes(b"buy milk\n")
        assert errors.finish(done) == 0
    assert path.read_bytes() == b"buy milk\n"


def test_overwrite(path: Path) -> None:
    """Starting anew forgets earlier failures, and drops them when there is something new or it is said."""
    for begin in (ErrorsFile.begin_anew, lambda errors: errors.append(failure("b"))):
        path.write_bytes(failure("a"))
        with ErrorsFile(path, overwrite=True) as errors:
            assert "a" not in errors.standing()
            assert errors.finish(lambda _: False) == 0
            assert path.read_bytes() == failure("a")
            begin(errors)
            errors.begin_anew()
            assert "a" not in errors.standing()
            assert errors.finish(lambda _: False, complete=True) == (begin is not ErrorsFile.begin_anew)
        assert b'"a"' not in (path.read_bytes() if path.exists() else b"")


def test_overwrite_by_the_first_failure(path: Path) -> None:
    """Nothing of before is there from the moment that something new is, not only at the end."""
    path.write_bytes(failure("a"))
    with ErrorsFile(path, overwrite=True) as errors:
        errors.append(failure("b"))
        assert path.read_bytes() == failure("b")


@pytest.mark.parametrize("name", [".", "none/errors.jsonl"])
def test_where_no_file_can_be(tmp_path: Path, name: str) -> None:
    """A file that could not be made when it is needed is refused before anything is spent."""
    with pytest.raises(OutputError, match="--errors") as caught:
        ErrorsFile(tmp_path / name)
    assert caught.value.exit == Exit.CANNOT_CREATE


def test_device() -> None:
    """A device takes failures and is not replaced by a file."""
    with ErrorsFile(Path("/dev/null")) as errors:
        errors.append(failure("a"))
        assert errors.finish(nothing_done) == 0
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


def test_disk_full(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that does not fit is cut off again, and goes in before the next one that does."""

    def write(fd: int, data: memoryview) -> int:
        if len(data) < 20:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return os.write(fd, data[:20])

    with ErrorsFile(path) as errors:
        errors.append(failure("a"))
        with monkeypatch.context() as patch:
            patch.setattr(disk, "_write", write)
            with pytest.raises(OutputIOError, match="No space left") as caught:
                errors.append(failure("b"))
            with pytest.raises(OutputIOError, match="cannot be written: No space left"):
                errors.finish(nothing_done)
        assert caught.value.exit == Exit.IO
        assert path.read_bytes() == failure("a")
        errors.append(failure("c"))
        with monkeypatch.context() as patch:
            patch.setattr(disk, "_write", write)
            with pytest.raises(OutputIOError, match="cannot be rewritten: No space left"):
                errors.finish(nothing_done)
    assert path.read_bytes() == failure("a") + failure("b") + failure("c")
    assert errors.lost == 0


def test_rewritten_and_perhaps_not_to_stay(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the directory cannot be synced the new file is there, and what fails later is in it."""
    with ErrorsFile(path) as errors:
        errors.append(failure("a", "old"))
        errors.append(failure("a"))
        with monkeypatch.context() as patch:
            patch.setattr(disk, "sync_directory", refuse_to_sync)
            with pytest.raises(OutputIOError, match="the new file is in its place, and"):
                errors.finish(nothing_done)
        errors.append(failure("b"))
    assert path.read_bytes() == failure("a") + failure("b")


def test_a_line_behind_half_a_line_is_not_cut(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a crash left is ended first, and that counts: where a later line finds no room, the one before stays."""
    path.write_bytes(failure("a") + failure("b")[:20])
    with ErrorsFile(path) as errors:
        errors.append(failure("c"))
        before = path.read_bytes()
        with monkeypatch.context() as patch:
            patch.setattr(disk, "_write", write_with_room(0))
            with pytest.raises(OutputIOError, match="No space left"):
                errors.append(failure("d"))
        assert path.read_bytes() == before
        assert errors.finish(nothing_done) == 3
    assert path.read_bytes() == failure("a") + failure("c") + failure("d")
