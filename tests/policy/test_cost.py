"""Holds a decision to its price, in calls of functions: they do not depend on what else a machine does."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest
from support.virtualrun import HOSTED, NATIVE, Run, calls

from batcher.outcome import Attempt, Completion, Timing, Usage
from batcher.policy.steps import Send

if TYPE_CHECKING:
    from types import FrameType

    from batcher.model import Endpoint

WARM, JOBS = 200, 400


def _play(server: Endpoint, jobs: int) -> None:
    """Healthy streamed answers with usage, eight in flight."""
    run = Run.of(calls(jobs), server, limit=8, stretch=32)
    flying = []
    while True:
        step = run.scheduler.next(run.now)
        if isinstance(step, Send):
            flying.append((step.call, run.now))
            continue
        if not flying:
            return
        run.now += 0.01
        one, sent = flying.pop(0)
        run.scheduler.answering(one, run.now)
        timing = Timing(started=sent, finished=run.now, arrivals=[run.now])
        run.scheduler.finished(one, Attempt(timing, Completion(usage=Usage(10, 10))), run.now)


def _counted(server: Endpoint, jobs: int) -> int:
    """How many functions of the policy are called for so many jobs."""
    count = 0

    def look(frame: FrameType, event: str, _: Any) -> None:
        nonlocal count
        count += event == "call" and "policy" in frame.f_globals.get("__name__", "").split(".")[1:2]

    before = sys.getprofile()
    sys.setprofile(look)
    try:
        _play(server, jobs)
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize(("server", "most"), [(HOSTED, 39), (NATIVE, 41)], ids=["v1", "native"])
def test_a_job_that_goes_well_costs_few_calls(server: Endpoint, most: int) -> None:
    """What is looked up for those that fail is not looked up for all."""
    assert (_counted(server, WARM + JOBS) - _counted(server, WARM)) / JOBS <= most
