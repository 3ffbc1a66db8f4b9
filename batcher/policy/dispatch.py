"""Which of the calls that wait goes to which of the servers that are free. Pure.

The least loaded server comes first. A server gets a suspect alone, else a retry or a new call that suits it; retries
take no more than half of its slots while there is anything new. What was refused too often comes when all else is done.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from batcher.policy import history
from batcher.policy.lastlook import ROOM

if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from batcher.model import Call
    from batcher.policy.backlog import Backlog, Key
    from batcher.policy.breakdown import Breakdown
    from batcher.policy.lane import Lane
    from batcher.policy.lastlook import LastLook
    from batcher.policy.quota import RetryQuota
    from batcher.policy.retry import RetryPolicy
    from batcher.policy.suspects import Suspects

READS_PER_STEP: Final = 512
WORTH_A_LOAD: Final = 10.0
"""Seconds that a loaded model must be held for another to be loaded meanwhile."""


@dataclass(slots=True)
class Dispatch:
    """`drop` takes a call that no server will serve; `put_off` one for which there is no room until the end; `later` is
    when something that was passed over may go.
    """

    backlog: Backlog
    lanes: list[Lane]
    retry: RetryPolicy
    quota: RetryQuota
    suspects: Suspects
    look: LastLook
    drop: Callable[[Call], bool]
    put_off: Callable[[Call], object]
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
        return self.backlog.parked + len(self.suspects.line)

    def is_refused(self, call: Call) -> bool:
        """Whether no server will serve the call."""
        for lane in self.live:  # noqa: SIM110 - asked of each call, a generator costs more than the answer
            if not lane.lacks(call):
                return False
        return True

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
                    history.waited(call, now - self._paced.pop(call, now))
                return self._other(lane, call, now) if call.sent else lane, call
            if self.is_reading:
                self.later = now
                return None
        if self.backlog.heaps:
            for heap in self.backlog.heaps.values():  # what is due was looked at, and waits for something else
                if heap[0].due > now:
                    self.later = min(self.later, heap[0].due)
        return None

    def broke_down(self, lane: Lane, call: Call, now: float, *, is_free: bool = False) -> Breakdown:
        """A call met a dying server among others."""
        breakdown = self.suspects.broke_down(call, lane.in_flight, lane.breakdown, now, is_free=is_free)
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

    def _pick(self, lane: Lane, now: float) -> Call | None:
        """Take a call for a lane that is free."""
        self.is_reading = False
        if not self.backlog.is_waiting and not self.suspects.line:  # nearly always there is only the input
            call = self._read(lane, now)
            if call is not None or self.is_reading or not self.backlog.is_waiting:
                return call or self._last(lane, now)
        line = self.suspects.line
        again = [self._retry]
        if line and not lane.was_suspect and self._is_held(lane, line[0]):
            again.insert(0, self._suspect)  # as probes they take turns
        sources = (*again, self._fresh) if lane.favours_retries else (self._fresh, *again, self._fresh)
        for source in sources:  # a retry that is set aside for its turn may have it now
            if now >= lane.shared_until and self._is_reserved(lane):
                break
            call = source(lane, now)
            if call is not None:
                return call
        if line and (self._is_reserved(lane) or self._is_held(lane, line[0])):
            return self._suspect(lane, now)
        return None

    def forget(self, call: Call) -> None:
        """The call will not be asked about again."""
        if self._paced:
            self._paced.pop(call, None)

    def _last(self, lane: Lane, now: float) -> Call | None:
        """Take a call that waits for the last look; while some wait elsewhere, none is left that may go."""
        look = self.look
        if not look.is_on:
            return None
        if look.is_wary and any(one.in_flight for one in self.live):
            return None
        call = look.take(lambda call: self._may_switch(lane, call) and self._fits(lane, call, now))
        self.is_reading = look.is_reading
        return call

    def _is_reserved(self, lane: Lane) -> bool:
        """Whether the lane is to serve the first suspect, and nothing else before: it takes no probe for that."""
        line = self.suspects.line
        if not line or not self._can_take(lane, line[0]):
            return False
        able = (one for one in self.live if self._can_take(one, line[0]))
        return lane is min(able, key=lambda one: one.endpoint.root != line[0].server)

    def _can_take(self, lane: Lane, call: Call) -> bool:
        return not self._is_held(lane, call) and not lane.lacks(call)

    @staticmethod
    def _is_held(lane: Lane, call: Call) -> bool:
        """Whether a call can go there only as a probe."""
        return lane.breaker.is_down or lane.service(call).is_held

    def _suspect(self, lane: Lane, now: float) -> Call | None:
        """Take the first suspect, once nothing else is in flight there."""
        call = self.suspects.line[0]
        if lane.in_flight or not self._fits(lane, call, now):
            return None
        lane.solitary = self.suspects.line.popleft()
        return call

    def _retry(self, lane: Lane, now: float) -> Call | None:
        """Take a parked call that is due, the first of those that may go to the lane.

        One that would cost a load is set aside for its turn; what is held, paced or lacked there stays where it is.
        """
        backlog = self.backlog
        if lane.is_draining and lane.in_flight:
            return None
        passed: set[Key] = set()
        while True:
            due = [(heap[0], key) for key, heap in backlog.heaps.items() if heap[0].due <= now and key not in passed]
            if not due:
                return None
            entry, key = min(due)
            call = entry.call
            if self.suspects.suspects(call, is_out_of_attempts=not self.retry.allows(call.counted)):
                self.suspects.line_up(backlog.pop(key, now))
                if now >= lane.shared_until and self._is_reserved(lane):
                    return None
                continue
            if not lane.suits(call):
                backlog.set_aside(backlog.pop(key, now))
                continue
            price = 0.0 if self._is_alone_to_blame(lane, call) else entry.price
            opens = self.quota.opens(price, now)
            if opens > now:
                self.later = min(self.later, opens)
                return None
            if self._fits(lane, call, now):
                backlog.pop(key, now)
                self.quota.spend(call, price)
                return call
            passed.add(key)

    def _is_alone_to_blame(self, lane: Lane, call: Call) -> bool:
        """Whether nothing is left but retries, of what others were served there: who is to be spared for their sake?"""
        backlog, service = self.backlog, lane.service(call)
        return backlog.is_exhausted and not backlog.has_new and service.ever_served and not service.is_held

    def _fresh(self, lane: Lane, now: float) -> Call | None:
        """Take a call that was set aside, or read on. A lane keeps to its group as long as the window has any of it."""
        backlog = self.backlog

        def fits(call: Call) -> bool:
            return self._may_switch(lane, call) and self._fits(lane, call, now)

        is_again_first = lane.favours_retries
        if not lane.is_sticky or lane.group is None or lane.breaker.is_down:
            call = backlog.take(fits, avoid=self._served_elsewhere(lane), is_again_first=is_again_first)
            return call or self._read(lane, now)
        call = backlog.take(fits, group=lane.group, is_again_first=is_again_first)
        if call is None:
            call = self._read(lane, now)
        if call or self.is_reading or self._is_worth_waiting(lane, now):
            return call
        call = backlog.take(fits, avoid=self._served_elsewhere(lane), is_again_first=is_again_first)
        lane.is_draining = call is None and bool(lane.in_flight) and self._is_waited_for(lane, now)
        return call

    def _is_waited_for(self, lane: Lane, now: float) -> bool:
        """Whether a call of another group would go, were nothing in flight."""
        return any(self._fits(lane, call, now) for call in self.backlog.first_of_others(lane.group))

    def _is_worth_waiting(self, lane: Lane, now: float) -> bool:
        """Whether what is loaded is held or paced so shortly that to load something else would take longer."""
        return any(
            not lane.lacks(call) and now < self._opens(lane, call, now) < now + WORTH_A_LOAD
            for call in self.backlog.first_of(lane.group or "")
        )

    @staticmethod
    def _opens(lane: Lane, call: Call, now: float) -> float:
        """When the lane can take the call; while a probe is out, that is soon."""
        gate = lane.service(call).opens()
        return max(gate if gate < math.inf else now + WORTH_A_LOAD / 2, lane.pacing.opens(call, now))

    @staticmethod
    def _may_switch(lane: Lane, call: Call) -> bool:
        """Whether the call suits what is loaded, or nothing is in flight that wants that."""
        return not lane.in_flight or lane.group in (None, call.group) or not lane.is_sticky

    def _read(self, lane: Lane, now: float) -> Call | None:
        """Read on to a call that suits the lane, setting aside what does not and dropping what nobody serves."""
        backlog = self.backlog
        for _ in range(READS_PER_STEP):
            call = backlog.read()
            if call is None:
                return None
            if self.look.is_on:
                self.look.end()
            if lane.is_partial and self.drop(call):
                continue
            if lane.suits(call) and self._fits(lane, call, now):
                return call
            if backlog.kept > ROOM and (call.group, call.path) in backlog.gated:
                self.put_off(call)
            else:
                backlog.keep(call)
        self.is_reading = True
        return None

    def _fits(self, lane: Lane, call: Call, now: float) -> bool:
        if lane.lacks(call):
            return False
        if (self.backlog.gated or lane.service(call).is_held) and self._is_gated(lane, call, now):
            return False
        return not self._is_paced(lane, call, now)

    def _is_gated(self, lane: Lane, call: Call, now: float) -> bool:
        """Whether what the call asks for is held there: then others are looked for behind it."""
        gated = self.backlog.gated
        opens = lane.service(call).opens()
        if opens <= now:
            if gated:
                gated.discard((call.group, call.path))
            return False
        self.later = min(self.later, opens)
        gated.add((call.group, call.path))
        return True

    def _is_paced(self, lane: Lane, call: Call, now: float) -> bool:
        opens = lane.pacing.opens(call, now)
        if opens <= now:
            return False
        self.later = min(self.later, opens)
        lane.paced_until = opens
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
            and other.service(call).opens() <= now
            and other.pacing.opens(call, now) <= now
        )
        return min(free, key=lambda other: (other is lane, other.load), default=lane)


def _load(lane: Lane) -> float:
    return lane.load
