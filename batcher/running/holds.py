"""What holds a run up: added up for each server, and told once when it begins and once when it is over."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from batcher.figures import count, span
from batcher.policy.holding import Cause, Hold, hold_of, holds_of
from batcher.redaction import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from batcher.policy.lane import Lane
    from batcher.policy.scheduler import Scheduler
    from batcher.view.summary import Summary


LIMITED: Final = "rate_limited"
"""The code of who was told that too much was asked; any other that says wait has too many at once."""
WORTH_TELLING: Final = 5.0
"""Seconds in which nothing goes for a limit's sake that are told, and again only what is twice as long."""
ID_WIDTH: Final = 40
"""Cells of the id of a job that is waited for."""
WAITS: Final = {
    Cause.AWAY: "waiting for {}",
    Cause.TOLD: "waiting, as {} asks",
    Cause.FAILING: "waiting, as {} fails",
    Cause.REFUSING: "looking whether {} refuses all jobs",
    Cause.OUT: "going on without {}",
}


class Holds:
    """Looks at a scheduler now and then: says once when a wait begins and when it is over, and adds up the times."""

    def __init__(self, note: Callable[[str], None], summary: Summary) -> None:
        self._note = note
        self._summary = summary
        self._since: float | None = None
        """Since when the whole run waits."""
        self._gone: dict[str, float] = {}
        """Servers of several that were said to be away, and since when."""
        self._asked: dict[str, float] = {}
        """The longest wait, in seconds, that such a server was said to ask for."""
        self._paced: dict[str, float] = {}
        """The longest wait for the allowance of a server that was told."""
        self._alone = 0.0
        """The longest wait for single calls that was told."""
        self._out: set[str] = set()
        self._looked: float | None = None

    def look(self, scheduler: Scheduler, now: float) -> None:
        """Take in the state at a moment; moments come in order."""
        passed = now - self._looked if self._looked is not None else 0.0
        self._looked = now
        live = [lane for lane in scheduler.lanes if lane.out is None]
        held = [lane for lane in live if lane.is_waiting]
        self._add_up(held, passed, now)
        self._measure(scheduler, live, now, passed)
        is_waiting = bool(held) and len(held) == len(live)
        if is_waiting and self._since is None:
            self._since = now
            self._note("; ".join(_told(lane, now) for lane in scheduler.lanes))
        elif self._since is not None and not is_waiting:
            if scheduler.in_flight or (live and not scheduler.refused):  # else that was it
                self._note(f"going on after {span(now - self._since)}")
            self._since = None
        self._tell_of_limits(live, now)
        if len(scheduler.lanes) > 1:
            self._tell_of_some(scheduler.lanes, now, is_told=is_waiting)

    def _add_up(self, held: list[Lane], passed: float, now: float) -> None:
        for lane in held:
            sums, hold = self._summary.server(lane.endpoint.root), hold_of(lane, now)
            if hold is not None and hold.cause is Cause.TOLD:
                sums.held_s += passed
                if hold.trouble is not None and hold.trouble.code != LIMITED:
                    self._summary.work.crowded += passed
            elif hold is not None and hold.cause is Cause.FAILING:
                sums.failing_s += passed
            elif hold is not None and hold.cause is Cause.REFUSING:
                sums.refusing_s += passed
            else:
                sums.away_s += passed

    def _measure(self, scheduler: Scheduler, live: list[Lane], now: float, passed: float) -> None:
        """Add up what keeps calls back that could be in flight, and the time in which no more could be."""
        work = self._summary.work
        work.flies(scheduler.in_flight, now)
        holds = [hold for hold in holds_of(scheduler, now) if hold is None or hold.cause is not Cause.OUT]
        if live and scheduler.in_flight >= scheduler.allowed > 0 and not any(holds):
            work.full += passed
        if scheduler.in_flight and not any(holds):
            work.busy += passed
        for hold in holds:
            if hold is not None and hold.cause in (Cause.REQUESTS, Cause.TOKENS):
                share = passed / len(live)
                work.requests += share * (hold.cause is Cause.REQUESTS)
                work.tokens += share * (hold.cause is Cause.TOKENS)
                work.a_minute = hold.a_minute if hold.a_minute < math.inf else work.a_minute
        if live and not scheduler.in_flight and all(holds):
            work.held += passed
            self._wait_for_some([hold for hold in holds if hold is not None], passed, now)

    def _wait_for_some(self, holds: list[Hold], passed: float, now: float) -> None:
        """Nothing is in flight: add up, and tell, where that is for single calls that wait to be asked again."""
        alone = next((hold for hold in holds if hold.cause is Cause.ALONE), None)
        if alone is None:
            return
        self._summary.work.alone += passed
        wait = alone.until - now
        if wait >= WORTH_TELLING and wait > 2 * self._alone:
            self._alone = wait
            self._note(f"waiting: {words_of_alone(alone, now)}")

    def _tell_of_limits(self, lanes: list[Lane], now: float) -> None:
        """Nothing is in flight, as a limit has been used up: that is no outage, and over within a minute or so."""
        for lane in lanes:
            root, wait = lane.endpoint.root, lane.paced_until - now
            whose = f" of {root}" if len(lanes) > 1 else ""
            if wait >= WORTH_TELLING and not lane.in_flight and wait > 2 * self._paced.get(root, 0.0):
                self._paced[root] = wait
                self._note(f"keeping to the rate limit{whose}: the next request goes in {span(wait)}")

    def _tell_of_some(self, lanes: list[Lane], now: float, *, is_told: bool) -> None:
        """Of several servers, say which one goes and when it is back, and which asks for a wait that is longer by far.

        Short throttles come by the minute where a limit is tight: only one twice as long as the last is news.
        """
        for lane in lanes:
            root, why = lane.endpoint.root, lane.out or lane.trouble
            words = f": {why.message}" if why is not None else ""
            if lane.out is not None:
                if root not in self._out and not all(one.out for one in lanes):
                    self._note(f"going on without {root}{words}")
                self._out.add(root)
            elif lane.breaker.is_down:
                if root not in self._gone and not is_told:
                    self._gone[root] = now
                    self._note(f"{root} is away{words}; the others go on, and it is used when it is back")
            else:
                if since := self._gone.pop(root, None):
                    self._note(f"{root} is back after {span(now - since)}")
                wait = lane.held_until(now) - now
                if wait > 2 * self._asked.get(root, 0.0) and not is_told:
                    self._asked[root] = wait
                    self._note(f"{root} asks to wait {span(wait)}{words}; the others go on")


def _told(lane: Lane, now: float) -> str:
    """What holds a server, where all are held that there are."""
    hold = hold_of(lane, now)
    words = WAITS.get(hold.cause if hold is not None else Cause.AWAY, WAITS[Cause.AWAY])
    said = words.format(lane.endpoint.root)
    why = hold.trouble if hold is not None else None
    return f"{said}: {why.message}" if why is not None and why.message else said


def words_of_alone(hold: Hold, now: float) -> str:
    """Which calls are waited for, when they are asked again, and who says so."""
    call, wait = hold.call, span(hold.until - now)
    if call is None or hold.calls > 1:
        said = f"{count(hold.calls, 'requests')} are sent again, the first in {wait}"
    else:
        more = f" and {count(len(call.jobs) - 1)} more" if len(call.jobs) > 1 else ""
        said = f"'{printable(call.jobs[0].id, ID_WIDTH)}'{more} is asked again in {wait}"
    return f"{said}, as the server says" if hold.is_told else said
