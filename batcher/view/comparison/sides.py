"""What one of two runs took for the rows that both answered, and how the other differs from it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from batcher.figures import count, money, rate, seconds
from batcher.view.histogram import Histogram
from batcher.view.statistics.groups import Block, Group, count_all
from batcher.view.statistics.measures import taken_by
from batcher.view.statistics.statistics import NAMES, cost_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from batcher.view.prices import Prices
    from batcher.view.statistics.measures import Measures

_TOGETHER: Final = 2048
_REST: Final = "(others)"
UNTOLD: Final = "(not told)"


@dataclass(slots=True)
class Side:
    """Sums of answers; `lines` and `failed` are of all rows of the file, the rest of those that are compared."""

    prices: Prices | None = None
    lines: int = 0
    failed: int = 0
    unreadable: int = 0
    repeated: int = 0
    """Lines with the id of an earlier one, which are passed over."""
    group: Group = field(default_factory=Group)
    speed: Histogram = field(default_factory=Histogram)
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    models: Counter[str] = field(default_factory=Counter)
    _block: list[Measures] = field(default_factory=list)

    def add(self, record: Mapping[str, Any]) -> None:
        """Count an answer. `settle` has to follow on the last one."""
        self._block.append(taken_by(record))
        if len(self._block) >= _TOGETHER:
            self.settle()

    def settle(self) -> None:
        """Count what was added of late."""
        told, self._block = self._block, []
        block = Block(told)
        self.group.add(block)
        count_all(self.speed, [one.speed for one in block.requests])
        self.cached_tokens += sum([one.cached_tokens or 0 for one in told])
        self.reasoning_tokens += sum([one.reasoning_tokens or 0 for one in told])
        for name, times in Counter(one.model or UNTOLD for one in told).items():
            self.models[name if name in self.models or len(self.models) < NAMES else _REST] += times
        if self.prices is not None:
            for one in told:
                if not one.is_copy:
                    self.group.pay(cost_of(self.prices, one))


class Figure(NamedTuple):
    """A measurement of both; None where a side does not tell."""

    key: str
    words: str
    a: float | None
    b: float | None
    shown: Callable[[float], str]

    @property
    def change(self) -> float | None:
        """By which part of A's B is more; None where that says nothing."""
        return self.b / self.a - 1 if self.a and self.b is not None else None

    def cells(self) -> tuple[str, str, str]:
        """A's value, B's, and what B is beside A."""
        return _cell(self.a, self.shown), _cell(self.b, self.shown), _change(self.change)


def figures(a: Side, b: Side) -> Iterator[Figure]:
    """What both took for the rows that both answered; what neither tells of is left out."""
    for key, words, shown, value in _FIGURES:
        of_a, of_b = value(a), value(b)
        if of_a or of_b:
            yield Figure(key, words, of_a, of_b, shown)


def spent(side: Side) -> Iterator[tuple[str, str]]:
    """What the answers of a side took: tokens, and what they cost, as far as either is told."""
    group = side.group
    if group.prompt_tokens or group.completion_tokens:
        cached = f" ({count(side.cached_tokens)} of them cached)" if side.cached_tokens else ""
        yield "tokens", f"{count(group.prompt_tokens)} in{cached}, {count(group.completion_tokens)} out"
    if side.prices is not None and (group.cost is not None or group.unpriced):
        known = [] if group.cost is None else [money(group.cost)]
        unknown = [f"that of {count(group.unpriced, 'answers')} whose price is not known"] if group.unpriced else []
        yield "cost", " and ".join([*known, *unknown])


def _whole(x: float) -> str:
    return count(round(x))


_FIGURES: Final[tuple[tuple[str, str, Callable[[float], str], Callable[[Side], float | None]], ...]] = (
    ("latency_p50_s", "latency p50", seconds, lambda side: side.group.latency.quantile(0.5)),
    ("latency_p95_s", "latency p95", seconds, lambda side: side.group.latency.quantile(0.95)),
    ("ttft_p50_s", "TTFT p50", seconds, lambda side: side.group.ttft.quantile(0.5)),
    ("ttft_p95_s", "TTFT p95", seconds, lambda side: side.group.ttft.quantile(0.95)),
    ("tokens_per_s_p50", "tokens/s p50", rate, lambda side: side.speed.quantile(0.5)),
    ("prompt_tokens", "tokens in", _whole, lambda side: side.group.prompt_tokens),
    ("cached_tokens", "cached of these", _whole, lambda side: side.cached_tokens),
    ("completion_tokens", "tokens out", _whole, lambda side: side.group.completion_tokens),
    ("reasoning_tokens", "thinking of these", _whole, lambda side: side.reasoning_tokens),
    ("cost", "cost", money, lambda side: side.group.cost),
    ("unpriced", "price not known", _whole, lambda side: side.group.unpriced),
)
"""Key in JSON, words for people, how a value is written, and where it comes from."""


def _cell(value: float | None, shown: Callable[[float], str]) -> str:
    return "-" if value is None else shown(value)


def _change(part: float | None) -> str:
    if part is None:
        return ""
    if part >= 9:
        return f"{rate(part + 1)} times"
    return "the same" if not part else f"{100 * part:+.0f} %".replace("-", "\u2212")
