"""The files beside the results: whether they are ours to open, whose they are, what earlier versions called them."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from batcher.failures import OutputError
from batcher.ledger.lock import is_locked
from batcher.ledger.names import (
    LINES,
    PART,
    errors_path,
    images_path,
    part_path,
    quarantine_path,
    state_path,
    stem,
    superseded_path,
    vectors_path,
)
from batcher.ledger.recovery import is_result
from batcher.opening import UnfitError, check_own, open_regular

if TYPE_CHECKING:
    from pathlib import Path

_FIRST_LINE = 1 << 20
"""Bytes in which the first line of a results file is looked for."""


def unfit(error: UnfitError) -> OutputError:
    """Make the error for something under the name of a file of ours that is none."""
    return OutputError(f"{error.filename}: {error.strerror}; batcher does not touch it: move it, or name another -o")


def check(results: Path) -> None:
    """See that whatever has the name of a file beside the results is one, and that no other results share it.

    Raises `OutputError` (73).
    """
    try:
        for name in (state_path, errors_path, quarantine_path, superseded_path, part_path, vectors_path):
            check_own(name(results))
        check_own(images_path(results), stat.S_IFDIR)
    except UnfitError as error:
        raise unfit(error) from error
    except OSError as error:  # a name that is too long, a directory that may not be looked into
        raise OutputError(f"{results}: {error.strerror}; name another -o") from error
    for twin in _twins(results):
        if holds_results(twin):
            raise OutputError(
                f"{results}: {twin} holds results too, and both would have {state_path(results).name} and other files "
                "beside them; name another -o"
            )


def take_up(results: Path) -> None:
    """Give the state and the errors that an earlier version left here the names they have by now.

    Earlier versions cut off any extension, so that `out.m1` and `out.m2` had one name for both: what may be another
    file's stays where it is.
    """
    former = results.with_name(results.name.removesuffix(PART)).stem
    if former == stem(results):
        return
    earlier = results.with_name(former)
    for name in (state_path, errors_path):
        old, new = name(earlier), name(results)
        if _is_file(old) and not os.path.lexists(new) and not _claimed(results, former):
            with suppress(FileNotFoundError):  # another run took it
                old.rename(new)


def former_errors(results: Path) -> Path:
    """Name the errors of these results for one who only reads: as they are called, or were before."""
    path = errors_path(results)
    former = results.with_name(results.name.removesuffix(PART)).stem
    if former == stem(results) or os.path.lexists(path) or _claimed(results, former):
        return path
    return errors_path(results.with_name(former))


def _claimed(results: Path, former: str) -> bool:
    """Whether other results in the directory had, or have, these names too."""
    out = results.name.removesuffix(PART)
    with os.scandir(results.parent) as entries:
        names = [entry.name for entry in entries if entry.name not in (out, out + PART)]
    return any(
        name.removesuffix(PART).removesuffix(LINES) == former or results.with_name(name).stem == former
        for name in names
        if holds_results(results.with_name(name))
    )


def _twins(results: Path) -> list[Path]:
    out = results.name.removesuffix(PART)
    return [results.with_name(name) for name in (stem(results), stem(results) + LINES) if name != out]


def _is_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def holds_results(path: Path) -> bool:
    """Whether a file holds results, by its first line, or is about to."""
    try:
        with os.fdopen(open_regular(path, follow=True), "rb") as file:
            line = file.readline(_FIRST_LINE)
            return is_result(line) if line else is_locked(file)
    except OSError:
        return False
