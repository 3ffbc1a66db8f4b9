"""Where a run's results go: the file or pipe it opens at the start, put in order and in its place at the end."""

from __future__ import annotations

import os
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from time import monotonic as now
from typing import TYPE_CHECKING, Final

import anyio
from anyio import to_thread
from anyio.from_thread import check_cancelled

from batcher.failures import Exit, LockedError, OutputError, UsageError
from batcher.figures import span
from batcher.inputs.shard import MARK
from batcher.ledger import neighbours
from batcher.ledger.errors import ErrorsFile
from batcher.ledger.holder import holder
from batcher.ledger.ledger import Ledger
from batcher.ledger.names import part_path, state_path
from batcher.ledger.ordering import InputOrder, put_in_order
from batcher.ledger.publication import Publication
from batcher.ledger.stream import StreamLedger
from batcher.outputs.written import Written
from batcher.running.apart import check_vectors
from batcher.running.files import Files

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from batcher.inputs.source import Source
    from batcher.ledger.ledger import AnyLedger
    from batcher.options import Options
    from batcher.outputs.store import Store
    from batcher.outputs.taken import Taken
    from batcher.running.vectors import Vectors
    from batcher.view.summary import Summary


NOTHING_BEGAN: Final = (Exit.UNAVAILABLE, Exit.REFUSED, Exit.CONFIG)
"""What a run ends with that could not begin, if nothing was done by then."""
LOCK_EVERY: Final = 0.25
"""Seconds between two looks at a lock that another run holds."""


@dataclass(slots=True)
class Destination:
    """What `-o` names, None for standard output, and the files beside it. `note` tells people."""

    output: Path | None
    options: Options
    note: Callable[[str], None]
    typed: bool = True
    """Whether the user named `output`; a link is followed only then."""
    files: Files = field(init=False)
    path: Path | None = field(init=False)
    """Where the results are: `output`, or what an `--atomic` run works on until it is complete."""
    order: InputOrder | None = field(default=None, init=False)
    """Which job stands where in the input, if that will be asked for."""
    emptied: Callable[[], object] = field(default=bool, init=False)
    """Called when the results that `--overwrite` replaces are gone."""
    store: Store | None = field(default=None, init=False)
    """Where vectors go, if not on the lines."""
    written: Written = field(default_factory=Written, init=False)
    """What the run has put into the store."""
    _is_new: bool = field(default=False, init=False)
    """There were no results before this run."""
    _began: bool = field(default=False, init=False)
    _ledger: Ledger | None = field(default=None, init=False)
    _errors: ErrorsFile | None = field(default=None, init=False)
    _publication: Publication | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.files = Files.of(self.output, self.options)
        self.output = self.path = self.files.results

    @property
    def table(self) -> str | None:
        """The table that is made of the results, which are in a file beside it."""
        return self.files.table

    @property
    def shown(self) -> str | Path | None:
        """What is there at the end, for people; the name that was to be, if there is nothing."""
        if not self.is_made:
            return self.table or self.output
        return self.path if self.table is None else f"{self.table}, made of {self.path}"

    @property
    def is_made(self) -> bool:
        """Whether there are results now, though it be none of them; else their file went with the run."""
        return self._ledger is None or not self._ledger.withdrawn

    @property
    def is_void(self) -> bool:
        """Nothing was there before the run, and nothing came of it: it could not begin. Then no file of it stays."""
        return self._is_new and not self._began and self._ledger is not None and not self._ledger.end

    async def open_when_free(self, source: Source, stack: ExitStack) -> AnyLedger:
        """Open the ledger, waiting for the end of another run as long as `--wait-lock` says. Raises as `open` does."""
        wait = self.options.wait_lock
        deadline = now() + wait
        said = False
        while True:
            try:
                with ExitStack() as opened:
                    ledger = await to_thread.run_sync(self.open, source, opened)
                    stack.push(opened.pop_all())
                    return ledger
            except LockedError as error:
                if now() >= deadline:
                    raise self._locked(error) from error
            if not said:
                said = True
                self.note(f"waiting up to {span(wait)} for another run on {self.output} to end")
            await anyio.sleep(min(LOCK_EVERY, max(0.0, deadline - now())))

    def open(self, source: Source, stack: ExitStack) -> AnyLedger:
        """Open the ledger until the stack is left. Raises UsageError (2), and what `Ledger.open` raises."""
        self.files.keep_from(source)
        self.files.check()
        if self.output is None:
            self._check_stream()
            return StreamLedger()
        if self.table is not None:
            from batcher.running.tables import check_table

            check_table(self.table, self.output, overwrite=self.options.overwrite)
        opener = partial(
            Ledger.open,
            overwrite=self.options.overwrite,
            follow=self.typed and not self.options.atomic,
            # order wants the id of each line, and so does who looks for equal requests among those that are answered
            fingerprint=None if self.options.ordered or self.options.dedupe else source.fingerprint,
            checkpoint=check_cancelled,
        )
        if self.options.vectors is not None:
            from batcher.running.vectors import check_wish

            check_wish(self.options.vectors, self.options)
        neighbours.check(self.output)
        stack.callback(self._close_store)  # after the results, which it is synced before
        # where the state stands alone, results were moved away
        beside = (self.output, part_path(self.output), state_path(self.output))
        self._is_new = not any(map(os.path.lexists, beside))
        ledger = self._open_part(opener, self.output, stack) if self.options.atomic else opener(self.output)
        self._ledger = ledger
        ledger.emptied = self._begin_anew
        stack.callback(ledger.close)
        stack.callback(self._leave_nothing, ledger)
        neighbours.check(self.output)  # another run may have begun meanwhile
        if ledger.repaired:
            self.note(str(ledger.repaired))
        if self.options.vectors is not None:
            self._open_store(ledger)
        if not self.options.overwrite:
            check_vectors(ledger, self.options.embedding_format)
        if self.options.ordered:
            self.order = InputOrder()
        if not self.options.atomic and part_path(ledger.path).exists():
            self.note(f"{part_path(self.output)} is what an --atomic run left; this run does not look into it")
        return ledger

    def _locked(self, error: LockedError) -> LockedError:
        """The refusal, with who has the file."""
        who = holder(self.path) if self.path is not None else ""
        words, mark, rest = str(error).replace(os.path.realpath(self.path or ""), str(self.path)).partition(";")
        if self.options.shard is not None:
            rest += f"; parts have a file each, such as -o 'answers-{MARK}.jsonl'"
        return LockedError(f"{words} ({who}){mark}{rest}") if who else error

    def _check_stream(self) -> None:
        """Raise UsageError for what standard output cannot do."""
        if self.options.ordered or self.options.atomic:
            raise UsageError("--ordered and --atomic need a results file: name one with -o FILE")
        if self.options.vectors is not None:
            raise UsageError("--vectors needs a results file: name one with -o FILE, or leave -o out")
        if self.options.dedupe:
            raise UsageError("--dedupe reads answers back from a results file: name one with -o FILE")

    def open_errors(self, stack: ExitStack) -> ErrorsFile | None:
        """Open the errors file, if there is one to be, until the stack is left. Raises as `ErrorsFile` does."""
        path = self.files.errors
        if path is not None:
            follow = self.options.errors is not None
            self._errors = stack.enter_context(ErrorsFile(path, overwrite=self.options.overwrite, follow=follow))
        return self._errors

    def finish(self, ledger: AnyLedger, summary: Summary) -> None:
        """Leave the failures that still stand, and the results in order and in place where that is asked for.

        Raises OutputIOError, and then the results are where they were.
        """
        self._began = bool(summary.failed) or summary.exit_code() not in NOTHING_BEGAN
        if summary.complete:
            ledger.empty()  # though there was nothing to put in it
        if self.is_void:
            return
        if self._errors is not None:
            self._finish_errors(self._errors, ledger, summary)
        if self.order is not None and self._ledger is not None:
            if summary.complete:
                put_in_order(self._ledger, self.order)
            else:
                self.note(f"{self.path} is not put in order: --ordered does that when the run is complete")
        if self._publication is not None:
            if summary.exit_code() == Exit.OK:
                self._publication.publish()
                self.path = self.output
            else:
                self.note(
                    f"{self.output} is not touched before every job has a result; those so far are in {self.path}, "
                    "and the same command goes on from there"
                )

    def write_table(self, taken: Taken | None, fields: Sequence[str], summary: Summary) -> None:
        """Make the table of what is there, if one was asked for; what goes wrong is noted in the sums."""
        ledger, options = self._ledger, self.options
        if self.table is None or ledger is None or ledger.stale or self.is_void:
            return
        if options.atomic and self.path != self.output:
            return
        from batcher.running.tables import write_table

        summary.unwritten += write_table(
            self.table,
            ledger,
            self.files.errors,
            options,
            store=self.store,
            taken=taken,
            fields=fields,
            prices=summary.prices,
        )

    def write_vectors(self, taken: Taken | None, summary: Summary) -> None:
        """Make the array of what is there, if one was asked for; what goes wrong is noted in the sums."""
        if self.options.vectors is None or self.is_void:
            return
        if self.store is not None and self._ledger is not None:
            from batcher.running.vectors import write_vectors

            summary.unwritten += write_vectors(self.options.vectors, self.store, self._ledger, taken, self.written)

    def vectors(self) -> Vectors | None:
        """What puts vectors where they belong; None where they are on the lines."""
        if self.store is None:
            return None
        from batcher.running.vectors import Vectors

        return Vectors(self.store, self.written)

    def _open_store(self, ledger: Ledger) -> None:
        from batcher.running.vectors import open_store

        self.store = open_store(ledger, self.options, self.note)

    def _leave_nothing(self, ledger: Ledger) -> None:
        """Take away what a run has made that could not begin, while nobody else can have the results."""
        if self.is_void:
            empty = () if self.store is None or self.store.rows else (self.store.path,)
            ledger.withdraw(state_path(ledger.path), *empty)

    def _close_store(self) -> None:
        if self.store is not None:
            self.store.close()

    def _begin_anew(self) -> None:
        if self.store is not None:
            self.store.empty()
            self.store.dtype = self.options.vectors_dtype
        if self._errors is not None:
            with suppress(OutputError):  # `finish` tries again, and tells
                self._errors.begin_anew()
        self.emptied()

    def _finish_errors(self, errors: ErrorsFile, ledger: AnyLedger, summary: Summary) -> None:
        """Where the errors file fails, the results are no worse for it."""
        # of a whole input that was seen: complaints about lines that are gone from it no longer count
        complete = summary.complete and self.options.limit is None
        try:
            if summary.complete:
                errors.begin_anew()
            errors.finish(ledger.__contains__, complete=complete)
        except OutputError as error:
            summary.unwritten.append(str(error))
        if errors.lost:
            summary.unwritten.append(f"{errors.path}: {errors.lost} failures did not get into it")

    def _open_part(self, opener: Callable[[Path], Ledger], output: Path, stack: ExitStack) -> Ledger:
        publication = self._publication = Publication(output, self.typed)
        stack.callback(publication.close)
        self.path = part_path(output)
        return publication.open(opener, overwrite=self.options.overwrite)
