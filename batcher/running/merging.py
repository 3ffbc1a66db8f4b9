"""Puts the results of parts together: one file in the order of their input, with all that a run wants beside it.

    agree     what the parts' runs were told, as their state files say; ids and hashes of requests say the rest
    gather    each result once, none lost, of all parts
    hold      against the input: what is of another request or of no row ends it, what is missing is counted
    write     errors, vectors, images, the state, and last the results, which take their name when they are on the disk

Memory is what a run needs to resume, and 16 bytes for each row. A merge that is killed has left no results: what it
leaves beside them goes with the next one, which knows it by the file that it was writing.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import accumulate, chain, islice
from typing import TYPE_CHECKING

from batcher.failures import InputError, OutputError, OutputIOError
from batcher.figures import count
from batcher.ledger import disk, state
from batcher.ledger.errors import ErrorsFile
from batcher.ledger.fresh import writing
from batcher.ledger.names import errors_path, ids_path, images_path, state_path, vectors_path
from batcher.ledger.state import State, Status
from batcher.ledger.verification import SHOWN
from batcher.opening import open_regular
from batcher.outputs.arrays import on_lines, write_array
from batcher.outputs.store import Store
from batcher.outputs.taken import Taken
from batcher.running.carrying import Images, Rows
from batcher.running.gathering import in_groups
from batcher.running.vectors import check_wish

if TYPE_CHECKING:
    from array import array
    from collections.abc import Sequence
    from pathlib import Path

    from batcher.inputs.recipe import Recipe
    from batcher.inputs.selection import Selection
    from batcher.inputs.source import Source
    from batcher.ledger.verification import Verdict, Verification
    from batcher.model import Json
    from batcher.options import Options
    from batcher.outputs.arrays import Vectors
    from batcher.running.gathering import Gathered


def check_array_free(path: Path, options: Options) -> None:
    """Raise UsageError (2) or OutputError (73) where an array cannot be put, or where something is already."""
    check_wish(path, options)
    for name in (path, ids_path(path)):
        if os.path.lexists(name):
            raise OutputError(f"{name}: is there already; name another --vectors, or move it away")


@dataclass(slots=True, kw_only=True)
class Merge:
    """The way of gathered parts to OUT. `verification` has read their input."""

    out: Path
    gathered: Gathered
    verification: Verification
    source: Source
    run: dict[str, Json]
    selection: dict[str, Json]
    failed: int = field(default=0, init=False)
    """Failures that stand in the errors file of OUT."""

    @property
    def verdict(self) -> Verdict:
        return self.verification.verdict

    def check(self) -> None:
        """Raise `InputError` (65) if there are results of other requests, or of none of the rows."""
        verdict, gathered = self.verdict, self.gathered
        if verdict.changed.count:
            first = ", ".join(f"{place.id} ({self.source.place(place.line - 1)})" for place in verdict.changed.first)
            raise InputError(
                f"{count(verdict.changed.count, 'results')} answer other requests than their rows make by now, of "
                f"another input or other parameters: {first}. Parts are of one input and one set of parameters"
            )
        if extra := self.verification.extra:
            first = "; ".join(f"{ident} in {path}" for ident, path in islice(gathered.idents_unseen(), SHOWN))
            raise InputError(
                f"{count(extra, 'results')} are of no row of {self.source.path}: {first}. They are of another input, "
                "of rows that were taken out since, or of rows beyond those that were chosen"
            )

    def write(self) -> None:
        """Make OUT and what stands beside it. Raises `OutputError` (73), `LockedError` (75), `OutputIOError` (74)."""
        assert self.verification.order is not None
        gathered, out = self.gathered, self.out
        bases = [0, *accumulate(part.size for part in gathered.parts)]
        order = self.verification.order.arrange(
            chain.from_iterable(part.places(base) for part, base in zip(gathered.parts, bases, strict=False))
        )
        with writing(out) as fd:
            try:
                size = self._write_results(fd, order, bases)
                disk.sync(fd)
                self.failed = self._write_errors()
                self._write_state(size)
                disk.sync_directory(out.parent)
            except OSError as error:
                raise OutputIOError(f"{out}: cannot be written: {error.strerror or error}") from error

    def write_vectors(self, path: Path, recipe: Recipe | None, at_most: int | None, selection: Selection) -> bool:
        """Make the array of the vectors of OUT, if there are any. Raises `OutputError` (73), `OutputIOError` (74)."""
        taken = None
        if self.source.is_regular:
            taken = Taken(source=self.source, recipe=recipe, at_most=at_most, selection=selection)
        with ExitStack() as stack:
            file = stack.enter_context(os.fdopen(open_regular(self.out), "rb"))
            store: Vectors = on_lines(file)
            if vectors_path(self.out).exists():
                store = stack.enter_context(Store.open_to_read(vectors_path(self.out)))
            write_array(path, store, file, taken)
            return store.dim is not None

    def _write_results(self, fd: int, order: array[int], bases: Sequence[int]) -> int:
        """Write the lines, and what they name; how many bytes they are."""
        parts, size = self.gathered.parts, 0
        with ExitStack() as stack:
            rows = Rows.of(vectors_path(self.out), self.gathered.stores, stack)
            images = Images(images_path(self.out), [images_path(part.path) for part in parts])
            for some in in_groups(order):
                numbers = [bisect_right(bases, place) - 1 for place in some]
                lines = [parts[of].line_at(place - bases[of]) for of, place in zip(numbers, some, strict=True)]
                if rows is not None:
                    lines = rows.carried(numbers, lines)
                data = b"".join(images.carried(numbers, lines))
                disk.write_all(fd, data)
                size += len(data)
            if rows is not None:
                rows.store.sync()
        return size

    def _write_errors(self) -> int:
        with ErrorsFile(errors_path(self.out), overwrite=True, follow=False) as errors:
            errors.begin_anew()
            for part in self.gathered.parts:
                for line in part.failures():
                    errors.append(line)
            return errors.finish(self.gathered.results.__contains__)

    def _write_state(self, size: int) -> None:
        verdict, sizes = self.verdict, dict[str, int]()
        for told in self.gathered.states:
            sizes |= told.sizes
        is_complete = not verdict.missing.count
        note = state.write(
            state_path(self.out),
            State(
                status=Status.COMPLETE if is_complete else Status.STOPPED,
                run=self.run,
                input=self.source.fingerprint,
                selection=self.selection,
                counts={"ok": 0, "skipped": verdict.ok, "failed": self.failed, "left": 0, "pending": 0},
                synced=size,
                sizes=sizes,
            ),
        )
        if note:
            raise OutputIOError(note)
