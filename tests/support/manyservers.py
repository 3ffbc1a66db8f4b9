"""Many servers with much in flight on each, on a clock of plain numbers: a scheduler when all of it is busy."""

from __future__ import annotations

import heapq
import random
from itertools import count
from typing import TYPE_CHECKING, Final, NamedTuple

from support.virtualrun import CUT, HUNG_UP, SICK, Run, call, throttle

from batcher.model import Api, Endpoint
from batcher.outcome import Attempt, Completion, Timing, Usage
from batcher.policy.steps import Send

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batcher.failures import Failure
    from batcher.model import Call


class Story(NamedTuple):
    """How many answers of a thousand fail, in which ways."""

    name: str
    failing: int = 0
    ways: tuple[Failure, ...] = ()
    api: Api = Api.OPENAI


STORIES: Final = (
    Story("all goes well"),
    Story("all goes well, Ollama", api=Api.NATIVE),
    Story("30 of 1,000 fail: 500, cut, hung up, told to wait", 30, (SICK, CUT, HUNG_UP, throttle(1.0))),
)


class Load:
    """Servers, each with as many calls in flight as it may have; answers come in the order of lots."""

    def __init__(self, lanes: int, in_flight: int, story: Story = STORIES[0], *, left: int | None = None) -> None:
        numbers = count() if left is None else range(in_flight + left)
        work: Iterator[Call] = map(call, numbers)
        servers = [
            Endpoint(root=f"http://10.0.{lane // 256}.{lane % 256}:8000", api=story.api) for lane in range(lanes)
        ]
        self.run = Run.of(work, *servers, limit=in_flight // lanes, stretch=32)
        self.story, self.dice = story, random.Random(2)
        self.flying: list[tuple[float, int, float, Call]] = []
        self.numbers = count()
        self.fill()
        while run_is_filling(self.run, in_flight):  # Ollama loads its models before it takes more
            self.decide()

    def fill(self) -> None:
        """Send all that may go."""
        run = self.run
        while isinstance(step := run.scheduler.next(run.now), Send):
            self._flies(step.call)

    def decide(self) -> bool:
        """One answer ends, and another call goes; false if there is none left."""
        if not self.flying:
            return False
        run, scheduler = self.run, self.run.scheduler
        run.now, _, sent, one = heapq.heappop(self.flying)
        fate = self.dice.randrange(1000) < self.story.failing and self.dice.choice(self.story.ways)
        timing = Timing(started=sent, finished=run.now, arrivals=[] if fate else [run.now])
        if fate:
            scheduler.finished(one, Attempt(timing, failure=fate), run.now)
        else:
            scheduler.answering(one, run.now)
            scheduler.finished(one, Attempt(timing, Completion(usage=Usage(10, 10))), run.now)
        assert scheduler.allowed
        self.fill()
        return True

    def _flies(self, one: Call) -> None:
        ends = self.run.now + self.dice.uniform(5.0, 15.0)
        heapq.heappush(self.flying, (ends, next(self.numbers), self.run.now, one))


def run_is_filling(run: Run, in_flight: int) -> bool:
    """Whether not as many are in flight as may be."""
    return run.scheduler.in_flight < in_flight // len(run.scheduler.lanes) * len(run.scheduler.lanes)
