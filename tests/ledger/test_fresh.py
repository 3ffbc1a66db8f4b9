"""A results file that is made at once, and a run that begins there: one has the name, and neither hurts the other."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from support.fulldisk import refuse_to_sync

from batcher.failures import LockedError, OutputError, OutputIOError
from batcher.ledger import disk, fresh
from batcher.ledger.fresh import check_free, writing
from batcher.ledger.ledger import Ledger
from batcher.ledger.lock import open_locked
from batcher.ledger.names import PART, images_path, state_path

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "all.jsonl"


def test_nothing_is_left_of_what_came_to_nothing(out: Path) -> None:
    """Images neither: the next one is not to take them for those of other results."""
    with suppress(KeyboardInterrupt), writing(out):
        images_path(out).mkdir()
        (images_path(out) / "a.png").write_bytes(b"picture")
        state_path(out).write_text("{}")
        raise KeyboardInterrupt
    assert [*out.parent.iterdir()] == []


def test_what_a_killed_merge_left_goes_with_the_next(out: Path) -> None:
    """It is known by the file that was being written."""
    out.with_name(f".{out.name}.merge").touch()
    images_path(out).mkdir()
    (images_path(out) / "stale.png").write_bytes(b"picture")
    check_free(out)
    with writing(out):
        assert not images_path(out).exists()
    assert [*out.parent.iterdir()] == [out]


def test_images_behind_a_link_are_left_alone(out: Path, tmp_path: Path) -> None:
    """They are somebody else's."""
    (tmp_path / "kept").mkdir()
    images_path(out).symlink_to("kept")
    with suppress(KeyboardInterrupt), writing(out):
        raise KeyboardInterrupt
    assert (tmp_path / "kept").is_dir()
    assert images_path(out).is_symlink()


@pytest.mark.parametrize("ending", ["", PART])
def test_no_run_begins_where_a_merge_is_making_a_file(out: Path, ending: str) -> None:
    """It would have its state and errors under the same names. It leaves nothing, and the merge ends well."""
    with writing(out) as fd:
        os.write(fd, b"merged")
        with pytest.raises(LockedError, match="a merge is making this file"):
            Ledger.open(out.with_name(out.name + ending))
    assert out.read_bytes() == b"merged"
    assert [*out.parent.iterdir()] == [out]


@pytest.mark.parametrize("ending", ["", PART])
def test_no_merge_begins_where_a_run_has(out: Path, ending: str) -> None:
    """What stands beside its results is not touched."""
    with Ledger.open(out.with_name(out.name + ending)):
        state_path(out).write_text("{}")
        with pytest.raises(OutputError, match="a run has begun here meanwhile"), writing(out):
            pass
        assert state_path(out).read_text() == "{}"


def test_a_run_goes_on_from_what_a_merge_has_made(out: Path) -> None:
    """Though it was killed when its file had two names; and what stands beside later results is no longer a merge's."""
    with writing(out):
        pass
    os.link(out, left := out.with_name(f".{out.name}.merge"))
    Ledger.open(out).close()
    assert not left.exists()
    left.touch()
    Ledger.open(out).close()
    assert not left.exists()


def test_what_another_merge_makes_is_not_touched(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be first where one that was killed has left the name; and no descriptor is closed twice."""
    working = out.with_name(f".{out.name}.merge")
    working.touch()
    os.link(working, out.with_name("moved"))
    others: list[int] = []

    def open_second(path: Path) -> int:
        fd = open_locked(path)
        if others or os.fstat(fd).st_nlink > 1:
            return fd
        others.append(fd)
        path.write_text("theirs")
        raise LockedError("another merge")

    monkeypatch.setattr(fresh, "open_locked", open_second)
    with pytest.raises(LockedError, match="another merge"), writing(out):
        pass
    assert working.read_text() == "theirs"
    os.close(others[0])


@pytest.mark.parametrize("links", [True, False])
def test_made_and_perhaps_not_to_stay(out: Path, monkeypatch: pytest.MonkeyPatch, *, links: bool) -> None:
    """Where the directory cannot be synced the file is there, and another merge's that has begun is left alone."""
    working = out.with_name(f".{out.name}.merge")

    def refuse(path: Path) -> None:
        working.write_text("theirs")
        refuse_to_sync(path)

    def link(*_: object, **__: object) -> None:
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    if not links:
        monkeypatch.setattr(os, "link", link)
    monkeypatch.setattr(disk, "sync_directory", refuse)
    with pytest.raises(OutputIOError, match=r"all\.jsonl: is complete, but .*: Input/output error"), writing(out) as fd:
        os.write(fd, b"merged")
    assert out.read_bytes() == b"merged"
    assert working.read_text() == "theirs"
