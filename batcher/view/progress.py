"""The live line of a run: how far, how fast, how long yet, and what it waits for. On a terminal; elsewhere nothing."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from batcher.figures import count, rate, span
from batcher.redaction import printable

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import TextIO

    from rich.live import Live
    from rich.table import Table
    from rich.text import Text

WINDOW = 30.0
"""Seconds over which speed is measured: long enough to be calm, short enough to show a change."""
REDRAW = 0.1
"""Least seconds between two drawings."""
BAR_WIDTH = 24
NOTE_WIDTH = 200
LEAST_NOTE = 16
"""Cells below which what the run waits for says too little to stand there."""
EXPENDABLE = ("tokens", "parked", "jobs", "in flight", "note", "failed")
"""What a narrow terminal does without, the least important first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The state of a run at one moment. `elapsed` is seconds since its start; `tokens` are completion tokens."""

    elapsed: float
    ok: int = 0
    failed: int = 0
    skipped: int = 0
    """Jobs that had a result before; done, but no sign of speed."""
    in_flight: int = 0
    allowed: int | None = None
    """How many requests may be in flight now."""
    parked: int = 0
    """Requests that wait for their next attempt."""
    tokens: int = 0
    total: int | None = None
    """Jobs of the whole input, those that had a result among them, once that is known."""
    note: str = ""
    """What the run waits for, if it does; may be a server's words."""

    @property
    def done(self) -> int:
        return self.ok + self.failed + self.skipped


class Pace:
    """How fast a run has been of late, from the snapshots it is shown."""

    def __init__(self) -> None:
        self._seen: deque[Snapshot] = deque()

    def add(self, snapshot: Snapshot) -> None:
        """Look at a snapshot; they come in the order of time, at most one a `REDRAW` is kept."""
        seen = self._seen
        if len(seen) > 1 and snapshot.elapsed - seen[-2].elapsed < REDRAW:
            seen.pop()
        seen.append(snapshot)
        while len(seen) > 2 and snapshot.elapsed - seen[1].elapsed >= WINDOW:
            seen.popleft()

    @property
    def jobs(self) -> float:
        """Finished jobs a second."""
        return self._per_second(lambda snapshot: snapshot.ok + snapshot.failed)

    @property
    def tokens(self) -> float:
        """Completion tokens a second."""
        return self._per_second(lambda snapshot: snapshot.tokens)

    def remaining(self) -> float | None:
        """Seconds to the end at this pace; `None` if the total is unknown or nothing moves."""
        if not self._seen or (total := self._seen[-1].total) is None or not self.jobs:
            return None
        return max(total - self._seen[-1].done, 0) / self.jobs

    def _per_second(self, what: Callable[[Snapshot], int]) -> float:
        if len(self._seen) < 2:
            return 0.0
        first, last = self._seen[0], self._seen[-1]
        time = last.elapsed - first.elapsed
        return (what(last) - what(first)) / time if time > 0 else 0.0


def describe(snapshot: Snapshot, pace: Pace, width: int | None = None) -> str:
    """Write the line, made safe for a terminal.

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
    parts = {
        "done": done,
        "failed": f"{count(snapshot.failed)} failed" if snapshot.failed else "",
        "note": printable(snapshot.note, NOTE_WIDTH),
        "in flight": f"{count(snapshot.in_flight)}{of} in flight",
        "parked": f"{count(snapshot.parked)} parked" if snapshot.parked else "",
        "jobs": f"{rate(pace.jobs)} jobs/s" if pace.jobs else "",
        "tokens": f"{rate(pace.tokens)} tok/s" if pace.tokens else "",
        "time": f"ETA {span(remaining)}" if remaining is not None else span(snapshot.elapsed),
    }
    return _fitted(parts, width)


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


def state(snapshot: Snapshot) -> str:
    """Write the line for one who asks once: the speed is that of the whole run."""
    pace = Pace()
    pace.add(Snapshot(elapsed=0.0))
    pace.add(snapshot)
    return describe(snapshot, pace)


class Progress:
    """Shows the line on a terminal while its block runs, and takes it away at the end.

    `shown` None means: if the file is a terminal. Elsewhere, and on a terminal that went away, it does nothing. While
    it shows, the terminal is its own: whoever has something to say says it by `above`. What others write to
    `sys.stderr`, such as warnings, appears above the line too; a log handler has to ask for `sys.stderr` anew.
    """

    def __init__(self, file: TextIO, total: int | None = None, *, shown: bool | None = None) -> None:
        self.total = total
        self._file = file
        self._shown = file.isatty() if shown is None else shown
        self._live: Live | None = None
        self._pace = Pace()
        self._drawn = -REDRAW

    def __enter__(self) -> Self:
        if self._shown:
            self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        live, self._live = self._live, None
        if live is not None:
            with suppress(
                OSError, IndexError
            ):  # the terminal was closed: nobody to clean up for; rich may have begun to
                live.stop()

    def update(self, snapshot: Snapshot) -> None:
        """Draw the state; call it as often as you like."""
        live = self._live
        if live is None:
            return
        if snapshot.total is None and self.total is not None:
            snapshot = replace(snapshot, total=self.total)
        self._pace.add(snapshot)
        if snapshot.elapsed - self._drawn < REDRAW:
            return
        self._drawn = snapshot.elapsed
        try:
            live.update(self._drawing(snapshot), refresh=True)
        except OSError:
            self.__exit__(None, None, None)

    def above(self, text: str) -> bool:
        """Print a text, fit for a terminal, above the line; false if no line is shown, and nothing was printed."""
        live = self._live
        if live is None:
            return False
        from rich.text import Text

        try:
            live.console.print(Text(text), soft_wrap=True)
        except OSError:
            self.__exit__(None, None, None)
            return False
        return True

    def _start(self) -> None:
        from rich.console import Console
        from rich.live import Live

        console = Console(file=self._file, force_terminal=True, force_jupyter=False, soft_wrap=False)
        if console.is_dumb_terminal:
            return
        # stdout is left alone: results may be on their way through it
        self._live = Live(console=console, auto_refresh=False, transient=True, redirect_stdout=False)
        with suppress(OSError):
            self._live.start()

    def _drawing(self, snapshot: Snapshot) -> Table | Text:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        assert self._live is not None
        width = self._live.console.width
        whole = describe(snapshot, self._pace)
        bar = snapshot.total and len(whole) + BAR_WIDTH + 1 <= width
        text = Text(whole if bar else describe(snapshot, self._pace, width), no_wrap=True, overflow="ellipsis")
        if not bar or not snapshot.total:
            return text
        line = Table.grid(padding=(0, 1))
        line.add_row(ProgressBar(total=snapshot.total, completed=snapshot.done, width=BAR_WIDTH), text)
        return line
