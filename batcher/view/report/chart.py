"""A chart: what is drawn where, in percent of its field, and the same numbers as a table."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batcher.view.report.axes import Mark

HEIGHT: Final = 1000
"""Units of a field that lines are drawn in, wide and high."""


class Key(NamedTuple):
    """An entry of a legend."""

    style: str
    words: str


class Box(NamedTuple):
    """A rectangle: its place in percent, from above."""

    x: float
    y: float
    width: float
    height: float
    style: str
    words: str = ""


class Line(NamedTuple):
    path: str
    style: str


class Table(NamedTuple):
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(slots=True, kw_only=True)
class Chart:
    """`words` say for those who see no drawing what it shows."""

    name: str
    title: str
    x: str
    y: str
    words: str
    x_marks: Sequence[Mark]
    y_marks: Sequence[Mark]
    table: Table
    keys: list[Key] = field(default_factory=list)
    behind: list[Box] = field(default_factory=list)
    boxes: list[Box] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    dots: list[tuple[float, float]] = field(default_factory=list)
    cuts: list[float] = field(default_factory=list)
    note: str = ""


def path_of(points: list[tuple[float, float]]) -> str:
    """Percent to the right and upwards, as an SVG path in a field of `HEIGHT` by `HEIGHT`."""
    return "M" + "L".join(f"{10 * x:.1f} {HEIGHT - 10 * y:.1f}" for x, y in points)


def whole(x: float) -> str:
    """A count of tokens, or what lies between two."""
    return f"{x:,.0f}" if x >= 10 else f"{x:.1f}".removesuffix(".0")
