"""`batcher status`: how a run stands, asked from another terminal; or how the last one ended."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from batcher.commands.console import answer, print_json, say
from batcher.commands.options import option
from batcher.figures import count, span

if TYPE_CHECKING:
    from batcher.ledger.state import State
    from batcher.model import Json

EVENTS_SHOWN: Final = 5
_PIECE: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What is known of a run. `since` counts lines that were written after the state file was."""

    results: Path
    is_running: bool
    holder: str = ""
    since: int = 0
    report: dict[str, Json] = field(default_factory=dict)
    status: str = ""
    counts: dict[str, int] = field(default_factory=dict)


@click.command("status")
@click.argument("results", type=click.Path(path_type=Path), metavar="OUT")
@option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(results: Path, *, as_json: bool) -> None:
    """Say how the run on OUT stands: who has the file and since when, how far it is, and what it waits for.

    Of a run that has ended it says how. Reads alone and disturbs nothing; what it says is as old as it says.

    \b
    Examples:
      batcher status answers.jsonl
      watch -n 10 batcher status answers.jsonl

    Exit codes: 0 it was told, 73 there is no such file.
    """  # noqa: D301 - \b is click's mark for lines that are not to be wrapped
    standing = look(results)
    if as_json:
        print_json(as_dict(standing))
    else:
        for line in screen(standing):
            answer(line)


def look(results: Path) -> Standing:
    """Find out how the run on some results stands. Raises OutputError if there is no such file."""
    from batcher.commands.earlier import open_to_read
    from batcher.ledger.holder import holder, is_held
    from batcher.ledger.names import part_path, state_path, table_results_path
    from batcher.ledger.state import read

    if not results.name:
        results = results.resolve()
    named = table_results_path(results) if results.name else results
    where = next((path for path in (named, part_path(results)) if path.exists() and is_held(path)), results)
    if where is results and named.exists():
        where = named
    state, note = read(state_path(where)) if where.name else (None, None)
    if note:
        say(note)
    report = state.report if state is not None else {}
    with open_to_read(where) as file:
        end = report.get("results_end")
        since = _lines_after(file.fileno(), end) if type(end) is int else 0
    return Standing(
        results=where,
        is_running=is_held(where),
        holder=holder(where),
        since=since,
        report=report,
        status=_status(state),
        counts=dict(state.counts) if state is not None else {},
    )


def screen(standing: Standing) -> list[str]:
    """The same for people."""
    report = standing.report
    lines = [f"{standing.results}: {_headline(standing)}"]
    if standing.is_running and report.get("line"):
        lines.append(f"state    {report['line']}{_age(report.get('written_at'))}")
        if standing.since:
            lines.append(f"         {count(standing.since, 'results')} more since then")
    elif standing.counts:
        lines.append(f"jobs     {_told(standing)}")
    if not standing.is_running:
        names = (("stopped", "stopped"), ("bottleneck", "bound by"))
        lines += [f"{name:<8} {report[key]}" for key, name in names if isinstance(report.get(key), str)]
    events = [event for event in report.get("events") or () if isinstance(event, dict)]
    lines += [f"event    {_event(event, is_running=standing.is_running)}" for event in events[-EVENTS_SHOWN:]]
    return lines


def as_dict(standing: Standing) -> dict[str, Any]:
    """The same for programs. The names in it stay."""
    return {
        "results": str(standing.results),
        "running": standing.is_running,
        "holder": standing.holder or None,
        "status": standing.status or None,
        "jobs": standing.counts,
        "results_since": standing.since,
        "report": standing.report,
    }


def _status(state: State | None) -> str:
    return "" if state is None else str(state.status)


def _headline(standing: Standing) -> str:
    if standing.is_running:
        return f"a run goes on ({standing.holder})" if standing.holder else "a run goes on"
    ended = _moment(standing.report.get("written_at"))
    when = f", {ended.astimezone():%Y-%m-%d %H:%M}" if ended is not None else ""
    return {
        "complete": f"the last run is complete{when}",
        "stopped": f"the last run was stopped{when}; the same command goes on",
        "running": "the last run was killed; the same command goes on",
    }.get(standing.status, "no run is at work; how the last one ended is not known")


def _told(standing: Standing) -> str:
    counts, total = standing.counts, standing.report.get("total")
    done = counts.get("ok", 0) + counts.get("skipped", 0)
    left = counts.get("pending", 0)
    if type(total) is int and standing.status != "complete":  # of a complete run all that is missing repeats
        left = max(left, total - done - counts.get("failed", 0) - counts.get("left", 0))
    of = f" of {count(total)}" if type(total) is int else ""
    words = [f"{count(done)}{of} done", f"{count(counts['failed'])} failed" if counts.get("failed") else ""]
    words.append(f"{count(left)} {'left' if of else 'pending'}" if left else "")
    return " · ".join(word for word in words if word)


def _event(event: dict[str, Json], *, is_running: bool) -> str:
    """Of an earlier run with when that began; one without an end goes on as long as its run does."""
    from batcher.view.statistics.events import KINDS

    start, end, run = event.get("start"), event.get("end"), _moment(event.get("run"))
    at = f"at {span(float(start))}" if isinstance(start, int | float) else ""
    if run is not None:
        at, is_running = f"{run.astimezone():%Y-%m-%d %H:%M} {at}", False
    lasted = ""
    if isinstance(start, int | float):
        lasted = (
            f"for {span(float(end) - float(start))}"
            if isinstance(end, int | float)
            else ("goes on" if is_running else "until its end")
        )
    times = f"{event['count']} times" if isinstance(event.get("count"), int) and event["count"] > 1 else ""
    what = KINDS.get(kind, kind) if isinstance(kind := event.get("kind"), str) else None
    parts = (at, what, event.get("server"), times, lasted, event.get("words"))
    return "  ".join(str(part) for part in parts if part)


def _age(stamp: object) -> str:
    moment = _moment(stamp)
    return "" if moment is None else f"  ({span((datetime.now(UTC) - moment).total_seconds())} ago)"


def _moment(stamp: object) -> datetime | None:
    if isinstance(stamp, str):
        with suppress(ValueError, OverflowError, OSError):
            moment = datetime.fromisoformat(stamp)
            moment.timestamp()  # one that no clock shows may be somebody else's
            return moment if moment.tzinfo is not None and moment.year > 1 else None
    return None


def _lines_after(descriptor: int, start: int) -> int:
    """How many lines end behind a place of a file."""
    lines, place = 0, max(0, start)
    while piece := os.pread(descriptor, _PIECE, place):
        lines += piece.count(b"\n")
        place += len(piece)
    return lines
