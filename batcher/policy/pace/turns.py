"""Whether refusals fall as dice do, or by turns: told from how often the call after a refused one is refused too. Pure.

Dice remember nothing. A rate does: what it has just refused it grants as soon as there is room again, and once it has
begun to refuse it goes on until then. So there are fewer runs of refusals, or more, than dice would make of as many
(the runs test of Wald and Wolfowitz, Annals of Mathematical Statistics, 1940).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

REACH: Final = 1024
"""Calls that may overtake each other."""
UNLIKELY: Final = 3.0
"""Standard deviations from what dice would make: once in 370 times they do."""
_MASK: Final = (1 << REACH) - 1


@dataclass(slots=True)
class Turns:
    """Refusals since some time, by the numbers in which their calls were sent; they may come in any order."""

    refused: int = 0
    _pairs: int = 0
    """Calls that were refused as the one before was."""
    _last: int = 0
    """The highest number."""
    _recent: int = 0
    """Those that were refused, with the last in the lowest bit."""

    def add(self, number: int) -> None:
        self.refused += 1
        ahead = number - self._last
        if ahead > 0:
            self._recent = (self._recent << ahead) & _MASK if ahead < REACH else 0
            self._last, ahead = number, 0
        behind = -ahead
        if behind < REACH:
            self._pairs += (self._recent >> behind + 1) & 1
            self._pairs += (self._recent >> behind - 1) & 1 if behind else 0
            self._recent |= 1 << behind

    @property
    def runs(self) -> int:
        """How often refusals began, with something granted before."""
        return self.refused - self._pairs

    def are_mixed(self, granted: float) -> bool:
        """Whether refused and granted calls come by turns, not for a while only these and then only those."""
        return 2 * self.runs * (self.refused + granted) >= self.refused * granted

    def look_like_dice(self, granted: float) -> bool:
        """Whether dice may well make so many runs of as many refusals, with so many granted beside them."""
        refused, every = self.refused, self.refused + granted
        if refused < 2 or granted < 1:
            return False
        mean = refused * (granted + 1) / every
        variance = mean * (refused - 1) * granted / (every * (every - 1))
        return (self.runs - mean) ** 2 <= UNLIKELY**2 * variance
