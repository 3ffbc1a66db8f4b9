"""Reads one line of a JSONL file as a job, and a row as the line it stands for: our fields, or an OpenAI batch line.

    custom_id + url + body   that endpoint, that body
    messages                 chat
    prompt                   generate
    input, text              embeddings

A `url` without a body, or else the run's endpoint, says instead what the line's text is for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from batcher.failures import Failure, FailureClass, LineError
from batcher.inputs.formats.lines import LINE_LIMIT
from batcher.inputs.formats.objects import read_object
from batcher.inputs.formats.records import read_record
from batcher.inputs.formats.rows import values_of
from batcher.inputs.identity import canonical, derived_id, own_id
from batcher.outcome import Result

if TYPE_CHECKING:
    from batcher.inputs.formats.defaults import Defaults
    from batcher.inputs.formats.lines import Line
    from batcher.inputs.formats.rows import Data
    from batcher.inputs.identity import Ids
    from batcher.inputs.recipe import Recipe
    from batcher.model import Job, Json


def parse_job(data: Data, seq: int, defaults: Defaults, ids: Ids | None = None) -> Job:
    """The job on a line, or of another row. One without an id gets one from its bytes, or from what its columns hold.

    `ids` tells repeats apart. Raises `LineError`, with the id if the line has one. Reads image files that it names.
    """
    recipe = defaults.recipe
    row = read_row(data, recipe)
    explicit = own_id(row) if recipe is None else recipe.own_id(row)
    try:
        if explicit is not None:
            name = explicit
        else:
            known = known_by(data, row, recipe)
            name = ids.derive(known, seq) if ids else derived_id(known)
        job = read_record(row if recipe is None else recipe.record(row), name, seq, defaults)
        if defaults.brings_row:
            job.columns = brought(data, defaults)
    except LineError as error:
        error.id = explicit
        raise
    else:
        return job


def name_of(data: Data, defaults: Defaults) -> str:
    """The id that the job of a row has, but for the number of one that is like an earlier one. Raises `LineError`."""
    recipe = defaults.recipe
    row = read_row(data, recipe)
    explicit = own_id(row) if recipe is None else recipe.own_id(row)
    return derived_id(known_by(data, row, recipe)) if explicit is None else explicit


def brought(data: Data, defaults: Defaults) -> dict[str, Json]:
    """The columns that a job brings along, read anew: images may stand in the place of their paths by now."""
    columns = values_of(data)
    return columns if defaults.keep is None else {key: columns[key] for key in defaults.keep if key in columns}


def read_row(data: Data, recipe: Recipe | None) -> dict[str, Json]:
    """The columns that a job is made of. Raises `LineError`."""
    if isinstance(data, bytes):
        return read_object(data)
    return data.values() if recipe is not None and recipe.asks else data.record()


def known_by(data: Data, row: dict[str, Json], recipe: Recipe | None) -> bytes:
    """By what a row without an id is known again (`identity.derived_id`)."""
    known = None if recipe is None else recipe.identity(row)
    if known is None:
        known = data if isinstance(data, bytes) else canonical(row)
    return known


def refused(error: LineError, line: Line) -> Result:
    """What a line that is no job leaves behind: a failure, under an id made from its bytes or number if it has none."""
    if error.id is not None:
        name = error.id
    elif line.data is None:
        name = f"line:{line.seq + 1}"
    else:
        raw = line.data if isinstance(line.data, bytes) else line.data.raw()
        name = derived_id(raw) if raw is not None else f"row:{line.seq + 1}"
    return Result(id=name, seq=line.seq, failure=Failure(FailureClass.PERMANENT, error.code, error.message))


def too_large(longest: int = LINE_LIMIT) -> LineError:
    """The error for a line whose `data` is `None`."""
    return LineError("line_too_large", f"the line is longer than {longest / 2**20:g} MiB; split it")
