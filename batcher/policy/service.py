"""One model behind one path at one server: the evidence of how it serves, and the gate that holds what is sent. Pure.

The gate closes when the evidence says that the server fails whatever it is asked. Then one call goes each time it
opens, two new ones and one that waits by turns, until one goes well.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from batcher.failures import FailureClass
from batcher.policy.breakdown import AT_ONCE, CRASHES
from batcher.policy.evidence import SEVERAL, Ending, Evidence, Fault, ending_of

if TYPE_CHECKING:
    import random

    from batcher.failures import Failure
    from batcher.model import Call
    from batcher.policy.retry import RetryPolicy
    from batcher.policy.setback import Setback

ASKING: Final = 1.0
"""Seconds between calls to what told all to wait, when it may be asked again, until one of them goes well."""


@dataclass(slots=True, eq=False)
class Service:
    """Times in seconds. `patience` is how long it may refuse, `first_patience` how long it may fail before it has ever
    served anything.
    """

    patience: float = 3600.0
    first_patience: float = 15.0
    evidence: Evidence = field(default_factory=Evidence)
    lacking: Failure | None = None
    """Why nothing will be sent there any more, if so."""
    is_held: bool = False
    """The server fails whatever it is asked."""
    since: float = math.inf
    """When the first call was sent that failed, with none sent since going well; infinity: it does not fail."""
    is_calm: bool = False
    """One that is served changes nothing: nearly always all of them were."""
    served_at: float = -math.inf
    """When a call was sent that it served lately; minus infinity: it never did."""
    probe: Call | None = None
    """The call that was sent to see whether it is over."""
    trouble: Failure | None = None
    """The last failure since."""
    gates: int = 0
    """How often the gate has closed since."""
    _held_since: float = -math.inf
    _held_until: float = -math.inf
    _asked_at: float = -math.inf
    _told_until: float = -math.inf
    """Until when the server has asked to wait, without what we add."""
    _breaks_off: bool = False
    """It has refused calls whose answers had begun, with none served since."""
    _broken: int = 0
    """How many of the last votes are of calls that broke off, a moment ago: at `_broke_at`."""
    _broke_at: float = -math.inf

    @property
    def ever_served(self) -> bool:
        return self.served_at > -math.inf

    @property
    def is_unknown(self) -> bool:
        """Whether it was never asked for, or has said nothing yet."""
        return not self.ever_served and self.since == math.inf

    @property
    def is_unproven(self) -> bool:
        """Whether it has never served anything, and has failed too few calls for that to mean much."""
        return not self.ever_served and self.evidence.votes < SEVERAL

    def opens(self) -> float:
        """The time before which nothing may be sent; infinity while a probe is out.

        Who is told to wait is told so at once: a probe that is out for a second may be one that is served.
        """
        if not self.is_held:
            return -math.inf
        if self.probe is None:
            return self._held_until
        return max(self._held_until, self._asked_at + ASKING) if self._refuses else math.inf

    def sends(self, call: Call, now: float) -> None:
        """It is asked for: what is held, to see whether it is over."""
        if self.is_held:
            self.probe = call
            self._asked_at = now

    def heard(self, sent: float) -> None:
        """An answer to a call of then has begun. That is proof unless it is answers that break off.

        Some servers refuse in the midst of an answer, and might do so for ever.
        """
        if sent >= self.since and self._refuses and not self._breaks_off:
            self._relents()

    def served(self, sent: float, *, is_first: bool) -> None:
        """A call of then was served."""
        self.served_at = sent
        if not self.is_calm:
            self._went_well(sent, is_first=is_first)

    def failed(self, setback: Setback, retry: RetryPolicy, rng: random.Random, unheard: int = 0) -> Fault:
        """A call failed; say whose fault that is. It votes if it was its first attempt.

        `unheard`: so many are on their way for the first time that were sent no later than the first that failed.
        """
        call, failure, now = setback.call, setback.failure, setback.now
        ending = ending_of(failure)
        was_probe = self.ends(call)
        if ending is Ending.SERVED:
            self._went_well(setback.sent, is_first=not call.sent)
            return Fault.CALL
        if ending is Ending.NOTHING:
            return Fault.OPEN
        self.trouble = failure
        self.is_calm = False
        self.since = min(self.since, setback.sent)
        if not call.sent:
            self.evidence.fails(ending)
            self._breaks(setback)
        fault = self.evidence.fault(unheard)
        if not self.is_held and fault is Fault.SERVER:
            self.is_held, self._held_since = True, now
        if failure.kind is FailureClass.THROTTLE:
            self._breaks_off |= setback.has_begun
            self._told_until = max(self._told_until, now + (failure.retry_after or 0.0))
        if self.is_held:
            self._close(setback, retry, rng, is_news=was_probe or now >= self._held_until)
            return Fault.SERVER
        return fault

    def ends(self, call: Call) -> bool:
        """The call is no longer in flight; true if it was the probe."""
        if self.probe is not call:
            return False
        self.probe = None
        return True

    def gives_up(self, now: float) -> bool:
        """Whether it has failed for longer than the run is willing to wait, or asks for as much."""
        if self.trouble is None or not (self.is_held or self.evidence.is_little or self._is_undecided):
            return False
        if self.trouble.kind is FailureClass.THROTTLE:
            return max(now, self._told_until) - self.since > self.patience
        return not self.evidence.is_little and now >= self._gives_up_at

    def goes_down(self, now: float) -> None:
        """Nobody is there any more: what broke off just before went down with it, and is no evidence either.

        How long it may fail is counted anew when somebody is there.
        """
        if self._broken and now - self._broke_at <= AT_ONCE:
            self.evidence.take_back(self._broken)
            if self.is_held and self.evidence.fault() is not Fault.SERVER:
                self.reopen()
        self._broken = 0
        self.begins()

    def begins(self) -> None:
        """How long it may fail is counted anew, unless it is held."""
        if not self.is_held:
            self.since, self.trouble = math.inf, None

    def acquit(self) -> None:
        """The server broke down as a whole: what that did to calls is no evidence of how it serves them."""
        if self.is_held:
            self.evidence.doubt()
            self._broken = 0
        self.reopen()

    def reopen(self) -> None:
        """Let everything pass, whatever was held."""
        self.is_held = False
        self.probe = None

    @property
    def _is_undecided(self) -> bool:
        """Whether it has never served anything, and the evidence does not say that it serves."""
        return not self.ever_served and self.evidence.fault() is not Fault.CALL

    @property
    def _refuses(self) -> bool:
        """Whether it was told to wait that failed last."""
        return self.trouble is not None and self.trouble.kind is FailureClass.THROTTLE

    @property
    def _is_mute(self) -> bool:
        """Whether it was silence that failed last."""
        return self.trouble is not None and self.trouble.code.startswith("timeout")

    @property
    def _gives_up_at(self) -> float:
        """Failures from the start are a mistake of ours soon; a server that was silent may still be loading."""
        if self.ever_served or self._is_mute:
            return self.since + self.patience
        return max(self.since, self._held_since) + self.first_patience

    def _close(self, setback: Setback, retry: RetryPolicy, rng: random.Random, *, is_news: bool) -> None:
        """Let nobody pass for as long as the server said, or for longer each time. A hint of 0 s is none."""
        failure, now = setback.failure, setback.now
        if is_news:
            self.gates += 1
        if hint := failure.retry_after:
            self._held_until = max(self._held_until, now + hint + rng.uniform(0, min(0.1 * hint + 0.5, 10.0)))
        elif is_news and failure.kind is FailureClass.THROTTLE:
            self._held_until = now + retry.throttle_delay(self.gates, rng)
        elif is_news:
            wait = (retry.failing_delay if self.ever_served else retry.unproven_delay)(self.gates, rng)
            wait = wait if self.ever_served else min(wait, self.first_patience / SEVERAL)  # so many are to be asked
            until = now + wait
            self._held_until = min(until, self._gives_up_at) if now < self._gives_up_at else until

    def _breaks(self, setback: Setback) -> None:
        is_one = setback.failure.code in CRASHES
        self._broken = (self._broken if setback.now - self._broke_at <= AT_ONCE else 0) + 1 if is_one else 0
        self._broken = min(self._broken, self.evidence.votes)
        self._broke_at = setback.now

    def _went_well(self, sent: float, *, is_first: bool) -> None:
        """A call of then was not failed. One of before the failures began proves nothing while they hold."""
        if sent >= self.since:
            self._relents()
        if is_first and not self.is_held:
            self.evidence.served()
            self._broken = 0
        self.is_calm = not self.is_held and self.since == math.inf and not self.evidence.is_open

    def _relents(self) -> None:
        """A call that was sent since others failed went well."""
        self.acquit()
        self._held_until = -math.inf
        self.since = math.inf
        self._told_until = -math.inf
        self.trouble = None
        self._breaks_off = False
        self.gates = 0
