"""What the scheduler says is to be done next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from batcher.model import Call, Endpoint


@dataclass(slots=True)
class Send:
    """Send this call to this endpoint now."""

    call: Call
    endpoint: Endpoint


@dataclass(slots=True)
class Wait:
    """Nothing to send before `until`; infinity: not before something finishes or arrives."""

    until: float


@dataclass(slots=True)
class Done:
    """Nothing will ever be sent again."""


@dataclass(slots=True)
class Ask:
    """Ask this server for something small, and tell `told` whether anybody answered."""

    endpoint: Endpoint


Step: TypeAlias = Send | Ask | Wait | Done
