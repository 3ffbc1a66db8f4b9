"""What the other calls, and the other servers, tell about a call that failed: whether it is held against it. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from batcher.failures import FailureClass
from batcher.policy.evidence import ITS_OWN, LEAST, WINDOW, Fault
from batcher.policy.lastlook import LEAST_S

if TYPE_CHECKING:
    from collections.abc import Collection

    from batcher.model import Call
    from batcher.policy.dispatch import Dispatch
    from batcher.policy.lane import Lane
    from batcher.policy.setback import Setback


@dataclass(slots=True)
class Witnesses:
    """Those that wait and those that are `in_flight`."""

    dispatch: Dispatch
    in_flight: Collection[Call]
    asks: bool = False
    """A server can be asked whether anybody is there."""
    refused: set[Call] = field(default_factory=set)
    """Calls that wait and were refused for good, where it is not clear yet whether that is meant for all."""

    def odd_since(self, lane: Lane, call: Call, now: float) -> float:
        """A server hung up on the call. Say since when it does so and serves others, if it now does so to all.

        That is asked where nobody is left who was never sent: the last ones would be waited with for as long as a
        server may be away, though it was there when it hung up on them before.
        """
        suspects, root, lived = self.dispatch.suspects, lane.endpoint.root, lane.lived_until
        if not lane.breaker.is_down and not lane.offer.service(call).is_held:
            suspects.hung_up(call, root, lived, now)
            return math.inf
        since = suspects.outlived(call, root, lived)
        if since == math.inf and lane.breaker.is_down and lane.seen_at >= (lane.breaker.down_since or 0.0):
            suspects.hung_up(call, root, lived, now)  # somebody was there, and hung up on it
        if since < math.inf:
            self.dispatch.backlog.peek()
        return math.inf if self.bring_evidence() else max(since, lane.breaker.silent_at)

    def are_left(self) -> bool:
        """Whether servers have hung up on all that are left, and have not shown since that they live.

        Nobody comes who could tell whose fault that is, nor waits, nor flies: they are as good as gone, if they cannot
        be asked, and these are several.
        """
        self.dispatch.backlog.peek()
        if self.bring_evidence():
            return False
        return (1 if self.asks else LEAST) <= self._hung_up() >= self._left()

    def are_several(self) -> bool:
        """Whether servers have hung up on so many that are left that it is hardly the fault of each of them."""
        return self._hung_up() >= LEAST

    def is_open(self, lane: Lane, call: Call) -> bool:
        """Whether the only server has served nobody since it hung up on the call; some fly, and nobody new comes."""
        if not self.in_flight or self.bring_evidence() or len(self.dispatch.live) > 1:
            return False
        return self.dispatch.suspects.outlived(call, lane.endpoint.root, lane.lived_until) == math.inf

    def _hung_up(self) -> int:
        live = self.dispatch.live
        return sum(self.dispatch.suspects.left(one.endpoint.root, one.lived_until) for one in live)

    def are_few(self) -> bool:
        """Whether so few are left that they may well be at fault themselves, one and all."""
        return not self.bring_evidence() and self._left() < WINDOW

    def _left(self) -> int:
        """How many are left, but for new ones; with one that has just failed."""
        return self.dispatch.parked + self.dispatch.look.waiting + len(self.in_flight) + 1

    def is_held_against(self, lane: Lane, setback: Setback) -> bool:
        """Whether a failure that is not the server's counts against the call: where others are served, it does.

        What little one server was asked for, others may have been. Where nothing more comes that could tell, it counts
        if anything at all was served. Else a refusal counts only where the evidence speaks for neither, or is little.
        """
        if setback.fault is Fault.CALL or self._is_served(setback.call):
            return True
        services = [lane.offer.service(setback.call) for lane in self.dispatch.live]
        if not self.bring_evidence() and any(one.ever_served for one in services):
            return True
        if not lane.offer.service(setback.call).evidence.is_little:
            return False
        if setback.failure.kind is FailureClass.FATAL:
            return any(one.ever_served for one in services)
        return setback.failure.kind is not FailureClass.THROTTLE

    def is_too_soon(self, setback: Setback) -> bool:
        """Whether nobody was ever served of what the call asks for, and others may tell yet whose fault that is."""
        call, backlog = setback.call, self.dispatch.backlog
        if setback.is_odd:
            return setback.now - setback.odd_since < LEAST_S
        if setback.is_open:
            return True
        if setback.failure.code in ITS_OWN or any(lane.offer.service(call).ever_served for lane in self.dispatch.live):
            return False
        backlog.peek()
        return self.bring_evidence()

    def _is_served(self, call: Call) -> bool:
        """Whether some server serves most of what asks for the same."""
        return any(lane.offer.service(call).evidence.fault() is Fault.CALL for lane in self.dispatch.live)

    def bring_evidence(self) -> bool:
        """Whether there are calls still that were never sent, or may be."""
        return self.dispatch.backlog.may_bring_more or self.dispatch.backlog.has_new

    def is_meant_for_all(self, lane: Lane, call: Call) -> bool:
        """Whether a refusal for good holds for others than the call: nearly all get it, or there is nobody else."""
        service = lane.offer.service(call)
        if service.evidence.is_refusal_of_all(lane.unheard(service)):
            return True
        is_served = any(one.offer.service(call).ever_served for one in self.dispatch.live)
        return not is_served and not self._is_anybody_else(call)

    def _is_anybody_else(self, call: Call) -> bool:
        """Whether anything else is in flight, or waits, that was not refused for good as well."""
        if self.in_flight:
            return True
        backlog = self.dispatch.backlog
        backlog.peek()
        return backlog.may_bring_more or backlog.has_new or self.dispatch.parked > len(self.refused - {call})
