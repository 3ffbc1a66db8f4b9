"""The sums over the rows of two results files, joined by id: which rows both have, and where their answers differ."""

from __future__ import annotations

from dataclasses import InitVar, dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from batcher.view.comparison.differences import Differences
from batcher.view.comparison.likeness import NAMES, calls_of, fields_of, similarity
from batcher.view.comparison.sides import Side
from batcher.view.histogram import Histogram

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from batcher.view.comparison.likeness import Comparable

NAMED: Final = 5
"""Ids that are given as examples."""
OTHERS: Final = "(others)"


@dataclass(slots=True)
class Agreement:
    """Of a field: rows where both have it, where the values are equal, and where one side alone has it."""

    both: int = 0
    same: int = 0
    only_a: int = 0
    only_b: int = 0


@dataclass(slots=True)
class Named:
    """How many there are, and the ids of the first."""

    count: int = 0
    ids: list[str] = field(default_factory=list)

    def add(self, ident: str) -> None:
        self.count += 1
        if len(self.ids) < NAMED:
            self.ids.append(ident)


class Row(NamedTuple):
    """A row that is shown: how much its answers differ, its id, and their lines."""

    distance: float
    ident: str
    lines: Sequence[Mapping[str, Any]]


class Compared(NamedTuple):
    """How alike two answers are."""

    distance: float
    """The most of: fields that differ, of all that either has; words that differ, where there are no fields; calls."""
    similarity: float | None
    """Of the texts, if there is any."""
    fields: list[str]
    """Names of those that differ."""
    parsed: tuple[dict[str, Comparable], dict[str, Comparable]]
    calls: tuple[bytes | None, bytes | None]


@dataclass(slots=True)
class Comparison:
    """`most`: so many of the rows that differ most are kept, by where their lines begin."""

    most: InitVar[int]
    a: Side = field(default_factory=Side)
    b: Side = field(default_factory=Side)
    joined: int = 0
    """Rows that both answered."""
    only_a: Named = field(default_factory=Named)
    """Rows of which B's files have no line, neither answer nor failure."""
    only_b: Named = field(default_factory=Named)
    failed_a: Named = field(default_factory=Named)
    """Rows that failed in A and have an answer in B."""
    failed_b: Named = field(default_factory=Named)
    failed_both: Named = field(default_factory=Named)
    asked_otherwise: Named = field(default_factory=Named)
    """Rows that asked one model for two things: their hashes differ."""
    other_models: int = 0
    """Rows whose hashes differ, as they do with the model: they do not tell whether anything else was asked."""
    told_otherwise: list[str] = field(default_factory=list)
    """What the two runs were told, by their state files, that is not the same."""
    uncompared: int = 0
    """Rows of which neither answer has a text, JSON or calls: vectors and pictures are not compared."""
    texts: int = 0
    exact: int = 0
    similarities: Histogram = field(default_factory=Histogram)
    calls: Agreement = field(default_factory=Agreement)
    parsed: Agreement = field(default_factory=Agreement)
    """Of the whole of the JSON."""
    fields: dict[str, Agreement] = field(default_factory=dict)
    differing: Differences = field(init=False)

    def __post_init__(self, most: int) -> None:
        self.differing = Differences(most)

    def add(self, a: Mapping[str, Any], b: Mapping[str, Any], starts: tuple[int, int]) -> None:
        """Count a row that both answered, whose lines begin at `starts`. `settle` has to follow on the last one."""
        self.joined += 1
        self.a.add(a)
        self.b.add(b)
        if (asked := a.get("hash")) != b.get("hash") and type(asked) is str:
            if a.get("model") == b.get("model"):
                self.asked_otherwise.add(str(a["id"]))
            else:
                self.other_models += 1
        found = self._look(a, b)
        self.differing.add(found.distance, self.joined, *starts)

    def settle(self) -> None:
        self.a.settle()
        self.b.settle()

    def _look(self, a: Mapping[str, Any], b: Mapping[str, Any]) -> Compared:
        found = compared(a, b)
        if found.similarity is not None:
            self.texts += 1
            self.exact += a.get("text") == b.get("text")
            self.similarities.add(found.similarity)
        of_a, of_b = found.parsed
        if of_a or of_b:
            _count(self.parsed, of_a or None, of_b or None)
            for name in of_a if of_a.keys() == of_b.keys() else of_a.keys() | of_b.keys():
                field = self.fields.get(name)
                if field is None:
                    field = self.fields.setdefault(name if len(self.fields) < NAMES else OTHERS, Agreement())
                _count(field, of_a.get(name), of_b.get(name))
        if any(found.calls):
            _count(self.calls, *found.calls)
        elif not found.distance and found.similarity is None and not (of_a or of_b):
            self.uncompared += 1
        return found


def compared(a: Mapping[str, Any], b: Mapping[str, Any]) -> Compared:
    """How alike two answers are."""
    texts = [text for record in (a, b) if type(text := record.get("text")) is str]
    calls = calls_of(a), calls_of(b)
    has_texts = len(texts) == 2 and (any(texts) or not any(calls))
    alike = similarity(*texts) if has_texts else None
    of_a, of_b = fields_of(a), fields_of(b)
    differing: list[str] = []
    distance = 1 - alike if alike is not None else 0.0
    if of_a or of_b:
        names = of_a.keys() | of_b.keys()
        differing = [] if of_a == of_b else sorted(name for name in names if of_a.get(name) != of_b.get(name))
        distance = len(differing) / len(names)
    if calls[0] != calls[1] or len(texts) == 1:
        distance = 1.0
    return Compared(distance, alike, differing, (of_a, of_b), calls)


def _count(of: Agreement, a: object | None, b: object | None) -> None:
    if a is not None and b is not None:
        of.both += 1
        of.same += a == b
    elif a is not None:
        of.only_a += 1
    else:
        of.only_b += 1
