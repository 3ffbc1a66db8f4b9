"""What holds a server just now, and until when: for whoever shows it. Pure."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from batcher.failures import FailureClass

if TYPE_CHECKING:
    from batcher.failures import Failure
    from batcher.policy.lane import Lane


class Cause(StrEnum):
    """What calls wait for, where none is sent though some might be in flight."""

    AWAY = "away"  # nobody is there, or it broke down
    TOLD = "told"  # it says wait
    FAILING = "failing"  # it fails whatever it is asked
    REQUESTS = "requests"  # the requests of this minute have been sent
    TOKENS = "tokens"  # and the tokens
    OUT = "out"  # nothing will be sent there any more


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
        is_told = trouble is not None and trouble.kind is FailureClass.THROTTLE
        return Hold(Cause.TOLD if is_told else Cause.FAILING, lane.held_until(now), trouble)
    if lane.paced_until > now and len(lane.in_flight) < lane.allowed:
        kept = lane.pacing.keeps(now)
        is_tokens = kept is not None and kept.is_tokens
        limit = kept.a_minute if kept is not None else math.inf
        return Hold(Cause.TOKENS if is_tokens else Cause.REQUESTS, lane.paced_until, None, limit)
    return None
