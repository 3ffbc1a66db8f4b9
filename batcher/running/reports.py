"""What a run leaves beside its results while it goes on: the report in its state file, and numbers for Prometheus."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from socket import gethostname
from typing import TYPE_CHECKING, Final

import anyio
from anyio import to_thread

from batcher.failures import OutputError
from batcher.ledger.ledger import Ledger
from batcher.running.journal import MOST
from batcher.view.line import state

if TYPE_CHECKING:
    from collections.abc import Callable

    from batcher.ledger.ledger import AnyLedger
    from batcher.model import Json
    from batcher.running.journal import Journal
    from batcher.view.snapshot import Snapshot
    from batcher.view.summary import Summary

METRICS_EVERY: Final = 5.0
"""Seconds between two writings of the metrics; Prometheus asks every 15 s or so."""


@dataclass(slots=True)
class Reports:
    """Of one run. `snapshot` gives its state at any time, `summary` what ended it, and held it up, once it is over."""

    snapshot: Callable[[], Snapshot]
    journal: Journal
    summary: Summary
    earlier: list[Json] = field(default_factory=list)
    """Events of the runs before this one, each with the start of its own."""
    started_at: str = field(init=False)

    def __post_init__(self) -> None:
        self.started_at = datetime.now(UTC).isoformat(timespec="milliseconds")  # events are counted from it

    def for_state(self, end: int) -> dict[str, Json]:
        """Who runs it, how far it is and what it waits for, and what happened; `end` is that of the results file."""
        shown, bound, events = self.snapshot(), self.summary.bottleneck, self.journal.to_json()
        why = self.summary.why
        return {
            "pid": os.getpid(),
            "host": gethostname(),
            "started_at": self.started_at,
            "written_at": _stamp(),
            "total": shown.total,
            "done": shown.done,
            "results_end": end,
            "line": state(shown),
            "bottleneck": bound.words if bound is not None else None,
            "stopped": f"{why.code}: {why.message}" if why is not None else None,
            "events": [*self.earlier[max(0, len(self.earlier) + len(events) - MOST) :], *events],
        }

    async def keep_metrics(self, path: Path, summary: Summary, note: Callable[[str], None]) -> None:
        """Write the metrics now and then until cancelled; what cannot be written is told once."""
        from batcher.view.metrics import exposition

        while True:
            try:
                text = exposition(summary, self.snapshot(), is_over=False)
                await to_thread.run_sync(write_metrics, path, text)
            except OutputError as error:
                note(str(error))
                return
            await anyio.sleep(METRICS_EVERY)

    def last_metrics(self, path: Path, summary: Summary) -> None:
        """Write them once more, when the run is over."""
        from batcher.view.metrics import exposition

        try:
            write_metrics(path, exposition(summary, self.snapshot(), is_over=True))
        except OutputError as error:
            summary.unwritten.append(str(error))


def told_before(ledger: AnyLedger) -> list[Json]:
    """The events of the runs that this one goes on from, as the state file has them; it may hold anything."""
    before = ledger.before if isinstance(ledger, Ledger) and not ledger.stale else None
    events = before.report.get("events") if before is not None else None
    if before is None or not isinstance(events, list):
        return []
    run = {"run": before.report.get("started_at")}
    return [run | event for event in events if isinstance(event, dict)]


def write_metrics(path: Path, text: str) -> None:
    """Put a text in the place of the last, in one step: a collector never sees half. Raises OutputError."""
    if path.exists() and not path.is_file():
        raise OutputError(f"--metrics-file: {path} is no file")
    import tempfile

    name = ""
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            os.fchmod(file.fileno(), 0o644)
        Path(name).replace(path)
    except OSError as error:
        with suppress(OSError):
            Path(name).unlink()
        raise OutputError(f"--metrics-file: {path} cannot be written: {error.strerror}") from error


def _stamp() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
