"""Which call goes to which endpoint now, or how long to wait. Pure policy: no await, no clock, no dice of its own.

The engine asks `next(now)`, obeys the step that it gets, and tells `finished(call, attempt, now)`. A call that waits
for its next attempt is parked, in a heap of so many bytes, and holds no slot; beyond that it goes to the end of the
input.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from batcher.model import Kind
from batcher.policy import history
from batcher.policy.breakdown import is_answered
from batcher.policy.dispatch import Dispatch
from batcher.policy.judge import Judge, Verdict
from batcher.policy.lastlook import LastLook
from batcher.policy.packs import FixedPacks
from batcher.policy.steps import Ask, Done, Send, Wait
from batcher.policy.suspects import Suspects

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from batcher.failures import Failure, Scope
    from batcher.model import Call, Endpoint
    from batcher.outcome import Attempt
    from batcher.policy.backlog import Backlog
    from batcher.policy.lane import Lane
    from batcher.policy.packs import Packs
    from batcher.policy.quota import RetryQuota
    from batcher.policy.retry import RetryPolicy
    from batcher.policy.steps import Step


@dataclass(slots=True)
class Scheduler:
    """Several servers, each with its lane; one backlog, one quota of retries, one line of suspects."""

    backlog: Backlog
    lanes: list[Lane]
    retry: RetryPolicy
    quota: RetryQuota
    rng: random.Random
    pending: int = 0
    """Jobs that were taken in and given back without a line."""
    given_back: Callable[[Call], object] = bool
    """Told of each call that these are in."""
    held: bool = False
    """Nothing is sent for now: there is no room for results."""
    stop_failure: Failure | None = None
    """The failure that stopped the run, if one did; its `exit` says how the run ends."""
    packs: Packs = field(default_factory=lambda: FixedPacks(1))
    """How large packs of embedding inputs are."""
    suspects: Suspects = field(default_factory=Suspects)
    look: LastLook = field(default_factory=LastLook)
    waits_until: float = -math.inf
    """Before that nothing goes, as it was found last, but for what arrives or ends; infinity where nobody knows."""
    _in_flight: dict[Call, Lane] = field(default_factory=dict)
    _dispatch: Dispatch = field(init=False)
    _judge: Judge = field(init=False)
    _noted: dict[Lane, None] = field(init=False)
    """Where servers are noted that an event has changed, before anybody looks at them again."""

    def __post_init__(self) -> None:
        self.look.retries = self.retry.retries
        self._dispatch = Dispatch(
            self.backlog, self.lanes, self.retry, self.quota, self.suspects, self.look, self._drop, self._put_off
        )
        self._noted = self._dispatch.roster.noted
        self._judge = Judge(self._dispatch, self.rng, self._in_flight.keys(), self.stop, self._clear_refused)

    @property
    def asks(self) -> bool:
        """Whoever sends the calls can ask a server as well whether anybody is there."""
        return self._judge.witnesses.asks

    @asks.setter
    def asks(self, value: bool) -> None:
        self._judge.witnesses.asks = value

    @property
    def stopped(self) -> bool:
        """Nothing more is sent."""
        return self._judge.is_stopped

    @property
    def proven(self) -> bool:
        """There are results for these settings already: jobs that fail alike do so for themselves."""
        return self._judge.is_proven

    @proven.setter
    def proven(self, value: bool) -> None:
        self._judge.is_proven = value

    def next(self, now: float) -> Step:
        """Say what a free worker does now."""
        if self._judge.is_stopped:
            return Done()
        if self.held:
            return Wait(math.inf)
        chosen = self._dispatch.choose(now)
        if chosen is None and not self._in_flight and self._looks_again(now):
            chosen = self._dispatch.choose(now)
        if chosen is not None:
            lane, call = chosen
            lane.sends(call, now)
            self._noted[lane] = None
            self._in_flight[call] = lane
            return Send(call, lane.endpoint)
        if self._in_flight or self.look.waiting or self.suspects.line or not self.backlog.is_empty:
            doubted = self._dispatch.doubted(now) if self._dispatch.doubts else None
            if doubted is not None:
                doubted.breaker.is_asked = True
                return Ask(doubted.endpoint)
            later = self._dispatch.openings.later
            self.waits_until = min(later, self.look.opens) if self.look.is_on else later
            return Wait(self.waits_until)
        return Done()

    def stop(self, failure: Failure | None = None) -> None:
        """Send nothing more; what is in flight may finish. What is parked stays pending."""
        if not self.stopped:
            self._judge.is_stopped = True
            self.stop_failure = failure
            self._clear(self._give_back)
            self.pending += self.look.forget()

    def requeue(self, *calls: Call) -> None:
        """Put calls in front of their groups: the halves of a pack."""
        for call in reversed(calls):
            if self.stopped:
                self._give_back(call)
            elif not self._drop(call):
                self.backlog.set_aside(call)

    def answering(self, call: Call, now: float) -> None:
        """The first content of a streamed answer has arrived."""
        lane = self._in_flight[call]
        lane.heard(call, now)
        self._noted[lane] = None

    def repeats(self, call: Call, attempt: Attempt, now: float) -> None:
        """A call goes once more in its slot, said otherwise: a request more, and no attempt."""
        lane = self._in_flight[call]
        lane.repeats(call, attempt, now)
        self._noted[lane] = None

    def goes_on(self, call: Call, attempt: Attempt, now: float) -> Endpoint:
        """An answer was taken, and its job asks for more: the call is sent on in its slot, to the same server."""
        lane = self._in_flight[call]
        self._noted[lane] = None
        sent = lane.lands(call, attempt, now)
        self._has_served(lane, call, sent, now)
        if lane.solitary is call:
            lane.frees(sent, now)
        lane.sends(call, now)
        return lane.endpoint

    def leaves(self, call: Call, attempt: Attempt, now: float) -> None:
        """An answer was taken whose job asks for more, and nothing more is sent: the job stays without a line."""
        lane = self._in_flight.pop(call)
        self._noted[lane] = None
        sent = lane.lands(call, attempt, now)
        self._has_served(lane, call, sent, now)
        if lane.solitary is call:
            lane.frees(sent, now)
        self._give_back(call)

    def finished(self, call: Call, attempt: Attempt, now: float) -> Verdict:
        """Take in how an attempt ended and say what becomes of the call."""
        lane = self._in_flight.pop(call)
        self._noted[lane] = None
        is_pack, flying = call.jobs[0].kind is Kind.EMBED, len(lane.in_flight)
        sent = lane.lands(call, attempt, now, tells=not (is_pack and self.packs.is_growing(call)))
        if attempt.failure is None:
            self._has_served(lane, call, sent, now)
            verdict = Verdict.ENDED
            if is_pack:
                self.packs.served(call, attempt, flying, now)
        else:
            self.quota.lose(call)
            verdict = self._judge.failed(lane, call, attempt, sent, now)
            if is_pack and verdict is Verdict.FAILED:
                self.packs.failed(call)
        if lane.breakdowns:
            self._dispatch.inquest.lands(lane, call, is_answered=is_answered(attempt.failure))
        if lane.solitary is call:
            lane.frees(sent, now)
        if verdict is not Verdict.PARKED and (attempt.failure is not None or call.sent > 1 or call.resent):
            self._judge.forget(call)  # else it was never known for anything
        if verdict is Verdict.PENDING:
            self._give_back(call)
        return verdict

    def _has_served(self, lane: Lane, call: Call, sent: float, now: float) -> None:
        lane.served(call, sent, now)
        history.came_back(call)
        self.quota.earn(call)
        self._judge.served()
        if self.look.is_on:
            self.look.served(call)

    def told(self, endpoint: Endpoint, now: float, *, is_there: bool) -> None:
        """Whether anybody answered there who was to be asked."""
        for lane in self.lanes:
            if lane.endpoint.root == endpoint.root and not self.stopped:
                self._judge.told(lane, now, is_there=is_there)
                self._noted[lane] = None

    def renewed(self, endpoint: Endpoint) -> None:
        """A server is sent another key from now on."""
        for lane in self.lanes:
            if lane.endpoint.root == endpoint.root:
                lane.endpoint = endpoint

    def again(self, call: Call, attempt: Attempt, now: float) -> Verdict:
        """An attempt failed for a key that is sent no more, or nobody knows how: that was none, and says nothing."""
        lane = self._in_flight.pop(call)
        self._noted[lane] = None
        sent = lane.lands(call, attempt, now)
        history.came_back(call)
        history.sent_for_nothing(call)
        lane.tells_nothing(call)
        if lane.solitary is call:
            lane.frees(sent, now)
        verdict = self._judge.park(call, now, now)
        if verdict is Verdict.PENDING:
            self._judge.forget(call)
            self._give_back(call)
        return verdict

    def drops(self, call: Call, attempt: Attempt, now: float) -> None:
        """It was met by a bug, and is gone: wherever it is, it holds up nobody, and is not sent again."""
        lane = self._in_flight.pop(call, None)
        if lane is None:  # the bug was met here
            lane = next(one for one in self.lanes if one.endpoint.root == call.server)
        self._noted[lane] = None
        if lane.solitary is call:
            lane.solitary = None
        lane.tells_nothing(call)
        self._clear(lambda one: one is call)
        self._judge.forget(call)
        self._dispatch.openings.forget(call)
        if call in lane.in_flight:
            lane.lands(call, attempt, now)

    @property
    def allowed(self) -> int:
        """How many calls may be in flight now, on all servers together."""
        return self._dispatch.allowed

    @property
    def in_flight(self) -> int:
        return len(self._in_flight)

    @property
    def parked(self) -> int:
        return self._dispatch.parked + self.look.waiting

    @property
    def exhausted(self) -> bool:
        """Whether the input was read to its end."""
        return self.backlog.is_exhausted

    @property
    def refused(self) -> dict[tuple[Scope, str], Failure]:
        """Models and paths that no server has."""
        first, *others = self._dispatch.live or self.lanes
        return {
            what: why
            for what, why in first.offer.refused.items()
            if all(what in other.offer.refused for other in others)
        }

    def _looks_again(self, now: float) -> bool:
        """With nothing in flight: whether all but what was refused too often has ended, and a round of that begins."""
        look, backlog = self.look, self.backlog
        if not look.waiting or not look.is_round_over or self.suspects.line or backlog.is_waiting:
            return False
        if backlog.may_bring_more and (look.reread is not None or backlog.has_new):
            return False
        look.begin(now)
        if look.is_round_over:
            return False
        for lane in self.lanes:
            lane.offer.acquits()
        return True

    def _clear(self, drop: Callable[[Call], bool]) -> None:
        self.backlog.clear(drop)
        self.suspects.clear(drop)
        self.look.clear(drop)

    def _clear_refused(self) -> None:
        self._clear(self._drop)

    def _put_off(self, call: Call) -> None:
        if self._judge.put_off(call) is Verdict.PENDING:
            self._give_back(call)

    def _drop(self, call: Call) -> bool:
        return self._dispatch.is_refused(call) and self._give_back(call)

    def _give_back(self, call: Call) -> bool:
        self._judge.forget(call)
        self._dispatch.openings.forget(call)
        self.pending += len(call.jobs)
        self.given_back(call)
        return True
