"""Servers on a clock of plain numbers, and a scheduler at work on them: restarts, crashes, model loads, dice."""

from __future__ import annotations

import heapq
import math
import random
from collections import Counter
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING

from support.virtualrun import CRASH, CUT, HOSTED, REFUSED, Run

from batcher.outcome import Attempt, Completion, Timing, Usage
from batcher.policy.judge import Verdict
from batcher.policy.steps import Ask, Done, Send

if TYPE_CHECKING:
    from collections.abc import Callable

    from batcher.failures import Failure
    from batcher.model import Call, Endpoint


def well(_call: Call, _dice: random.Random) -> Failure | None:
    """Nothing goes wrong."""
    return None


def at_any_time(_now: float) -> bool:
    """Somebody is there."""
    return True


@dataclass(eq=False)
class Box:
    """A server. `takes` seconds a call, `load_s` to load a model; it keeps one model, and serves none beside it.

    `away` lists when it is not there: what is in flight at the beginning is cut off. A call of `poison` kills it as its
    answer begins, and it needs `restart_s` to come back; the others in flight then meet a `server_crash`.
    """

    endpoint: Endpoint = HOSTED
    takes: float = 2.0
    load_s: float = 0.0
    away: list[tuple[float, float]] = field(default_factory=list)
    fate: Callable[[Call, random.Random], Failure | None] = well
    greets: Callable[[float], bool] = at_any_time
    """Whether it answers at a time who asks whether anybody is there."""
    poison: set[Call] = field(default_factory=set)
    restart_s: float = 5.0
    loads: int = 0
    crashes: int = 0
    loaded: str | None = None
    flying: dict[Call, float] = field(default_factory=dict)
    peak: int = 0

    def is_away(self, now: float) -> bool:
        return any(begin <= now < end for begin, end in self.away)


class World:
    """Plays a run against its servers. What became of each call is in `verdicts`, its requests in `requests`."""

    def __init__(self, run: Run, *boxes: Box, seed: int = 3) -> None:
        self.run = run
        self.boxes = {box.endpoint.root: box for box in boxes}
        self.verdicts: dict[Call, Verdict] = {}
        self.codes: dict[Call, str] = {}
        self.words: dict[Call, str] = {}
        self.requests: Counter[Call] = Counter()
        self.spins = 0
        self.greetings = 0
        self._dice = random.Random(seed)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        for box in boxes:
            for begin, _ in box.away:
                self._at(begin, lambda box=box: self._cut_all(box, CUT))  # type: ignore[misc]  # mypy cannot tell its type

    def play(self, until: float = math.inf) -> World:
        """Let it run to its end, or to a time."""
        while self._pump() and self._events and self._events[0][0] <= until:
            self.run.now, _, what = heapq.heappop(self._events)
            what()
        return self

    @property
    def ended(self) -> int:
        return sum(verdict is Verdict.ENDED for verdict in self.verdicts.values())

    def _pump(self) -> bool:
        """Send all that may go; false at the end."""
        while True:
            step = self.run.scheduler.next(self.run.now)
            if isinstance(step, Send):
                self._send(step)
                self.spins = 0
                continue
            if isinstance(step, Ask):
                self._at(self.run.now + 0.001, lambda step=step: self._greet(step.endpoint))  # type: ignore[misc]  # mypy cannot tell its type
                return True
            if isinstance(step, Done):
                return self.run.scheduler.in_flight > 0
            if step.until < math.inf:
                self.spins = self.spins + 1 if step.until <= self.run.now else 0
                assert self.spins < 10, "it asks to wait for what is past"
                self._at(step.until, lambda: None)
            return True

    def _send(self, step: Send) -> None:
        box, call, now = self.boxes[step.endpoint.root], step.call, self.run.now
        self.requests[call] += 1
        if box.is_away(now):
            self._at(now + 0.001, lambda: self._end(box, call, now, REFUSED))
            box.flying[call] = now
            return
        begins = now
        if box.load_s and box.loaded != call.group:
            box.loads += 1
            box.loaded = call.group
            begins = max(now, *box.flying.values(), now) + box.load_s
        box.flying[call] = begins + box.takes
        box.peak = max(box.peak, len(box.flying))
        fate = box.fate(call, self._dice)
        if call in box.poison:
            self._at(begins + box.takes / 2, lambda: self._crash(box, call, now))
        elif fate is not None:
            self._at(begins + box.takes * self._dice.random(), lambda: self._end(box, call, now, fate))
        else:
            self._at(begins + box.takes / 10, lambda: self._answer(box, call, now))
            self._at(begins + box.takes, lambda: self._end(box, call, now, None))

    def _greet(self, endpoint: Endpoint) -> None:
        box, now = self.boxes[endpoint.root], self.run.now
        self.greetings += 1
        self.run.scheduler.told(endpoint, now, is_there=box.greets(now) and not box.is_away(now))

    def _is_there(self, box: Box, call: Call, sent: float) -> bool:
        lane = next(lane for lane in self.run.scheduler.lanes if lane.endpoint is box.endpoint)
        return lane.in_flight.get(call) == sent

    def _answer(self, box: Box, call: Call, sent: float) -> None:
        if self._is_there(box, call, sent):
            self.run.scheduler.answering(call, self.run.now)

    def _end(self, box: Box, call: Call, sent: float, failure: Failure | None) -> None:
        if not self._is_there(box, call, sent):
            return
        box.flying.pop(call, None)
        timing = Timing(started=sent, finished=self.run.now, arrivals=[] if failure else [sent + box.takes / 10])
        attempt = Attempt(timing, None if failure else Completion(usage=Usage(10, 10)), failure)
        verdict = self.run.scheduler.finished(call, attempt, self.run.now)
        if verdict is not Verdict.PARKED:
            assert call not in self.verdicts
            self.verdicts[call] = verdict
            self.codes[call] = attempt.failure.code if attempt.failure else ""
            self.words[call] = attempt.failure.message if attempt.failure else ""

    def _crash(self, box: Box, call: Call, sent: float) -> None:
        if self._is_there(box, call, sent):
            box.crashes += 1
            box.away.append((self.run.now, self.run.now + box.restart_s))
            self._cut_all(box, CRASH)

    def _cut_all(self, box: Box, failure: Failure) -> None:
        box.loaded = None
        lane = next(lane for lane in self.run.scheduler.lanes if lane.endpoint is box.endpoint)
        for call, sent in list(lane.in_flight.items()):
            self._end(box, call, sent, failure)

    def _at(self, when: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._order), what))
