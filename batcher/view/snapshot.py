"""The state of a run at one moment, as it is shown: counts, what is waited for, each server."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerNow:
    """One of several servers."""

    server: str
    ok: int = 0
    failed: int = 0
    in_flight: int = 0
    allowed: int = 0
    note: str = ""
    """What is waited for there; may be its own words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """`elapsed` is seconds since the start of the run; `tokens` are completion tokens, those of answers in the making
    among them.
    """

    elapsed: float
    ok: int = 0
    failed: int = 0
    skipped: int = 0
    """Jobs that had a result before; done, but no sign of speed."""
    left: int = 0
    """Jobs that failed before and are left alone; those that repeat another among them. Done as well."""
    in_flight: int = 0
    allowed: int | None = None
    """How many requests may be in flight now."""
    parked: int = 0
    """Requests that wait for their next attempt."""
    tokens: int = 0
    total: int | None = None
    """Jobs of the whole input, those that had a result among them, once that is known."""
    note: str = ""
    """What the run waits for, if it does, and for how long; may end in a server's words."""
    wait: float = 0.0
    """Seconds until the next request may go; infinity where nobody knows, as of a server that is away."""
    least: float = 0.0
    """Seconds that it takes yet at least: until the last is asked again of those of which that is known."""
    held: float = 0.0
    """Seconds of `elapsed` in which nothing could be sent."""
    most: float = math.inf
    """Jobs a second that rate limits allow, as far as they are known."""
    quiet: float = 0.0
    """Seconds since content came, while something is in flight."""
    newest: str = ""
    """Why the last job failed that did; may hold a server's words."""
    cost: float | None = None
    """What the answers so far cost, by the prices that were said."""
    unpriced: int = 0
    """Answers of which that is not known."""
    servers: tuple[ServerNow, ...] = ()
    """Where there are several."""

    @property
    def done(self) -> int:
        return self.ok + self.failed + self.skipped + self.left
