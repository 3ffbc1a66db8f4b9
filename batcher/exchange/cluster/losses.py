"""What has died, and what that costs: places of a run, calls, and the time until the next worker. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from batcher.exchange.seam import LOST
from batcher.failures import Exit, Failure, FailureClass

if TYPE_CHECKING:
    from batcher.model import Call

UNDER_ONE: Final = 3
"""Workers that may die under a call before it is looked into whether they die of it."""
PAUSES: Final = (0.0, 0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
"""Seconds before the next worker is started, after so many in one place that died before they served anything."""


@dataclass(slots=True)
class Losses:
    """Deaths of workers, by the place that they had and by the calls that they had."""

    why: str = "none is ready"
    """Why nobody is there, as far as one knows: what the last one died of."""
    given_up: set[int] = field(default_factory=set)
    """Places that nobody takes any more."""
    _useless: dict[int, int] = field(default_factory=dict)
    """How many have died in a place, one after the other, that served nothing."""
    _under: dict[Call, int] = field(default_factory=dict)
    """Under how many workers that died a call was."""

    def died(self, place: int, why: str, *, has_served: bool) -> float:
        """One has died there; returns the seconds before the next is started."""
        self.why = why
        useless = self._useless[place] = 0 if has_served else self._useless.get(place, 0) + 1
        return PAUSES[min(useless, len(PAUSES) - 1)]

    def under(self, call: Call, words: str) -> Failure:
        """One has died that had the call: what it failed of. After too many of them, they may have died of it."""
        under = self._under[call] = self._under.get(call, 0) + 1
        if under > UNDER_ONE:  # from here on as if a server had died of it: alone, it shows whose fault that is
            return Failure(FailureClass.TRANSIENT, "server_crash", f"its worker is gone each time: {words}")
        return Failure(FailureClass.CONNECTION, LOST, f"its worker is gone: {words}", exit=Exit.UNAVAILABLE)

    def outlived(self, call: Call) -> None:
        """A worker has brought it to an end."""
        if self._under:
            self._under.pop(call, None)

    def of_nobody(self) -> Failure:
        """What a call failed of for which there is no worker."""
        return Failure(FailureClass.CONNECTION, "no_worker", self.why, exit=Exit.UNAVAILABLE)
