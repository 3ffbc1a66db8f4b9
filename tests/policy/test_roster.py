"""Many servers: a decision looks at few of them, and takes the one that it would take if it looked at all."""

from __future__ import annotations

import sys
from itertools import repeat
from typing import TYPE_CHECKING, Any

import pytest
from support.manyservers import STORIES, Load, Story
from support.virtualrun import HOSTED, REFUSED, Run, calls

from batcher.model import Api, Endpoint
from batcher.policy.lane import Lane
from batcher.policy.limit.fixed import FixedLimit
from batcher.policy.roster import Roster

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

FEW, MANY = (10, 100), (500, 2_500)
"""Servers, and calls in flight on all of them."""
GROWTH = 1.35
"""In lines of code that are run; binary heaps compare in C, and that is what grows with log n."""


def lines_of(act: Callable[[], object], times: int) -> float:
    """How many lines of the policy are run each time."""
    lines = 0

    def look(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal lines
        if "policy" not in frame.f_globals.get("__name__", "").split(".")[1:2]:
            return None
        lines += event == "line"
        return look

    before = sys.gettrace()
    sys.settrace(look)
    try:
        for _ in range(times):
            act()
    finally:
        sys.settrace(before)
    return lines / times


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_a_decision_does_not_grow_with_servers_or_what_is_in_flight(story: Story) -> None:
    """Fifty times as many servers, 25 times as much in flight: what it takes in and what it sends cost the same."""
    found = []
    for size in (FEW, MANY):
        load = Load(*size, story)
        for _ in range(300):  # of servers that have served nobody all are asked whose fault a failure is
            load.decide()
        found.append(lines_of(load.decide, 150))
    assert found[1] <= GROWTH * found[0]


def test_the_end_of_an_input_does_not_grow_either() -> None:
    """Nothing is left to send: each answer that ends leaves all servers free, and none of them is looked at."""
    few, many = (lines_of(Load(*size, left=0).decide, 100) for size in (FEW, MANY))
    assert many <= GROWTH * few


def test_an_input_that_waits_does_not_grow_either() -> None:
    """Nothing has arrived yet on a pipe."""
    found = []
    for servers in (10, 1_000):
        run = Run.of(repeat(None), *(Endpoint(root=f"http://s{one}:1", api=Api.OPENAI) for one in range(servers)))
        run.waits()  # when all of them are looked at for the first time
        found.append(lines_of(run.waits, 20))
    assert found[1] <= GROWTH * found[0]


def in_order(run: Run) -> list[Lane]:
    """As they would be found by looking at each."""
    return [lane for lane in sorted(run.scheduler.lanes, key=lambda lane: lane.load) if lane.opens() <= run.now]


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_the_order_is_that_of_all_of_them(story: Story) -> None:
    """After each event of stories in which answers fail and servers go away: the same servers in the same order."""
    load = Load(7, 28, story._replace(failing=story.failing * 5, ways=(*story.ways, REFUSED)))
    roster = load.run.scheduler._dispatch.roster
    for _ in range(300):
        load.decide()
        assert [*roster.in_order(load.run.now)] == in_order(load.run)
        assert roster.allowed == sum(lane.allowed for lane in load.run.scheduler.lanes)


def test_a_server_opens_at_its_time() -> None:
    """One that is down is passed over until it may be tried, and that is when the scheduler asks to be asked again."""
    other = Endpoint(root="http://other:1", api=Api.OPENAI)
    run = Run.of(calls(3), HOSTED, other, limit=1)
    run.end(run.send(), REFUSED)
    second, third = run.send(), None
    assert run.scheduler.lanes[1].in_flight
    opens = run.waits()
    assert run.scheduler.lanes[0].breaker.held_until == opens
    run.now = opens
    third = run.send()
    assert third is not second
    assert third in run.scheduler.lanes[0].in_flight


def test_what_was_said_is_thrown_away() -> None:
    """The memory of the order does not grow with events."""
    roster = Roster()
    lanes = [Lane(Endpoint(root=f"http://s{one}:1", api=Api.OPENAI), FixedLimit(4)) for one in range(5)]
    for lane in lanes:
        roster.add(lane)
    for event in range(10_000):
        roster.noted[lanes[event % 5]] = None
        roster.look(0.0)
    assert len(roster._ready) < 100
    roster.remove(lanes[2])
    assert [*roster.in_order(0.0)] == [*lanes[:2], *lanes[3:]]
    assert roster.allowed == 16
