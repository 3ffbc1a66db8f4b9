"""What is asked of a limit on how many calls may be in flight to one server, and the one that a user chose. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from batcher.outcome import Attempt


class Limit(Protocol):
    """What the scheduler asks before it sends, and tells of what came back."""

    @property
    def allowed(self) -> int:
        """How many may be in flight now."""

    @property
    def most(self) -> int:
        """How many may ever be in flight."""

    def answering(self, waited: float, size: int, in_flight: int, now: float) -> None:
        """First content of a streamed call came, `waited` seconds after it was sent; its body has `size` bytes."""

    def finished(self, attempt: Attempt, in_flight: int, now: float) -> None:
        """An attempt ended, with `in_flight` calls on the way just before, itself included."""

    def throttled(self, now: float) -> None:
        """The server said wait, and meant all."""

    def granted(self, beside: int) -> None:
        """A call was answered that was sent beside so many others. Told only where others were refused before."""

    def refused(self, beside: int, now: float) -> None:
        """The server said wait to a call that was sent beside so many others."""

    def settled(self) -> str:
        """Where the limit settled, and why if that was measured, for the summary."""


@dataclass(frozen=True, slots=True)
class FixedLimit:
    """The simplest limit: a number that the user chose."""

    allowed: int

    @property
    def most(self) -> int:
        return self.allowed

    def answering(self, waited: float, size: int, in_flight: int, now: float) -> None:
        pass

    def finished(self, attempt: Attempt, in_flight: int, now: float) -> None:
        pass

    def throttled(self, now: float) -> None:
        pass

    def granted(self, beside: int) -> None:
        pass

    def refused(self, beside: int, now: float) -> None:
        pass

    def settled(self) -> str:
        return f"{self.allowed} in flight, as asked for"
