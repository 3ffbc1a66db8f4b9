"""What a run does before it sends anything: it chooses rows, tells what is done from what is to do, and counts."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING, Final, NamedTuple

from anyio import to_thread
from anyio.from_thread import check_cancelled

from batcher.failures import InputError, OutputError
from batcher.inputs.formats import parse_job
from batcher.inputs.intake import Intake
from batcher.inputs.shard import MARK
from batcher.ledger.ledger import Ledger
from batcher.ledger.state import parameters
from batcher.model import END
from batcher.running.chosen import said_selection, selection_of
from batcher.running.resumption import compare, keep_blocks, seal_of
from batcher.running.wiring import defaults_for
from batcher.servers.described import only_model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from batcher.inputs.shard import Shard
    from batcher.inputs.source import Source
    from batcher.ledger.errors import ErrorsFile
    from batcher.ledger.ledger import AnyLedger
    from batcher.model import Job
    from batcher.options import Options
    from batcher.outcome import Result
    from batcher.running.destination import Destination
    from batcher.running.statekeeper import StateKeeper
    from batcher.servers.contact import Contact
    from batcher.view.observer import Observer

COUNTED: Final = 4 << 20
"""Bytes of an input whose rows are counted before the run begins; those of a larger one meanwhile, if at all."""
FEW: Final = 10_000
"""The first rows, if they are the whole job, that are counted before it begins whatever the size of the input."""


class Jobs(NamedTuple):
    """How many jobs there are at most: in what is taken of an input, and of these in the share of this run."""

    whole: int
    share: int
    is_about: bool = False
    """The share was not counted by ids: it is what may be expected of it."""

    def most(self, limit_new: int | None, skipped: int) -> int:
        """How many of the share are done when the run ends, those included that were done before it."""
        return self.share if limit_new is None else min(self.share, skipped + limit_new)


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
) -> Jobs | None:
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
    if options.shard is not None:
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
    if not source.is_regular or source.size is None:
        return None
    if source.size > COUNTED and (options.limit is None or options.limit > FEW):
        return None
    try:
        return await to_thread.run_sync(partial(jobs_of, source, options, check_cancelled, intake=intake))
    except InputError:  # whoever reads the jobs says so
        return None


async def begun(server: Contact, jobs: Iterator[Job | None], intake: Intake, source: Source) -> Iterator[Job | None]:
    """Start the local server as soon as there is a job for it, and give all jobs back; without one it is not started.

    Those of a pipe may yet come: it is started for them. Raises as `Intake.jobs` and `Contact.begin` do.
    """
    if server.begin is None:
        return jobs
    if source.is_regular:
        intake.rest = check_cancelled
        first = await to_thread.run_sync(next, filter(None, jobs), END)
        if first is END:
            return iter(())
        jobs = chain((first,), jobs)
    await server.begin()
    return jobs


def _same_part(shard: Shard, ledger: AnyLedger) -> None:
    """Raise OutputError (73) if the results are of another part: two of them in one file are none that can be merged,
    and an array that is started for a few of its tasks again numbers these anew.
    """
    if not isinstance(ledger, Ledger) or ledger.before is None or ledger.stale or not len(ledger):
        return
    before = ledger.before.selection.get("shard", str(shard))
    if before != str(shard):
        told = f" ({shard.told_by})" if shard.told_by else ""
        raise OutputError(
            f"{ledger.path}: holds part {before}, and this run is part {shard}{told}: each part has a file of its own, "
            f"such as -o 'answers-{MARK}.jsonl'; --shard {before} goes on with this one"
        )


def jobs_of(
    source: Source, options: Options, checkpoint: Callable[[], object], *, intake: Intake | None = None
) -> Jobs:
    """Count the jobs that there are at most in what is taken of an input.

    With `intake` those of a shard are told by their ids, if only rows are to be read for that, and no files.
    """
    rows, selection = source.count(checkpoint, options.limit), selection_of(options)
    if selection is None:
        return Jobs(rows, rows)
    whole = selection.count_of(rows)
    if selection.shard is None and not selection.done_from:
        return Jobs(whole, whole)
    if intake is None or intake.selection is None or not source.size:
        return Jobs(whole, _expected(whole, selection.shard), is_about=True)
    lines = islice(source.all_lines(), options.limit)
    # of what is done elsewhere some may have been of another request
    return Jobs(whole, intake.selection.share_of(lines, intake.defaults), is_about=bool(selection.done_from))


def left_of(source: Source, options: Options, ledger: AnyLedger, checkpoint: Callable[[], object]) -> int:
    """Count the jobs of an input that have no result; of a shard, those that are to be expected."""
    whole = source.count(checkpoint, options.limit) * options.repeat
    return max(0, _expected(whole, options.shard) - len(ledger))


def _expected(whole: int, shard: Shard | None) -> int:
    return whole if shard is None else -(-whole // shard.of)
