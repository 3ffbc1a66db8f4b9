"""One dimension of an allowance, requests or tokens: a bucket that fills smoothly, and is in debt at times. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from batcher.policy.pace.statement import EPSILON, MINUTE, Statement

if TYPE_CHECKING:
    from batcher.outcome import Allowance

MARGIN: Final = 0.97
"""Of a limit is used. Calls that leave evenly arrive unevenly: 1.8 s a minute are left open, of which a burst may take
one and the network the rest."""
BURST: Final = 1.0
"""Seconds' worth that a bucket holds: limits may be applied over shorter times than a minute (OpenAI's help)."""
CAREFUL: Final = 0.02
"""Seconds' worth that it holds once the server has refused a call: as much as a timer may be late. A limit that is
applied by the second refuses a second's burst beside the steady flow, and would after each refusal again."""
HELD: Final = 0.2
"""Seconds' worth that it holds at a rate that was learnt: what a gate of a second keeps back is made good."""
CUT: Final = 0.97
GAIN: Final = 0.001
"""A refusal takes so much of the rate, once an episode, and each second gives so much back: others may use the same
key, or the limit be lower than was said. Of tokens it takes less: long answers do that too."""
TOKEN_CUT: Final = 0.99
EPISODE: Final = 2.0
"""Seconds: refusals that come together are one."""


@dataclass(slots=True)
class Bucket:
    """`limit` is a number a minute; infinity: none but what the server states. It holds a second's worth.

    A call may go when there is no debt, and all it costs is taken then: one that costs more than the bucket ever holds
    goes like any other, and those after it wait for longer.
    """

    limit: float
    unit: float
    """What must be there for a call to go: one request; of tokens none, but no debt either."""
    level: float = field(init=False)
    at: float = -math.inf
    taken: float = 0.0
    rate: float = field(init=False)
    is_used: bool = field(init=False)
    """Whether anything depends on what is taken."""
    ease: float = 1.0
    """The part of the rate that refusals have left."""
    refused: float | None = None
    """When the server refused last."""
    statement: Statement | None = None
    learnt: float = math.inf
    """A rate a second that nobody told (`Granted`)."""

    def __post_init__(self) -> None:
        self.rate = self.limit * MARGIN / MINUTE
        self.is_used = self.rate < math.inf
        self.level = self._top

    @property
    def is_told(self) -> bool:
        """Whether the limit is known, from the user or from the server."""
        return self.limit < math.inf or self.statement is not None

    @property
    def a_minute(self) -> float:
        """How much a minute it gives at most, as far as that is known."""
        said = self.statement.limit if self.statement is not None else math.inf
        return min(self.limit, said, self.learnt * MINUTE)

    @property
    def _top(self) -> float:
        if self.rate == math.inf:
            return 0.0
        if self.learnt == self.rate:
            return self.rate * HELD
        careful = self.rate * CAREFUL
        if self.unit and self.refused is not None:
            return careful
        return max(careful, self.rate * BURST - self.unit)

    def opens(self, cost: float, now: float) -> float:
        self._fill(now)
        if self.statement is not None and now >= self.statement.ends:
            self._keep_to(self.statement.after(now, self.taken))
        opens = now - self.level / (self.rate * self.ease) if self.level < -EPSILON else now
        return opens if self.statement is None else max(opens, self.statement.opens(cost, self.taken))

    def take(self, cost: float, now: float) -> None:
        """Take, or give back what is negative."""
        self.taken += cost
        if self.rate < math.inf:
            self._fill(now)
            self.level -= cost

    def hear(self, allowance: Allowance, at: float, taken: float, now: float) -> None:
        """Heed what the server said about itself, as of a call sent at `at`, before which we had taken `taken`."""
        said, last = Statement.of(allowance, at, taken), self.statement
        if said is not None and (last is None or last.gives_way(said)):
            self._fill(now)
            self._keep_to(said)

    def learn(self, rate: float, now: float) -> None:
        """Keep to a rate a second that nobody told, until another is learnt; infinity: to none."""
        if rate != self.learnt:
            self._fill(now)
            self.learnt = rate
            self._keep_to(self.statement)
            self.level = min(self.level, self._top)

    def _keep_to(self, said: Statement | None) -> None:
        self.statement = said
        limit = min(self.limit, said.limit) if said is not None and said.is_low else self.limit
        rate = min(limit * MARGIN / MINUTE, self.learnt)
        if math.inf in (rate, self.rate):
            self.level = 0.0 if rate != self.rate else self.level
        self.rate = rate
        self.is_used = rate < math.inf or said is not None

    def was_refused(self, now: float) -> None:
        """The server would not take a call."""
        self._fill(now)
        if self.refused is None or now > self.refused + EPISODE:
            self.ease *= CUT if self.unit else TOKEN_CUT
            self.refused = now

    def _fill(self, now: float) -> None:
        if now > self.at:
            if self.rate < math.inf and self.level < self._top:
                self.level = min(self._top, self.level + (now - self.at) * self.rate * self.ease)
            if self.ease < 1.0:
                self.ease = min(1.0, self.ease + (now - self.at) * GAIN)
            self.at = now
