"""What follows from a server that broke down: who pays for it, who is asked alone, who has not done it. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batcher.policy import history
from batcher.policy.breakdown import AT_ONCE

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Sequence

    from batcher.model import Call
    from batcher.policy.backlog import Backlog
    from batcher.policy.breakdown import Breakdown
    from batcher.policy.lane import Lane
    from batcher.policy.retry import RetryPolicy
    from batcher.policy.suspects import Suspects


@dataclass(slots=True)
class Inquest:
    """`live` are the servers that may be sent to, now or later."""

    backlog: Backlog
    live: Sequence[Lane]
    retry: RetryPolicy
    suspects: Suspects

    def broke_down(self, lane: Lane, call: Call, sent: float, now: float, *, is_free: bool = False) -> Breakdown:
        """A call that was sent then met a dying server among others."""
        beside = _beside(lane, max(sent, now - AT_ONCE))
        breakdown = self.suspects.broke_down(call, beside, lane.breakdown, now, is_free=is_free)
        if breakdown is not lane.breakdown:
            lane.breakdown = breakdown
            lane.breakdowns.append(breakdown)
        if breakdown.is_collective:
            self._acquit(breakdown.members)
        return breakdown

    def accuse(self, call: Call, breakdown: Breakdown) -> None:
        """It broke off among others: they tell whose fault that was."""
        breakdown.accused.append(call)
        self._charge(breakdown)

    def lands(self, lane: Lane, call: Call, *, is_answered: bool) -> None:
        """An attempt has ended, of one that may have been in flight when others met a dying server."""
        for breakdown in tuple(lane.breakdowns):
            is_over = breakdown.lands(call, is_answered=is_answered)
            self._charge(breakdown)
            if is_over:
                self.suspects.unwitnessed(breakdown)
                lane.breakdowns.remove(breakdown)

    def _charge(self, breakdown: Breakdown) -> None:
        """Who broke off while most others are served pays for it: with what attempts it has, and no more."""
        if breakdown.is_witnessed:
            for one in breakdown.accused:
                if self.retry.allows(one.counted):
                    history.counted(one)
            breakdown.accused.clear()

    def broke_down_alone(self, call: Call) -> bool:
        """A suspect met a dying server with nothing beside it; true if that convicts it."""
        self._acquit((call,))
        return self.suspects.broke_down_alone(call)

    def _acquit(self, present: Container[Call]) -> None:
        """A server broke down with these there: suspects who were not, and may be sent again, go as others do.

        Where others were served and nothing new is left, that is done once for each: among others who break off each
        time as well, nothing is found out.
        """
        is_served = any(lane.served_until > -math.inf for lane in self.live)
        is_once = is_served and self.backlog.is_exhausted and not self.backlog.has_new
        for call in self.suspects.acquit(
            lambda one: one not in present and self.retry.allows(one.counted), is_once=is_once
        ):
            self.backlog.set_aside(call)


def _beside(lane: Lane, since: float) -> Iterator[Call]:
    """Who is in flight, and was when a server died under what was, at some time since then.

    Those who break off are heard one after the other. What was sent meanwhile meets the next server: it tells nothing.
    Found as they are asked for: what is in flight is gone through once a breakdown, and not for each who meets it.
    """
    known = lane.breakdowns if lane.breakdown in lane.breakdowns else [*lane.breakdowns, lane.breakdown]
    first = min((one.first_since(since) for one in known if one is not None), default=math.inf)
    yield from (call for call, sent in lane.in_flight.items() if sent < first)
