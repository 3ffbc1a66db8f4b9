"""The workers that take calls, whose turn it is, and the calls for which there is none."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from batcher.exchange.seam import Flow

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from batcher.exchange.cluster.member import Member
    from batcher.model import Call, Endpoint


class Waiting(NamedTuple):
    """A call for which there is no worker, and since when."""

    call: Call
    endpoint: Endpoint
    since: float


@dataclass(slots=True)
class Crew:
    """Those that are ready. With `owned` each has a server of its own: the first name is of who has the first place."""

    owned: tuple[str, ...] = ()
    _ready: deque[Member] = field(default_factory=deque)
    """Who comes next first."""
    _by_server: dict[str, Member] = field(default_factory=dict)
    """The same by the name of their server, if each has one of its own."""
    _waiting: dict[str, deque[Waiting]] = field(default_factory=dict)
    """Those that wait longest first; by the name of their server likewise."""

    def __iter__(self) -> Iterator[Member]:
        return iter(tuple(self._ready))

    def server_of(self, place: int) -> str:
        """The server of who has that place; "" where any takes calls for all."""
        return self.owned[place] if self.owned else ""

    def join(self, member: Member) -> None:
        self._ready.append(member)
        if self.owned:
            self._by_server[self.server_of(member.place)] = member

    def leave(self, member: Member) -> None:
        self._ready.remove(member)
        if self.owned:
            del self._by_server[self.server_of(member.place)]

    def next(self, endpoint: Endpoint) -> Member | None:
        """Who is to make an exchange: of the next two in turn the one with less to do, or whose server it is."""
        ready = self._ready
        if self.owned:
            return self._by_server.get(endpoint.root)
        if len(ready) > 1:
            ready.rotate(-1)
            first, second = ready[0], ready[1]
            return first if len(first.flying) <= len(second.flying) else second
        return ready[0] if ready else None

    def keep(self, waiting: Waiting) -> None:
        """Keep a call until somebody can make it, or it is overdue."""
        server = waiting.endpoint.root if self.owned else ""
        self._waiting.setdefault(server, deque()).append(waiting)

    def waiting_for(self, member: Member) -> Iterable[Waiting]:
        """The calls that this one can make, which wait no more."""
        return self._waiting.pop(self.server_of(member.place), ())

    def overdue(self, since: float) -> Iterator[Waiting]:
        """The calls that have waited since then or longer, which wait no more."""
        for queue in list(self._waiting.values()):
            while queue and queue[0].since <= since:
                yield queue.popleft()

    def flow(self) -> Flow:
        """What comes just now, as they said it last."""
        pieces, heard, first = 0, -math.inf, math.inf
        for member in self._ready:
            first = min(first, member.first())
            if member.flying:
                pieces += member.pieces
                heard = max(heard, member.heard or -math.inf)
        return Flow(pieces, max(heard, first) if first < math.inf else None)
