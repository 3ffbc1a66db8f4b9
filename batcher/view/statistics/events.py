"""What happened to the runs that no line tells, by the state file: holds, outages, moves of the limit, retries."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from batcher.outcome import count_of, number_of
from batcher.view.statistics.measures import moment_of, name_of

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST: Final = 2000
"""Events of a file that are looked at; runs leave no more than a thousand."""
KINDS: Final = {
    "away": "the server was away",
    "told": "the server said wait",
    "failing": "the server failed",
    "refusing": "the server refused",
    "requests": "requests a minute used up",
    "tokens": "tokens a minute used up",
    "alone": "single jobs were waited for",
    "out": "the server was given up",
    "limit": "the limit in flight moved",
    "retries": "requests were sent again",
}
"""Kind → what it says (`policy.holding.Cause`, and those of `running.journal`)."""
OUTAGES: Final = frozenset({"away", "failing", "refusing", "out"})
HOLDS: Final = frozenset({"told", "requests", "tokens", "alone"})


class Event(NamedTuple):
    """Moments in seconds since 1970."""

    kind: str
    server: str
    start: float
    end: float
    words: str
    times: int
    run: float
    """When its run began."""


@dataclass(frozen=True, slots=True)
class Events:
    """`known` is false where there is no state file that tells of any: then nobody can say that there were none."""

    known: bool = False
    all: list[Event] = field(default_factory=list)
    began: float = 0.0
    """When the last run began."""

    @property
    def holds(self) -> list[Event]:
        """Times in which a server took nothing."""
        return [event for event in self.all if event.kind in OUTAGES or event.kind in HOLDS]

    @property
    def limits(self) -> list[tuple[float, int]]:
        """When a limit moved, and how many might be in flight from then on, of all servers of that run together."""
        levels: dict[str, int] = {}
        moves, run = [], None
        for event in self.all:
            if event.run != run:
                run, levels = event.run, {}
            number = event.words.split(" ", 1)[0]
            if event.kind == "limit" and number.isdecimal() and len(number) < 7:
                levels[event.server] = int(number)
                moves.append((event.end, sum(levels.values())))
        return moves

    @property
    def last_limit(self) -> tuple[float, int] | None:
        """When the limit moved last in the last run, and how many might be in flight from then on."""
        moves = Events(all=[event for event in self.all if event.run == self.began]).limits
        return moves[-1] if moves else None

    def seconds(self, *kinds: str) -> float:
        """How long servers were held for one of some reasons; the mean of several servers."""
        held = [event for event in self.all if event.kind in kinds]
        servers = {event.server for event in self.holds}
        return sum(event.end - event.start for event in held) / max(1, len(servers))


NONE: Final = Events()


def events_of(report: Mapping[str, Any]) -> Events:
    """Read what a state file's `report` has: of the last run, and of those that it goes on from (`run`, their start).

    What goes on yet ends when the file was written.
    """
    _, began = moment_of(report.get("started_at"))
    _, written = moment_of(report.get("written_at"))
    said = report.get("events")
    if began is None or type(said) is not list:
        return NONE
    found = []
    for event in said[:MOST]:
        if type(event) is not dict or name_of(event.get("kind")) not in KINDS:
            continue
        start, end = number_of(event.get("start")), number_of(event.get("end"))
        origin = moment_of(event["run"])[1] if "run" in event else began
        if start is None or origin is None:
            continue
        latest = origin + start if "run" in event else max(written or 0.0, origin + start)
        until = max(origin + end if end is not None else latest, origin + start)
        words = name_of(event.get("words")) or ""
        count = count_of(event.get("count")) or 1
        server = name_of(event.get("server")) or ""
        found.append(Event(event["kind"], server, origin + start, until, words, count, origin))
    return Events(known=True, all=sorted(found, key=lambda event: event.start), began=began)


def clock(moment: float, *, with_date: bool = True) -> str:
    """A moment for people, in UTC."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M:%S" if with_date else "%H:%M:%S")
