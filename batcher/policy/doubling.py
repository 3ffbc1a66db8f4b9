"""What is doubled from one time to the next, up to a bound: waits in vain, steps of what goes well. Pure."""

from __future__ import annotations

import math
from typing import Final

_MOST: Final = 64
"""Doublings that are counted: whatever is bounded here has met its bound by then, and a float holds not much over a
thousand of them."""


def doubled(first: float, times: float, most: float) -> float:
    """`first`, doubled so many times, and at most `most`, however many they are."""
    return min(first * math.pow(2.0, min(times, _MOST)), most)
