"""Where the vectors of a run go: rows of a store before the lines that name them, an array of them at the end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from anyio.from_thread import check_cancelled

from batcher.failures import (
    BatcherError,
    Failure,
    FailureClass,
    OutputError,
    OutputIOError,
    UsageError,
    unfit_vector,
)
from batcher.figures import count
from batcher.ledger import disk
from batcher.ledger.names import quarantine_path, vectors_path
from batcher.ledger.recovery import identify
from batcher.ledger.repair import Findings, mend
from batcher.outputs.arrays import check_array, write_array
from batcher.outputs.numbers import WIDTHS, row_of
from batcher.outputs.store import Store, row_named

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from batcher.ledger.ledger import Ledger
    from batcher.options import Options
    from batcher.outcome import Result
    from batcher.outputs.store import Row
    from batcher.outputs.taken import Taken
    from batcher.outputs.written import Written

SOME = 4096
"""Lines whose rows are looked at together."""


@dataclass(slots=True)
class Vectors:
    """What a recorder asks to put vectors where they belong."""

    store: Store
    written: Written

    def rows_of(self, results: Sequence[Result]) -> list[tuple[Result, bytes]]:
        """The rows of results with one vector each; a vector that cannot stand beside the others fails its result."""
        store, rows = self.store, list[tuple["Result", bytes]]()
        like: tuple[str | None, int] | None = None
        for result in results:
            completion = result.completion
            if result.failure is not None or completion is None or not completion.vectors or result.many:
                continue
            if result.vector is not None:
                continue
            try:
                row = row_of(completion.vectors[0], store.dtype)
            except (TypeError, ValueError) as error:
                result.failure = unfit_vector(str(error))
                continue
            if (result.model, len(row)) != like:
                why = store.differs(result.model, len(row) // WIDTHS[store.dtype])
                if why is None and like is not None:
                    why = f"{store.path} holds vectors of one model and one length, and this one is of another"
                if why is not None:
                    result.failure = Failure(FailureClass.PERMANENT, "vector_differs", why)
                    continue
                like = (result.model, len(row))
            rows.append((result, row))
            if store.dtype == "float32":
                completion.vectors = [row]  # the numbers go while they are at hand; nobody needs more of them
        return rows

    def put(self, rows: Sequence[tuple[Result, bytes]]) -> None:
        """Write rows and tell the results where they are. Raises OutputIOError, and may be tried again."""
        places = self.store.append(rows[0][0].model, [row for _, row in rows])
        for (result, _), place in zip(rows, places, strict=True):
            result.vector = place

    def kept(self, results: Sequence[Result]) -> None:
        """Note whose lines are in the results."""
        note = self.written.note
        for result in results:
            if result.vector is not None:
                note(result.seq, result.vector)


def check_wish(path: Path, options: Options) -> None:
    """Raise UsageError (2) or OutputError (73) where an array cannot be put."""
    if options.atomic:
        raise UsageError("--atomic and --vectors exclude each other: the array is replaced in one step anyway")
    if path.suffix != ".npy":
        raise UsageError(f"--vectors makes an array of numpy's: name it .npy, not {path.name!r}")
    if not path.parent.is_dir():
        raise OutputError(f"{path}: {path.parent} is no directory")
    check_array(path)


def open_store(ledger: Ledger, options: Options, note: Callable[[str], None]) -> Store:
    """Open the store beside results that are locked, and take out lines that name what is lost. Raises as these do."""
    store = Store.open(vectors_path(ledger.path), None if options.overwrite else options.vectors_dtype)
    try:
        if not store.rows:
            store.dtype = options.vectors_dtype
        ledger.sync_before = store.sync
        if not ledger.stale and (lost := drop_doubtful(ledger, store, check_cancelled)):
            note(f"the vectors of {count(lost, 'results')} are not in {store.path}: their jobs run again")
    except BaseException:
        store.close()
        raise
    return store


def write_vectors(
    path: Path, store: Store, ledger: Ledger, taken: Taken | None, written: Written | None = None
) -> list[str]:
    """Make the array of what is there, without looking for the lines of what was `written`; gives what went wrong.

    The results have to be open: no other run makes it meanwhile.
    """
    if ledger.stale:
        return []
    try:
        with ledger.reading() as file:
            made = write_array(path, store, file, taken, written=None if ledger.refused else written)
        if made.corrupt:
            store.doubt()
    except (BatcherError, OSError) as error:
        return [f"{error}; the vectors are safe in {store.path}, and the same command makes the array"]
    words = f"{path}: {count(made.corrupt, 'vectors')} in {store.path} are not what was written, and are NaN here"
    return [f"{words}: the same command asks for them again"] if made.corrupt else []


def drop_doubtful(ledger: Ledger, store: Store, checkpoint: Callable[[], object] = bool) -> int:
    """Take lines out whose vectors a crash has cost, and return how many they were: their jobs run again.

    Rows that are known to be on the disk are not looked at; `verify` does that. Raises OutputIOError.
    """
    if not len(ledger) or (store.rows and store.synced == store.rows and not store.is_short):
        return 0
    ledger.read_ids(checkpoint)
    try:
        lost = _lost(ledger, store, checkpoint)
        if not lost:
            return 0

        def take_out(fd: int, path: Path) -> tuple[int, Path]:
            found = Findings()
            for start, end, _ in lost:
                found.mark(start, end)
            return mend(fd, path, quarantine_path(path), found), path

        ledger.replace(take_out)
    except OSError as error:
        raise OutputIOError(f"{ledger.path}: cannot be held against its vectors: {error.strerror or error}") from error
    for _, _, ident in lost:
        ledger.done.discard(ident)
    return len(lost)


def _lost(ledger: Ledger, store: Store, checkpoint: Callable[[], object]) -> list[tuple[int, int, str | bytes]]:
    """Where the lines stand that name rows which are not there, and of which ids they are."""
    lost: list[tuple[int, int, str | bytes]] = []
    some: list[tuple[int, int, str | bytes, Row]] = []

    def look() -> None:
        checkpoint()
        faults = store.faults([row for *_, row in some])
        lost.extend(place[:3] for place, is_lost in zip(some, faults, strict=True) if is_lost)
        some.clear()

    end = 0
    with ledger.reading(disk.BLOCK) as file:
        for line in file:
            start, end = end, end + len(line)
            row = row_named(line)
            identity = identify(line) if row is not None and row.number >= store.synced else None
            if row is not None and identity is not None:
                some.append((start, end, identity[0], row))
                if len(some) == SOME:
                    look()
    look()
    return lost
