"""What holds an endpoint: a server that says wait, or one that is not there. Pure; `now` is an argument.

While nobody answers, one real call at a time is sent as a probe, at growing intervals; any answer opens the way again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from batcher.model import Call

FIRST_COOLDOWN: Final = 0.5
DROPPED_CALLS: Final = 3
"""Calls that a server must hang up on, and answer none in between, to be taken for one that is not there.

So do port forwarders whose server is still starting. One call alone may be at fault itself."""


@dataclass(slots=True, kw_only=True)
class Breaker:
    """One endpoint's state. Times in seconds.

    `patience` is how long the server may be away in mid-run, `first_patience` how long before it has ever answered;
    `cooldown_cap` bounds the time between two probes.
    """

    patience: float = 3600.0
    first_patience: float = 15.0
    cooldown_cap: float = 30.0
    held_until: float = -math.inf
    down_since: float | None = None
    refused_since: float | None = None
    episodes: int = 0
    dropped: set[Call] = field(default_factory=set)
    """Calls that were hung up on since the last answer; no more than make an outage."""
    ever_answered: bool = False
    probe: Call | None = None
    """The call that was sent to see whether the server is back."""
    _cooldown: float = FIRST_COOLDOWN

    @property
    def is_down(self) -> bool:
        return self.down_since is not None

    def opens(self) -> float:
        """Return the time before which nothing may be sent; infinity while a probe is out."""
        return self.held_until if self.probe is None else math.inf

    def sent(self, call: Call) -> None:
        """A call has been sent: while the server is down, it is the probe."""
        if self.is_down:
            self.probe = call

    def answered(self) -> None:
        """The server answered, whatever it said."""
        self.probe = None
        self.ever_answered = True
        self.dropped.clear()
        self.down_since = None
        self._cooldown = FIRST_COOLDOWN

    def served(self) -> None:
        """The server did what was asked: it throttles no longer."""
        self.episodes = 0
        self.refused_since = None

    def unanswered(self, call: Call) -> None:
        """The call ended and tells nothing about the server; if it was the probe, another may go."""
        if self.probe is call:
            self.probe = None

    def hung_up(self, call: Call) -> bool:
        """The server closed the connection without a byte; true if that makes it an outage."""
        if len(self.dropped) < DROPPED_CALLS:
            self.dropped.add(call)
        return self.is_down or len(self.dropped) >= DROPPED_CALLS

    def unreachable(self, call: Call, now: float) -> None:
        """Nobody answered. What other calls than the probe meet belongs to the outage that is known."""
        was_probe = self.probe is call
        self.unanswered(call)
        if self.down_since is None:
            self.down_since = now
        elif not was_probe:
            return
        self.held_until = max(self.held_until, min(now + self._cooldown, self._gives_up_at))
        self._cooldown = min(self._cooldown * 2, self.cooldown_cap)

    def episode(self, now: float) -> int:
        """Number, from 1, the episode that a refusal at `now` belongs to; those that come while held are one."""
        return self.episodes + 1 if now >= self.held_until or not self.episodes else self.episodes

    def throttled(self, now: float, delay: float) -> None:
        """The server said wait."""
        if self.refused_since is None:
            self.refused_since = now
        self.episodes = self.episode(now)
        self.held_until = max(self.held_until, now + delay)

    def gives_up(self, now: float) -> bool:
        """Whether the server has been away, or refusing, longer than the run is willing to wait."""
        if self.down_since is not None and now >= self._gives_up_at:
            return True
        return self.refused_since is not None and self.held_until - self.refused_since > self.patience

    @property
    def _gives_up_at(self) -> float:
        since = self.down_since if self.down_since is not None else math.inf
        return since + (self.patience if self.ever_answered else self.first_patience)
