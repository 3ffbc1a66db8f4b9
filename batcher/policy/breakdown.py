"""A server that dies under what is in flight: who met it, and who was served all the same. Pure.

What breaks off among others is the call's own fault if half of those beside it are served after it. If they broke with
it, it is the server's; where neither is clear, nothing is held against the call, and it is asked alone in the end.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from batcher.policy.evidence import HALF

if TYPE_CHECKING:
    from collections.abc import Iterable

    from batcher.failures import Failure
    from batcher.model import Call

CRASHES: Final = frozenset({"server_crash", "out_of_memory", "disconnected", "cut", "truncated"})
"""Codes of failures that a dying server gives to whatever is in flight."""
NOBODY: Final = frozenset({"disconnected", "http_502", "http_521", "http_522", "http_523"})
"""Codes of failures where somebody takes connections behind whom nobody may be: a proxy, a port of a container (nginx
answers 502; Cloudflare 521 to 523, developers.cloudflare.com, "Cloudflare 5xx errors")."""
AT_ONCE: Final = 1.0
"""Seconds within which failures belong to one breakdown."""
LEAST: Final = 2
NEARLY_ALL: Final = 0.8
"""Calls with nothing against them that must fail at once, and their part of those in flight, to have failed together.
What has failed before may always do so, and tells nothing of the server."""


@dataclass(slots=True, eq=False)
class Breakdown:
    """The calls that were in flight when one of them met a dying server, and those that met it since.

    Times in seconds; after `until` whoever fails does so for another reason.
    """

    members: set[Call]
    until: float
    out: set[Call]
    """Members that are in flight since then."""
    guiltless: int
    """Members that have paid for nothing yet: what fails always does not tell that the server breaks down."""
    unblamed: int
    """Those of them that were never hung up on either."""
    failed: dict[Call, None] = field(default_factory=dict)
    """In the order in which they met it."""
    met_at: list[float] = field(default_factory=list)
    """When each of those met it, ascending."""
    failed_unblamed: int = 0
    is_certain: bool = False
    """One failed at least for which there is no harmless reason."""
    accused: list[Call] = field(default_factory=list)
    """Those who pay with an attempt when others prove to be served."""
    survived: int = 0
    """Members that were answered after it."""

    @classmethod
    def under(cls, call: Call, in_flight: Iterable[Call], now: float) -> Breakdown:
        """The call met a dying server, with these still in flight."""
        out = set(in_flight)
        members = {call, *out}
        guiltless = sum(not one.counted for one in members)
        return cls(members, now + AT_ONCE, out, guiltless, sum(map(_is_unblamed, members)))

    @property
    def is_collective(self) -> bool:
        """Whether the server broke down under all that were in flight."""
        return self.is_certain and self.failed_unblamed >= LEAST and self.failed_unblamed >= NEARLY_ALL * self.unblamed

    @property
    def is_witnessed(self) -> bool:
        """Whether enough of those beside who failed were answered for it to be his own fault."""
        return self.survived > 0 and self.survived > HALF * (self.guiltless - 1)

    def first_since(self, since: float) -> float:
        """When the first met it after that; infinity if none did."""
        place = bisect_right(self.met_at, since)
        return self.met_at[place] if place < len(self.met_at) else math.inf

    def takes(self, call: Call, now: float) -> bool:
        """Whether what the call met is this breakdown, and no other: one that most have survived is over."""
        is_on = now <= self.until and not self.is_witnessed
        return is_on and call in self.members and call not in self.failed

    def fails(self, call: Call, now: float, *, is_free: bool) -> None:
        """A member met it. Hung up on for the first time it is sent again for nothing, and could be so by chance."""
        self.failed[call] = None
        self.met_at.append(now)
        self.failed_unblamed += _is_unblamed(call)
        self.is_certain |= not is_free

    def lands(self, call: Call, *, is_answered: bool) -> bool:
        """An attempt has ended; true if there is nobody left to tell more."""
        if call in self.out:
            self.out.remove(call)
            self.survived += is_answered
        return not self.out


def is_answered(failure: Failure | None) -> bool:
    """Whether an attempt that ended so shows that the server lived."""
    if failure is None:
        return True
    return failure.status is not None and failure.code not in CRASHES and not failure.code.startswith("timeout")


def _is_unblamed(call: Call) -> bool:
    return not call.counted and not call.resent
