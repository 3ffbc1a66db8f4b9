"""What a run shows to people: sentences and answers on stderr, and a live line where stderr is a terminal."""

from __future__ import annotations

import math
import os
import re
import select
import sys
from dataclasses import replace
from datetime import UTC, datetime
from textwrap import TextWrapper
from time import monotonic as now
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

import click
import orjson

from batcher.figures import count
from batcher.redaction import printable, sentence

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from batcher.outcome import Result
    from batcher.view.pace import Pace
    from batcher.view.progress import Progress
    from batcher.view.snapshot import Snapshot

STDOUT: Final = 1
STDERR: Final = 2
WIDTH: Final = 100
"""Cells of a row where no terminal says how many it has."""
INDENT: Final = 9
"""Cells before the text of a row: of `batcher: ` as of the names in the sums."""
_OBEYED: Final = re.compile("[\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
"""What JSON lets stand, and terminals obey or turn around."""


class _Stderr:
    """The one place that prints: messages one below the other, and above the live line while there is one."""

    def __init__(self) -> None:
        self.line: Progress | None = None
        self.as_json = False

    def write(self, text: str) -> None:
        if not self.as_json and sys.stderr.isatty():
            text = _folded(text, _width())
        try:
            if self.line is None or not self.line.above(text):
                click.echo(text, err=True)
        except OSError:
            # What could not be written stays in the stream's buffer: it, and all that follows, goes nowhere.
            fallen = os.open(os.devnull, os.O_WRONLY)
            os.dup2(fallen, STDERR)
            os.close(fallen)


_STDERR: Final = _Stderr()


def _width(descriptor: int = STDERR) -> int:
    """Cells of a row of the terminal there; the other one may go elsewhere."""
    said = os.environ.get("COLUMNS", "")
    if said.isdecimal() and len(said) < 7 and int(said):
        return int(said)
    try:
        return os.get_terminal_size(descriptor).columns or WIDTH
    except OSError:
        return WIDTH


def _folded(text: str, width: int) -> str:
    """Rows that are too long for a terminal, broken between words: it would break them anywhere."""
    if width <= 3 * INDENT or all(len(row) <= width for row in text.splitlines()):
        return text
    fold = TextWrapper(width, subsequent_indent=" " * INDENT, break_long_words=False, break_on_hyphens=False)
    return "\n".join(fold.fill(row) for row in text.splitlines())


class Log(NamedTuple):
    """How a run is told where no display shows it: `every` so many seconds how far it is, 0 never."""

    as_json: bool = False
    every: float = 0.0


def say(message: str, event: str = "note", **fields: Any) -> None:
    """Write a sentence to stderr, without anything in it that a terminal would obey; or an event with its fields."""
    if _STDERR.as_json:
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        tell(_escaped({"at": at, "event": event, "message": sentence(message), **fields}))
        return
    for line in message.splitlines():
        tell(f"batcher: {sentence(line)}")


def answer(line: str) -> None:
    """Write a line of what was asked for to stdout."""
    line = sentence(line)
    click.echo(_folded(line, _width(STDOUT)) if sys.stdout.isatty() else line)


def tell_sums(text: str, sums: Callable[[], dict[str, Any]]) -> None:
    """Write the sums of a run: as they are for people, or as an event."""
    if _STDERR.as_json:
        say(text.partition("\n")[0].removeprefix("jobs").strip(), "summary", summary=sums())
    else:
        tell(text)


def tell(text: str) -> None:
    """Write to stderr. A reader who is gone, a closed terminal or a full disk behind it costs the words alone."""
    _STDERR.write(text)


def print_json(value: Any) -> None:
    """Print a value as JSON, with escapes for what a terminal would obey: names come from servers and from files."""
    click.echo(_escaped(value))


def _escaped(value: Any) -> str:
    return _OBEYED.sub(lambda match: f"\\u{ord(match[0]):04x}", orjson.dumps(value).decode())


def can_say() -> bool:
    """Whether stderr takes a few lines without waiting: not a full pipe that nobody reads, nor a stopped terminal."""
    poll = select.poll()
    try:
        poll.register(sys.stderr.fileno(), select.POLLOUT)
    except (OSError, ValueError):  # one that is no file
        return True
    return bool(poll.poll(0))


def occupy() -> None:
    """Have something open as descriptors 0, 1 and 2: else the next file, perhaps the results, would be stderr."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= STDERR:
        pass
    os.close(descriptor)
    if sys.__stderr__ is None:
        sys.stderr = os.fdopen(STDERR, "w", closefd=False)


NO_LOG: Final = Log()


class Console:
    """The observer of the command line.

    What it says runs on the event loop of the run. So what stderr does not take at once is left out and counted: a
    reader who stops reading costs the words, and not the answers in flight.
    """

    def __init__(self, *, quiet: bool, verbose: bool, progress: bool | None, log: Log = NO_LOG) -> None:
        self._quiet = quiet
        self._verbose = verbose
        _STDERR.as_json = log.as_json
        wanted = sys.stderr.isatty() and not quiet if progress is None else progress
        self._wants_progress = wanted and not log.as_json
        self._log = log
        self._every = 0.0
        self._due = math.inf
        self._progress: Progress | None = None
        self._pace: Pace | None = None
        self._unsaid = 0
        self.wants_total = self._wants_progress or (log.every > 0 and not quiet)
        self.redact: Callable[[str], str] = str

    def __enter__(self) -> Self:
        if self._wants_progress:
            from batcher.view.progress import Progress

            self._progress = _STDERR.line = Progress(sys.stderr, shown=True)
            self._progress.__enter__()
            if not self._progress.is_shown:  # the cursor cannot be moved there: it is told as a log is
                self._progress = _STDERR.line = None
        self._every = 0.0 if self._quiet or self._progress is not None else self._log.every
        self._due = now() + self._every
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            _STDERR.line = None
            self._progress.__exit__(kind, error, trace)
        if self._unsaid:  # the run is over: nothing waits but the end
            self._confess()

    def note(self, message: str) -> None:
        if not self._quiet:
            self._say(self.redact(message))

    def finished(self, result: Result) -> None:
        if self._verbose:
            self._say(_one_line(result, self.redact), "result", id=result.id, ok=result.ok)

    def asked(self, snapshot: Snapshot) -> None:
        from batcher.view.line import state

        self._say(f"state: {state(snapshot)}", "state", **_numbers(snapshot))

    def tick(self, snapshot: Callable[[], Snapshot]) -> None:
        if self._progress is not None and can_say():
            self._progress.update(snapshot())
        elif self._every and now() >= self._due:
            self._due = now() + self._every
            self._tell_how_far(snapshot())

    def _tell_how_far(self, snapshot: Snapshot) -> None:
        from batcher.view.line import describe
        from batcher.view.pace import Pace

        if self._pace is None:
            self._pace = Pace()
            self._pace.add(replace(snapshot, elapsed=0.0, ok=0, failed=0, tokens=0, held=0.0))
        self._pace.add(snapshot)
        newest = f"; newest failure: {snapshot.newest}" if snapshot.newest else ""
        self._say(f"{describe(snapshot, self._pace)}{newest}", "stats", **_numbers(snapshot))

    def _say(self, message: str, event: str = "note", **fields: Any) -> None:
        if self._unsaid and can_say():
            self._confess()
        if can_say():
            say(message, event, **fields)
        else:
            self._unsaid += 1

    def _confess(self) -> None:
        unsaid, self._unsaid = self._unsaid, 0
        say(f"{count(unsaid, 'messages')} left out: nobody read them in time")


def _numbers(snapshot: Snapshot) -> dict[str, Any]:
    """A state as fields of an event."""
    names = ("ok", "failed", "skipped", "total", "in_flight", "allowed", "parked", "tokens", "cost")
    return {"elapsed_s": round(snapshot.elapsed, 1), **{name: getattr(snapshot, name) for name in names}}


def _one_line(result: Result, redact: Callable[[str], str]) -> str:
    """A finished job for people: its id, how long it took, and the start of what it brought."""
    took = f"{result.timing.total:.2f}s" if result.timing else "-"
    if result.failure is not None:
        words = f"FAILED {result.failure.code}: {result.failure.message}"
    elif result.completion is not None and result.completion.vectors:
        words = count(len(result.completion.vectors), "vectors")
    else:
        words = " ".join(result.text.split()) or "(no text)"
    return printable(f"{redact(result.id)}  {took}  {redact(words)}", max(40, _width() - 10))
