"""What the rest of an input will take, told by a sample of its rows that was run (`--estimate`). Pure but for counting.

tokens   the mean of the sample, give or take two of its standard errors, times the rows that are left
time     at least all calls in flight busy all the time; at most as slowly as the sample went, its start and end too
money    as tokens, of the answers whose price is known; which are not is said
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from batcher.figures import count, span

if TYPE_CHECKING:
    from batcher.outcome import Result
    from batcher.view.prices import Prices

SURE: Final = 2.0
"""Standard errors to either side: 95 %, as far as the mean of a sample is normal."""


@dataclass(slots=True)
class Spread:
    """The mean of numbers that come one by one, and how far theirs may be from it (Welford's method)."""

    count: int = 0
    mean: float = 0.0
    _squares: float = 0.0

    def add(self, value: float) -> None:
        self.count += 1
        change = value - self.mean
        self.mean += change / self.count
        self._squares += change * (value - self.mean)

    def bounds(self) -> tuple[float, float]:
        """Between which two the mean of all probably lies; of one number nothing is known but that."""
        if self.count < 2:
            return self.mean / 2, self.mean * 2
        error = SURE * math.sqrt(self._squares / (self.count - 1) / self.count)
        return max(0.0, self.mean - error), self.mean + error


@dataclass(slots=True)
class Estimate:
    """What the rows of the sample took. Rows that were answered by another's answer count as nothing."""

    latency: Spread = field(default_factory=Spread)
    prompt: Spread = field(default_factory=Spread)
    completion: Spread = field(default_factory=Spread)
    prices: Prices | None = None
    cost: Spread = field(default_factory=Spread)
    """Of the answers whose price is known."""
    unpriced: dict[str, int] = field(default_factory=dict)
    """Answers without a known price, by model."""
    done: int = 0
    failed: int = 0

    def add(self, result: Result) -> None:
        """Take in a finished job."""
        self.done += 1
        self.failed += not result.ok
        if not result.ok or result.timing is None:
            return
        self.latency.add(result.timing.total)
        completion = result.completion
        usage = completion.used if completion is not None else None
        self.prompt.add((usage and usage.prompt_tokens) or 0)
        self.completion.add((usage and usage.completion_tokens) or 0)
        if self.prices is None:
            return
        name = result.model or "a model without a name"
        cost = self.prices.of(result.model, result.path, usage)
        if cost is not None:
            self.cost.add(cost)
        else:
            self.unpriced[name] = self.unpriced.get(name, 0) + 1

    def words(self, left: int, elapsed: float, in_flight: float) -> str:
        """Say what so many rows will take. The sample took `elapsed` seconds; `in_flight` calls may go at once."""
        if not self.latency.count:
            return "estimate: none of the sampled rows was answered now, so nothing can be said of the rest"
        low, high = self.latency.bounds()
        at_most = elapsed / self.done * high / self.latency.mean if self.latency.mean else elapsed / self.done
        at_least = min(low / max(in_flight, 1.0), at_most)
        parts = [f"{_between(span(left * at_least), span(left * at_most))}"]
        for spread, noun in ((self.prompt, "tokens in"), (self.completion, "out")):
            if spread.mean:
                less, more = spread.bounds()
                parts.append(f"{_between(_rough(left * less), _rough(left * more))} {noun}")
        if self.prices is not None:
            parts.append(self._money(left))
        failing = f"; {count(self.failed)} of {count(self.done)} failed" if self.failed else ""
        return f"estimate: {count(left, 'rows')} are left: {', '.join(parts)} (by {count(self.done, 'rows')}{failing})"

    def _money(self, left: int) -> str:
        """What so many rows will cost, and of which that is not known."""
        known, unknown = self.cost.count, sum(self.unpriced.values())
        names = ", ".join(sorted(self.unpriced))
        if not known:
            return f"cost unknown: no price for the tokens of {names}"
        low, high = (left * known / (known + unknown) * bound for bound in self.cost.bounds())
        words = f"cost {_between(_money(low), _money(high))}"
        if not unknown:
            return words
        return (
            f"{words} and that of {count(unknown)} in {count(known + unknown)} rows, whose price is not known: {names}"
        )


def _money(amount: float) -> str:
    """An amount with two digits that mean something, and at least whole hundredths from 1 on."""
    if amount >= 100:
        return _rough(amount)
    if amount >= 1 or not amount:
        return f"{amount:.2f}"
    return f"{amount:.{1 - math.floor(math.log10(amount))}f}"


def _between(low: str, high: str) -> str:
    return low if low == high else f"{low} to {high}"


def _rough(number: float) -> str:
    """A count with two digits that mean something."""
    if number < 1:
        return "0"
    size = 10 ** max(0, int(math.log10(number)) - 1)
    return f"{round(number / size) * size:,}"
