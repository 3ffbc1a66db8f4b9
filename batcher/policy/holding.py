"""What holds a server just now, and until when: for whoever shows it. Pure."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from batcher.failures import FailureClass
from batcher.policy import history

if TYPE_CHECKING:
    from batcher.failures import Failure
    from batcher.model import Call
    from batcher.policy.lane import Lane
    from batcher.policy.scheduler import Scheduler

SOME: Final = 64
"""Calls of a kind that are looked at, of those that wait to be asked again."""


class Cause(StrEnum):
    """What calls wait for, where none is sent though some might be in flight."""

    AWAY = "away"  # nobody is there, or it broke down
    TOLD = "told"  # it says wait
    FAILING = "failing"  # it fails whatever it is asked
    REFUSING = "refusing"  # it refuses, and it is not known yet whether that is meant for all
    REQUESTS = "requests"  # the requests of this minute have been sent
    TOKENS = "tokens"  # and the tokens
    ALONE = "alone"  # it would take some: nothing is left but what failed, or was told to wait, for itself
    OUT = "out"  # nothing will be sent there any more


_OF_KIND: Final = {FailureClass.THROTTLE: Cause.TOLD, FailureClass.FATAL: Cause.REFUSING}


class Hold(NamedTuple):
    """Nothing goes before `until`, which may be past while one call tries it."""

    cause: Cause
    until: float
    trouble: Failure | None = None
    a_minute: float = math.inf
    """The limit that has been used up."""
    call: Call | None = None
    """Which one is asked again first."""
    calls: int = 0
    """How many wait to be."""
    is_told: bool = False
    """The server said until when."""


def holds_of(scheduler: Scheduler, now: float) -> list[Hold | None]:
    """What holds each server: where nothing is in flight, and some would take it, it is calls that wait alone."""
    holds = [hold_of(lane, now) for lane in scheduler.lanes]
    if scheduler.in_flight or not now < scheduler.waits_until < math.inf or not scheduler.parked:
        return holds
    call = _first_again(scheduler)
    is_told = call is not None and history.is_resting(call, now)
    alone = Hold(Cause.ALONE, scheduler.waits_until, call=call, calls=scheduler.parked, is_told=is_told)
    return [alone if hold is None else hold for hold in holds]


def ends_after(scheduler: Scheduler) -> float:
    """A time before which the run cannot end, as some of the calls that wait are not asked again before it."""
    dues = [entry.due for heap in scheduler.backlog.heaps.values() for entry in heap[-SOME:]]
    return max(*dues, scheduler.look.rests_until(SOME), -math.inf)


def _first_again(scheduler: Scheduler) -> Call | None:
    heaps = scheduler.backlog.heaps.values()
    return min(heap[0] for heap in heaps).call if heaps else scheduler.look.first()


def hold_of(lane: Lane, now: float) -> Hold | None:
    """What holds a server; `None` if calls may go, or as many are in flight as may be."""
    if lane.out is not None:
        return Hold(Cause.OUT, math.inf, lane.out)
    if lane.breaker.is_down:
        return Hold(Cause.AWAY, lane.held_until(now), lane.trouble)
    if lane.is_waiting:
        held = [service for service in lane.offer.services.values() if service.is_held]
        trouble = min(held, key=lambda service: service.opens()).trouble or lane.trouble
        kind = trouble.kind if trouble is not None else FailureClass.TRANSIENT
        return Hold(_OF_KIND.get(kind, Cause.FAILING), lane.held_until(now), trouble)
    if lane.paced_until > now and len(lane.in_flight) < lane.allowed:
        kept = lane.pacing.keeps(now)  # nothing, where an answer has just given back what was reserved for it
        if kept is not None:
            return Hold(Cause.TOKENS if kept.is_tokens else Cause.REQUESTS, kept.until, None, kept.a_minute)
    return None
