"""What holds an endpoint: a server that says wait, one that is not there, one that fails. Pure; `now` is an argument.

While the server is down, one real call at a time is sent as a probe, at growing intervals, until one goes well.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from batcher.model import Call

FIRST_COOLDOWN: Final = 0.5
"""Seconds to the first probe when nobody answers. A probe that nobody hears costs little."""
FAILING_COOLDOWN: Final = 2.0
"""Seconds to the first probe when all answers are failures."""
FAILING_CAP: Final = 120.0
DROPPED_CALLS: Final = 3
"""Calls that a server must hang up on, and answer none in between, to be taken for one that is not there.

So do port forwarders whose server is still starting. One call alone may be at fault itself."""
FAILED_CALLS: Final = 5
"""Calls that must fail at the server's hands, with nothing going well in between, for it to be taken for down."""
REFUSED_CALLS: Final = 16
REFUSED_SHARE: Final = 0.8
"""Calls that must be told to wait for it to be meant for all: so many, and four in five of those sent since the first.

Of a server that refuses every other call by lot one row in 500 is of this kind."""
ASKING: Final = 1.0
"""Seconds between calls to a server that refused all, when it may be asked again, until one of them goes well."""


@dataclass(slots=True, kw_only=True)
class Breaker:
    """One endpoint's state. Times in seconds.

    `patience` is how long the server may be away in mid-run, `first_patience` how long before it has ever answered;
    `cooldown_cap` bounds the time between two probes of a server that nobody hears.
    """

    patience: float = 3600.0
    first_patience: float = 15.0
    cooldown_cap: float = 30.0
    held_until: float = -math.inf
    down_since: float | None = None
    is_failing: bool = False
    """It is down, and it does answer: only an answer that is no failure opens the way again."""
    refused_since: float = math.inf
    """When the first call was sent that it told to wait, with none sent since going well; infinity: it does not."""
    episodes: int = 0
    """How often it was held since then."""
    refuses_all: bool = False
    """Whoever it tells to wait, it means all. A server that takes other calls meanwhile does not."""
    ever_answered: bool = False
    probe: Call | None = None
    """The call that was sent to see whether the server is back."""
    _dropped: set[Call] = field(default_factory=set)
    """Calls that were hung up on since the last answer; no more than make an outage. So for `_failed`."""
    _failed: set[Call] = field(default_factory=set)
    _probes: int = 0
    _refusals: int = 0
    """Calls told to wait since `refused_since`."""
    _sent_before: int = 0
    _told_until: float = -math.inf
    """The gate of which the server said itself how long it stands."""
    _refused_until: float = -math.inf

    @property
    def is_down(self) -> bool:
        return self.down_since is not None

    def opens(self) -> float:
        """Return the time before which nothing may be sent; infinity while a probe is out."""
        return self.held_until if self.probe is None else math.inf

    def sent(self, call: Call, now: float) -> None:
        """A call has been sent: while the server is down, it is the probe; while it refuses all, it goes ahead."""
        if self.is_down:
            self.probe = call
        if self.refuses_all:
            self.held_until = max(self.held_until, now + ASKING)

    def heard(self, sent: float) -> None:
        """The server has begun to answer a call of then: somebody is there. Whether it goes well is not known yet."""
        if sent >= self.refused_since:
            self._relents()
        self.ever_answered = True
        self._dropped.clear()
        if not self.is_failing:
            self._close()

    def answered(self) -> None:
        """The server answered, and what it said is no fault of its own."""
        self.ever_answered = True
        self._dropped.clear()
        self._close()

    def served(self, sent: float) -> None:
        """The server did what was asked then."""
        self.answered()
        if sent >= self.refused_since:
            self._relents()

    def unanswered(self, call: Call) -> None:
        """The call ended and tells nothing about the server; if it was the probe, another may go."""
        if self.probe is call:
            self.probe = None

    def hung_up(self, call: Call) -> bool:
        """The server closed the connection without a byte; true if that makes it an outage."""
        if len(self._dropped) < DROPPED_CALLS:
            self._dropped.add(call)
        return self.is_down or len(self._dropped) >= DROPPED_CALLS

    def unreachable(self, call: Call, now: float, spread: float = 1.0) -> None:
        """Nobody answered. `spread` is a factor about 1 on the time to the next probe, for jitter."""
        self._went_wrong(call, now, min(FIRST_COOLDOWN * 2.0**self._probes, self.cooldown_cap) * spread)

    def failed(self, call: Call, now: float, spread: float = 1.0) -> None:
        """The server answered with a failure of its own, or broke the answer off, or stayed silent."""
        self.ever_answered = True
        if len(self._failed) < FAILED_CALLS:
            self._failed.add(call)
        if self.probe is call or len(self._failed) >= FAILED_CALLS:
            self.is_failing = True
            self._went_wrong(call, now, min(FAILING_COOLDOWN * 2.0**self._probes, FAILING_CAP) * spread)

    def refused(self, sent: float, requests: int) -> None:
        """A call of then was told to wait. So many `requests` were sent so far."""
        if not self._refusals:
            self.refused_since = sent
            self._sent_before = requests
        self._refusals += 1
        share = self._refusals / max(1, requests - self._sent_before)
        self.refuses_all = self._refusals >= REFUSED_CALLS and share >= REFUSED_SHARE

    def episode(self, now: float) -> int:
        """Number, from 1, the episode that a refusal at `now` belongs to; those that come while it holds are one."""
        return self.episodes + 1 if now >= self._refused_until or not self.episodes else self.episodes

    def throttled(self, now: float, delay: float, spread: float = 0.0, *, is_told: bool = False) -> None:
        """Hold what is sent, for as long as the server said or we guess. `spread` does not count against patience."""
        self.episodes = self.episode(now)
        self._refused_until = max(self._refused_until, now + delay)
        if now + delay > self.held_until:
            self.held_until = now + delay + spread
            if is_told:
                self._told_until = self.held_until

    def gives_up(self, now: float) -> bool:
        """Whether the server has been down, or refusing, longer than the run is willing to wait."""
        if self.is_down and now >= self._gives_up_at:
            return True
        return self._refused_until - self.refused_since > self.patience

    @property
    def _gives_up_at(self) -> float:
        since = self.down_since if self.down_since is not None else math.inf
        return since + (self.patience if self.ever_answered else self.first_patience)

    def _went_wrong(self, call: Call, now: float, cooldown: float) -> None:
        """Wait before the next probe. What other calls than the probe meet belongs to the outage that is known."""
        was_probe = self.probe is call
        self.unanswered(call)
        if self.down_since is None:
            self.down_since = now
        elif not was_probe:
            return
        until = now + cooldown
        if now < self._gives_up_at:
            until = min(until, self._gives_up_at)  # a server back in time is found
        self.held_until = max(self.held_until, until)
        self._probes = min(self._probes + 1, 30)

    def _relents(self) -> None:
        """A call that was sent since others were refused goes well: the server throttles no longer."""
        if self.refuses_all and not self.is_down:
            self.held_until = self._told_until
        self.refused_since = math.inf
        self.episodes = self._refusals = 0
        self.refuses_all = False

    def _close(self) -> None:
        if self.down_since is None and not self._failed:
            return  # the way of nearly every answer
        self.probe = None
        self.down_since = None
        self.is_failing = False
        self._failed.clear()
        self._probes = 0
