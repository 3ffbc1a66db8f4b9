"""How a run stands: what is shown of it while it goes on, and what its sums cannot tell before its end."""

from __future__ import annotations

import time
from time import monotonic as now
from typing import TYPE_CHECKING, Final

import anyio

from batcher.failures import Exit, Failure, FailureClass
from batcher.policy.limit.fixed import FixedLimit
from batcher.running.stops import EARLY, error_of, stops
from batcher.view.progress import Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable

    from batcher.failures import BatcherError
    from batcher.inputs.intake import Intake
    from batcher.policy.scheduler import Scheduler
    from batcher.view.observer import Observer
    from batcher.view.summary import Summary

TICK: Final = 0.2
"""Seconds between two looks of an observer."""


def snapshot_of(
    summary: Summary, scheduler: Scheduler | None, total: int | None, redact: Callable[[str], str]
) -> Snapshot:
    """The state now, for whoever shows it; `scheduler` is None before the servers are found."""
    return Snapshot(
        elapsed=now() - summary.started,
        ok=summary.ok,
        failed=summary.failed,
        skipped=summary.skipped,
        in_flight=scheduler.in_flight if scheduler else 0,
        allowed=scheduler.allowed if scheduler else None,
        parked=scheduler.parked if scheduler else 0,
        tokens=summary.completion_tokens,
        total=total,
        note=redact(scheduler.waits_for()) if scheduler else "waiting for the server",
    )


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
    why = summary.stop or next(iter(summary.refused), None)
    return None if why is None or why.code == "limit_new" else error_of(why)


def take_stock(summary: Summary, scheduler: Scheduler, intake: Intake, redact: Callable[[str], str]) -> None:
    """Note in the sums what no single result tells."""
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
