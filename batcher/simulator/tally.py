"""What the simulator has seen: requests by id and path, in flight, connections; the oracle of the tests."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Seen:
    """One request for an answer: when (monotonic seconds), where, what it held, and the faults that it meets."""

    id: str
    time: float
    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    faults: frozenset[str]


_COUNTERS = ("counts", "answered", "dropped", "broken", "paths", "loads", "refused")
_NUMBERS = (
    *("in_flight", "peak_in_flight", "in_service", "peak_in_service", "waiting", "peak_waiting"),
    *("connections", "aborted", "generated", "wasted", "left", "outages"),
)


@dataclass(slots=True)
class Tally:
    """Counts since the start. Other threads may read them while the simulator runs."""

    keep: int = 10_000
    counts: Counter[str] = field(default_factory=Counter)
    """Requests by id."""
    answered: Counter[str] = field(default_factory=Counter)
    """Complete answers by id: their terminal mark was sent. Counted just before that."""
    answers: deque[tuple[float, str]] = field(default_factory=deque)
    """The same in turn: when (monotonic seconds), and the id."""
    dropped: Counter[str] = field(default_factory=Counter)
    """By id, answers whose generation had begun when the client left."""
    broken: Counter[str] = field(default_factory=Counter)
    """By id, answers whose generation had begun when the server broke them off: a fault, a crash, an outage."""
    paths: Counter[str] = field(default_factory=Counter)
    loads: Counter[str] = field(default_factory=Counter)
    """Loads by model."""
    refused: Counter[str] = field(default_factory=Counter)
    """By name of the refusal (`busy`, `throttled`, `reset_before` …), or `status 418`."""
    in_flight: int = 0
    """Requests received and not yet done with: falls just after the last byte is sent."""
    peak_in_flight: int = 0
    in_service: int = 0
    """Requests that hold a slot."""
    peak_in_service: int = 0
    waiting: int = 0
    """Requests that wait for a slot, or for a model to load."""
    peak_waiting: int = 0
    connections: int = 0
    aborted: int = 0
    """Requests that the client left before their end."""
    generated: int = 0
    """Tokens, also of answers that nobody got."""
    wasted: int = 0
    """Tokens among them of dropped and broken answers."""
    left: int = 0
    """Tokens among the wasted of answers that the client left; the others a fault broke off."""
    outages: int = 0
    """How often it went away, froze, or refused all for a while."""
    recovered: list[float] = field(default_factory=list)
    """When each of these was over (Unix time)."""
    log: deque[Seen] = field(default_factory=deque)

    @property
    def thrown_away(self) -> int:
        """Answers that were generated, in part or whole, and are no job's one answer: dropped, broken or repeated."""
        return self.dropped.total() + self.broken.total() + self.repeated

    @property
    def repeated(self) -> int:
        """Complete answers to what had been answered."""
        return sum(times - 1 for times in self.answered.values() if times > 1)

    def arrive(self, path: str) -> None:
        self.paths[path] += 1
        self.in_flight += 1
        self.peak_in_flight = max(self.peak_in_flight, self.in_flight)

    def leave(self) -> None:
        self.in_flight -= 1

    def enter_service(self) -> None:
        self.in_service += 1
        self.peak_in_service = max(self.peak_in_service, self.in_service)

    def leave_service(self) -> None:
        self.in_service -= 1

    def enter_queue(self) -> None:
        self.waiting += 1
        self.peak_waiting = max(self.peak_waiting, self.waiting)

    def leave_queue(self) -> None:
        self.waiting -= 1

    def remember(self, seen: Seen) -> None:
        """Keep the request; beyond `keep`, forget the oldest."""
        self.log.append(seen)
        if len(self.log) > self.keep:
            self.log.popleft()

    def answer(self, keys: list[str], now: float) -> None:
        """Count a complete answer, to each input of a pack, and keep when it was; beyond `keep`, forget the oldest."""
        self.answered.update(keys)
        self.answers.extend((now, key) for key in keys)
        while len(self.answers) > self.keep:
            self.answers.popleft()

    def requests(self, id: str) -> list[Seen]:  # noqa: A002 - the word used everywhere
        """The kept requests of one id, oldest first. A pack of embedding inputs is kept under its first id."""
        return [seen for seen in list(self.log) if seen.id == id]

    def as_json(self) -> dict[str, Any]:
        found = {name: dict(getattr(self, name)) for name in _COUNTERS}
        found |= {name: getattr(self, name) for name in _NUMBERS}
        return found | {"thrown_away": self.thrown_away, "recovered": self.recovered}
