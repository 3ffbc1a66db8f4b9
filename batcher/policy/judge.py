"""What becomes of a call that failed, by whose fault that is. Pure.

Where the server fails nearly all, the call waits as long as its gate stands, and no attempt is used. Where the server
serves the others, it is held against the call: an answer that fails has so many attempts, one that says wait sends the
call to the end of the input. A refusal that would hold for all (the key, the model, the quota) is believed when nearly
all get it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from batcher.failures import Exit, Failure, FailureClass, Scope
from batcher.policy import history
from batcher.policy.backlog import size_of
from batcher.policy.breakdown import CRASHES, NOBODY
from batcher.policy.breaker import LAST_S
from batcher.policy.evidence import ITS_OWN, Fault
from batcher.policy.lane import SPREAD
from batcher.policy.lastlook import LEAST_S, ROOM, last_word
from batcher.policy.quota import RETRY, THROTTLED
from batcher.policy.setback import Setback
from batcher.policy.suspects import convicted
from batcher.policy.witnesses import Witnesses

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Collection

    from batcher.model import Call
    from batcher.outcome import Attempt
    from batcher.policy.dispatch import Dispatch
    from batcher.policy.lane import Lane

LOCAL_PAUSE: Final = 1.0
HOPELESS: Final = 4
"""First patiences after which a run ends that was never served anything, also where each failure alone says little."""
ALIKE: Final = 20
"""When the first this many jobs all fail permanently with the same words, the mistake is in the settings."""


ENDED_ALIVE: Final = frozenset({FailureClass.TRANSIENT, FailureClass.THROTTLE, FailureClass.FATAL})
"""Failures of one that was asked alone which show, unless they say that the server broke down, that it did not."""


DEATHS: Final = CRASHES | NOBODY


class Verdict(Enum):
    """What becomes of a call after an attempt."""

    ENDED = auto()  # it succeeded
    FAILED = auto()  # its jobs get error lines
    PARKED = auto()  # it will be sent again
    SPLIT = auto()  # a pack: its halves are to be requeued
    PENDING = auto()  # its jobs stay without a line


@dataclass(slots=True)
class Judge:
    """`stop` ends the run with a failure, `clear` takes out of what waits whatever no server serves any more."""

    dispatch: Dispatch
    rng: random.Random
    in_flight: Collection[Call]
    stop: Callable[[Failure], None]
    clear: Callable[[], None]
    is_stopped: bool = False
    is_proven: bool = False
    """There are results for these settings already: jobs that fail alike do so for themselves."""
    witnesses: Witnesses = field(init=False)
    _alike: tuple[str, int] | None = ("", 0)
    _short_since: float | None = None
    """Since when this machine has lacked something, with nothing served in between."""
    _failing_since: float | None = None
    """Since when answers fail, in whatever way, and none has ever been served; infinity: one has."""

    def __post_init__(self) -> None:
        self.witnesses = Witnesses(self.dispatch, self.in_flight)

    def served(self) -> None:
        """Something was served."""
        self._alike = self._short_since = None
        self._failing_since = math.inf

    def failed(self, lane: Lane, call: Call, attempt: Attempt, sent: float, now: float) -> Verdict:
        """Take in how an attempt failed, whose call was sent then, and say what becomes of the call."""
        failure = attempt.failure
        assert failure is not None
        if failure.code == "disconnected" and not call.resent and not lane.breaker.is_down:
            # a keep-alive connection that the server closed as it was reused: nobody's fault, and no attempt
            self.witnesses.odd_since(lane, call, now)
            if lane.lonely is not call:
                self.dispatch.inquest.broke_down(lane, call, sent, now, is_free=True)
            history.came_back(call)
            history.resent(call)
            lane.tells_nothing(call)
            return self.park(call, now, now)
        setback = Setback(call, failure, sent, now, has_begun=bool(attempt.timing.arrivals))
        if lane.solitary is call and failure.kind in ENDED_ALIVE and failure.code not in DEATHS:
            self.dispatch.suspects.clears(call)
        if failure.code in NOBODY:
            setback.odd_since = self.witnesses.odd_since(lane, call, now)
            setback.is_left = self.witnesses.are_left()
            setback.is_open = self.witnesses.is_open(lane, call)
        if failure.code in CRASHES:
            setback.is_alone = lane.solitary is call
            if lane.lonely is not call:
                setback.breakdown = self.dispatch.inquest.broke_down(lane, call, sent, now)
        if setback.is_collective or (failure.code in CRASHES and lane.breaker.went_down_since(sent)):
            setback.fault = Fault.SERVER
            lane.breaks_down(setback, self.rng)
        else:
            lane.failed(setback, self.dispatch.retry, self.rng)
        if self.witnesses.asks and failure.code in NOBODY and lane.breaker.is_down:
            lane.breaker.is_doubted = not self.witnesses.bring_evidence()
            self.dispatch.doubts.add(lane)
        history.came_back(call)
        if setback.is_alone and not setback.is_left and self.dispatch.inquest.broke_down_alone(call):
            attempt.failure = convicted(failure)
            return self._fail(call, attempt.failure)
        verdict = self._judged(lane, setback)
        attempt.failure = setback.last_word or failure
        return verdict

    def told(self, lane: Lane, now: float, *, is_there: bool) -> None:
        """Somebody was asked whether he is there, who had hung up on all that is left.

        An answer shows that the server lives, but where a proxy says that it does not: that may answer for itself. Then
        several are right, and a few are not.
        """
        lane.breaker.told(now, self.rng.uniform(*SPREAD), is_there=is_there)
        trouble = lane.trouble
        if is_there and trouble is not None and (trouble.status is None or not self.witnesses.are_several()):
            lane.seen_at = now
        if trouble is not None and all(one.breaker.gives_up(now) for one in self.dispatch.live):
            self.stop(_out_of_patience(trouble, lane.breaker.patience))

    def park(self, call: Call, now: float, until: float, price: float = 0.0) -> Verdict:
        """Keep the call until it is due: whole, or where there is no room for that, at the end of the input."""
        backlog, look = self.dispatch.backlog, self.dispatch.look
        if self.is_stopped or self.dispatch.is_refused(call):
            return Verdict.PENDING
        if backlog.kept + look.kept + size_of(call) > ROOM:
            return self.put_off(call)
        backlog.park(call, now, until, price)
        return Verdict.PARKED

    def put_off(self, call: Call) -> Verdict:
        """The call goes to the end of the input; if there is no way to keep it, it stays without a line."""
        if self.is_stopped or self.dispatch.is_refused(call):
            return Verdict.PENDING
        self.forget(call)
        kept = self.dispatch.look.keep(call, ROOM - self.dispatch.backlog.kept)
        return Verdict.PARKED if kept else Verdict.PENDING

    def forget(self, call: Call) -> None:
        """The call waits for nothing of what it was known for."""
        self.dispatch.suspects.forget(call)
        self.dispatch.look.leaves(call)
        self.witnesses.refused.discard(call)

    def _judged(self, lane: Lane, setback: Setback) -> Verdict:
        """By class, by whom it was meant for, by whose fault it is: in this order."""
        call, failure, now = setback.call, setback.failure, setback.now
        if failure.kind in (FailureClass.PERMANENT, FailureClass.SUSPECT):
            return self._fail(call, failure)
        if self.is_stopped:  # nothing is found out any more, and nothing read ahead for it
            return Verdict.PENDING
        if failure.kind is FailureClass.LOCAL:
            return self._wait_for_room(call, failure, now)
        if failure.kind is FailureClass.FATAL and self.witnesses.is_meant_for_all(lane, call):
            return self._refuse(lane, call, failure, now)
        is_of_all = failure.kind is FailureClass.TRANSIENT or (
            failure.kind is FailureClass.FATAL and failure.scope is Scope.ENDPOINT
        )
        if is_of_all and failure.code not in ITS_OWN and self._is_hopeless(lane, now):
            self.stop(_out_of_patience(failure, lane.breaker.patience))
            return Verdict.PENDING
        is_answer = failure.kind is not FailureClass.CONNECTION and setback.fault is not Fault.SERVER
        if self.dispatch.look.has(call) and is_answer and not setback.is_alone:
            return self._looked(setback, lane.breaker.patience)
        if self._gives_up(lane, setback):
            return Verdict.PENDING
        if failure.kind is FailureClass.CONNECTION:
            return self.park(call, now, now)
        if failure.kind is FailureClass.THROTTLE:
            return self._wait_as_told(lane, setback)
        return self._try_again(lane, setback)

    def _looked(self, setback: Setback, patience: float) -> Verdict:
        """It is refused in the last look once more."""
        call, failure = setback.call, setback.failure
        if not self.dispatch.look.refused(call, failure, setback.now, patience):
            return self.put_off(call)
        setback.last_word = last_word(call, failure, patience)
        return self._fail(call, failure)

    def _is_hopeless(self, lane: Lane, now: float) -> bool:
        """Whether nothing was ever served for so long that it matters no more in which ways the servers fail."""
        if self._failing_since is None:
            self._failing_since = now
        return now - self._failing_since > HOPELESS * lane.breaker.first_patience

    def _wait_as_told(self, lane: Lane, setback: Setback) -> Verdict:
        """The server said wait: to all, whom its gate holds, or to this call, which waits alone."""
        call, now, retry, hint = setback.call, setback.now, self.dispatch.retry, setback.failure.retry_after
        if setback.fault is Fault.SERVER:
            return self.park(call, now, now, THROTTLED)
        is_too_long = (hint or 0.0) > lane.breaker.patience
        if self.witnesses.is_held_against(lane, setback):
            history.refused(call)
            is_enough = history.has_heeded(call) and not self.witnesses.bring_evidence()
            if is_too_long or is_enough or not retry.allows(call.refused):
                return Verdict.SPLIT if len(call.jobs) > 1 else self.put_off(call)
        if call.throttled % len(self.dispatch.live):  # it has not been told so everywhere
            return self.park(call, now, now)
        if hint and not is_too_long:
            return self.park(call, now, now + retry.lone_hint(hint, self.rng))
        wait = retry.lone_delay(call.throttled, self.rng)
        return self.park(call, now, now + wait)

    def _try_again(self, lane: Lane, setback: Setback) -> Verdict:
        """It failed at somebody's hands: the server's, and it waits; its own, and it has so many attempts."""
        call, failure, now, retry = setback.call, setback.failure, setback.now, self.dispatch.retry
        is_outage = setback.fault is Fault.SERVER
        if is_outage:
            if failure.kind is FailureClass.FATAL:
                self.witnesses.refused.add(call)
        elif setback.breakdown is not None:
            self.dispatch.inquest.accuse(call, setback.breakdown)
        elif failure.code in ITS_OWN or self.witnesses.is_held_against(lane, setback):
            if retry.allows(call.counted):  # one that it was too soon to fail has paid all
                history.counted(call)
        elif failure.kind is FailureClass.FATAL:
            self.witnesses.refused.add(call)
        suspects = self.dispatch.suspects
        # Twice whole, and no word but that something is wrong: the server may be well, and the pack too large for it.
        is_in_doubt = is_outage and failure.kind is FailureClass.TRANSIENT and call.sent > 1
        if len(call.jobs) > 1 and (
            is_in_doubt or call.counted > 1 or suspects.suspects(call, is_out_of_attempts=False)
        ):
            return Verdict.SPLIT
        if not (is_outage or retry.allows(call.counted) or self.witnesses.is_too_soon(setback)):
            return self._fail(call, failure)
        if is_outage:  # its gate, or the breaker, says when
            return self.park(call, now, now, 0.0 if setback.is_collective else RETRY)
        return self.park(call, now, now + self._delay(setback), RETRY)

    def _delay(self, setback: Setback) -> float:
        """Seconds before the next attempt of a call that failed, and waits for nobody's gate."""
        call, failure, retry = setback.call, setback.failure, self.dispatch.retry
        if setback.is_odd and not retry.allows(call.counted):
            return min(LEAST_S, retry.delay(call.sent, self.rng))  # it has had its tries, and seconds must pass
        is_counted = failure.kind is not FailureClass.FATAL and setback.breakdown is None
        times = call.counted if is_counted else min(call.sent, retry.retries + 1)
        return max(retry.delay(max(1, times), self.rng), min(failure.retry_after or 0.0, retry.cap))

    def _gives_up(self, lane: Lane, setback: Setback) -> bool:
        """Whether all servers have been away, or have failed what the call asks for, for longer than patience.

        Then the run stops; if they are asked for something else too, what the call asks for is as good as missing.
        """
        call, now, live = setback.call, setback.now, self.dispatch.live
        if setback.failure.kind is FailureClass.CONNECTION:
            within = LAST_S if setback.failure.code in NOBODY and self.witnesses.are_few() else math.inf
            if all(one.breaker.gives_up(now, within) or one.offer.lacks(call) for one in live):
                self.stop(_out_of_patience(setback.failure, lane.breaker.patience))
            return self.is_stopped
        mine = lane.offer.service(call)
        is_open = not mine.is_held
        is_open |= mine.evidence.is_little if setback.failure.kind is FailureClass.THROTTLE else mine.is_unproven
        if not lane.gives_up(call, now) or (is_open and self.witnesses.bring_evidence()):
            return False
        why = _out_of_patience(setback.failure, lane.breaker.patience)
        for one in live:
            if not one.gives_up(call, now):
                if one.offer.service(call).is_unknown:  # nobody has asked there, as this one is preferred
                    lane.offer.gives_out(call, why)
                return False
        if any(one.offer.has_others(one.offer.service(call), now) for one in live):
            for one in live:
                one.offer.gives_out(call, why)
            self.clear()
        else:
            self.stop(why)
        return True

    def _refuse(self, lane: Lane, call: Call, failure: Failure, now: float) -> Verdict:
        """A server will not serve: at all, or not this model behind this path. Others may."""
        lane.refuses(call, failure)
        if lane.out is not None and lane in self.dispatch.live:
            self.dispatch.live.remove(lane)
            self.dispatch.roster.remove(lane)
        if not self.dispatch.live:
            self.stop(failure)
        self.clear()
        return self.park(call, now, now)

    def _fail(self, call: Call, failure: Failure) -> Verdict:
        if len(call.jobs) > 1 and failure.kind is not FailureClass.SUSPECT:
            return Verdict.SPLIT
        if self._alike is not None:
            words = f"{failure.code}: {failure.message}"
            same = self._alike[1] + 1 if words == self._alike[0] else 1
            self._alike = (words, same)
            if same >= ALIKE and failure.kind is FailureClass.PERMANENT and not self.is_proven:
                self.stop(Failure(FailureClass.FATAL, failure.code, failure.message, failure.status, exit=Exit.CONFIG))
        return Verdict.FAILED

    def _wait_for_room(self, call: Call, failure: Failure, now: float) -> Verdict:
        """This machine lacks something: no fault of the job's, and no reason to wait for ever."""
        if self._short_since is None:
            self._short_since = now
        if now - self._short_since > self.dispatch.lanes[0].breaker.patience:
            self.stop(replace(failure, exit=Exit.STOPPED))
            return Verdict.PENDING
        return self.park(call, now, now + LOCAL_PAUSE)


def _out_of_patience(failure: Failure, patience: float) -> Failure:
    """The run ends because no server was well for too long (69), or because one says wait for too long (4)."""
    if failure.kind is FailureClass.FATAL:
        return failure
    is_told = failure.kind is FailureClass.THROTTLE and (failure.retry_after or 0.0) > patience
    is_away = failure.kind is not FailureClass.THROTTLE or (failure.code in ("busy", "overloaded") and not is_told)
    return replace(failure, exit=Exit.UNAVAILABLE if is_away else Exit.STOPPED)
