"""What a call has been through: the only place where its record is written. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from batcher.model import Call

HEEDED_S: Final = 15.0
"""Seconds that a call has waited as it was asked after which it does so no more: it is told the same each time."""
NEARER: Final = 0.5
"""A wait that is shorter than this part of the last one shows that the end is near, and is waited for all the same."""
AGAIN_S: Final = 1.0
"""Seconds before a call is asked again that was told to wait longer, and need not."""


@dataclass(slots=True)
class Told:
    """How long a server asked to wait with a call. Times in seconds."""

    at: float
    hint: float
    """What was asked for last, at that time."""
    is_owed: bool
    """It is waited for in full."""
    heeded: float = 0.0
    """What was waited in full, each time for nothing."""

    @property
    def until(self) -> float:
        """When the call may be asked again."""
        return self.at + (self.hint if self.is_owed else min(self.hint, AGAIN_S))


def sent(call: Call, server: str, beside: int) -> None:
    """It is on its way to a server that has so many others."""
    call.server, call.beside = server, beside


def loads(call: Call, *, may_load: bool) -> None:
    """The server may have to load its model for it, or has it for sure."""
    call.loads = may_load


def came_back(call: Call) -> None:
    """An exchange is over, in whichever way."""
    call.sent += 1


def sent_for_nothing(call: Call) -> None:
    """The server closed a connection as it was used again, or knew a key no longer: that was no attempt."""
    call.sent -= 1


def resent(call: Call) -> None:
    """It is sent once more for a connection that was closed; a second time that is a failure as any."""
    call.resent = True
    sent_for_nothing(call)


def counted(call: Call) -> None:
    """An attempt failed, and that is held against it."""
    call.counted += 1


def refused(call: Call) -> None:
    """It was told to wait while others were served: so many tries before it goes to the end of the input."""
    call.refused += 1


def told_to_wait(call: Call, hint: float, sent: float, now: float, patience: float) -> None:
    """It was sent then, and is told now to wait for so long; 0: nobody says how long.

    What is asked for is waited in full, but not again and again: altogether no longer than `patience`, and nothing more
    where some of it was for nothing, unless the end comes nearer.
    """
    call.throttled += 1
    last, call.told = call.told, None
    if not hint:
        return
    heeded, is_nearer = 0.0, False
    if last is not None:
        has_waited = sent >= last.at + last.hint
        heeded = last.heeded + last.hint * has_waited
        is_nearer = has_waited and hint <= NEARER * last.hint
    is_owed = heeded + hint <= patience and (heeded < HEEDED_S or is_nearer)
    call.told = Told(now, hint, is_owed, heeded)


def rests_until(call: Call) -> float:
    """When a call that was told to wait may be asked again, as far as that goes."""
    return call.told.until if call.told is not None else -math.inf


def is_resting(call: Call, now: float) -> bool:
    """Whether it waits for as long as it was told."""
    return call.told is not None and call.told.is_owed and now < call.told.until


def has_heeded(call: Call) -> bool:
    """Whether it was told to wait, has done so, and is told so again."""
    return call.told is not None and not call.told.is_owed


def waited(call: Call, seconds: float) -> None:
    """It was kept back for so long, for backoff or pacing."""
    call.waited += seconds


def read_again(call: Call, times: int) -> None:
    """It was made anew from its line, which had been sent so many times."""
    call.sent = times
