"""One worker as the run knows it: its link, the calls that it has, what it was told, and what it said of itself."""

from __future__ import annotations

import math
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from batcher.exchange.cluster import parcels
from batcher.redaction import Secret

if TYPE_CHECKING:
    from batcher.exchange.cluster.link import Link
    from batcher.model import Call, Endpoint

SECRET_BYTES: Final = 32


class Flying(NamedTuple):
    """A call that a worker has, and when it was given that: by the wall clock, and monotonic."""

    call: Call
    endpoint: Endpoint
    started_at: float
    started: float


@dataclass(slots=True, eq=False)
class Member:
    """The worker in a place of the run. One that follows another in its place has a number and a secret of its own."""

    place: int
    number: int
    secret: Secret = field(default_factory=lambda: Secret(secrets.token_hex(SECRET_BYTES)))
    link: Link | None = None
    is_ready: bool = False
    """It takes calls."""
    has_served: bool = False
    """It has brought an attempt to its end."""
    flying: dict[int, Flying] = field(default_factory=dict)
    asked: dict[int, Endpoint] = field(default_factory=dict)
    silent: int = 0
    """How often it was looked for since it last said anything."""
    pieces: int = 0
    heard: float | None = None
    """As in `Flow`."""
    host: str = ""
    _known: dict[str, tuple[Endpoint, int]] = field(default_factory=dict)
    """What it was told of endpoints: by root, and the number of each."""
    _told: int = 0

    def give(self, number: int, flying: Flying) -> None:
        """Have it make an exchange."""
        assert self.link is not None
        self.flying[number] = flying
        self.link.send(parcels.said_call(flying.call, number, self._place_of(flying.endpoint)))

    def ask(self, number: int, endpoint: Endpoint) -> None:
        """Have it ask a server whether anybody is there."""
        assert self.link is not None
        self.asked[number] = endpoint
        self.link.send((parcels.ASK, number, self._place_of(endpoint)))

    def first(self) -> float:
        """When the oldest of its calls was given to it; infinity without any."""
        return next((one.started for one in self.flying.values()), math.inf)

    def _place_of(self, endpoint: Endpoint) -> int:
        """The number of an endpoint, which it is told first; one with another key has another number."""
        known = self._known.get(endpoint.root)
        if known is not None and known[0] is endpoint:
            return known[1]
        self._told += 1
        self._known[endpoint.root] = endpoint, self._told
        assert self.link is not None
        self.link.send(parcels.said_endpoint(endpoint, self._told))
        return self._told
