"""Where a run's results go: the file or pipe it opens at the start, put in order and in its place at the end."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio

from batcher.failures import Exit, LockedError, UsageError
from batcher.figures import span
from batcher.ledger import Ledger, errors_path
from batcher.ordering import Places, put_in_order
from batcher.publication import Publication, part_path
from batcher.streamledger import StreamLedger
from batcher.watchdog import now

if TYPE_CHECKING:
    from collections.abc import Callable

    from batcher.ledger import AnyLedger
    from batcher.options import Options
    from batcher.source import Source
    from batcher.summary import Summary


LOCK_STEP: Final = 0.25
"""Seconds between two looks at a lock that another run holds."""


@dataclass(slots=True)
class Destination:
    """What `-o` names, None for standard output, and the files beside it. `note` tells people."""

    output: Path | None
    options: Options
    note: Callable[[str], None]
    path: Path | None = field(init=False)
    """Where the results are: `output`, or what an `--atomic` run works on until it is complete."""
    places: Places | None = field(default=None, init=False)
    """Which job stands where in the input, if that will be asked for."""
    _ledger: Ledger | None = field(default=None, init=False)
    _publication: Publication | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.path = self.output

    @property
    def errors_path(self) -> Path | None:
        if self.options.errors is not None or self.output is None:
            return self.options.errors
        return errors_path(self.output)

    @property
    def images_directory(self) -> Path:
        beside = self.output or Path("batcher.jsonl")
        return beside.with_name(f"{beside.stem}.images")

    async def open_when_free(self, source: Source, stack: ExitStack) -> AnyLedger:
        """Open the ledger, waiting for the end of another run as long as `--wait-lock` says. Raises as `open` does."""
        wait = self.options.wait_lock
        deadline = now() + wait
        said = False
        while True:
            try:
                with ExitStack() as opened:
                    ledger = self.open(source, opened)
                    stack.push(opened.pop_all())
                    return ledger
            except LockedError:
                if now() >= deadline:
                    raise
            if not said:
                said = True
                self.note(f"waiting up to {span(wait)} for another run on {self.output} to end")
            await anyio.sleep(min(LOCK_STEP, max(0.0, deadline - now())))

    def open(self, source: Source, stack: ExitStack) -> AnyLedger:
        """Open the ledger until the stack is left. Raises UsageError (2), and what `Ledger.open` raises."""
        self._keep_apart(source)
        if self.output is None:
            if self.options.ordered or self.options.atomic:
                raise UsageError("--ordered and --atomic need a results file: name one with -o FILE")
            return StreamLedger()
        ledger = self._ledger = self._open_part(self.output, stack) if self.options.atomic else self._open(self.output)
        stack.callback(ledger.close)
        if ledger.repaired:
            self.note(str(ledger.repaired))
        if self.options.ordered:
            self.places = Places()
        if not self.options.atomic and part_path(ledger.path).exists():
            self.note(f"{part_path(self.output)} is what an --atomic run left; this run does not look into it")
        return ledger

    def finish(self, summary: Summary) -> None:
        """Put the results in order and in place, if that is asked for and the run came so far.

        Raises OutputIOError, and then the results are where they were.
        """
        if self.places is not None and self._ledger is not None:
            if summary.complete:
                put_in_order(self._ledger, self.places)
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

    def _keep_apart(self, source: Source) -> None:
        """Raise UsageError if a file that would be written is the input, or two of them are one."""
        for path in (self.output, self.errors_path):
            if path is not None and source.identity is not None and _identity(path) == source.identity:
                raise UsageError(f"{path} is the input; name another file for what is written")
        if self.output is not None and self.errors_path is not None and _same(self.output, self.errors_path):
            raise UsageError(f"{self.errors_path} is the results file; errors need a file of their own")

    def _open(self, path: Path) -> Ledger:
        return Ledger.open(path, overwrite=self.options.overwrite)

    def _open_part(self, output: Path, stack: ExitStack) -> Ledger:
        publication = self._publication = Publication(output)
        stack.callback(publication.close)
        self.path = part_path(output)
        return publication.open(self._open, overwrite=self.options.overwrite)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _same(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve() or (_identity(one) is not None and _identity(one) == _identity(other))
