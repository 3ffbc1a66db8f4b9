"""What happened to a run that no line of its results tells: holds, outages, moves of the limit, retries.

It goes into the state file: at most a thousand events, however long the run; then neighbours of a kind become one.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Final

from batcher.policy.holding import Cause, holds_of
from batcher.running.holds import words_of_alone

if TYPE_CHECKING:
    from collections.abc import Callable

    from batcher.model import Json
    from batcher.policy.scheduler import Scheduler
    from batcher.view.summary import Summary

MOST: Final = 1000
"""Events that are kept."""
SHORT: Final = 1.0
"""Seconds of a hold below which it is none: between two requests at a steady rate there is always a wait."""
CLOSE: Final = 10.0
"""Seconds within which events of a kind at a server are one: of what comes again and again the whole is told."""
LONGEST: Final = 200
"""Characters of words that are kept."""
LIMIT: Final = "limit"
RETRIES: Final = "retries"


@dataclass(slots=True)
class Event:
    """Seconds since the start of the run; `end` is None while it goes on. `count` is how many became one."""

    kind: str
    server: str
    start: float
    end: float | None = None
    words: str = ""
    count: int = 1


@dataclass(slots=True)
class Journal:
    """Looks at a run now and then, as `Holds` does. `redact` takes keys out of a server's words."""

    redact: Callable[[str], str] = str
    events: list[Event] = field(default_factory=list)
    _open: dict[str, Event] = field(default_factory=dict)
    """By server: the hold that goes on, which is no event yet as long as it is short."""
    _last: dict[tuple[str, str], Event] = field(default_factory=dict)
    _limits: dict[str, int] = field(default_factory=dict)
    _retries: int = 0

    def look(self, scheduler: Scheduler, summary: Summary, now: float) -> None:
        """Take in the state at a moment; moments come in order."""
        at = round(max(0.0, now - summary.started), 1)
        for lane, hold in zip(scheduler.lanes, holds_of(scheduler, now), strict=True):
            root = lane.endpoint.root
            going_on = self._open.get(root)
            kind = str(hold.cause) if hold is not None else None
            if going_on is not None and going_on.kind != kind:
                self._ends(going_on, at)
                del self._open[root]
                going_on = None
            if hold is not None and going_on is None:
                words = hold.trouble.message if hold.trouble is not None else ""
                if hold.cause is Cause.ALONE:
                    words = words_of_alone(hold, now)
                self._open[root] = Event(str(hold.cause), root, at, words=self.redact(words)[:LONGEST])
            allowed = lane.limit.allowed
            if self._limits.setdefault(root, allowed) != allowed:
                self._limits[root] = allowed
                self._add(Event(LIMIT, root, at, at, f"{allowed} in flight"))
        if summary.retries > self._retries:
            self._add(Event(RETRIES, "", at, at, count=summary.retries - self._retries))
            self._retries = summary.retries

    def to_json(self) -> list[Json]:
        """All events in the order in which they began, those that go on among them."""
        going_on = [event for event in self._open.values() if event not in self.events]
        return [asdict(event) for event in sorted([*self.events, *going_on], key=lambda event: event.start)]

    def _ends(self, event: Event, at: float) -> None:
        if at - event.start >= SHORT:
            event.end = at
            self._add(event)

    def _add(self, event: Event) -> None:
        last = self._last.get((event.kind, event.server))
        if last is not None and last.end is not None and event.start - last.end <= CLOSE:
            _join(last, event)
            return
        self.events.append(event)
        self._last[event.kind, event.server] = event
        if len(self.events) > MOST:
            self._shorten()

    def _shorten(self) -> None:
        """Make one of each two neighbours of a kind at a server; where that is not enough, of each two."""
        kept: list[Event] = []
        waiting: dict[tuple[str, str], Event] = {}
        for event in self.events:
            first = waiting.pop((event.kind, event.server), None)
            if first is None:
                waiting[event.kind, event.server] = event
                kept.append(event)
            else:
                _join(first, event)
        self.events = kept if len(kept) < MOST else kept[-MOST // 2 :]
        self._last = {(event.kind, event.server): event for event in self.events}


def _join(first: Event, second: Event) -> None:
    first.end, first.words = second.end, second.words or first.words
    first.count += second.count
