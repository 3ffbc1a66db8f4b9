"""Says what has changed between a result and the job that has its id by now, as far as the two tell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from batcher.failures import InputError
from batcher.redaction import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from batcher.model import Job, Json

_WIDTH: Final = 40
"""Cells of a value in a message."""


def contradiction(
    examples: Sequence[Job],
    count: int,
    *,
    records: Mapping[str, Mapping[str, Json]] | None = None,
    parameters: Sequence[str] = (),
    where: Callable[[int], object] | None = None,
) -> InputError:
    """Make the error for an input that asks for something else under ids that have a result.

    `records` holds the results of the examples by id, `parameters` what the run says otherwise than the one before,
    `where` in which place of the inputs a job stands.
    """
    shown = ", ".join(_example(job, (records or {}).get(job.id, {}), where) for job in examples)
    more = f" and {count - len(examples)} more" if count > len(examples) else ""
    run = f" The run itself differs from the one before: {', '.join(parameters)}." if parameters else ""
    return InputError(
        f"{shown}{more}: the results hold an answer to a different request under the same id (another prompt, model "
        f"or parameter).{run} Nothing was sent. Run the changed jobs again with --on-change rerun, take the old "
        "answers for good with --on-change keep, give the lines new ids, or write to another file"
    )


def job_changes(job: Job, record: Mapping[str, Json]) -> list[str]:
    """What differs between a job and the result that its id has."""
    model = job.model or (job.body or {}).get("model")
    pairs = (("model", record.get("model"), model), ("endpoint", record.get("endpoint"), job.path))
    return [_arrow(name, old, new) for name, old, new in pairs if old and new and old != new]


def run_changes(before: Mapping[str, Json], after: Mapping[str, Json]) -> list[str]:
    """What differs between the parameters of two runs; of nested ones, entry by entry."""
    changes = []
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            changes += [
                _arrow(f"{name} {key}", old.get(key), new.get(key))
                for key in sorted({*old, *new})
                if old.get(key) != new.get(key)
            ]
        elif old != new:
            changes.append(_arrow(name, old, new))
    return changes


def _example(job: Job, record: Mapping[str, Json], where: Callable[[int], object] | None) -> str:
    what = "; ".join(job_changes(job, record))
    place = where(job.seq) if where is not None else f"line {job.seq + 1}"
    return f"{place} (id {job.id!r}{f': {what}' if what else ''})"


def _arrow(name: str, old: Json, new: Json) -> str:
    return f"{name} {_value(old)} → {_value(new)}"


def _value(value: Json) -> str:
    return "(none)" if value is None else printable(str(value), _WIDTH)
