"""What a run does before it sends anything: it chooses rows, tells what is done from what is to do, and counts."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from anyio import to_thread
from anyio.from_thread import check_cancelled

from batcher.failures import InputError, UsageError
from batcher.inputs.formats import parse_job
from batcher.inputs.intake import Intake
from batcher.ledger.ledger import Ledger
from batcher.ledger.state import parameters
from batcher.running.resumption import compare, keep_blocks, seal_of
from batcher.running.wiring import defaults_for, said_selection, selection_of
from batcher.servers.described import only_model

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from batcher.inputs.shard import Shard
    from batcher.inputs.source import Source
    from batcher.ledger.errors import ErrorsFile
    from batcher.ledger.ledger import AnyLedger
    from batcher.options import Options
    from batcher.outcome import Result
    from batcher.running.destination import Destination
    from batcher.running.statekeeper import StateKeeper
    from batcher.servers.contact import Contact
    from batcher.view.observer import Observer

COUNTED: Final = 4 << 20
"""Bytes of an input whose rows are counted before the run begins; those of a larger one meanwhile, if at all."""


def intake_for(
    options: Options,
    environ: Mapping[str, str],
    server: Contact,
    source: Source,
    ledger: AnyLedger,
    *,
    errors: ErrorsFile | None,
    destination: Destination,
    reject: Callable[[Result], None],
) -> Intake:
    """What tells the jobs of an input from what is no job, and from what has a result. Raises as `defaults_for`."""
    failed = errors.standing() if errors is not None and options.skip_failed else None
    defaults = defaults_for(options, environ, server.model, source.path)
    if destination.table is not None and not source.is_regular:
        defaults = replace(defaults, brings_row=True, keep=options.keep)
    return Intake(
        parse=parse_job,
        defaults=defaults,
        finished=ledger.done,
        reject=reject,
        at_most=options.limit,
        selection=selection_of(options),
        limit_new=options.limit_new,
        needs_model=server.model is None,
        order=destination.order,
        on_change=options.on_change,
        failed=failed.__contains__ if failed else None,
        where=source.place,
    )


async def prepare(
    intake: Intake,
    source: Source,
    ledger: AnyLedger,
    server: Contact,
    state: StateKeeper,
    *,
    options: Options,
    observer: Observer,
) -> int | None:
    """Have all that is done told apart, and the state written; returns how many jobs a small input has.

    Raises BatcherError where the run cannot go on from the results as they are.
    """
    if source.is_regular and server.model is None:
        names = partial(intake.names_model, source.all_lines())
        if not await to_thread.run_sync(names):  # what lies elsewhere, or is loaded whole, takes a while
            intake.defaults = replace(intake.defaults, model=await only_model(server, observer))
    if intake.selection is not None:
        await to_thread.run_sync(intake.selection.prepare, source, options.limit, check_cancelled)
    asked = parameters(intake.defaults, intake.selection)
    before = state.before(ledger)
    if options.shard is not None and options.shard.told_by:
        observer.note(f"--shard auto: part {options.shard}, as {options.shard.told_by} says")
        _same_part(options.shard, ledger)
    comparison = partial(compare, intake, source, ledger, observer.note, before=before, parameters=asked)
    await to_thread.run_sync(partial(comparison, checkpoint=check_cancelled))
    blocks = keep_blocks(intake, ledger, source) if options.repeat == 1 else tuple  # else rows are numbered otherwise
    state.begin(
        ledger,
        asked,
        source.fingerprint,
        server.redactor.value,
        partial(seal_of, ledger, intake),
        selection=said_selection(options),
        blocks=blocks,
    )
    if not source.is_regular or source.size is None or source.size > COUNTED:
        return None
    try:
        return await to_thread.run_sync(jobs_of, source, options, check_cancelled)
    except InputError:  # whoever reads the jobs says so
        return None


def _same_part(shard: Shard, ledger: AnyLedger) -> None:
    """Raise UsageError if the results are of another part: an array that was started for a few of its tasks again
    numbers these anew.
    """
    state = ledger.before if isinstance(ledger, Ledger) else None
    before = state.selection.get("shard", str(shard)) if state is not None and state.selection else str(shard)
    if before != str(shard):
        raise UsageError(
            f"--shard auto is part {shard} ({shard.told_by}), and the results are of part {before}; say --shard "
            f"{before} to go on with it, or write to another file"
        )


def jobs_of(source: Source, options: Options, checkpoint: Callable[[], object]) -> int:
    """Count the jobs that there are at most in what is taken of an input."""
    rows, selection = rows_of(source, options, checkpoint), selection_of(options)
    return rows if selection is None else selection.count_of(rows)


def rows_of(source: Source, options: Options, checkpoint: Callable[[], object]) -> int:
    """Count the rows of an input, as far as it is taken."""
    return min(source.count(checkpoint), options.limit or sys.maxsize)


def left_of(source: Source, options: Options, ledger: AnyLedger, checkpoint: Callable[[], object]) -> int:
    """Count the jobs of an input that have no result."""
    return max(0, rows_of(source, options, checkpoint) * options.repeat - len(ledger))
