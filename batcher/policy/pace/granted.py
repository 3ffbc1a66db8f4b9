"""The rate at which a server grants what it is asked for, where nobody told it: measured from its refusals. Pure.

A rate is what refusals give way to: a server that is given no more than it granted before refuses (nearly) no more. So
that is tried. One that goes on refusing as much, now this call and now that, has a mood and no rate, and is let alone;
so is one that refuses few, and these each time: that is about them.

Down        with each refusal to what was granted in the last minute
Up          after a while without one, by more and more
Measure     requests, or tokens where these are more nearly the same each time
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from batcher.policy.doubling import doubled
from batcher.policy.pace.grants import EVERY, SPAN, Grants, Mark
from batcher.policy.pace.turns import Turns

CYCLE: Final = (5.0, 32.0, 30.0)
"""Whether refusals become fewer is seen after so many seconds and calls granted, or so many seconds: less is noise."""
VOTES: Final = 2
"""Calls that must be refused at their first attempt in a cycle: one alone may be at fault itself."""
ROW: Final = 3
"""Calls refused one after the other from which on the time counts as one in which all are."""
WORTH: Final = 0.08
RUNS: Final = 6
"""Part of the calls that must be refused for a rate to be looked for, in so many runs at least with others between."""
MOST: Final = 0.65
"""Part of the calls that nobody refuses by lot."""
DEAD: Final = 0.48
"""The part of a minute in which all are refused that shows it as well: half, less what is measured late. Less costs
little, and may as well be a storm."""
MORE: Final = 1.5
"""How many times the part refused before fits neither a rate nor dice."""
THEIRS: Final = (0.98, 3, 0.35)
"""Of the calls that are sent again, and so many at least, the part that is refused once more where it is about them;
and the part of all calls that is refused there at most. A rate grants what it has refused as soon as any other."""
KEPT: Final = 0.5
"""The part of what is known of those that is kept from one cycle to the next."""
FEW: Final = 0.04
"""The part that a server may refuse of what comes at its own rate, or grant by chance where it refuses all."""
SURE: Final = 6.0
"""Odds, as a logarithm, at which it is decided between a rate and dice."""
RELIEF: Final = (60.0, 960.0)
"""Seconds for which a server is let alone that refused as much at a lower rate: at first and at most, doubled each."""
FAR: Final = 0.8
"""What was granted is measured to a few calls: only what is less than this of the rate is believed at once."""
CALM: Final = (10.0, 32.0)
"""Seconds without a refusal, or calls granted, after which the rate grows: both are needed."""
STEPS: Final = (0.01, 0.16)
"""By how much: first, and at most."""
DOUBLED: Final = 30.0
"""Seconds without a refusal that double it. Little at first, for a window may answer a minute late."""
NEARER: Final = 0.5
"""How much less one measure must vary than the other to be taken instead."""
LOOSE: Final = (300.0, 4.0)
"""After so many seconds without a refusal, a rate that is so many times what is asked for is dropped."""


class Sent(NamedTuple):
    """A call: when it was sent, which one it was of all, and whether it had been sent before."""

    at: float
    number: float
    is_retry: bool = False


_NONE: Final = Sent(-math.inf, -math.inf)


@dataclass(slots=True)
class Granted:
    """What one model of a server is granted. `taken` is always how many requests were sent so far; times in seconds."""

    since: float
    rate: float = math.inf
    """A second, of requests or tokens; infinity: none is known."""
    by_tokens: bool = False
    refusing: float | None = None
    """When the first of the calls was sent that were refused, with none since that is known to be granted."""
    grants: Grants = field(init=False)
    due: float = field(init=False)
    """The time from which the next call that is granted says something."""
    _last: Sent = _NONE
    """The refused call that was sent last."""
    _refused_at: float = -math.inf
    _calm_since: float = -math.inf
    _calm_from: float = 0.0
    """Requests granted by then."""
    _start: Mark = field(init=False)
    """When the cycle began."""
    _votes: int = 0
    """Calls that were refused in it at their first attempt."""
    _turns: Turns = field(default_factory=Turns)
    _again: list[float] = field(default_factory=lambda: [0.0, 0.0])
    """Calls that were sent again, and granted, or refused after others were granted; each cycle half is forgotten."""
    _row: int = 0
    """Calls refused one after the other."""
    _idle: float = 0.0
    """Seconds of the cycle in which all were refused."""
    _tried: tuple[float, float] = (0.0, 0.0)
    """What was asked for a second, and which part of it was refused, when that was last compared."""
    _odds: float = 0.0
    """The logarithm of how much better what was refused since fits dice than a rate."""
    _relief_until: float = -math.inf
    _relief: float = RELIEF[0]
    _seen: tuple[float, float] = (0.0, 0.0)
    _seen_at: float = -math.inf
    _samples: int = 0
    _apart: list[float] = field(default_factory=lambda: [0.0, 0.0])
    """How far apart, in logarithms, what was granted was from one time to the next: requests, tokens."""

    def __post_init__(self) -> None:
        self.grants = Grants(self.since)
        self._start = Mark(self.since)
        self._set_due()

    def refused(self, sent: Sent, taken: float, now: float, until: float, *, words: str) -> None:
        """A call was refused, in these words, and told to come back at `until`."""
        self.grants.mark(taken, now, is_asked=self.refusing is None)
        if self.rate == math.inf and self.refusing is None and now - self._start.at >= CYCLE[2]:
            self._begin(taken, now)  # what was refused so long ago has nothing to do with this
        is_among_others = sent.number > self._last.number + 1  # what was sent between is granted: refusals come soon
        if is_among_others:
            self._resume(self._last.at)
            self.refusing = sent.at
        elif self.refusing is None:
            self.refusing = sent.at
        self._row += not sent.is_retry
        self._again[1] += sent.is_retry and is_among_others
        self.grants.take_back(sent.number)
        if sent.number > self._start.sent:
            self._turns.add(int(sent.number))
            self._votes += not sent.is_retry
        else:
            self._start.requests -= 1  # it was on its way when the cycle began
        self._last = max(self._last, sent)
        self._refused_at = self._calm_since = now
        self._calm_from = taken - self.grants.refused
        if self.rate == math.inf and self.grants.tokens:
            self.by_tokens = "token" in words
        self._see(taken, now, until)
        if self.rate < math.inf and until - self.grants.marks[0].at >= EVERY:
            self._lower(taken, now, until)
        self._set_due()

    def granted(self, sent: float, taken: float, now: float, *, is_again: bool = False) -> None:
        """A call that was sent then was granted; `is_again`: it had been refused."""
        self._again[0] += is_again
        if now - self.grants.marks[-1].at >= EVERY:
            self.grants.mark(taken, now, is_asked=self.refusing is None)
        if self.refusing is not None:
            if sent > self._last.at:
                self._resume(sent)
                self._see(taken, now, now)
        elif self.rate < math.inf and now - self._calm_since >= CALM[0]:
            self._grow(taken, now)
        self._set_due()

    def _set_due(self) -> None:
        is_watched = self.refusing is not None or self.rate < math.inf
        self.due = -math.inf if is_watched else self.grants.marks[-1].at + EVERY

    def _resume(self, at: float) -> None:
        """Something was granted again, then."""
        if self.refusing is not None and self._row >= ROW:
            self._idle += max(0.0, at - self.refusing)
        self.refusing, self._row = None, 0

    def _see(self, taken: float, now: float, until: float) -> None:
        """See whether a rate shows in this cycle, if it has lasted long enough."""
        granted, lasts = self._granted(taken), until - self._start.at
        least, enough, long = CYCLE
        is_over = lasts >= least and (granted >= enough or (lasts >= long and granted >= enough / 4))
        is_seen = is_over or self._is_dead(now)  # what is said to come is not seen yet
        if now < self._relief_until:
            self._begin(taken, now)
        elif (is_seen or lasts >= SPAN) and self._are_theirs(granted):  # they may have made us so slow
            self.rate = math.inf
            self._begin(taken, now)
        elif self._votes >= VOTES and is_seen:
            if self.rate < math.inf:
                self._judge(granted, now)
            elif self._is_dead(until) or self._may_be_rate(granted):
                rates = self.grants.rates(taken, now, until)
                self.by_tokens = self.by_tokens and rates[1] > 0
                self.rate = rates[self.by_tokens] or math.inf
                self._tried, self._odds = (self._asked(granted, now), self._share(granted)), 0.0
            elif now - self._start.at < long:
                return
            self._begin(taken, now)

    def _granted(self, taken: float) -> float:
        """How many were granted in this cycle, as far as is known."""
        return taken - self.grants.refused - self._start.requests

    def _asked(self, granted: float, now: float) -> float:
        """How many were asked for a second."""
        return (self._votes + granted) / max(now - self._start.at, EVERY)

    def _share(self, granted: float) -> float:
        """The part of them that was refused."""
        return self._votes / (self._votes + granted)

    def _may_be_rate(self, granted: float) -> bool:
        """Whether many are refused, as no dice would do it, nor one who never serves some of the calls."""
        is_granted_later = self._again[0] > 0 or not self._turns.are_mixed(granted)
        is_often = self._turns.runs >= RUNS and self._share(granted) >= WORTH
        return is_often and is_granted_later and not self._is_lot(granted)

    def _is_lot(self, granted: float) -> bool:
        """Whether they may well be refused by lot."""
        return self._turns.runs >= RUNS and self._share(granted) < MOST and self._turns.look_like_dice(granted)

    def _idle_until(self, until: float) -> float:
        """How many seconds of the cycle all were refused."""
        is_idle = self.refusing is not None and self._row >= ROW
        return self._idle + (until - self.refusing if self.refusing is not None and is_idle else 0.0)

    def _is_dead(self, until: float) -> bool:
        """Whether all have been refused for so long that a window shows: then what it granted before is known."""
        if self.rate < math.inf:
            return False
        return self._idle_until(until) >= DEAD * min(max(until - self.since, CYCLE[2]), SPAN)

    def _judge(self, granted: float, now: float) -> None:
        """A cycle at a known rate is over: weigh whether fewer were refused because less was asked for."""
        before, by_lot = self._tried
        asked, share = self._asked(granted, now), self._share(granted)
        if share > MORE * by_lot:  # neither: more was granted then than there is a second
            self._tried, self._odds = (asked, share), 0.0
            return
        if not self._turns.are_mixed(granted):
            return
        by_rate = min(max(0.0, 1 - before * (1 - by_lot) / asked), by_lot)
        self._weigh(granted, by_lot, by_rate)
        if self._odds >= SURE:
            self.rate = math.inf
            self._relief_until = now + self._relief
            self._relief = min(2 * self._relief, RELIEF[1])

    def _are_theirs(self, granted: float) -> bool:
        """Whether it is always the same calls that are refused, among others that are granted."""
        part, least, most = THEIRS
        again = sum(self._again)
        is_again = again >= least and self._again[1] >= part * again
        return is_again and self._votes <= most * (self._votes + granted) and self._turns.are_mixed(granted)

    def _weigh(self, granted: float, by_lot: float, by_rate: float) -> None:
        """Take in a cycle. None decides alone, and what was proved for long is not forgotten for little."""
        by_lot, by_rate = (min(max(share, FEW), 1 - FEW) for share in (by_lot, by_rate))
        found = self._votes * math.log(by_lot / by_rate) + granted * math.log((1 - by_lot) / (1 - by_rate))
        self._odds = max(self._odds + min(max(found, -SURE / 2), SURE / 2), -2 * SURE)

    def _lower(self, taken: float, now: float, until: float) -> None:
        rates = self.grants.rates(taken, now, until)
        found = rates[self.by_tokens]
        if 0 < found < self.rate:
            self.rate = found if found < FAR * self.rate else (self.rate + found) / 2
        self._choose(rates, now)

    def _choose(self, rates: tuple[float, float], now: float) -> None:
        """Take the measure in which what was granted was more nearly the same each time."""
        if now - self._seen_at < SPAN / 3 or not rates[0]:
            return
        if self._seen[1] and rates[1]:
            for one in (0, 1):
                self._apart[one] = (self._apart[one] + abs(math.log(rates[one] / self._seen[one]))) / 2
        self._seen, self._seen_at = rates, now
        self._samples += 1
        if self._samples >= 4 and rates[1] and self._apart[not self.by_tokens] < NEARER * self._apart[self.by_tokens]:
            self.by_tokens = not self.by_tokens
            self.rate = rates[self.by_tokens]

    def _grow(self, taken: float, now: float) -> None:
        granted = taken - self.grants.refused
        if granted - self._calm_from < CALM[1] and now - self._calm_since < SPAN:
            return
        calm = now - self._refused_at
        self.rate *= 1 + doubled(STEPS[0], calm // DOUBLED, STEPS[1])
        if calm >= LOOSE[0] and self.rate > LOOSE[1] * self.grants.rates(taken, now, now)[self.by_tokens]:
            self.rate = math.inf
        self._weigh(granted - self._start.requests, self._tried[1], 0.0)
        self._begin(taken, now)
        self._calm_since, self._calm_from = now, granted

    def _begin(self, taken: float, now: float) -> None:
        """A cycle begins."""
        self._start = Mark(now, taken, taken - self.grants.refused)
        self._votes, self._turns = 0, Turns()
        self._again = [KEPT * part for part in self._again]
        self._idle = 0.0
