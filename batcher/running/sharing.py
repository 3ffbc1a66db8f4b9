"""Several runs at once on the same servers: one limit and one allowance for all, and each run gets its share of it.

A run that wants to send gets what is free. What becomes free goes first to those that were refused, in the order in
which they were: two runs with much to do have it by turns.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from batcher.policy.lane import Lane

if TYPE_CHECKING:
    from collections.abc import Callable

    from batcher.model import Endpoint
    from batcher.outcome import Attempt
    from batcher.policy.breaker import Breaker
    from batcher.policy.limit.fixed import Limit
    from batcher.policy.pace.pacing import Pacing


@dataclass(slots=True, eq=False)
class Share:
    """A run's part of a server's limit; a `Limit` itself, of which `allowed` may be 0."""

    limit: Limit
    pacing: Pacing
    others: dict[Share, None]
    """All shares of this limit, this one among them."""
    wanting: dict[Share, None]
    """Those that were refused a call since something ended last, in the order in which they were."""
    wake: Callable[[], object]
    lane: Lane | None = None

    @property
    def mine(self) -> int:
        return len(self.lane.in_flight) if self.lane is not None else 0

    @property
    def in_flight(self) -> int:
        """How many calls of all are in flight."""
        return sum(share.mine for share in self.others)

    @property
    def allowed(self) -> int:
        """How many may be in flight of this run; whoever is at that is taken to want more."""
        mine, free = self.mine, self.limit.allowed - self.in_flight
        if free <= 0:
            self.wanting.setdefault(self)
            return mine
        self.wanting.pop(self, None)
        return mine + free

    @property
    def most(self) -> int:
        return self.limit.most

    def answering(self, waited: float, size: int, in_flight: int, now: float) -> None:
        self.limit.answering(waited, size, self.in_flight - self.mine + in_flight, now)
        self._soon()

    def finished(self, attempt: Attempt, in_flight: int, now: float) -> None:
        self.limit.finished(attempt, self.in_flight - self.mine + in_flight, now)
        self._soon()

    def throttled(self, now: float) -> None:
        self.limit.throttled(now)

    def granted(self, beside: int) -> None:
        self.limit.granted(self.in_flight - self.mine + beside)

    def refused(self, beside: int, now: float) -> None:
        self.limit.refused(self.in_flight - self.mine + beside, now)
        self._soon()

    def settled(self) -> str:
        return self.limit.settled()

    def leave(self) -> None:
        """The run has ended: what it had is free."""
        self.others.pop(self, None)
        self.wanting.pop(self, None)
        self._wake()

    def _soon(self) -> None:
        """When what has ended is counted as such, let those send that wanted to."""
        if self.wanting:
            asyncio.get_running_loop().call_soon(self._wake)

    def _wake(self) -> None:
        """Ask those that wanted to send, in their order and each once, as long as anything is free."""
        for share in list(self.wanting):
            if share.in_flight >= self.limit.allowed:
                return
            self.wanting.pop(share, None)
            share.wake()


@dataclass(slots=True)
class Pool:
    """The limits and allowances of some servers, for all runs that use them."""

    _limits: dict[str, tuple[Limit, Pacing, dict[Share, None], dict[Share, None]]] = field(default_factory=dict)

    def lane(
        self,
        endpoint: Endpoint,
        breaker: Breaker,
        limit: Callable[[], Limit],
        pacing: Callable[[], Pacing],
        wake: Callable[[], object],
    ) -> Lane:
        """A lane of one run to a server. `leave` its share when the run ends."""
        if endpoint.root not in self._limits:
            self._limits[endpoint.root] = limit(), pacing(), {}, {}
        share = Share(*self._limits[endpoint.root], wake)
        share.lane = Lane(endpoint, share, breaker, share.pacing, is_shared=True)
        share.others[share] = None
        return share.lane


def leave(lanes: list[Lane]) -> None:
    """The run of these lanes has ended."""
    for lane in lanes:
        if isinstance(lane.limit, Share):
            lane.limit.leave()
