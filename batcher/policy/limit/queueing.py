"""How many of the calls in flight only wait in the server's queue, told from how long first tokens took. Pure."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from batcher.policy.limit.rounds import ROUND_S

if TYPE_CHECKING:
    from batcher.outcome import Attempt

PERCENTILE: Final = 0.2
"""The percentile of delays that stands for an idle server: low, for jitter and queues only add."""
STEP_SIZE: Final = 0.2
"""How far, in logarithms, one delay moves the estimate of that percentile: four short ones halve it."""
FIRST: Final = 5
"""Delays of a class, of which the least stands for that percentile: the first may have waited for a model to load."""
FEW: Final = 4
"""Calls in flight from which on one delay weighs less. As many as are in flight may wait in one and the same queue."""
LEARN: Final = 0.1
"""How far a delay that looks like queueing moves it, divided by the number in flight.

It takes some seven rounds of them to double the baseline, and a queue of our own making is cut away within two or
three. So a server that has become slower for good is learnt without a quiet round to measure it anew. Where calls take
less than a quarter of a second, a round has many of them, and each moves it by less."""
IN_FULL: Final = 4
"""Calls after each other in one round that each move it in full: with two the first tokens of 4 slots with equal
answers came late (p95 3.2 times that of four in flight)."""
TINY_S: Final = 1e-4
"""The least baseline, for logarithms."""
SPREAD: Final = 2.0
"""A delay up to this many times the baseline is no queueing: prompts of one size class differ by as much."""
TURN: Final = 0.5
"""With one call too many in flight, it waits the time in which one of the others ends; half of that is evidence."""
NOISE: Final = 0.05
"""Share of a call's time that is too little to call a queue."""
FIRST_SLACK_S: Final = 0.5
"""What stands for these two before anything has ended."""
MEMORY: Final = 64
"""Calls over which the mean time of a call is taken. A round's own mean would not do: short answers end first."""
TOLD: Final = -1
"""The size class of calls whose server said what reading the prompt took, so that only the way is left to explain."""


@dataclass(slots=True)
class QueueDelays:
    """Seconds that calls spent in the queue, and how many calls were in flight."""

    seconds: list[float] = field(default_factory=list)
    total: float = 0.0
    _flying: int = 0

    def add(self, wait: float, in_flight: int) -> None:
        self.seconds.append(wait)
        self.total += wait
        self._flying += in_flight

    @property
    def count(self) -> int:
        return len(self.seconds)

    @property
    def mean(self) -> float:
        return self.total / len(self.seconds) if self.seconds else 0.0

    @property
    def in_flight(self) -> float:
        return self._flying / len(self.seconds) if self.seconds else 0.0


@dataclass(slots=True)
class _Baseline:
    """The delay of an idle server, by size class of the request (powers of two): a running low percentile."""

    _usual: dict[int, float] = field(default_factory=dict)
    _met: Counter[int] = field(default_factory=Counter)

    def excess(self, size: int, delay: float, slack: float, in_flight: int, served: float | None) -> float:
        """Return how much a delay is above what is usual for its class, and take it in.

        One that looks like queueing moves that less where a call is `served` in so few seconds that a round has many.
        """
        usual = self._usual.get(size)
        if usual is None:
            usual = self._borrowed(size, delay)
        if self._met[size] < FIRST:
            self._met[size] += 1
            usual = min(usual, delay)
        excess = max(0.0, delay - SPREAD * usual - slack)
        if delay <= usual:
            step = -STEP_SIZE * (1 - PERCENTILE)
        elif excess:
            step = _pace(served) * LEARN / in_flight
        else:
            step = STEP_SIZE * PERCENTILE * min(1.0, FEW / in_flight)
        self._usual[size] = max(usual * math.exp(step), TINY_S)
        return excess

    def _borrowed(self, size: int, delay: float) -> float:
        """A class not met before borrows from the nearest: double the prompt is read in at most double the time."""
        if not self._usual:
            return delay
        near = min(self._usual, key=lambda one: abs(one - size))
        return min(delay, self._usual[near] * 2.0 ** max(0, size - near))


@dataclass(slots=True)
class QueueGuard:
    """Delays before the first token, compared with those of an idle server.

    By Little's law the mean number of calls in the queue is the number in flight times the share of their time that
    they spend there. That share needs no unit and no model of the server: latency grows with the length of answers and
    with honest batching, and neither is queueing.
    """

    ended: QueueDelays = field(default_factory=QueueDelays)
    """Of calls that ended, where all is known that the server told."""
    begun: QueueDelays = field(default_factory=QueueDelays)
    """Of first tokens: sooner known, and not told from reading a longer prompt than before."""
    _calls: int = 0
    _served: float | None = None
    _by_tokens: _Baseline = field(default_factory=_Baseline)
    _by_bytes: _Baseline = field(default_factory=_Baseline)

    def heard(self, waited: float, size: int, in_flight: int) -> float:
        """Take in a first token after `waited` seconds, of a request of `size` bytes. Return the queueing it shows."""
        return self._by_bytes.excess(size.bit_length(), waited, self._slack(in_flight), in_flight, self._served)

    def add(self, attempt: Attempt, in_flight: int) -> bool:
        """Take in a success. True if the server told its part of the delay: else a queue may pass for a slow server."""
        found = _delay(attempt)
        if found is None:
            return False
        size, delay = found
        wait = self._by_tokens.excess(size, delay, self._slack(in_flight), in_flight, self._served)
        self._calls = min(self._calls + 1, MEMORY)
        served = busy(attempt) - wait
        self._served = served if self._served is None else self._served + (served - self._served) / self._calls
        self.ended.add(wait, in_flight)
        return size == TOLD

    def queued(self, waits: QueueDelays) -> float:
        """How many of the calls in flight waited in the server's queue, on average."""
        mean = waits.mean
        return waits.in_flight * mean / (mean + self._served) if mean and self._served else 0.0

    def restart(self) -> None:
        """Forget the waits, keep what an idle server is like."""
        self.ended, self.begun = QueueDelays(), QueueDelays()

    def _slack(self, in_flight: int) -> float:
        return FIRST_SLACK_S if self._served is None else self._served * max(TURN / in_flight, NOISE)


def _pace(served: float | None) -> float:
    """A round lasts a second at least: what one call counts for, where more than a few after each other fit one."""
    return 1.0 if served is None else min(1.0, IN_FULL * served / ROUND_S)


def busy(attempt: Attempt) -> float:
    """How long a call took, in seconds, without the loading of the model."""
    server = attempt.completion.server if attempt.completion else None
    return max(1e-6, attempt.timing.total - (server.load_s or 0.0 if server else 0.0))


def _delay(attempt: Attempt) -> tuple[int, float] | None:
    """The size class of the prompt, and the seconds before the first token that its own work does not explain."""
    completion, timing = attempt.completion, attempt.timing
    if completion is None:
        return None
    server, usage = completion.server, completion.usage
    load = server.load_s or 0.0 if server else 0.0
    if server is not None and server.prompt_eval_s is not None:
        if timing.ttft is not None:
            return TOLD, max(0.0, timing.ttft - load - server.prompt_eval_s)
        if server.eval_s is not None:
            return TOLD, max(0.0, timing.total - load - server.prompt_eval_s - server.eval_s)
    if timing.ttft is None:
        return None
    tokens = (usage.prompt_tokens or 0) - (usage.cached_tokens or 0) if usage else 0
    return max(0, tokens).bit_length(), max(0.0, timing.ttft - load)
