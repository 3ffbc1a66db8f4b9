"""How a run stands: what is shown of it while it goes on, and what its sums cannot tell before its end."""

from __future__ import annotations

import math
import time
from time import monotonic as now
from typing import TYPE_CHECKING, Final

import anyio

from batcher.failures import Exit, Failure, FailureClass
from batcher.figures import span
from batcher.policy.holding import Cause, ends_after, holds_of
from batcher.policy.limit.fixed import FixedLimit
from batcher.running.holds import LIMITED, words_of_alone
from batcher.running.stops import EARLY, error_of, stops
from batcher.view.bottleneck import Bound
from batcher.view.snapshot import ServerNow, Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable

    from batcher.exchange.seam import Flow
    from batcher.failures import BatcherError
    from batcher.inputs.intake import Intake
    from batcher.policy.holding import Hold
    from batcher.policy.lane import Lane
    from batcher.policy.scheduler import Scheduler
    from batcher.view.observer import Observer
    from batcher.view.summary import Summary

TICK: Final = 0.2
"""Seconds between two looks of an observer."""


def beginning(summary: Summary, total: int | None, *, is_reached: bool) -> Snapshot:
    """The state before anything can be sent: a server is looked for, and then what is done is found out."""
    note = "what is done already is looked for" if is_reached else "no server has answered yet"
    return Snapshot(elapsed=now() - summary.started, skipped=summary.skipped, total=total, note=note)


def snapshot_of(
    summary: Summary,
    scheduler: Scheduler | None,
    total: int | None,
    redact: Callable[[str], str],
    flow: Callable[[], Flow] | None = None,
) -> Snapshot:
    """The state now, for whoever shows it."""
    if scheduler is None:
        return beginning(summary, total, is_reached=False)
    moment = now()
    elapsed = moment - summary.started
    newest = redact(f"{summary.newest.code}: {summary.newest.message}") if summary.newest is not None else ""
    lanes = scheduler.lanes
    holds = holds_of(scheduler, moment)
    live = [hold for hold in holds if hold is None or hold.cause is not Cause.OUT]
    is_held = bool(live) and not scheduler.in_flight and all(hold is not None for hold in live)
    is_held |= bool(live) and all(hold is not None and hold.cause in (Cause.AWAY, Cause.TOLD) for hold in live)
    first = min((hold for hold in live if hold is not None), key=lambda hold: hold.until, default=None)
    come = flow() if flow is not None else None
    return Snapshot(
        elapsed=elapsed,
        ok=summary.ok,
        failed=summary.failed,
        skipped=summary.skipped,
        in_flight=scheduler.in_flight,
        allowed=scheduler.allowed,
        parked=scheduler.parked,
        tokens=summary.completion_tokens + (come.pieces if come is not None else 0),
        total=total,
        note=redact(_words(first, moment)) if is_held and first is not None else "",
        wait=_wait(first, moment) if is_held and first is not None else 0.0,
        least=max(0.0, ends_after(scheduler) - moment),
        held=summary.held_s,
        most=_most(lanes, summary),
        quiet=moment - come.heard if come is not None and come.heard is not None else 0.0,
        newest=newest,
        cost=summary.cost,
        unpriced=summary.unpriced,
        servers=tuple(_server(lane, hold, summary, moment, redact) for lane, hold in zip(lanes, holds, strict=True))
        if len(lanes) > 1
        else (),
    )


def _server(lane: Lane, hold: Hold | None, summary: Summary, moment: float, redact: Callable[[str], str]) -> ServerNow:
    sums = summary.servers.get(lane.endpoint.root)
    return ServerNow(
        server=lane.endpoint.root,
        ok=sums.ok if sums is not None else 0,
        failed=sums.failed if sums is not None else 0,
        in_flight=len(lane.in_flight),
        allowed=lane.allowed,
        note=redact(_words(hold, moment)) if hold is not None else "",
    )


def _wait(hold: Hold, moment: float) -> float:
    """Seconds until the next request may go, where that is all there is to wait for."""
    is_known = hold.cause in (Cause.TOLD, Cause.REQUESTS, Cause.TOKENS, Cause.ALONE)
    return max(0.0, hold.until - moment) if is_known else math.inf


def _words(hold: Hold, moment: float) -> str:
    """What holds a server, and for how long: the time first, since a server's words may be long."""
    wait, trouble = hold.until - moment, hold.trouble
    why = trouble.message.strip() if trouble is not None else ""
    soon = f", tried again in {span(wait)}" if 0.0 < wait < math.inf else ", being tried"
    match hold.cause:
        case Cause.REQUESTS | Cause.TOKENS:
            unit = "tokens" if hold.cause is Cause.TOKENS else "requests"
            of = f" ({hold.a_minute:,.0f} {unit} a minute)" if hold.a_minute < math.inf else ""
            return f"rate limit: {span(wait)}{of}"
        case Cause.TOLD:
            name = "rate limit" if trouble is not None and trouble.code == LIMITED else "told to wait"
            when = span(wait) if wait > 0 else "being tried"
            return f"{name}: {when}" + (f" ({why})" if why else "")
        case Cause.ALONE:
            return words_of_alone(hold, moment)
        case Cause.AWAY:
            return f"the server is away{soon}" + (f" ({why})" if why else "")
        case Cause.FAILING | Cause.REFUSING:
            does = "fails" if hold.cause is Cause.FAILING else "refuses"
            return f"the server {does}{soon}" + (f" ({why})" if why else "")
        case Cause.OUT:
            return f"not used any more: {why}" if why else "not used any more"


def _most(lanes: list[Lane], summary: Summary) -> float:
    """Jobs a second that rate limits allow: the tokens of those so far tell how many a job takes."""
    rates = [lane.pacing.most() for lane in lanes if lane.out is None]
    requests, tokens = (sum(rate[place] for rate in rates) or math.inf for place in (0, 1))
    used = summary.prompt_tokens + summary.completion_tokens
    if tokens < math.inf and summary.ok and used:
        return min(requests, tokens * summary.ok / used)
    return requests


async def show_beginning(observer: Observer, state: Callable[[], Snapshot], goes_on: Callable[[], bool]) -> None:
    """Have the observer look now and then until the work begins; most begin before it is looked at first."""
    await anyio.sleep(TICK)
    while goes_on():
        observer.tick(state)
        await anyio.sleep(TICK)


async def show(observer: Observer, state: Callable[[], Snapshot], look: Callable[[], object] = bool) -> None:
    """Have the observer look now and then, and call `look` then and at the end."""
    try:
        while True:
            observer.tick(state)
            look()
            await anyio.sleep(TICK)
    finally:
        look()  # a wait may have ended just before the run did


def error_of_stop(summary: Summary) -> BatcherError | None:
    """What a run that ended early raises in a program; what the program asked for itself is no error."""
    why = summary.why
    return None if why is None or why.code == "limit_new" else error_of(why)


def take_stock(
    summary: Summary,
    scheduler: Scheduler,
    intake: Intake,
    redact: Callable[[str], str],
    *,
    total: int | None = None,
    slots: int | None = None,
) -> None:
    """Note in the sums what no single result tells; `slots` are those that the server says it has."""
    summary.total = total
    summary.stop, summary.refused = stops(scheduler, redact)
    if summary.stop is not None and summary.stop.code in EARLY:
        scheduler.backlog.peek()
    summary.skipped, summary.duplicates, summary.left = intake.skipped, intake.duplicates, intake.left
    # Each job that was taken in ends once: with a result, a failure, or pending.
    summary.pending = intake.taken - (summary.ok + summary.failed - intake.unfit)
    if summary.stop is not None and summary.stop.code in EARLY and scheduler.exhausted and not summary.pending:
        summary.stop = None  # nothing was left to stop
    if intake.more and summary.stop is None:
        words = f"--limit-new {intake.limit_new}: there is more to do, and the same command does the next"
        summary.stop = Failure(FailureClass.FATAL, "limit_new", words, exit=Exit.STOPPED)
    if summary.stop is not None and summary.stop.exit is Exit.STOPPED and summary.stop.retry_after:
        summary.come_back = time.time() + summary.stop.retry_after
    for lane in scheduler.lanes:
        sums = summary.server(lane.endpoint.root)
        sums.requests, sums.throttled, sums.in_flight = lane.requests, lane.throttles, lane.limit.allowed
        sums.limit = "" if isinstance(lane.limit, FixedLimit) else lane.limit.settled()
    summary.work.bound = _bound(scheduler.lanes, slots)


def _bound(lanes: list[Lane], slots: int | None) -> Bound:
    """Why no more were in flight."""
    limits = [lane.limit for lane in lanes]
    if all(isinstance(limit, FixedLimit) for limit in limits):
        return Bound.TOLD if slots is not None and slots == limits[0].allowed else Bound.ASKED
    whys = [limit.settled() for limit in limits]
    if any("queued" in why for why in whys):
        return Bound.QUEUED
    return Bound.REFUSED if any("said wait" in why for why in whys) else Bound.FOUND
