"""What a call has been through: the only place where its record is written. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batcher.model import Call


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


def told_to_wait(call: Call) -> None:
    call.throttled += 1


def waited(call: Call, seconds: float) -> None:
    """It was kept back for so long, for backoff or pacing."""
    call.waited += seconds


def read_again(call: Call, times: int) -> None:
    """It was made anew from its line, which had been sent so many times."""
    call.sent = times
