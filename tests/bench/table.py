"""A table of measures: each row's medians, what is held against a target, and the verdict; as text and as JSON."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any

from bench.process import cores

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@dataclass(frozen=True)
class Target:
    """A bound, from above or from below."""

    limit: float
    least: bool = False

    def met(self, value: float) -> bool:
        return value >= self.limit if self.least else value <= self.limit

    def verdict(self, value: float) -> str:
        return "met" if self.met(value) else ("UNDER" if self.least else "OVER")

    def __str__(self) -> str:
        return f"{'≥' if self.least else '≤'} {self.limit:.4g}"


@dataclass(frozen=True)
class Row:
    """One measure. `values` are what is held against the target, turn by turn; `held` says what they are."""

    what: str
    unit: str
    figures: dict[str, float]
    """Medians by column."""
    values: list[float]
    held: str
    target: Target | None = None
    trouble: str = ""
    """Why it does not count."""
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def value(self) -> float:
        return median(self.values)

    def as_json(self) -> dict[str, Any]:
        return {
            "what": self.what,
            "unit": self.unit,
            "figures": {column: round(figure, 3) for column, figure in self.figures.items()},
            "held": self.held,
            "value": round(self.value, 4),
            "min": round(min(self.values), 4),
            "max": round(max(self.values), 4),
            "turns": len(self.values),
            "target": str(self.target) if self.target else None,
            "met": self.target.met(self.value) if self.target else None,
            "trouble": self.trouble,
        } | self.details

    def cells(self, columns: Sequence[str]) -> list[str]:
        figures = [_short(self.figures[column]) if column in self.figures else "" for column in columns]
        spread = f"{_short(min(self.values))}-{_short(max(self.values))}"
        target = f"{self.target} {self.target.verdict(self.value)}" if self.target else ""
        return [self.what, self.unit, *figures, _short(self.value), spread, self.held, target, self.trouble]


def _short(value: float) -> str:
    """As many digits as say something."""
    return f"{value:.0f}" if value >= 1000 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def table(rows: Sequence[Row], columns: Sequence[str]) -> str:
    """Columns as wide as their widest cell; words to the left, figures to the right."""
    prefixes = ["what", "unit", *columns, "held", "min-max", "is", "target", ""]
    cells = [prefixes, *(row.cells(columns) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    figures = range(2, len(columns) + 4)
    lines = (
        [
            cell.rjust(width) if place in figures else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        for line in cells
    )
    return "\n".join("  ".join(line).rstrip() for line in lines)


def report(rows: Sequence[Row], columns: Sequence[str], heading: str, file: Path | None) -> int:
    """Print the table, write it to a file as JSON, and return the exit code: 1 if a row does not count."""
    placed = "on cores of their own" if cores() else "NOT on cores of their own"
    print(f"Python {platform.python_version()}, {platform.machine()}; client and server {placed}")
    busy = round(os.getloadavg()[0], 1)
    print(f"{heading}; {busy} processes at work at the end, of which 1 to 2 are ours\n\n{table(rows, columns)}")
    if file:
        figures = {"pinned": bool(cores()), "load_average": busy, "rows": [row.as_json() for row in rows]}
        file.write_text(json.dumps(figures, indent=2, ensure_ascii=False) + "\n")
    return 1 if any(row.trouble for row in rows) else 0
