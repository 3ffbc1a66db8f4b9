"""Answers and failures by what they have in common: a model, a server, an hour. Of names there is a bounded number."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from batcher.view.histogram import Histogram

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from batcher.view.statistics.measures import Measures

MOST: Final = 300
"""Names that are told apart; what comes later counts under `OTHERS`."""
OTHERS: Final = "(others)"
UNTOLD: Final = "(not told)"


@dataclass(slots=True)
class Group:
    """Times are of requests, each once; tokens of answers."""

    answers: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float | None = None
    unpriced: int = 0
    latency: Histogram = field(default_factory=Histogram)
    ttft: Histogram = field(default_factory=Histogram)

    def add(self, block: Sequence[Measures]) -> None:
        self.answers += len(block)
        self.prompt_tokens += sum(told.prompt_tokens or 0 for told in block)
        self.completion_tokens += sum(told.completion_tokens or 0 for told in block)
        count_all(self.latency, [told.total for told in block if told.is_request])
        count_all(self.ttft, [told.ttft for told in block if told.is_request])

    def pay(self, cost: float | None) -> None:
        """Add what an answer costs; None: that is not known."""
        if cost is None:
            self.unpriced += 1
        else:
            self.cost = (self.cost or 0.0) + cost


@dataclass(slots=True)
class Groups:
    by_name: dict[str, Group] = field(default_factory=dict)

    def of(self, name: str | None) -> Group:
        """The group of a name; of that of those that are too many, if it comes too late."""
        key = UNTOLD if name is None else name
        found = self.by_name.get(key)
        if found is None:
            if len(self.by_name) >= MOST:
                key = OTHERS
            found = self.by_name.setdefault(key, Group())
        return found

    def add(self, names: Sequence[str | None], block: Sequence[Measures]) -> None:
        """Count answers, each under its name."""
        parts: defaultdict[str | None, list[Measures]] = defaultdict(list)
        for name, told in zip(names, block, strict=True):
            parts[name].append(told)
        for name, part in parts.items():
            self.of(name).add(part)

    def ranked(self) -> Iterator[tuple[str, Group]]:
        """The largest first."""
        yield from sorted(self.by_name.items(), key=lambda item: (-item[1].answers - item[1].failed, item[0]))

    def in_order(self) -> Iterator[tuple[str, Group]]:
        """By their names: hours in the order of time."""
        yield from sorted(self.by_name.items())


def count_all(histogram: Histogram, values: Sequence[float | None]) -> None:
    """Count those that are known."""
    known = [value for value in values if value is not None]
    if known:
        histogram.add_all(known)
