"""How far the answers to one row agree with each other, where each row was asked several times."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import InitVar, dataclass, field
from typing import TYPE_CHECKING, Any, Final

from batcher.view.comparison.comparison import OTHERS
from batcher.view.comparison.differences import Differences
from batcher.view.comparison.likeness import NAMES, calls_of, fields_of, similarity
from batcher.view.comparison.sides import Side
from batcher.view.histogram import Histogram

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

_TURN: Final = re.compile(r"(.+)~\d{1,9}", re.DOTALL)
ANSWERS: Final = 1000
"""Answers to one row that are looked at."""


def row_of(ident: str) -> str | None:
    """The id of the row that an answer is one of several to; None if it is none of several."""
    match = _TURN.fullmatch(ident)
    return match[1] if match else None


@dataclass(slots=True)
class Steadiness:
    """Of the texts, or of a field: rows, those in which all answers agree, and the parts of pairs that do, added up."""

    rows: int = 0
    unanimous: int = 0
    agreeing: float = 0.0

    def add(self, values: Sequence[Hashable]) -> float:
        """Count a row with two answers or more; return the part of the pairs of its answers that are equal."""
        number, counts = len(values), Counter(values)
        agreeing = sum(n * (n - 1) for n in counts.values()) / (number * (number - 1))
        self.rows += 1
        self.unanimous += len(counts) == 1
        self.agreeing += agreeing
        return agreeing

    @property
    def mean(self) -> float | None:
        """The part of pairs that agree, of a row on average."""
        return self.agreeing / self.rows if self.rows else None


@dataclass(slots=True)
class Repeats:
    """`most`: so many of the rows whose answers agree least are kept."""

    most: InitVar[int]
    side: Side = field(default_factory=Side)
    single: int = 0
    """Rows with one answer alone, which agrees with nothing."""
    rows: int = 0
    answers: int = 0
    """Those of rows with several."""
    texts: Steadiness = field(default_factory=Steadiness)
    similarities: Histogram = field(default_factory=Histogram)
    """Of each answer to the commonest of its row."""
    calls: Steadiness = field(default_factory=Steadiness)
    fields: dict[str, Steadiness] = field(default_factory=dict)
    differing: Differences = field(init=False)

    def __post_init__(self, most: int) -> None:
        self.differing = Differences(most)

    def add(self, records: Sequence[Mapping[str, Any]], start: int) -> None:
        """Count the answers to a row; what is kept of it is `start`. `settle` has to follow on the last one."""
        for record in records:
            self.side.add(record)
        if len(records) < 2:
            self.single += len(records)
            return
        self.rows += 1
        self.answers += len(records)
        texts = [text for record in records if type(text := record.get("text")) is str]
        calls = [calls_of(record) for record in records]
        spread = called = 0.0
        if len(texts) > 1 and (any(texts) or not any(calls)):
            self.texts.add(texts)
            common = Counter(texts).most_common(1)[0][0]
            others = [*texts]
            others.remove(common)
            alike = [similarity(common, text) for text in others]
            self.similarities.add_all(alike)
            spread = 1 - sum(alike) / len(alike)
        if any(calls):
            called = 1 - self.calls.add(calls)
        if told := self._add_fields(records):
            spread = 1 - sum(told) / len(told)  # what is in the fields counts, not how it is spelt
        distance = max(spread, called)
        self.differing.add(distance, self.rows, start, start)

    def settle(self) -> None:
        self.side.settle()

    def _add_fields(self, records: Sequence[Mapping[str, Any]]) -> list[float]:
        """The part of pairs that agree, of each field; an answer without a field agrees with others without it."""
        found = [fields_of(record) for record in records]
        told = []
        for name in sorted({name for fields in found for name in fields}):
            known = name if name in self.fields or len(self.fields) < NAMES else OTHERS
            steadiness = self.fields.setdefault(known, Steadiness())
            told.append(steadiness.add([fields.get(name) for fields in found]))
        return told
