"""What holds a server just now, and until when: for whoever shows it. Pure."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from batcher.failures import FailureClass

if TYPE_CHECKING:
    from batcher.failures import Failure
    from batcher.policy.lane import Lane


class Cause(StrEnum):
    """What calls wait for, where none is sent though some might be in flight."""

    AWAY = "away"  # nobody is there, or it broke down
    TOLD = "told"  # it says wait
    FAILING = "failing"  # it fails whatever it is asked
    REFUSING = "refusing"  # it refuses, and it is not known yet whether that is meant for all
    REQUESTS = "requests"  # the requests of this minute have been sent
    TOKENS = "tokens"  # and the tokens
    OUT = "out"  # nothing will be sent there any more


_OF_KIND: Final = {FailureClass.THROTTLE: Cause.TOLD, FailureClass.FATAL: Cause.REFUSING}


class Hold(NamedTuple):
    """Nothing goes before `until`, which may be past while one call tries it."""

    cause: Cause
    until: float
    trouble: Failure | None = None
    a_minute: float = math.inf
    """The limit that has been used up."""


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
