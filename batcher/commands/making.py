"""Makes a file of what results tell: in one step, and never in the place of what it is made of."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from batcher.failures import OutputError, OutputIOError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batcher.commands.past import Past

_FIRST_LINE = 1 << 20
"""Bytes in which the first line of a file is looked for."""


def keep_apart(past: Past, output: Path, *read: Path | None) -> None:
    """Raise UsageError where the file would be one that it is made of, OutputError (73) where it has lines of a run.

    `read`: other files that are read for it.
    """
    from batcher.ledger.names import part_path, quarantine_path, state_path, superseded_path, vectors_path
    from batcher.ledger.neighbours import former_errors, holds_results
    from batcher.running.apart import same_as

    if str(output) == "-":
        raise UsageError("-o -: what is made goes into a file: name it; stats and compare print without -o")
    results = past.results
    errors = past.errors or former_errors(results)
    ours = {
        results: "the results",
        errors: "the errors file",
        state_path(results): "the run's state file",
        quarantine_path(results): "what was damaged of the results",
        superseded_path(results): "the results that were replaced",
        vectors_path(results): "the store of vectors",
        part_path(results): "the results of a run that goes on",
        **{path: "a file that is read for it" for path in read if path is not None},
        **dict.fromkeys(_inputs(past), "the input of the run"),
    }
    if what := same_as(output, ours):
        raise UsageError(f"{output} is {what}; name another -o")
    if holds_results(output) or _holds_failures(output):
        raise OutputError(f"{output}: holds lines of a run of batcher, which are not written over; name another -o")


@contextmanager
def making(output: Path) -> Iterator[int]:
    """A descriptor to write to: what stands there gives way when all is written; a link is followed, as by `export`.

    Raises OutputError for what is no regular file, OutputIOError (74) where it cannot be written.
    """
    from batcher.opening import real
    from batcher.outputs.replacing import replacing

    try:
        with replacing(real(output, follow=True)) as fd:
            yield fd
        os.close(fd)
    except OSError as error:
        raise OutputIOError(f"{output}: cannot be written: {error.strerror or error}") from error


def _inputs(past: Past) -> list[Path]:
    """The files that the last run read, by its state file, which may be somebody else's."""
    from batcher.commands.earlier import inputs_of

    if past.state is None:
        return []
    names: tuple[str, ...] = ()
    with suppress(AttributeError, TypeError):
        names = inputs_of(past.state.input)
    return [Path(name.removeprefix("sqlite:").partition("#")[0] or name) for name in names if "\0" not in name]


def _holds_failures(path: Path) -> bool:
    """Whether the first line of a file tells of a failure: it is the errors file of some run."""
    from batcher.ledger.errors import failed_id
    from batcher.opening import open_regular

    try:
        with os.fdopen(open_regular(path, follow=True), "rb") as file:
            return failed_id(file.readline(_FIRST_LINE)) is not None
    except OSError:
        return False
