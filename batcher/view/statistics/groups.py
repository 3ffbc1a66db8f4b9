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


class Block:
    """Answers that are counted together, and what all that count them need: their sums are made once."""

    __slots__ = ("completion_tokens", "latency", "prompt_tokens", "requests", "told", "ttft")

    def __init__(self, told: Sequence[Measures]) -> None:
        self.told = told
        self.requests = [one for one in told if not one.is_copy and not one.place]
        """Those whose times are their own."""
        self.prompt_tokens = sum([one.prompt_tokens or 0 for one in told])
        self.completion_tokens = sum([one.completion_tokens or 0 for one in told])
        self.latency, self.ttft = Histogram(), Histogram()
        count_all(self.latency, [one.total for one in self.requests])
        count_all(self.ttft, [one.ttft for one in self.requests])


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

    def add(self, block: Block) -> None:
        self.answers += len(block.told)
        self.prompt_tokens += block.prompt_tokens
        self.completion_tokens += block.completion_tokens
        self.latency.merge(block.latency)
        self.ttft.merge(block.ttft)

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

    def add(self, names: Sequence[str | None], block: Block) -> None:
        """Count answers, each under its name."""
        if len(set(names)) == 1:
            self.of(names[0]).add(block)
            return
        parts: defaultdict[str | None, list[Measures]] = defaultdict(list)
        for name, told in zip(names, block.told, strict=True):
            parts[name].append(told)
        for name, part in parts.items():
            self.of(name).add(Block(part))

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
