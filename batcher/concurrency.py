"""How many calls may be in flight. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FixedLimit:
    """The simplest limit: a number that the user chose."""

    allowed: int
