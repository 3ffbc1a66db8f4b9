"""What a run does about the results of those before it: compares them with the input before anything is sent."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from batcher import codec
from batcher.failures import OutputIOError, UsageError
from batcher.figures import count
from batcher.inputs.changes import contradiction, run_changes
from batcher.ledger import disk
from batcher.ledger.ledger import Ledger
from batcher.ledger.names import superseded_path
from batcher.ledger.recovery import identify
from batcher.ledger.repair import Findings, mend

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from pathlib import Path

    from batcher.inputs.intake import Intake
    from batcher.inputs.source import Source
    from batcher.ledger.ledger import AnyLedger
    from batcher.ledger.seal import Seal
    from batcher.model import Json


def compare(
    intake: Intake,
    source: Source,
    ledger: AnyLedger,
    note: Callable[[str], None],
    *,
    before: Mapping[str, Json],
    parameters: Mapping[str, Json],
    checkpoint: Callable[[], object] = bool,
) -> None:
    """Find what is done, and deal with results of other requests as `on_change` says.

    `before` and `parameters` are those of the last run and of this one. `checkpoint` is called now and then; what it
    raises ends the comparison. Raises InputError (65) if such results are an error, UsageError (2) if they are to be
    replaced and the input can be read but once, OutputIOError (74).
    """
    if not isinstance(ledger, Ledger) or not len(ledger):
        return
    if not source.is_regular:
        if intake.on_change == "rerun":
            raise UsageError("--on-change rerun compares the whole input before it sends: give it as a file")
        return
    if _is_proven(intake, ledger, parameters):
        if intake.on_change != "rerun":
            return  # what the last run wrote after its seal is compared as it comes by
    else:
        ledger.prefixes.proven = None
        ledger.read_ids(checkpoint)
    intake.check(source.lines(), checkpoint)
    if not intake.changed or intake.on_change == "keep":
        return
    if intake.on_change == "rerun":
        moved = count(supersede(ledger, ledger.done.changed), "results")
        note(f"moved {moved} of other requests to {superseded_path(ledger.path)}; what they answered is asked anew")
        return
    records = _records(ledger.path, {job.id for job in intake.examples})
    raise contradiction(
        intake.examples, intake.changed, records=records, parameters=run_changes(before, parameters) if before else ()
    )


def seal_of(ledger: AnyLedger, intake: Intake) -> Seal | None:
    """Give the seal of what the disk has of the results, or that of an earlier run if no more than that is known.

    It takes that the lines of the input that the results name are those that the comparison found answered.
    """
    if not isinstance(ledger, Ledger):
        return None
    prefixes, seal = ledger.prefixes, ledger.synced_seal
    if seal is not None and intake.plain and prefixes.lines == intake.answered:
        return replace(seal, alone=intake.alone)
    return prefixes.proven


def supersede(ledger: Ledger, changed: Callable[[str | bytes], bool]) -> int:
    """Move the lines of `changed` ids to the end of the superseded file, forget them, and return how many they were.

    They are on the disk there before they leave the results file, which is replaced in one step. A crash in between
    leaves copies behind, and the next run moves the lines again. Raises `OutputIOError` (74), and nothing has changed.
    """

    def take_out(fd: int, path: Path) -> tuple[int, Path]:
        found = Findings()
        with open(fd, "rb", buffering=disk.BLOCK, closefd=False) as file:
            file.seek(0)
            end = 0
            for line in file:
                start, end = end, end + len(line)
                identity = identify(line)
                if identity is not None and changed(identity[0]):
                    found.mark(start, end)
        return mend(fd, path, superseded_path(path), found), path

    try:
        ledger.replace(take_out)
    except OSError as error:
        raise OutputIOError(f"{ledger.path}: cannot be rewritten: {error.strerror or error}") from error
    return ledger.done.discard_changed()


def _is_proven(intake: Intake, ledger: Ledger, parameters: Mapping[str, Json]) -> bool:
    """Whether the results that were sealed are of what this run asks; their lines of the input are passed over then."""
    prefixes = ledger.prefixes
    if prefixes.proven is None or not prefixes.proven.size or ledger.before is None or ledger.before.run != parameters:
        return False
    intake.take_over(prefixes.proven_lines, alone=prefixes.proven.alone)
    ledger.done.see_first(len(prefixes.proven_lines))
    return True


def _records(path: Path, idents: Collection[str]) -> dict[str, dict[str, Json]]:
    """Read the results of a few ids."""
    found: dict[str, dict[str, Json]] = {}
    with path.open("rb", buffering=disk.BLOCK) as file:
        for line in file:
            identity = identify(line)
            ident = identity[0] if identity else ""
            name = ident.decode() if isinstance(ident, bytes) else ident
            if name in idents:
                found[name] = codec.loads(line)
                if len(found) == len(idents):
                    break
    return found
