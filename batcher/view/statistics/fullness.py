"""How full the slots were over time: of the limit, where that is told, else of the most that were in flight."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from batcher.view.statistics.timeline import Stretch

LATELY: Final = 0.1
"""The part of the work from which on a limit says how full the slots were."""
FULL: Final = 0.95
"""The part of the most that were in flight from which on the slots count as full."""


class Fullness(NamedTuple):
    """How many were in flight on average, of how many that might be or were at most, and which part of these."""

    mean: float
    most: float
    part: float
    is_told: bool
    """`most` is the limit, as the last run told it."""


def fullness(stretches: list[Stretch], moved_to: tuple[float, int] | None) -> Fullness:
    """Of the limit since it last moved, where that is told and was a tenth of the time.

    Else of the most that were in flight on average of a slot of time.
    """
    slots = [slot for stretch in stretches for slot in stretch.slots]
    worked = sum(slot.span for slot in slots)
    mean = sum(slot.busy for slot in slots) / worked if worked else 0.0
    if moved_to is not None:
        moved, limit = moved_to
        since = [slot for slot in slots if slot.start >= moved]
        time = sum(slot.span for slot in since)
        if limit and worked and time >= LATELY * worked:
            return Fullness(mean, float(limit), min(1.0, sum(slot.busy for slot in since) / time / limit), is_told=True)
    most = max((slot.in_flight for slot in slots), default=0.0)
    return Fullness(mean, most, mean / most if most else 0.0, is_told=False)
