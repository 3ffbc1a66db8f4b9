"""Which of the calls that wait goes to which of the servers that are free. Pure.

The least loaded server comes first. A server gets a suspect alone, else a retry or a new call that suits it; retries
take no more than half of its slots while there is anything new.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from batcher.model import Call
    from batcher.policy.backlog import Backlog
    from batcher.policy.lane import Lane
    from batcher.policy.quarantine import Breakdown, Quarantine
    from batcher.policy.quota import RetryQuota
    from batcher.policy.retry import RetryPolicy

PARKED_PER_SLOT: Final = 4
READS_PER_STEP: Final = 512


@dataclass(slots=True)
class Dispatch:
    """`drop` takes a call that no server will serve; `later` is when something that was passed over may go."""

    backlog: Backlog
    lanes: list[Lane]
    retry: RetryPolicy
    quota: RetryQuota
    quarantine: Quarantine
    drop: Callable[[Call], bool]
    live: list[Lane] = field(init=False)
    """The servers that may be sent to, now or later."""
    later: float = math.inf
    is_reading: bool = False
    """Reading was left off to give others a turn: it can go on at once."""
    _paced: dict[Call, float] = field(default_factory=dict)
    """Calls that wait for their server's allowance, and since when."""

    def __post_init__(self) -> None:
        self.live = list(self.lanes)

    @property
    def allowed(self) -> int:
        """How many calls may be in flight now, on all servers together."""
        live = self.live
        return live[0].allowed if len(live) == 1 else sum(lane.allowed for lane in live)

    @property
    def parked(self) -> int:
        """How many calls wait for their next attempt."""
        return self.backlog.parked + len(self.quarantine.line)

    def choose(self, now: float) -> tuple[Lane, Call] | None:
        """Choose a call and the server it goes to; None if there is nothing to send before `later`."""
        self.later = math.inf
        for lane in sorted(self.live, key=_load) if len(self.live) > 1 else self.live:
            opens = lane.opens()
            if opens > now:
                self.later = min(self.later, opens)
                continue
            call = self._pick(lane, now)
            if call is not None:
                if self._paced:
                    call.waited += now - self._paced.pop(call, now)
                return self._other(lane, call, now) if call.sent else lane, call
            if self.is_reading:
                self.later = now
                return None
        if self.backlog.due > now:  # what is due was looked at, and waits for something else
            self.later = min(self.later, self.backlog.due)
        return None

    def broke_down(self, lane: Lane, call: Call, now: float) -> Breakdown:
        """A call met a dying server among others."""
        breakdown = lane.breakdown = self.quarantine.broke_down(call, lane.flying, lane.breakdown, now)
        if breakdown.is_collective:
            self._acquit(breakdown.members)
        return breakdown

    def broke_down_alone(self, call: Call) -> bool:
        """A suspect met a dying server with nothing beside it; true if that convicts it."""
        self._acquit((call,))
        return self.quarantine.broke_down_alone(call)

    def _acquit(self, present: Container[Call]) -> None:
        """A server broke down with these there: suspects who were not, and may be sent again, go as others do."""
        for call in self.quarantine.acquit(lambda one: one not in present and self.retry.allows(one.counted)):
            self.backlog.set_aside(call)

    def _pick(self, lane: Lane, now: float) -> Call | None:
        """Take a call for a lane that is free."""
        self.is_reading = False
        if not self.backlog.is_waiting and not self.quarantine.line:  # nearly always there is only the input
            call = self._read(lane, now)
            if call is not None or self.is_reading or not self.backlog.is_waiting:
                return call
        sources = (self._retry, self._fresh) if lane.favours_retries else (self._fresh, self._retry, self._fresh)
        for source in sources:  # a retry that is set aside for its turn may have it now
            if self._is_reserved(lane):
                break
            call = source(lane, now)
            if call is not None:
                return call
        if self.quarantine.line and (self._is_reserved(lane) or lane.breaker.is_down):
            return self._suspect(lane, now)
        return None

    def _is_reserved(self, lane: Lane) -> bool:
        """Whether the lane is to serve the first suspect, and nothing else before: it takes no probe for that."""
        line = self.quarantine.line
        if not line or not self._can_take(lane, line[0]):
            return False
        able = (one for one in self.live if self._can_take(one, line[0]))
        return lane is min(able, key=lambda one: one.endpoint.root != line[0].server)

    @staticmethod
    def _can_take(lane: Lane, call: Call) -> bool:
        return not lane.breaker.is_down and not lane.lacks(call)

    def _suspect(self, lane: Lane, now: float) -> Call | None:
        """Take the first suspect, once nothing else is in flight there."""
        call = self.quarantine.line[0]
        if lane.flying or lane.lacks(call) or self._is_paced(lane, call, now):
            return None
        lane.solitary = self.quarantine.line.popleft()
        return call

    def _retry(self, lane: Lane, now: float) -> Call | None:
        """Take a parked call that is due; one that the lane cannot take is set aside for its turn or its server."""
        backlog = self.backlog
        while backlog.due <= now:
            price = backlog.price
            opens = self.quota.opens(price, now)
            if opens > now:
                self.later = min(self.later, opens)
                return None
            call = backlog.pop(now)
            self.quota.spend(call, price)
            if self.quarantine.suspects(call, is_out_of_attempts=not self.retry.allows(call.counted)):
                self.quarantine.line_up(call)
                if self._is_reserved(lane):
                    return None
            elif lane.suits(call) and self._fits(lane, call, now):
                return call
            else:
                backlog.set_aside(call)
        return None

    def _fresh(self, lane: Lane, now: float) -> Call | None:
        """Take a call that was set aside, or read on. A lane keeps to its group as long as the window has any of it."""
        backlog = self.backlog
        has_room = not self.parked or self.parked < PARKED_PER_SLOT * self.allowed

        def fits(call: Call) -> bool:
            return (has_room or call.sent > 0) and self._fits(lane, call, now)

        if not lane.is_sticky or lane.group is None:
            call = backlog.take(fits, self._served_elsewhere(lane))
            return call if call or not has_room else self._read(lane, now)
        first = backlog.first_of(lane.group)
        if first is None or lane.lacks(first):
            call = self._read(lane, now) if has_room else None
            return call if call or self.is_reading else backlog.take(fits, self._served_elsewhere(lane))
        return backlog.take_of(lane.group) if fits(first) else None

    def _read(self, lane: Lane, now: float) -> Call | None:
        """Read on to a call that suits the lane, setting aside what does not and dropping what nobody serves."""
        backlog = self.backlog
        for _ in range(READS_PER_STEP):
            call = backlog.read()
            if call is None:
                return None
            if self.drop(call):
                continue
            if lane.suits(call) and self._fits(lane, call, now):
                return call
            backlog.keep(call)
        self.is_reading = True
        return None

    def _fits(self, lane: Lane, call: Call, now: float) -> bool:
        return not lane.lacks(call) and not self._is_paced(lane, call, now)

    def _is_paced(self, lane: Lane, call: Call, now: float) -> bool:
        opens = lane.pacing.opens(call, now)
        if opens <= now:
            return False
        self.later = min(self.later, opens)
        self._paced.setdefault(call, now)
        return True

    def _served_elsewhere(self, lane: Lane) -> set[str]:
        """The groups that other lanes keep to."""
        if not lane.is_sticky or len(self.lanes) == 1:
            return set()
        return {other.group for other in self.live if other is not lane and other.group is not None}

    def _other(self, lane: Lane, call: Call, now: float) -> Lane:
        """A retry prefers a server on which it has not just failed, if one is free; it does not wait for one."""
        if call.server != lane.endpoint.root or lane.solitary is call:
            return lane
        free = (
            other
            for other in self.live
            if other.opens() <= now
            and other.suits(call)
            and not self._is_reserved(other)
            and not other.lacks(call)
            and other.pacing.opens(call, now) <= now
        )
        return min(free, key=lambda other: (other is lane, other.load), default=lane)


def _load(lane: Lane) -> float:
    return lane.load
