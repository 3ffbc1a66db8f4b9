"""Which rows of an input bear the id of an earlier one and ask for something else: no run asks for these."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from batcher.failures import LineError
from batcher.inputs.done import DoneIds, Sight
from batcher.inputs.formats import parse_job
from batcher.inputs.formats.defaults import Defaults
from batcher.inputs.selection import Turns

if TYPE_CHECKING:
    from collections.abc import Callable

    from batcher.outputs.taken import Taken

_ANY: Final = "any"
"""A model for rows that name none: whether two rows ask for the same does not hang on it."""
_SOME: Final = 4096
"""Rows between two looks whether to go on."""


def clashing(taken: Taken, checkpoint: Callable[[], object] = bool) -> set[int]:
    """Their numbers, found by reading the input once: 30 bytes of memory a row, meanwhile.

    What cannot be made a request of is passed over. Raises InputError, and what `checkpoint` raises.
    """
    first, found = DoneIds(), set[int]()
    turns, defaults = Turns(first.seen, taken.repeat), Defaults(model=_ANY, recipe=taken.recipe)
    for number, line in enumerate(taken.lines()):
        if not number % _SOME:
            checkpoint()
        try:
            job = turns.job(parse_job, line, defaults)
        except LineError:
            continue
        if first.see(job.id, job.hash) is Sight.CLASH:
            found.add(line.seq)
    return found
