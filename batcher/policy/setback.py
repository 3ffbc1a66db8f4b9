"""One attempt that failed, and what is found out about it on its way to a verdict. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batcher.policy.evidence import Fault

if TYPE_CHECKING:
    from batcher.failures import Failure
    from batcher.model import Call
    from batcher.policy.breakdown import Breakdown


@dataclass(slots=True)
class Setback:
    """A call that was `sent` at one time failed at another, in seconds."""

    call: Call
    failure: Failure
    sent: float
    now: float
    fault: Fault = Fault.OPEN
    breakdown: Breakdown | None = None
    """Of the server that it met dying, if others were in flight."""
    is_alone: bool = False
    """It is a suspect, which met a dying server with nothing beside it."""
    odd_since: float = math.inf
    """When the server hung up on it and lived on, if it does so again now, and nobody is left who could tell more."""

    is_left: bool = False
    """The server hangs up on all that is left of the input, and has served nobody since."""
    last_word: Failure | None = None
    """What its error line says, where that is more than the server did."""
    is_open: bool = False
    """The server hung up on it, and has served nobody since: those in flight may tell yet whose fault that is."""

    has_begun: bool = False
    """Content had come before it failed."""

    @property
    def is_odd(self) -> bool:
        """Whether it would be hung up on by a server that is well, too."""
        return self.odd_since < math.inf

    @property
    def is_collective(self) -> bool:
        """Whether the server broke down under all that were in flight."""
        return self.breakdown is not None and self.breakdown.is_collective
