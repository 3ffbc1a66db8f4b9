"""How many calls may be in flight to one server: a number that the answers teach. Pure.

Growth      twofold a round of calls that were answered in time with the limit really used; +10 % after the first cut
Throttle    to what was granted of what was in flight, to a half at most in 15 s; where slots refuse, to their number
Queue       cut by most of those that only waited in the server's queue; tried again after ever more answers
Plateau     where the server tells no durations: back to the level above which answers came no faster
Memory      a half, and not above it for ten minutes

Latency itself is no signal here: it grows with the length of answers and with honest batching. Slow start and the cut
are those of TCP (RFC 5681).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Final

from batcher.failures import FailureClass
from batcher.policy.limit.plateau import APART, Plateau
from batcher.policy.limit.queueing import QueueDelays, QueueGuard
from batcher.policy.limit.refusals import Refusals
from batcher.policy.limit.rounds import ROUND, USED, Round
from batcher.policy.limit.slots import Slots

if TYPE_CHECKING:
    from batcher.failures import Failure
    from batcher.outcome import Attempt

START: Final = 2
"""First calls in flight, for a server that may have one slot; a hosted one can take 8."""
MOST: Final = 256
GROWTH: Final = 10
"""After slow start a clean round adds a tenth, and 1 at least."""
CUT: Final = 0.5
"""What refusals leave at once, at least: what was granted is an estimate, and the next refusals make another."""
EPISODE_S: Final = 15.0
"""Throttles within this time are one: calls that were on their way together are refused together."""
HOLD_S: Final = 600.0
"""How long a server that ran out of memory, or this machine out of sockets, is not asked for as much again."""
SMALL: Final = 16
"""Below this limit single calls count: late first tokens are heeded before their answers end, half a round of them.

On a server of one slot each further call would queue until the first of them ended."""
ENDED: Final = (3, 4)
"""Answers that are evidence of a queue: three, or four fewer than there may be in flight."""
DECREASE: Final = 0.5
"""How many of the calls that queue are cut away at once: it is an estimate, and the next round makes another."""
TOLERATED: Final = (0.5, 0.2, 6)
"""Calls that may queue: half a one, or a fifth of those above six.

A server of few slots needs none. A large one whose memory fills up admits in bursts, and would idle between them."""
SHORT_S: Final = 0.15
ONE: Final = 1.1
"""So many calls may queue where they wait for less than so many seconds.

A slot that idles from an answer to the next request, some 10 ms, loses a tenth where answers are so short."""
PATIENCE: Final = (8, 256)
"""Rounds before a level at which calls queued is tried again: first, and at most; doubled each time it is in vain.

A trial costs one to three late first tokens; so they stay below one in twenty."""
TIMEOUTS: Final = 3
"""First tokens that never came, with no success between, to halve the limit."""
WORTH_TELLING: Final = 0.05
"""Seconds of waiting from which on it is told: less may be the way there, or this machine's other work."""


@dataclass(slots=True)
class AdaptiveLimit:
    """A limit that follows what the server can do, from `start` on, between `least` and `most`."""

    least: int = 1
    most: int = MOST
    start: int = START
    allowed: int = field(init=False)
    _slow_start: bool = True
    _round: Round = field(default_factory=Round)
    _queue: QueueGuard = field(default_factory=QueueGuard)
    _plateau: Plateau = field(default_factory=Plateau)
    _changed_at: float = -math.inf
    _throttled_at: float | None = None
    _floor: int = 1
    """What the refusals of this time leave, at least."""
    _refusals: Refusals = field(default_factory=Refusals)
    _slots: Slots = field(default_factory=Slots)
    _rounds: int = 0
    _in_time: int = 0
    """First tokens without queueing since slow start began."""
    _raised_at: float = -math.inf
    _unanswered: int = 0
    _known_bad: int | None = None
    """A level at which calls queued, or answers came no faster."""
    _try_at: int = 0
    """The number of rounds from which that level is tried again."""
    _patience: int = PATIENCE[0]
    _cap: int | None = None
    _cap_until: float = -math.inf
    _why: str = ""
    _above: int = 0
    """The level that spoke against itself so."""

    def __post_init__(self) -> None:
        self.least = max(1, min(self.least, self.most))
        self.allowed = max(self.least, min(self.start, self.most))

    def answering(self, waited: float, size: int, in_flight: int, now: float) -> None:
        wait = self._queue.heard(waited, size, in_flight)
        used = in_flight >= USED * self.allowed
        if used and (self._slow_start or now - waited >= self._changed_at):
            begun = self._queue.begun
            begun.add(wait, in_flight)
            if begun.count >= max(1, self.allowed // 2) and self.allowed < SMALL and self._shows_queue(begun, now):
                self._queued(begun, self.allowed - 1, now)
        if self._slow_start and not wait:
            self._answered_in_time(now - waited, in_flight, now)

    def finished(self, attempt: Attempt, in_flight: int, now: float) -> None:
        failure = attempt.failure
        if failure is None or failure.kind is FailureClass.SUSPECT:
            self._succeeded(attempt, in_flight, now)
        elif failure.kind is FailureClass.THROTTLE:
            self._refusals.add(attempt, in_flight, now)
        elif failure.kind is FailureClass.LOCAL:
            self._hold(in_flight - 1, in_flight - 1, now, "for more this machine lacked the means")
        elif attempt.timing.started >= self._changed_at:
            self._failed(failure, now)

    def throttled(self, now: float) -> None:
        granted = self._refusals.granted(now) or 0.0
        if granted < 1:  # too few were refused to tell, or even alone: then it is not for how many
            return
        if self._throttled_at is None or now - self._throttled_at >= EPISODE_S:
            self._throttled_at, self._floor = now, math.ceil(self.allowed * CUT)
        to = max(round(granted), self._floor)
        fewer = max(1, self.allowed // GROWTH) if self._slow_start else 1  # by lot some are always being refused
        if to <= self.allowed - fewer:
            self._slow_start = False
            self._change(to, now, "above that the server said wait")

    def granted(self, beside: int) -> None:
        self._slots.granted(beside)

    def refused(self, beside: int, now: float) -> None:
        slots = self._slots.refused(beside)
        if slots is not None and slots < self.allowed:
            self._back_off(slots, now, "above that the server said wait")
            self._known_bad, self._throttled_at = slots + 1, now

    def settled(self) -> str:
        why = "no more are allowed" if self.allowed >= self.most else ""
        if self._why and self.allowed < self._above:  # else it grew past what spoke against it
            why = self._why
        return f"{self.allowed} in flight: {why}" if why else f"{self.allowed} in flight"

    def _answered_in_time(self, sent: float, in_flight: int, now: float) -> None:
        """Slow start: a first token raises the limit; while it is small, only if the call was sent since the last."""
        self._in_time += 1
        if self._in_time < START or in_flight < USED * self.allowed:
            return
        if self.allowed >= SMALL // 2:
            self.allowed = min(self.allowed + 2, self._top(now))
        elif sent >= self._raised_at:
            self.allowed = min(self.allowed + 1, self._top(now))
            self._raised_at = now

    def _failed(self, failure: Failure, now: float) -> None:
        if failure.code == "out_of_memory":
            self._hold(self.allowed // 2, self.allowed - 1, now, "with more the server ran out of memory")
        elif failure.kind is FailureClass.TRANSIENT:
            self._round.clean = False
            self._unanswered += failure.code == "timeout_first_token"
            if self._unanswered >= TIMEOUTS:
                self._unanswered = 0
                self._back_off(self.allowed // 2, now, "above that first tokens never came")

    def _succeeded(self, attempt: Attempt, in_flight: int, now: float) -> None:
        self._unanswered = 0
        streamed = attempt.timing.ttft is not None
        if attempt.timing.started < self._changed_at and not (self._slow_start and streamed):
            return
        self._round.add(attempt.timing.started, used=in_flight >= USED * self.allowed, streamed=streamed)
        is_sure = self._queue.add(attempt, in_flight)
        if not is_sure and not (self._slow_start and streamed):
            self._plateau.add(attempt, in_flight)
        ended = self._queue.ended
        enough = max(ENDED[0], min(self.allowed - ENDED[1], ROUND[1]))
        if ended.count >= enough and self._shows_queue(ended, now):
            fewer = max(1, int(DECREASE * self._queue.queued(ended)))
            self._queued(ended, max(self.allowed - fewer, self.allowed // 2), now)
        elif self._round.is_over(self.allowed, now, slow_start=self._slow_start):
            self._end_round(now)

    def _end_round(self, now: float) -> None:
        self._rounds += 1
        if self._plateau.is_reached(self.allowed):
            self._back_off(self._plateau.level, now, "above that answers came no faster")
        elif self._round.is_clean and self._queue.queued(self._queue.ended) <= self._tolerated / 2:
            self._change(self._next_level(), now, self._why)
        else:
            self._change(self.allowed, now, self._why)

    def _next_level(self) -> int:
        """Where a clean round leads; that it was one may show that a level known as bad is so no longer."""
        level, whole = self.allowed, not self._round.streamed
        if self._known_bad is not None and level >= self._known_bad:
            self._known_bad = None
            self._patience = PATIENCE[0]
            self._why = ""
        if self._slow_start:
            to = 2 * level if whole else level  # where answers are streamed, first tokens raise it
        elif whole and self._throttled_at is None:
            to = math.ceil(level * APART)
        else:
            to = level + max(1, level // GROWTH)
        if self._known_bad is not None and to >= self._known_bad and self._rounds < self._try_at:
            to = level if whole else max(level, self._known_bad - 1)
        return to

    @property
    def _tolerated(self) -> float:
        few, share, free = TOLERATED
        return max(few, share * (self.allowed - free))

    def _shows_queue(self, waits: QueueDelays, now: float) -> bool:
        if not waits.total or not (self._slow_start or self._round.is_old(now)):
            return False
        tolerated = self._tolerated if waits.mean >= SHORT_S else max(self._tolerated, ONE)
        return self._queue.queued(waits) > tolerated

    def _queued(self, waits: QueueDelays, to: int, now: float) -> None:
        wait = median(waits.seconds)
        is_sure = wait >= WORTH_TELLING
        self._back_off(to, now, f"above that calls queued at the server (median wait {wait:.2g} s)" if is_sure else "")

    def _back_off(self, to: int, now: float, why: str) -> None:
        """The level is bad: go below it, and be slow to try it again."""
        self._slow_start = False
        if self._known_bad is not None and self.allowed < self._known_bad:
            self._patience = PATIENCE[0]
        self._known_bad = self.allowed
        self._try_at = self._rounds + self._patience
        self._patience = min(self._patience * 2, PATIENCE[1])
        self._change(to, now, why)

    def _hold(self, to: int, cap: int, now: float, why: str) -> None:
        """Nothing above the cap for ten minutes."""
        self._slow_start = False
        self._cap, self._cap_until = max(self.least, cap), now + HOLD_S
        self._change(to, now, why)

    def _top(self, now: float) -> int:
        return min(self.most, self._cap) if self._cap is not None and now < self._cap_until else self.most

    def _change(self, to: int, now: float, why: str) -> None:
        """Begin a round, at this level."""
        to = max(self.least, min(to, self._top(now)))
        if to < self.allowed:
            self._above = self.allowed
        if to != self.allowed:
            self._changed_at = now
        self.allowed = to
        self._why = why
        self._round = Round(now)
        self._queue.restart()
        self._plateau.restart()
