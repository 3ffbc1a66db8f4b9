"""How long each phase of an attempt may take, and the failure that is left when one took longer. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from batcher.failures import Failure, FailureClass

if TYPE_CHECKING:
    from batcher.model import Call


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long each phase of an attempt may take, in seconds. A model load sends no byte: the first token is slow.

    An answer in one piece has no first token, and `total` alone bounds it. `min_speed` is in tokens a second, 0 for
    none; `runaway` says whether an answer that only repeats itself is cut off.
    """

    first_token: float = 600.0
    idle: float = 120.0
    total: float = 1800.0
    min_speed: float = 0.2
    runaway: bool = True

    @property
    def tick(self) -> float:
        return min(0.5, max(0.01, min(self.first_token, self.idle, self.total) / 8))


def timed_out(phase: str, timeouts: Timeouts, call: Call) -> Failure:
    """Name the phase that was not over in time, and the option that gives it longer.

    A call that takes longer than `total` is sent once more, and no third time: it would take as long again.
    """
    kind, code = FailureClass.TRANSIENT, f"timeout_{phase}"
    if phase == "first_token":
        return Failure(kind, code, f"no content within {timeouts.first_token:g} s (--first-token-timeout)")
    if phase == "idle":
        return Failure(kind, code, f"no further content for {timeouts.idle:g} s (--idle-timeout)")
    words = f"no complete answer within {timeouts.total:g} s{', twice' if call.overran else ''} (--timeout)"
    if call.overran:
        kind = FailureClass.PERMANENT
    call.overran = True
    return Failure(kind, code, words)


def too_slow(speed: float, timeouts: Timeouts) -> Failure:
    """The failure of an answer that came at `speed`, in tokens a second."""
    words = f"{speed:.2g} tokens a second, and at least {timeouts.min_speed:g} are wanted (--min-speed)"
    return Failure(FailureClass.TRANSIENT, "too_slow", words)
