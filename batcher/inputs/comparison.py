"""What a job is beside what has a result, and beside the input before it: to be done, done, changed, or met already."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from batcher.failures import LineError
from batcher.inputs.done import NEW, Sight
from batcher.inputs.lineset import LineSet

if TYPE_CHECKING:
    from collections.abc import Callable

    from batcher.inputs.done import DoneIds
    from batcher.inputs.formats import Line
    from batcher.inputs.selection import Selection
    from batcher.model import Job

SHOWN: Final = 3
"""Changed jobs that are kept as examples."""


class OrderKeeper(Protocol):
    """Wants to know which job each line is, "" for none; the first line of an id is the job."""

    def note(self, seq: int, ident: str) -> None: ...


@dataclass(slots=True, kw_only=True)
class Comparison:
    """Holds jobs against the results, one by one, and counts what became of those that need not be done.

    `finished` remembers what has a result, and from here on also what was met in the input. `on_change` says what a job
    is that asks for something else than the result of its id is of: an error, a job to run again, or done (keep).
    """

    finished: DoneIds
    selection: Selection | None = None
    """Which rows are taken, if not all."""
    order: OrderKeeper | None = None
    """Where to note which job stands on which line."""
    on_change: str = "error"
    failed: Callable[[str], bool] | None = None
    """Which jobs failed before and are to be left alone, if any are."""
    skipped: int = 0
    """Jobs that have a result already."""
    duplicates: int = 0
    """Lines that repeat an earlier one, id and content."""
    left: int = 0
    """Jobs left alone since they failed before."""
    matched: int = 0
    """Jobs whose id has a result, whatever it is of."""
    judged: int = 0
    changed: int = 0
    """Jobs that ask for something else than the result of their id is of."""
    examples: list[Job] = field(default_factory=list)
    """The first of these."""
    answered: LineSet = field(default_factory=LineSet)
    """Lines that were met, or taken for met, and whose result is of what they ask."""
    met: Callable[[Job], object] | None = None
    """Told of each job that is looked at and has its result."""
    names_duplicates: bool = False
    """Lines under the id of another are refused under that id, and so are those that repeat another."""
    _clashed: bool = False

    def judge(self, line: Line, job: Job) -> bool:
        """Whether a job is to be done; counts it if not. Raises LineError if an earlier job has its id."""
        self.judged += 1
        if self.selection is not None and not self.selection.takes(job.id):
            self.matched += job.id in self.finished
            return False
        sight = self.finished.see(job.id, job.hash)
        if self.order is not None:
            is_job = sight is not Sight.REPEATED and sight is not Sight.CLASH
            self.order.note(line.seq, job.id if is_job else "")
        if sight is NEW:
            return self._judge_new(job)
        match sight:
            case Sight.DONE:
                self._pass_over(line, job)
            case Sight.CHANGED:
                return self._judge_changed(job)
            case Sight.REPEATED:
                self.duplicates += 1
                if self.names_duplicates:
                    raise LineError(
                        "repeated", f"an earlier line has the id {job.id!r} and asks for the same", id=job.id
                    )
            case Sight.CLASH:
                self._clashed = True
                raise DuplicateError(job.id, is_named=self.names_duplicates)
        return False

    def _judge_new(self, job: Job) -> bool:
        if self.selection is not None and self.selection.is_done(job):
            return False
        if self.failed is None or not self.failed(job.id):
            return True
        self.left += 1
        return False

    def _pass_over(self, line: Line, job: Job) -> None:
        self.matched += 1
        self.skipped += 1
        self.answered.add(line.seq)
        if self.met is not None:
            self.met(job)

    def _judge_changed(self, job: Job) -> bool:
        self.changed += 1
        self.matched += 1
        if len(self.examples) < SHOWN:
            self.examples.append(job)
        if self.on_change == "keep":
            self.skipped += 1
        return self.on_change == "rerun"


class DuplicateError(LineError):
    """A line under the id of an earlier one that asks for something else."""

    def __init__(self, ident: str, *, is_named: bool = False) -> None:
        # In files it is refused under an id of its own: the id that it gives may well have a result.
        words = f"an earlier line has the id {ident!r} and asks for something else"
        super().__init__("duplicate_id", words, id=ident if is_named else None)
