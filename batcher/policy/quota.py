"""How many retries the servers are asked to bear: a bucket that successes and time fill. Pure.

The shape is that of the AWS SDKs' standard retry mode: 500 tokens, a retry that succeeds gives back its price, a
success at the first try earns one. The difference: empty, it slows retries down and fails nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from batcher.model import Call

SIZE: Final = 500.0
RETRY: Final = 14.0
"""The price of sending a call again that failed at the server's hands."""
THROTTLED: Final = 5.0
"""The price of sending a call again that was told to wait."""
SUCCESS: Final = 1.0
"""What a call earns that succeeds at its first try."""
TRICKLE: Final = RETRY
"""What a second earns: one retry, so that an empty quota is never a wait for ever."""


@dataclass(slots=True)
class RetryQuota:
    """Shared by all servers of a run. Times in seconds."""

    left: float = SIZE
    _at: float = -math.inf
    """When `left` was true."""
    _paid: dict[Call, float] = field(default_factory=dict)

    def opens(self, price: float, now: float) -> float:
        """The time from which a retry of this price may go."""
        if now > self._at:
            self.left = min(SIZE, self.left + (now - self._at) * TRICKLE)
            self._at = now
        return now if self.left >= price else now + (price - self.left) / TRICKLE

    def spend(self, call: Call, price: float) -> None:
        """The call goes again."""
        if price:
            self.left -= price
            self._paid[call] = price

    def earn(self, call: Call) -> None:
        """The call has succeeded."""
        if self._paid or self.left < SIZE:
            self.left = min(SIZE, self.left + self._paid.pop(call, SUCCESS))

    def lose(self, call: Call) -> None:
        """The call has failed once more."""
        self._paid.pop(call, None)
