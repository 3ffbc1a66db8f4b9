"""How long each phase of an attempt may take, and the failure that is left when one took longer. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from batcher.failures import Failure, FailureClass


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long each phase of an attempt may take, in seconds. A model load sends no byte: the first token is slow."""

    first_token: float = 600.0
    idle: float = 120.0
    total: float = 1800.0

    @property
    def tick(self) -> float:
        return min(0.5, max(0.01, min(self.first_token, self.idle, self.total) / 8))


def timed_out(phase: str, timeouts: Timeouts) -> Failure:
    """Name the phase that was not over in time, and the option that gives it longer."""
    limit = {"first_token": timeouts.first_token, "idle": timeouts.idle}.get(phase, timeouts.total)
    words = {
        "first_token": f"no content within {limit:g} s (--first-token-timeout)",
        "idle": f"no further content for {limit:g} s (--idle-timeout)",
    }.get(phase, f"no complete answer within {limit:g} s (--timeout)")
    return Failure(FailureClass.TRANSIENT, f"timeout_{phase}", words)
