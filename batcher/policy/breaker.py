"""What holds a server that is not there: nobody answers, or it broke down under all at once. Pure.

While it is down, one real call at a time is sent as a probe, at growing intervals, until somebody is heard. Where that
hung up on all that is left, it is asked for something small before each of them: that shows whether anybody is there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from batcher.policy.doubling import doubled

if TYPE_CHECKING:
    from batcher.model import Call

FIRST_COOLDOWN: Final = 0.5
"""Seconds to the first probe. A probe that nobody hears costs little."""

HUNG_UP_CAP: Final = (1.0, 4.0)
"""The longest time between two probes where somebody takes connections, before anything was ever heard and after: it
may have been for the probe's own sake."""
LAST_S: Final = 300.0
"""Seconds for which a server is waited for that hangs up on the last few: most restarts take less, and should they all
be at fault themselves, an hour would be lost on them."""


@dataclass(slots=True, kw_only=True)
class Breaker:
    """One server's state. Times in seconds.

    `patience` is how long the server may be away in mid-run, `first_patience` how long before it has ever answered;
    `cooldown_cap` bounds the time between two probes of a server that nobody hears.
    """

    patience: float = 3600.0
    first_patience: float = 15.0
    cooldown_cap: float = 30.0
    held_until: float = -math.inf
    down_since: float | None = None
    ever_answered: bool = False
    probe: Call | None = None
    """The call that was sent to see whether the server is back."""
    is_doubted: bool = False
    """It is to be asked whether anybody is there before anything more is sent."""
    is_asked: bool = False
    """That has been asked, and is not answered yet."""
    silent_at: float = -math.inf
    """When nobody answered that, the last time."""
    _probes: int = 0

    @property
    def is_down(self) -> bool:
        return self.down_since is not None

    def went_down_since(self, sent: float) -> bool:
        """Whether it is down, and was not when a call was sent: what broke off meanwhile went down with it."""
        return self.down_since is not None and self.down_since >= sent

    def opens(self) -> float:
        """Return the time before which nothing may be sent; infinity while a probe is out."""
        return self.held_until if self.probe is None and not self.is_doubted else math.inf

    def sent(self, call: Call) -> None:
        """A call has been sent: while the server is down, it is the probe."""
        if self.down_since is not None:
            self.probe = call

    def answered(self) -> None:
        """The server answered, or has begun to: somebody is there."""
        self.ever_answered = True
        if self.down_since is not None:
            self.probe = None
            self.down_since = None
            self.is_doubted = False
            self._probes = 0

    def unanswered(self, call: Call) -> None:
        """The call ended and tells nothing about the server; if it was the probe, another may go."""
        if self.probe is call:
            self.probe = None

    def told(self, now: float, spread: float, *, is_there: bool) -> None:
        """Somebody answered when asked for something small, and a real call may be tried; or nobody did."""
        self.is_asked = False
        if not self.is_doubted:
            return
        if is_there:
            self.is_doubted, self.held_until = False, now
        else:
            self.silent_at = now
            self._hold(now, spread, is_hung_up=True)

    def unreachable(self, call: Call, now: float, spread: float = 1.0, *, is_hung_up: bool = False) -> None:
        """Nobody answered, or somebody hung up. `spread` is a factor about 1 on the time to the next probe, for jitter.

        What other calls than the probe meet belongs to the outage that is known.
        """
        was_probe = self.probe is call
        if was_probe:
            self.probe = None
        if self.down_since is None:
            self.down_since = now
        elif not was_probe:
            return
        self._hold(now, spread, is_hung_up=is_hung_up)

    def _hold(self, now: float, spread: float, *, is_hung_up: bool) -> None:
        """Let nobody pass, nor ask, for longer than the last time."""
        cap = min(HUNG_UP_CAP[self.ever_answered], self.cooldown_cap) if is_hung_up else self.cooldown_cap
        until = now + doubled(FIRST_COOLDOWN, self._probes, cap) * spread
        if now < self._gives_up_at:
            until = min(until, self._gives_up_at)  # a server back in time is found
        self.held_until = max(self.held_until, until)
        self._probes += 1

    def gives_up(self, now: float, within: float = math.inf) -> bool:
        """Whether the server has been down longer than the run is willing to wait, or has answered for so many seconds
        when asked for something small, if it is, and done nothing else.
        """
        if self.down_since is None:
            return False
        return now >= min(self._gives_up_at, max(self.down_since, self.silent_at) + within)

    @property
    def _gives_up_at(self) -> float:
        since = self.down_since if self.down_since is not None else math.inf
        return since + (self.patience if self.ever_answered else self.first_patience)
