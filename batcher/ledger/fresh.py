"""A results file that is made at once: it has its name when all of it is on the disk, and takes nobody's place."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from batcher.failures import LockedError, OutputError, OutputIOError
from batcher.ledger import disk, neighbours
from batcher.ledger.holder import is_held
from batcher.ledger.lock import complaint, open_locked
from batcher.ledger.names import (
    PART,
    errors_path,
    images_path,
    part_path,
    quarantine_path,
    state_path,
    superseded_path,
    vectors_path,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_NO_LINKS: Final = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS})
"""A file system without second names."""


def check_free(out: Path) -> None:
    """Raise `OutputError` (73) if OUT is there, or something beside it that no merge of ours has left."""
    if os.path.lexists(out):
        raise OutputError(f"{out}: is there already; name another file with -o, or move it away with those beside it")
    neighbours.check(out)
    if os.path.lexists(_working(out)):
        return  # what a merge that was killed has left goes with this one
    for name in (state_path, errors_path, quarantine_path, superseded_path, part_path, vectors_path, images_path):
        if os.path.lexists(name(out)):
            raise OutputError(f"{name(out)}: is there, of other results than those to be made; name another -o")


@contextmanager
def writing(out: Path) -> Iterator[int]:
    """Give a file that takes the name OUT when the block ends well; one at a time for a name.

    Runs look for its lock (`keep_from_merges`) when they have made OUT, and here OUT is looked for under the lock: of
    a run and a merge that begin together one at least sees the other.

    Raises `OutputError` (73) if it cannot be made, or if OUT is there by then; `LockedError` (75); `OutputIOError` (74)
    if it has its name, and that may not last; `OSError`.
    """
    working = _working(out)
    fd, is_free = _begun(working), False
    try:
        os.ftruncate(fd, 0)
        _check_no_run(out)
        is_free = True
        _drop_left(out)
        yield fd
        _put_in_place(working, out)
    except BaseException:
        with suppress(OSError):
            if is_free:
                _drop_left(out)
            if disk.is_at(fd, working):  # when it has become OUT, another merge may have made one
                working.unlink()
        raise
    finally:
        os.close(fd)


def _begun(working: Path) -> int:
    """Open and lock the file that is to become OUT. Raises as `open_locked` does, and `OSError`."""
    while True:
        fd = open_locked(working)
        try:
            if os.fstat(fd).st_nlink <= 1:
                return fd
            working.unlink()  # it became OUT, and only its other name was left behind
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


def keep_from_merges(results: Path, fd: int, *, is_new: bool) -> None:
    """Raise `LockedError` (75) if a merge is making these results, which have just been opened and locked.

    `is_new`: they were made by that, and go again. What a merge was writing that was killed counts for nothing now.
    """
    working = _working(results.with_name(results.name.removesuffix(PART)))
    if not os.path.lexists(working):
        return
    if not disk.is_at(fd, working) and is_held(working):  # its name may have been left to what became of it
        if is_new and not os.fstat(fd).st_size and disk.is_at(fd, results):
            results.unlink()
        raise LockedError(f"{results}: a merge is making this file; wait for it to end, or name another with -o")
    with suppress(OSError):
        working.unlink()


def _check_no_run(out: Path) -> None:
    """Raise `OutputError` (73) if a run has made OUT, or what it works on, since that was free."""
    for path in (out, part_path(out)):
        if os.path.lexists(path):
            raise OutputError(f"{path}: a run has begun here meanwhile; name another file with -o")


def _drop_left(out: Path) -> None:
    """Take away what a merge has left beside OUT that made none."""
    if os.path.lexists(out):
        return
    for name in (state_path, errors_path, vectors_path):
        name(out).unlink(missing_ok=True)
    images = images_path(out)
    if images.is_dir() and not images.is_symlink():
        import shutil  # nearly never, and a run looks into this module as well

        shutil.rmtree(images)


def _put_in_place(working: Path, out: Path) -> None:
    """Give a file its name, and never in the place of another."""
    try:
        os.link(working, out, follow_symlinks=False)
    except FileExistsError:
        raise OutputError(f"{out}: something else has put a file here meanwhile; name another with -o") from None
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if os.path.lexists(out):
            raise OutputError(f"{out}: something else has put a file here meanwhile; name another with -o") from None
        working.rename(out)
    else:
        working.unlink()
    try:
        disk.sync_directory(out.parent)
    except OSError as error:
        raise OutputIOError(complaint(out, f"is complete, but {disk.NOT_SYNCED}", error)) from error


def _working(out: Path) -> Path:
    return out.with_name(f".{out.name}.merge")
