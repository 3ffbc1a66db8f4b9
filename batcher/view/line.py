"""The state of a run in words: one line of all, and rows below it for what needs its own. Safe for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from batcher.figures import count, money, rate, span
from batcher.redaction import printable
from batcher.view.pace import Pace
from batcher.view.snapshot import Snapshot

if TYPE_CHECKING:
    from batcher.view.snapshot import ServerNow

NOTE_WIDTH: Final = 200
LEAST_NOTE: Final = 16
"""Cells below which what the run waits for says too little to stand there."""
QUIET: Final = 3.0
"""Seconds without content that are told: a slow model brings some every second or so."""
SERVERS: Final = 8
"""Servers that have a row; the rest are counted."""
EXPENDABLE: Final = ("tokens", "parked", "cost", "jobs", "elapsed", "in flight", "note", "failed")
"""What a narrow terminal does without, the least important first."""


def describe(snapshot: Snapshot, pace: Pace, width: int | None = None, *, with_note: bool = True) -> str:
    """Write the line.

    Where it is longer than `width` cells, what matters least is left out, and what is awaited is cut; never the ETA.
    """
    total = snapshot.total
    done = count(snapshot.done)
    if total is None:
        done = f"{done} done"
    else:
        share = 100 * snapshot.done // total if total else 100
        done = f"{done}/{count(total)} {min(share, 100)}%"
    remaining = pace.remaining()
    of = f"/{count(snapshot.allowed)}" if snapshot.allowed is not None else ""
    elapsed = span(snapshot.elapsed)
    parts = {
        "done": done,
        "failed": f"{count(snapshot.failed)} failed" if snapshot.failed else "",
        "note": printable(awaited(snapshot), NOTE_WIDTH) if with_note else "",
        "in flight": f"{count(snapshot.in_flight)}{of} in flight",
        "parked": f"{count(snapshot.parked)} parked" if snapshot.parked else "",
        "jobs": f"{rate(pace.jobs)} jobs/s" if pace.jobs else "",
        "tokens": f"{rate(pace.tokens)} tok/s" if pace.tokens else "",
        "cost": _cost(snapshot),
        "elapsed": elapsed if remaining is not None else "",
        "time": f"ETA {span(remaining)}" if remaining is not None else elapsed,
    }
    return _fitted(parts, width)


def awaited(snapshot: Snapshot) -> str:
    """What is waited for: what holds the run, or content that does not come."""
    if snapshot.note or snapshot.quiet < QUIET:
        return snapshot.note
    return f"nothing has come for {span(snapshot.quiet)}"


def rows(snapshot: Snapshot, width: int) -> list[str]:
    """What stands below the line: what is waited for, why jobs fail, and how each of several servers does."""
    found = []
    if note := awaited(snapshot):
        found.append(f"  waiting: {note}" if snapshot.note else f"  {note}")
    if snapshot.newest:
        found.append(f"  failed: {snapshot.newest}")
    found += [f"  {_of_server(server)}" for server in snapshot.servers[:SERVERS]]
    if more := len(snapshot.servers) - SERVERS:
        found += [f"  and {count(more)} servers more"] if more > 0 else []
    return [printable(row, width) for row in found]


def state(snapshot: Snapshot) -> str:
    """Write the line for one who asks once: the speed is that of the whole run."""
    pace = Pace()
    pace.add(Snapshot(elapsed=0.0))
    pace.add(snapshot)
    return describe(snapshot, pace)


def _cost(snapshot: Snapshot) -> str:
    """What is known of it, and whether that is all."""
    if snapshot.cost is None:
        return ""
    return f"cost {money(snapshot.cost)}{f' + {count(snapshot.unpriced)} unpriced' if snapshot.unpriced else ''}"


def _of_server(server: ServerNow) -> str:
    parts = (
        server.server,
        f"{count(server.ok)} done",
        f"{count(server.failed)} failed" if server.failed else "",
        f"{count(server.in_flight)}/{count(server.allowed)} in flight",
        server.note,
    )
    return " · ".join(part for part in parts if part)


def _fitted(parts: dict[str, str], width: int | None) -> str:
    line = _joined(parts)
    for name in EXPENDABLE:
        if width is None or len(line) <= width:
            return line
        over = len(line) - width
        note = parts["note"]
        if note and len(note) - over >= LEAST_NOTE:
            return _joined(parts | {"note": printable(note, len(note) - over)})
        parts = parts | {name: ""}
        line = _joined(parts)
    return line


def _joined(parts: dict[str, str]) -> str:
    return " · ".join(part for part in parts.values() if part)
