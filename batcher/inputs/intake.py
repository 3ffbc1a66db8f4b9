"""Which lines of the input are still to be done: parsed, told apart by id, compared with what is done already."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from batcher.failures import InputError, LineError, UsageError
from batcher.inputs.changes import contradiction
from batcher.inputs.comparison import Comparison, DuplicateError
from batcher.inputs.done import Sight
from batcher.inputs.formats.jsonl import brought, refused
from batcher.inputs.formats.shapes import OWN_RESULT
from batcher.inputs.identity import Ids
from batcher.inputs.lineset import LineSet
from batcher.inputs.selection import Turns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from batcher.inputs.blocks import Blocks, Unchanged
    from batcher.inputs.formats import Line, Parser
    from batcher.inputs.formats.defaults import Defaults
    from batcher.model import Job
    from batcher.outcome import Result

TURN: Final = 2000
"""Lines that are passed over or compared at a stretch: 60 ms at most."""
LACKING: Final = 20
"""Rows without a column, from the first on, that show a template to be wrong."""


@dataclass(slots=True)
class Intake(Comparison):
    """Jobs in the order of the input. Lines that are no jobs go to `reject`; the counts say what became of the rest.

    `at_most` makes the first so many lines the whole input. `needs_model` refuses jobs that name none.
    """

    parse: Parser
    defaults: Defaults
    reject: Callable[[Result], None]
    at_most: int | None = None
    needs_model: bool = False
    limit_new: int | None = None
    """Jobs that are taken at most, of those that have no result."""
    taken: int = 0
    refused: int = 0
    more: bool = False
    """There is more to do than `limit_new` allows."""
    where: Callable[[int], object] | None = None
    """In which place of the inputs a row stands, for messages."""
    blocks: Blocks | None = None
    """Where to sum up the rows that are read, if that will be asked for."""
    rest: Callable[[], object] | None = None
    """Called where `jobs` yields None though there is more, so that others have their turn; without it, none have."""
    remaining: list[Line] | None = None
    """The only lines that are still to be read, if that is known."""
    _proven: LineSet = field(default_factory=LineSet)
    _alone: bool = False
    _is_cut: bool = False
    """There may be more lines than those that are read."""
    _lacking: int = 0
    _turns: Turns = field(init=False)
    _checked: bool = False
    _reads: bool = False
    """The jobs are being read, and not looked at beforehand."""
    _passed: LineSet = field(default_factory=LineSet)
    """Lines that `check` found to need nothing."""
    _clashes: LineSet = field(default_factory=LineSet)

    def __post_init__(self) -> None:
        self._turns = Turns(self.finished.seen, self.selection.repeat if self.selection else 1)

    @property
    def plain(self) -> bool:
        """What a line asks was told by that line alone so far: by no other line, and no file."""
        return not self._turns.repeated and not self.defaults.files

    @property
    def alone(self) -> bool:
        """The whole input was met, and each line of it is a job of its own."""
        return self._alone and self.plain and not self._clashed and not self.duplicates

    @property
    def unfit(self) -> int:
        """Lines that are no jobs and fail; one that repeats another, by name too, has that one's answer."""
        return self.refused - (self.duplicates if self.names_duplicates else 0)

    def take_over(self, lines: LineSet, *, alone: bool) -> None:
        """Take lines for answered, without looking at them; `alone` is what an earlier run found to be true."""
        self._proven, self.answered, self._alone = lines, lines.copy(), alone

    def take_in_part(self, found: Unchanged, lines: Callable[[], Iterable[Line | None]], **settings: Any) -> None:
        """Take over the lines that are unchanged, and `check` the rest; `lines` reads all, if they are too many."""
        self.take_over(found.lines, alone=False)
        self.blocks = found.blocks
        if found.rest is None:
            self.check(lines(), **settings)
            return
        self._is_cut = found.read == self.at_most
        self.check(found.rest, **settings)
        self.skipped += len(found.lines)
        self.remaining = found.rest

    def jobs(self, lines: Iterable[Line | None]) -> Iterator[Job | None]:
        """Yield what is to be done; None where nothing has arrived yet. Raises InputError when a job has changed."""
        passed = 0
        self._reads = True
        wanted = self._wanted if self._proven or self._passed else self._unknown  # len() takes long: once is enough
        for line in self._within_limit(lines):
            if line is None:
                yield None
            elif (job := wanted(line)) is not None:
                if self.taken == self.limit_new:
                    self.more = True
                    return
                self.taken += 1
                yield job
            else:
                passed += 1
                if self.rest is not None and not passed % TURN:
                    self.rest()
                    yield None

    def again(
        self, lines: Iterable[Line | None], wanted: Iterator[tuple[int, int]]
    ) -> Iterator[tuple[Job, int] | None]:
        """Yield jobs that were taken before once more, when the input was met to its end.

        `wanted` names their lines, in order, each with a number that comes back with its job. A line that is no longer
        what it was is passed over. Yields None as `jobs` does.
        """
        self._turns.replay()
        passed = 0
        if self.selection is not None:
            lines = self.selection.lines(lines)
        seq, number = next(wanted, (-1, 0))
        for line in lines:
            if seq < 0:
                return
            if line is None or line.seq != seq:
                passed += 1
                if self.rest is not None and not passed % TURN:
                    self.rest()
                    yield None
                continue
            with suppress(LineError):
                job = self._parse(line)
                if self.finished.see(job.id, job.hash) is Sight.REPEATED:
                    yield job, number
            seq, number = next(wanted, (-1, 0))

    def check(self, lines: Iterable[Line | None], checkpoint: Callable[[], object] = bool) -> None:
        """Compare the whole input with what is done before anything is sent; `jobs` then passes over what is.

        Counts in `changed` the jobs that have the id of a finished one and ask for something else. `checkpoint` is
        called now and then; what it raises ends the comparison.
        """
        for read, line in enumerate(self._within_limit(lines)):
            if not read % TURN:
                checkpoint()
            if line is None:
                continue
            if line.seq in self._proven:
                self.skipped += 1
                continue
            if self.order is not None:
                self.order.note(line.seq, "")
            try:
                if not self.judge(line, self._parse(line)):
                    self._passed.add(line.seq)
            except DuplicateError:
                self._clashes.add(line.seq)
            except LineError:
                continue
        self._turns.replay()
        self._checked = True

    @property
    def strange(self) -> bool:
        """Whether the whole input was compared, no row of it has an id of its own, and no result is of any of them."""
        is_whole = self.at_most is None and (self.selection is None or not self.selection.leaves_out)
        return is_whole and 0 < self.judged <= self._turns.derived and not self.matched

    def names_model(self, lines: Iterable[Line | None]) -> bool:
        """Whether the first job says which model it wants; true if there is none to tell by."""
        for line in lines:
            if line is not None and line.data is not None:
                with suppress(LineError):
                    return _has_model(self.parse(line.data, line.seq, self.defaults, Ids()))
        return True

    def _within_limit(self, lines: Iterable[Line | None]) -> Iterator[Line | None]:
        if self.selection is None:
            return self._first_lines(lines)
        return self.selection.lines(self._first_lines(lines))

    def _first_lines(self, lines: Iterable[Line | None]) -> Iterator[Line | None]:
        read = 0
        at_most = self.at_most if self.remaining is None else None
        blocks = self.blocks if self._reads else None
        for line in lines:
            if line is not None:
                if read == at_most:
                    return
                read += 1
                if blocks is not None and line.seq >= blocks.unknown:
                    blocks.add(line)
            yield line
        self._alone = self.selection is None and not self._is_cut

    def _wanted(self, line: Line) -> Job | None:
        """The job on a line if there is one and it is to be done."""
        if line.seq in self._proven or line.seq in self._passed:
            self.skipped += not self._checked
            return None
        return self._unknown(line)

    def _unknown(self, line: Line) -> Job | None:
        """As `_wanted`, of a line that has to be looked at."""
        try:
            if self.order is not None and not self._checked:
                self.order.note(line.seq, "")
            job = self._parse(line)
            if self._checked:
                if line.seq in self._clashes:
                    raise DuplicateError(job.id, is_named=self.names_duplicates)
                return job
            wanted = self.judge(line, job)
        except LineError as error:
            self._refuse(line, error)
            return None
        if self.changed and self.on_change == "error":
            raise contradiction(self.examples, self.changed, where=self.where)
        return job if wanted else None

    def _refuse(self, line: Line, error: LineError) -> None:
        """Have a line rejected that is no job."""
        if error.code == OWN_RESULT and not self.judged and not self.refused:
            raise InputError(f"the input is not one of jobs: {error.message}") from error
        self.refused += 1
        self._give_up_on(error)
        result = refused(error, line)
        if self.defaults.brings_row and line.data is not None:
            with suppress(LineError):  # what cannot be read has no columns
                result.columns = brought(line.data, self.defaults)
        self.reject(result)

    def _give_up_on(self, error: LineError) -> None:
        """Raise UsageError if it is the template that is wrong: not one row so far has the column that it names."""
        self._lacking += error.code == "template_column"
        if self._lacking == self.refused == LACKING and not self.judged:
            raise UsageError(f"each of the first {LACKING} rows fails alike: {error.message}. Nothing was sent")

    def _parse(self, line: Line) -> Job:
        job = self._turns.job(self.parse, line, self.defaults)
        if self.needs_model and not _has_model(job):
            raise LineError("no_model", "no model: name one on the line, with -m, or in the variable MODEL", id=job.id)
        return job


def _has_model(job: Job) -> bool:
    return job.model is not None or (job.body is not None and "model" in job.body)
