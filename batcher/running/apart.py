"""What a run must not write over: its inputs, its own other files, and what others have made."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from batcher.failures import UsageError
from batcher.inputs.parts import identity_of
from batcher.ledger.vectors import form_of
from batcher.opening import real
from batcher.outputs.forms import SQLITE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from batcher.inputs.source import Source
    from batcher.ledger.ledger import Ledger


def keep_apart(files: Mapping[Path, str], errors: Path | None, table: str | None, source: Source) -> None:
    """Raise UsageError if a file that would be written is the input, or the errors file is another of them."""
    read = source.identities
    for path in (*files, errors):
        is_other = path is not None and table is not None and table.startswith(SQLITE)
        if is_other and path == Path(str(table).removeprefix(SQLITE)):
            continue  # a database may have the input in one table and the answers in another
        if path is not None and (identity_of(path) in read or source.would_read(path)):
            raise UsageError(f"{path} is the input, or a file of it; name another file for what is written")
    if errors is not None and (is_what := same_as(errors, files)):
        raise UsageError(f"{errors} is {is_what}; errors need a file of their own")


def keep_from_each_other(files: Sequence[tuple[Path, str]]) -> None:
    """Raise UsageError if two of the files that are written are one, by whatever names."""
    known: dict[Path | tuple[int, int], str] = {}
    for path, what in files:
        names = [name for name in (real(path, follow=True), identity_of(path)) if name is not None]
        for name in names:
            if name in known:
                raise UsageError(f"{path} is to be both {known[name]} and {what}; name a file for each")
        known.update(dict.fromkeys(names, what))


def check_vectors(ledger: Ledger, wanted: str) -> None:
    """Raise UsageError if the vectors in the file are written in another way than this run would write them."""
    with ledger.reading() as file:
        form = form_of(file)
    if form is not None and form != wanted:
        kinds = {"float": "lists of numbers", "base64": "base64"}
        raise UsageError(
            f"{ledger.path} has its vectors as {kinds[form]}, and a file has them in one way: go on with "
            f"--embedding-format {form}, write to another file, or begin anew with --overwrite"
        )


def same_as(path: Path, files: Mapping[Path, str]) -> str | None:
    """Say which of the files a path names, by whatever name."""
    here, identity = real(path, follow=True), identity_of(path)
    for other, what in files.items():
        if here == real(other, follow=True) or (identity is not None and identity == identity_of(other)):
            return what
    return None
