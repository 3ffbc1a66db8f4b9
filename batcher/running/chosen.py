"""What a run takes of its input, as its options say it, and what its files are named by where that is a share."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from batcher.failures import UsageError
from batcher.inputs.selection import Selection
from batcher.inputs.shard import MARK
from batcher.ledger.parts import named

if TYPE_CHECKING:
    from batcher.inputs.shard import Shard
    from batcher.inputs.source import Source
    from batcher.model import Json
    from batcher.options import Options


def selection_of(options: Options) -> Selection | None:
    """Which rows a run takes, if not all; `chosen` makes it ready."""
    found = Selection(
        sample=options.sample or options.estimate,
        seed=options.seed,
        shard=options.shard,
        done_from=tuple(map(str, named(options.done_from))),
        repeat=options.repeat,
    )
    return found if found.said() else None


def ready(options: Options, source: Source) -> Selection | None:
    """As `selection_of`, ready to be asked about this input. Raises InputError."""
    selection = selection_of(options)
    if selection is not None:
        selection.prepare(source, options.limit)
    return selection


def by_part(path: Path | None, shard: Shard | None) -> Path | None:
    """The file of a run, named by its part where `{shard}` stands in the name. Raises UsageError."""
    if path is None or MARK not in str(path):
        return path
    if shard is None:
        raise UsageError(f"{path}: {MARK} is the part of --shard, and none is said: --shard 2/8, or auto in an array")
    return Path(str(path).replace(MARK, shard.label))


def said_selection(options: Options) -> dict[str, Json]:
    """Which rows are the whole job, for the state file: a sample that was drawn to estimate is not."""
    chosen = selection_of(replace(options, estimate=None))
    said = chosen.said() if chosen is not None else {}
    return said if options.limit is None else {**said, "limit": options.limit}
