"""What the jobs of a run pass through: intake, copies, scheduler, engine, recorder, each joined to its neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from anyio import to_thread

from batcher.ledger.writer import Writer
from batcher.running.copies import Copies
from batcher.running.engine import Engine
from batcher.running.exchanges import exchanges_for
from batcher.running.preparation import begun, intake_for
from batcher.running.recorder import Recorder
from batcher.running.wiring import reread, scheduler_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from batcher.inputs.intake import Intake
    from batcher.inputs.source import Source
    from batcher.ledger.errors import ErrorsFile
    from batcher.ledger.ledger import AnyLedger
    from batcher.model import Job
    from batcher.options import Options
    from batcher.outcome import Result
    from batcher.running.destination import Destination
    from batcher.running.sharing import Pool
    from batcher.servers.contact import Contact
    from batcher.view.summary import Summary


@dataclass(slots=True, kw_only=True)
class Pipeline:
    """Both ends first, as what is done has to be told from what is not; then, for the jobs, what lies between."""

    options: Options
    note: Callable[[str], None]
    source: Source
    ledger: AnyLedger
    server: Contact
    intake: Intake
    copies: Copies
    recorder: Recorder

    @classmethod
    def of(
        cls,
        options: Options,
        environ: Mapping[str, str],
        source: Source,
        ledger: AnyLedger,
        server: Contact,
        *,
        errors: ErrorsFile | None,
        destination: Destination,
        summary: Summary,
        note: Callable[[str], None],
        finished: Callable[[Result], None],
    ) -> Self:
        """Make what reads the jobs and what writes their results, each of which `finished` hears of.

        Raises as `intake_for`.
        """
        recorder = Recorder(
            writer=Writer(ledger=ledger, note=note, durability=options.durability, disk_wait=options.disk_wait),
            errors=errors,
            summary=summary,
            redactor=server.redactor,
            images=destination.files.images,
            base64=options.embedding_format == "base64",
            finished=finished,
            vectors=destination.vectors(),
            place=source.place,
        )
        intake = intake_for(
            options, environ, server, source, ledger, errors=errors, destination=destination, reject=recorder.reject
        )
        copies = recorder.copies = Copies.of(ledger, wanted=options.dedupe, repeat=options.repeat)
        if options.dedupe:  # else no results of earlier runs are looked at for it
            intake.met = copies.met
        return cls(
            options=options,
            note=note,
            source=source,
            ledger=ledger,
            server=server,
            intake=intake,
            copies=copies,
            recorder=recorder,
        )

    async def engine(self, jobs: Iterator[Job | None], pool: Pool | None) -> Engine:
        """Make what sends the jobs, within the limits of a `pool`. Raises BatcherError where nobody can send them."""
        options, server, source, intake = self.options, self.server, self.source, self.intake
        copies, writer = self.copies, self.recorder.writer
        await to_thread.run_sync(copies.find)
        scheduler = scheduler_for(
            options,
            server,
            await begun(server, copies.distinct(jobs), intake, source),
            self.recorder.reject,
            pool=pool,
            wake=lambda: engine.more(),  # noqa: PLW0108 - it is made below
        )
        scheduler.proven = len(self.ledger) > 0
        if source.is_regular:
            again = lambda wanted: intake.again(source.lines(), wanted)  # noqa: E731 - two lines else
            scheduler.look.reread = reread(options, server, scheduler.packs, again)
        engine = Engine.of(options, scheduler, exchanges_for(options, server, self.note), server.renew)
        source.on_arrival = intake.rest = copies.wake = engine.waker()
        copies.due, scheduler.given_back = engine.poke, copies.left
        scheduler.backlog.is_blocked = lambda: copies.is_blocked
        writer.hold, writer.release = engine.hold, engine.release
        return engine
