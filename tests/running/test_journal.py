"""What the state file tells of a run: holds with their ends and words, the limit's moves, retries; never too much."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from batcher.failures import Failure, FailureClass
from batcher.model import Api, Endpoint
from batcher.policy.backlog import Backlog
from batcher.policy.breaker import Breaker
from batcher.policy.lane import Lane
from batcher.policy.limit.concurrency import AdaptiveLimit
from batcher.policy.quota import RetryQuota
from batcher.policy.retry import RetryPolicy
from batcher.policy.scheduler import Scheduler
from batcher.running.journal import CLOSE, MOST, SHORT, Journal
from batcher.view.summary import Summary

GONE = Failure(FailureClass.CONNECTION, "refused", "connection refused, key sk-1")


class Watch:
    """A run of some servers that are put into states by hand."""

    def __init__(self, servers: int = 1) -> None:
        roots = [f"http://host-{n}" for n in range(servers)]
        self.lanes = [Lane(Endpoint(root=root, api=Api.OPENAI), AdaptiveLimit(), Breaker()) for root in roots]
        self.scheduler = Scheduler(Backlog(iter(())), self.lanes, RetryPolicy(), RetryQuota(), random.Random(1))
        self.summary = Summary(started=100.0)
        self.journal = Journal(redact=lambda words: words.replace("sk-1", "[hidden]"))

    def look(self, at: float) -> None:
        self.journal.look(self.scheduler, self.summary, 100.0 + at)

    def turn(self, at: float, *, away: bool, place: int = 0) -> None:
        lane = self.lanes[place]
        lane.breaker.down_since, lane.trouble = (100.0 + at, GONE) if away else (None, None)
        self.look(at)


def told(watch: Watch) -> list[tuple[Any, ...]]:
    return [(e["kind"], e["start"], e["end"], e["count"]) for e in watch.journal.to_json()]


def test_an_outage() -> None:
    """When it began and ended, at which server, with its words and no key; one that goes on has no end."""
    watch = Watch()
    watch.turn(1.0, away=True)
    watch.look(5.0)
    assert told(watch) == [("away", 1.0, None, 1)]
    watch.turn(9.0, away=False)
    [event] = watch.journal.to_json()
    assert event == {
        "kind": "away",
        "server": "http://host-0",
        "start": 1.0,
        "end": 9.0,
        "words": "connection refused, key [hidden]",
        "count": 1,
    }


def test_short_waits_are_none_and_those_that_come_again_are_one() -> None:
    """A steady rate waits between any two requests; three outages within seconds are one event of three."""
    watch = Watch()
    watch.turn(1.0, away=True)
    watch.turn(1.0 + SHORT / 2, away=False)
    assert told(watch) == []
    for at in (10.0, 15.0, 20.0):
        watch.turn(at, away=True)
        watch.turn(at + 2, away=False)
    watch.turn(22.0 + 2 * CLOSE, away=True)
    watch.turn(25.0 + 2 * CLOSE, away=False)
    assert told(watch) == [("away", 10.0, 22.0, 3), ("away", 42.0, 45.0, 1)]


def test_the_limit_and_retries() -> None:
    """To what the limit moved, and how many attempts were not the first."""
    watch = Watch()
    watch.look(0.0)
    watch.lanes[0].limit = AdaptiveLimit(start=5)
    watch.summary.retries = 7
    watch.look(3.0)
    assert told(watch) == [("limit", 3.0, 3.0, 1), ("retries", 3.0, 3.0, 7)]
    assert watch.journal.to_json()[0]["words"] == "5 in flight"


def test_never_more_than_a_thousand() -> None:
    """However long a run is and however many servers it has; nothing is uncounted where it became one."""
    watch = Watch(servers=3)
    rounds = 2 * MOST
    for n in range(rounds):
        at = n * 3 * CLOSE
        watch.turn(at, away=True, place=n % 3)
        watch.turn(at + 2, away=False, place=n % 3)
        assert len(watch.journal.events) <= MOST
    assert sum(event.count for event in watch.journal.events) == rounds
    assert watch.journal.events[-1].end == (rounds - 1) * 3 * CLOSE + 2


def test_hundreds_of_servers() -> None:
    """Where no two events are of a kind at a server, the latest stay."""
    watch = Watch(servers=MOST + 50)
    for place in range(MOST + 50):
        watch.turn(place * 1.0, away=True, place=place)
    for place in range(MOST + 50):
        watch.turn(5000.0 + place, away=False, place=place)
    assert MOST // 2 <= len(watch.journal.events) <= MOST
    assert watch.journal.events[-1].server == watch.lanes[-1].endpoint.root
    assert replace(watch.journal.events[-1], count=1).count == 1
