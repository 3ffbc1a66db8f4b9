"""One HTTP exchange seen afterwards: when its parts came, what it brought, what the server said of its limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from batcher.failures import Failure
    from batcher.model import Completion, Timing


@dataclass(frozen=True, slots=True)
class Allowance:
    """One dimension of a rate limit as a server states it; what it does not state is `None`, what is nonsense too.

    `limit` is a number per minute, `remaining` how much of it is left, `reset` the seconds until it is whole again.
    """

    limit: float | None = None
    remaining: float | None = None
    reset: float | None = None


@dataclass(frozen=True, slots=True)
class Hints:
    """What an answer says about when to come back, and how often. `retry_after` is in seconds."""

    retry_after: float | None = None
    requests: Allowance | None = None
    tokens: Allowance | None = None


NO_HINTS: Final = Hints()


@dataclass(slots=True)
class Attempt:
    """One exchange: a completion, a failure, or both when text had arrived before it failed."""

    timing: Timing
    completion: Completion | None = None
    failure: Failure | None = None
    hints: Hints = NO_HINTS
