"""Which of the calls that wait goes to which of the servers that are free. Pure.

The least loaded server comes first. A server gets a suspect alone, else a retry or a new call that suits it; retries
take no more than half of its slots while there is anything new. What was refused too often comes when all else is done.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from batcher.policy.inquest import Inquest
from batcher.policy.lastlook import ROOM
from batcher.policy.openings import Openings
from batcher.policy.roster import Roster

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable

    from batcher.model import Call
    from batcher.policy.backlog import Backlog, Key
    from batcher.policy.lane import Lane
    from batcher.policy.lastlook import LastLook
    from batcher.policy.quota import RetryQuota
    from batcher.policy.retry import RetryPolicy
    from batcher.policy.suspects import Suspects

READS_PER_STEP: Final = 512


@dataclass(slots=True)
class Dispatch:
    """`drop` takes a call that no server will serve; `put_off` one for which there is no room until the end."""

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
    roster: Roster = field(default_factory=Roster)
    """The same in the order of their loads, where there are several."""
    openings: Openings = field(init=False)
    inquest: Inquest = field(init=False)
    doubts: set[Lane] = field(default_factory=set)
    """Servers of which it is to be asked whether anybody is there; some may have been heard since."""
    _by_root: dict[str, Lane] = field(default_factory=dict)
    is_reading: bool = False
    """Reading was left off to give others a turn: it can go on at once."""

    def __post_init__(self) -> None:
        self.live = list(self.lanes)
        for lane in self.live:
            self.roster.add(lane)
            self._by_root.setdefault(lane.endpoint.root, lane)
        self.openings = Openings(self.backlog)
        self.inquest = Inquest(self.backlog, self.live, self.retry, self.suspects)

    @property
    def allowed(self) -> int:
        """How many calls may be in flight now, on all servers together."""
        live = self.live
        if len(live) == 1:
            return live[0].allowed
        if self.is_shared:
            return sum(lane.allowed for lane in live)
        self.roster.look(-math.inf)
        return self.roster.allowed

    @property
    def is_shared(self) -> bool:
        """Whether other runs have a part in the servers' limits: these change without an event of this run."""
        return self.lanes[0].is_shared

    @property
    def parked(self) -> int:
        """How many calls wait for their next attempt."""
        return self.backlog.parked + len(self.suspects.line)

    def is_refused(self, call: Call) -> bool:
        """Whether no server will serve the call."""
        for lane in self.live:  # noqa: SIM110 - asked of each call, a generator costs more than the answer
            if not lane.offer.lacks(call):
                return False
        return True

    def choose(self, now: float) -> tuple[Lane, Call] | None:
        """Choose a call and the server it goes to; None if there is nothing to send before `later`."""
        self.openings.later = math.inf
        self.is_reading = False
        for lane in self.live if len(self.live) == 1 else self._in_order(now):
            opens = lane.opens()
            if opens > now:
                self.openings.later = min(self.openings.later, opens)
                continue
            call = self._pick(lane, now)
            if call is not None:
                if self.openings.paced:
                    self.openings.chosen(call, now)
                return self._other(lane, call, now) if call.sent else lane, call
            if self.is_reading or (len(self.live) > 1 and self._is_idle(now)):
                break  # what one of them is not sent now, none is
        if self.is_reading or self.backlog.heaps or len(self.live) > 1:
            self.openings.later = self._later(now)
        return None

    def _later(self, now: float) -> float:
        """When there may be something to send, of what was not looked at for its time has not come."""
        if self.is_reading:
            return now
        dues = (heap[0].due for heap in self.backlog.heaps.values())  # what is due waits for something else
        opens = self.roster.later() if len(self.live) > 1 else math.inf
        return min(self.openings.later, opens, min((due for due in dues if due > now), default=math.inf))

    def _in_order(self, now: float) -> Iterable[Lane]:
        """The servers, the least loaded first, without those of which it is known that nothing may be sent there."""
        return sorted(self.live, key=_load) if self.is_shared else self.roster.in_order(now)

    def _is_idle(self, now: float) -> bool:
        """Whether nothing waits that any server may be sent now."""
        look = self.look
        return not (self.suspects.line or (look.is_on and not look.is_round_over) or self.backlog.has_due(now))

    def doubted(self, now: float) -> Lane | None:
        """A server that is to be asked now whether anybody is there; as `choose` does, it says when one will be."""
        for lane in tuple(self.doubts):
            breaker = lane.breaker
            if not breaker.is_doubted:
                self.doubts.discard(lane)
            elif not breaker.is_asked:
                if breaker.held_until <= now:
                    return lane
                self.openings.later = min(self.openings.later, breaker.held_until)
        return None

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

    def _last(self, lane: Lane, now: float) -> Call | None:
        """Take a call that waits for the last look; while some wait elsewhere, none is left that may go."""
        look = self.look
        if not look.is_on:
            return None
        if look.is_wary and any(one.in_flight for one in self.live):
            return None
        call = look.take(lambda call: self._may_switch(lane, call) and self.openings.fits(lane, call, now))
        self.is_reading = look.is_reading
        return call

    def _is_reserved(self, lane: Lane) -> bool:
        """Whether the lane is to serve the first suspect, and nothing else before: it takes no probe for that."""
        line = self.suspects.line
        if not line or not self._can_take(lane, line[0]):
            return False
        home = self._by_root.get(line[0].server or "")
        if home is not None and home.out is None and self._can_take(home, line[0]):
            return lane is home
        return lane is next(one for one in self.live if self._can_take(one, line[0]))

    def _can_take(self, lane: Lane, call: Call) -> bool:
        return not self._is_held(lane, call) and not lane.offer.lacks(call)

    @staticmethod
    def _is_held(lane: Lane, call: Call) -> bool:
        """Whether a call can go there only as a probe."""
        return lane.breaker.is_down or lane.offer.service(call).is_held

    def _suspect(self, lane: Lane, now: float) -> Call | None:
        """Take the first suspect, once nothing else is in flight there."""
        call = self.suspects.line[0]
        if lane.in_flight or not self.openings.fits(lane, call, now):
            return None
        lane.solitary = self.suspects.line.popleft()
        return call

    def _retry(self, lane: Lane, now: float) -> Call | None:
        """Take a parked call that is due, the first of those that may go to the lane.

        One that would cost a load is set aside for its turn; what is held, paced or lacked there stays where it is.
        """
        backlog = self.backlog
        if lane.loading.is_draining and lane.in_flight:
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
                self.openings.later = min(self.openings.later, opens)
                return None
            if self.openings.fits(lane, call, now):
                backlog.pop(key, now)
                self.quota.spend(call, price)
                return call
            passed.add(key)

    def _is_alone_to_blame(self, lane: Lane, call: Call) -> bool:
        """Whether nothing is left but retries, of what others were served there: who is to be spared for their sake?"""
        backlog, service = self.backlog, lane.offer.service(call)
        return backlog.is_exhausted and not backlog.has_new and service.ever_served and not service.is_held

    def _fresh(self, lane: Lane, now: float) -> Call | None:
        """Take a call that was set aside, or read on. A lane keeps to its group as long as the window has any of it."""
        backlog = self.backlog

        def fits(call: Call) -> bool:
            return self._may_switch(lane, call) and self.openings.fits(lane, call, now)

        is_again_first = lane.favours_retries
        if not lane.is_sticky or lane.loading.group is None or lane.breaker.is_down:
            call = backlog.take(fits, avoid=self._served_elsewhere(lane), is_again_first=is_again_first)
            return call or self._read(lane, now)
        call = backlog.take(fits, group=lane.loading.group, is_again_first=is_again_first)
        if call is None:
            call = self._read(lane, now)
        if call or self.is_reading or self.openings.is_worth_waiting(lane, now):
            return call
        call = backlog.take(fits, avoid=self._served_elsewhere(lane), is_again_first=is_again_first)
        lane.loading.is_draining = call is None and bool(lane.in_flight) and self.openings.is_waited_for(lane, now)
        return call

    @staticmethod
    def _may_switch(lane: Lane, call: Call) -> bool:
        """Whether the call suits what is loaded, or nothing is in flight that wants that."""
        return not lane.in_flight or lane.loading.group in (None, call.group) or not lane.is_sticky

    def _read(self, lane: Lane, now: float) -> Call | None:
        """Read on to a call that suits the lane, setting aside what does not and dropping what nobody serves."""
        backlog = self.backlog
        for _ in range(READS_PER_STEP):
            call = backlog.read()
            if call is None:
                return None
            if self.look.is_on:
                self.look.end()
            if lane.offer.is_partial and self.drop(call):
                continue
            if (not lane.is_sticky or lane.suits(call)) and self.openings.fits(lane, call, now):
                return call
            if backlog.kept > ROOM and (call.group, call.path) in backlog.gated:
                self.put_off(call)
            else:
                backlog.keep(call)
        self.is_reading = True
        return None

    def _served_elsewhere(self, lane: Lane) -> Container[str]:
        """The groups that other lanes keep to."""
        if not lane.is_sticky or len(self.lanes) == 1:
            return ()
        self.roster.look(-math.inf)
        return self.roster.kept_elsewhere(lane)

    def _other(self, lane: Lane, call: Call, now: float) -> Lane:
        """A retry prefers a server on which it has not just failed, if one is free; it does not wait for one."""
        if call.server != lane.endpoint.root or lane.solitary is call:
            return lane
        free = (
            other
            for other in self._in_order(now)
            if other is not lane
            and other.opens() <= now
            and other.suits(call)
            and not self._is_reserved(other)
            and not other.offer.lacks(call)
            and other.offer.service(call).opens() <= now
            and other.pacing.opens(call, now) <= now
        )
        return next(free, lane)


def _load(lane: Lane) -> float:
    return lane.load
