"""Lives of the policy: jobs that always fail in some way among healthy ones, on servers with a fate, by seed.

A life is played twice on a virtual clock: once as it is, and once with all jobs healthy, which is what it is held to.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import Counter
from dataclasses import dataclass, field, replace
from itertools import count
from typing import TYPE_CHECKING, Final

from support.virtualrun import (
    BAD,
    CRASH,
    CUT,
    HOSTED,
    HUNG_UP,
    LATE,
    NATIVE,
    NATIVE_TOO,
    NO_KEY,
    NO_MODEL,
    OTHER,
    REFUSED,
    SICK,
    Run,
    call,
    throttle,
)

from batcher.model import Api
from batcher.outcome import Attempt, Completion, Timing, Usage
from batcher.policy.judge import Verdict
from batcher.policy.lastlook import ROOM
from batcher.policy.limit.fixed import FixedLimit
from batcher.policy.steps import Ask, Done, Send

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from batcher.failures import Failure
    from batcher.model import Call, Endpoint

WAYS: Final[dict[str, Failure]] = {
    "500": SICK,
    "503": throttle(None, "busy"),
    "503, Retry-After": throttle(2.0, "busy"),
    "429, Retry-After": throttle(1.0),
    "hung up": HUNG_UP,
    "cut": CUT,
    "crash": CRASH,
    "timeout": LATE,
    "400": BAD,
    "403": NO_KEY,
    "404": NO_MODEL,
}
"""How a job can fail each time it is asked."""
KILLS: Final = "kills the server"
"""One way more: whatever is in flight breaks off with it, within milliseconds and in any order."""
FLEETS: Final = ([HOSTED], [HOSTED, OTHER], [NATIVE], [NATIVE, NATIVE_TOO])
TIMES: Final = 3.0
"""How many times as long healthy jobs may take as they would without the others."""
LEAST_S: Final = (10.0, 25.0)
"""Seconds that they may take at least: where nobody says wait or goes away, and where somebody does."""
LOADS: Final = (4, 2)
"""Loads more that retries may cost where models take turns, and each job that is asked alone."""
FOUND: Final = 2.0
"""How many times as long as a server is away it may take to find it again, where the life without the others was over
by then and never met that: probes come at intervals that double, so that one may come as late again."""
REFUSAL_S: Final = 0.01
LOAD_S: Final = 5.0
WOBBLE: Final = (0.2, 3.0)
"""Factors on how long something takes, where that differs."""
STEPS: Final = 400_000
END_S: Final = 600.0
"""Seconds after the last healthy job within which a run ends that does not wait for a server, nor as it was told: with
the tries of what breaks off, one at a time."""


@dataclass(frozen=True, slots=True)
class Life:
    """What a life is like. `ways` is how each job fails, "" for a healthy one; `away` when a server is not there."""

    servers: Sequence[Endpoint]
    ways: Sequence[str]
    models: int
    paths: int
    limit: int
    takes: float
    away: Sequence[tuple[int, float, float]] = ()
    """(server, from, until), in seconds."""
    cuts: Sequence[tuple[float, int]] = ()
    """(when, to how many) the limit of every server changes."""
    retries: int = 4
    lot: int = 5
    """Seeds what happens within it: how each one breaks off with a server."""
    wobbles: bool = False
    """How long things take differs from one to the next, so that they happen in any order."""

    @classmethod
    def by(cls, seed: int) -> Life:
        """The life of a seed."""
        dice = random.Random(seed)
        servers = dice.choice(FLEETS)
        jobs = dice.choice((5, 12, 40, 120, 300))
        share = dice.choice((0.0, 0.05, 0.1, 0.2))
        kinds = dice.sample(sorted(WAYS), dice.choice((1, 1, 2, 4)))
        bad = set(dice.sample(range(jobs), int(share * jobs)))
        ways = tuple(dice.choice(kinds) if number in bad else "" for number in range(jobs))
        takes = dice.choice((0.02, 0.3, 2.0))
        away = []
        for _ in range(dice.choice((0, 0, 0, 1, 2))):
            begin = dice.uniform(0.5, 30.0)
            away.append((dice.randrange(len(servers)), begin, begin + dice.uniform(1.0, 10.0)))
        cuts = tuple((dice.uniform(0.0, 1.0), dice.choice((1, 1, 2, 16))) for _ in range(dice.choice((0, 0, 1, 2))))
        return cls(
            servers=servers,
            ways=ways,
            models=dice.choice((1, 1, 2, 3)),
            paths=dice.choice((1, 1, 2)),
            limit=dice.choice((1, 2, 4, 8, 16)),
            takes=takes,
            away=away,
            cuts=cuts,
            retries=dice.choice((2, 4, 4)) if away else dice.choice((0, 2, 4, 4)),
        )._with_killers(dice)

    def _with_killers(self, dice: random.Random) -> Life:
        """One in eight of the lives with jobs that always fail has one or two that take all others with them."""
        bad = [number for number, way in enumerate(self.ways) if way]
        if not bad or dice.random() >= 1 / 8:
            return self
        killers = dice.sample(bad, min(len(bad), dice.choice((1, 1, 2))))
        return replace(self, ways=[KILLS if number in killers else way for number, way in enumerate(self.ways)])


@dataclass(eq=False)
class Played:
    """A life, and what came of it."""

    life: Life
    run: Run = field(init=False)
    work: list[Call] = field(init=False)
    verdicts: dict[Call, Verdict] = field(default_factory=dict)
    when: dict[Call, float] = field(default_factory=dict)
    requests: Counter[Call] = field(default_factory=Counter)
    kept: int = 0
    """The most bytes that were kept of calls that waited."""
    deaths: int = 0
    """How often a server was killed by what it was asked."""
    alone: set[Call] = field(default_factory=set)
    """Healthy ones that were asked alone."""
    _events: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _order: count[int] = field(default_factory=count)
    _free_at: dict[str, float] = field(default_factory=dict)
    _loaded: dict[str, str] = field(default_factory=dict)
    _begun: set[Call] = field(default_factory=set)
    """What is in flight and has had its first content."""
    _dice: random.Random = field(init=False)

    def __post_init__(self) -> None:
        life = self.life
        self._dice = random.Random(life.lot)
        self.work = [
            call(number, model=f"m{number % life.models}", path=f"/{number // 2 % life.paths}")
            for number in range(len(life.ways))
        ]
        self.run = Run.of(
            self.work, *life.servers, limit=life.limit, retries=life.retries, patience=3600.0, window=50, stretch=4
        )
        self.run.scheduler.asks = True
        for server, begin, _ in life.away:
            self._at(begin, lambda server=server: self._cut_all(server))  # type: ignore[misc]  # mypy cannot tell its type
        for when, to in life.cuts:
            self._at(when, lambda to=to: self._cut_limit(to))  # type: ignore[misc]  # mypy cannot tell its type

    def play(self) -> Played:
        """Let it run to its end. Raises AssertionError where it would wait for ever."""
        scheduler, run = self.run.scheduler, self.run
        for _ in range(STEPS):
            self.kept = max(self.kept, scheduler.backlog.kept + scheduler.look.kept)
            step = scheduler.next(run.now)
            if isinstance(step, Send):
                self._send(step)
                continue
            if isinstance(step, Ask):
                self._at(run.now + REFUSAL_S, lambda step=step: self._greet(step.endpoint))  # type: ignore[misc]  # mypy cannot tell its type
                continue
            if isinstance(step, Done) and not scheduler.in_flight:
                return self
            until = math.inf if isinstance(step, Done) else step.until
            if until <= run.now:
                assert step != self._before, "it asks to wait for what is past"
                self._before = step
                continue
            self._before = None
            if self._events and self._events[0][0] <= until:
                run.now, _, what = heapq.heappop(self._events)
                what()
            else:
                assert until < math.inf, "nothing is in flight, and it waits for ever"
                run.now = until
        raise AssertionError("it never ends")

    _before: object = None

    def _send(self, step: Send) -> None:
        one, now, root = step.call, self.run.now, step.endpoint.root
        self.requests[one] += 1
        lane = next(lane for lane in self.run.scheduler.lanes if lane.endpoint is step.endpoint)
        if lane.is_sticky:
            groups = {other.group for other in lane.in_flight}
            assert groups == {one.group}, "two models are asked for at once, where one has to be loaded"
        if self._is_away(step.endpoint, now):
            self._after(now, REFUSAL_S, lambda: self._end(lane.endpoint, one, now, REFUSED))
            return
        begins = now
        if step.endpoint.api is Api.NATIVE and self._loaded.get(root) != one.group:
            self._loaded[root] = one.group
            begins = now + LOAD_S
        way = self.life.ways[one.jobs[0].seq]
        if not way:
            if lane.solitary is one:
                self.alone.add(one)
            self._after(begins, self.life.takes / 10, lambda: self._answer(lane.endpoint, one, now))
            self._after(begins, self.life.takes, lambda: self._end(lane.endpoint, one, now, None))
            return
        if way == KILLS:
            self._after(begins, self.life.takes / 2, lambda: self._kill(lane.endpoint, one, now))
            return
        failure = WAYS[way]
        late = {"timeout": self.life.takes, "cut": self.life.takes / 2, "crash": self.life.takes / 2}
        if way == "cut":
            self._after(begins, self.life.takes / 10, lambda: self._answer(lane.endpoint, one, now))
        self._after(begins, late.get(way, REFUSAL_S), lambda: self._end(lane.endpoint, one, now, failure))

    def _greet(self, endpoint: Endpoint) -> None:
        is_there = not self._is_away(endpoint, self.run.now)
        self.run.scheduler.told(endpoint, self.run.now, is_there=is_there)

    def _is_away(self, endpoint: Endpoint, now: float) -> bool:
        at = self.life.servers.index(endpoint)
        return any(server == at and begin <= now < end for server, begin, end in self.life.away)

    def _flies(self, endpoint: Endpoint, one: Call, sent: float) -> bool:
        lane = next(lane for lane in self.run.scheduler.lanes if lane.endpoint is endpoint)
        return lane.in_flight.get(one) == sent

    def _answer(self, endpoint: Endpoint, one: Call, sent: float) -> None:
        if self._flies(endpoint, one, sent):
            self._begun.add(one)
            self.run.scheduler.answering(one, self.run.now)

    def _end(self, endpoint: Endpoint, one: Call, sent: float, failure: Failure | None) -> None:
        if not self._flies(endpoint, one, sent):
            return
        self._begun.discard(one)
        timing = Timing(started=sent, finished=self.run.now)
        attempt = Attempt(timing, None if failure else Completion(usage=Usage(10, 10)), failure)
        verdict = self.run.scheduler.finished(one, attempt, self.run.now)
        if verdict is not Verdict.PARKED:
            assert one not in self.verdicts, "it met two fates"
            self.verdicts[one] = verdict
            self.when[one] = self.run.now

    def _cut_all(self, server: int) -> None:
        lane = self.run.scheduler.lanes[server]
        self._loaded.pop(lane.endpoint.root, None)
        for one, sent in list(lane.in_flight.items()):
            self._end(lane.endpoint, one, sent, CUT)

    def _kill(self, endpoint: Endpoint, one: Call, sent: float) -> None:
        """It takes the server with it: what had begun breaks off, but for one in eight; the rest is hung up on."""
        if not self._flies(endpoint, one, sent):
            return
        self.deaths += 1
        self._loaded.pop(endpoint.root, None)
        lane = next(lane for lane in self.run.scheduler.lanes if lane.endpoint is endpoint)
        for other, since in lane.in_flight.items():
            how: Failure | None = CUT if other in self._begun else HUNG_UP
            if other in self._begun and not self.life.ways[other.jobs[0].seq] and self._dice.random() < 1 / 8:
                how = None
            when = self.run.now + self._dice.uniform(0.0, 0.005)
            self._at(when, lambda other=other, since=since, how=how: self._end(endpoint, other, since, how))  # type: ignore[misc]  # mypy cannot tell its type

    def _cut_limit(self, to: int) -> None:
        for lane in self.run.scheduler.lanes:
            lane.limit = FixedLimit(to)

    def _after(self, begins: float, takes: float, what: Callable[[], None]) -> None:
        """Have something happen that takes so long, as a rule."""
        self._at(begins + takes * (self._dice.uniform(*WOBBLE) if self.life.wobbles else 1.0), what)

    def _at(self, when: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._order), what))

    def healthy_at(self) -> float:
        """When the last healthy job was done."""
        return max((self.when[one] for one in self.work if not self.life.ways[one.jobs[0].seq]), default=0.0)


def check(seed: int, *, wobbles: bool = False) -> Played:
    """Play the life of a seed. Raises AssertionError where it breaks a promise."""
    life = replace(Life.by(seed), wobbles=wobbles)
    played = Played(life).play()
    ideal = Played(replace(life, ways=[""] * len(life.ways))).play()
    _check_fates(played)
    _check_counters(played)
    says_wait = any("503" in way or "429" in way for way in life.ways)
    healthy = [one for one in ideal.work if not life.ways[one.jobs[0].seq]]
    without = max((ideal.when[one] for one in healthy), default=0.0)
    suspects = sum(way in ("crash", "cut", "hung up", KILLS) for way in life.ways)
    is_native = life.servers[0].api is Api.NATIVE
    loads = (LOADS[0] + LOADS[1] * suspects) * LOAD_S if life.models > 1 and is_native else 0.0
    deaths = played.deaths * (
        life.takes + LOAD_S * is_native * (1 + (life.models > 1))
    )  # that of the next, and its own
    most = max(life.limit, *(to for _, to in life.cuts)) if life.cuts else life.limit
    beside = life.ways.count(KILLS) * (most - 1)  # what flew beside one that kills the server is asked alone in the end
    alone = min(len(played.alone), beside) * life.takes
    least = LEAST_S[says_wait or bool(life.away) or KILLS in life.ways]
    slow = WOBBLE[1] if wobbles else 1.0
    done = played.healthy_at()
    met = sum(
        FOUND * (end - begin) + life.takes * slow for _, begin, end in life.away if end > without and begin < done
    )
    at_most = (max(TIMES * without, least) + loads + deaths + alone) * slow + met
    assert done <= at_most, (done, at_most, without)
    assert played.kept <= ROOM
    if not says_wait and Verdict.PENDING not in {played.verdicts.get(one, Verdict.PENDING) for one in played.work}:
        assert played.run.now <= max(ideal.run.now, played.healthy_at()) + END_S, "it ends late"
    return played


def _check_fates(played: Played) -> None:
    for one in played.work:
        way = played.life.ways[one.jobs[0].seq]
        verdict = played.verdicts.get(one, Verdict.PENDING)
        if not way:
            assert verdict is Verdict.ENDED, (one.jobs[0].seq, verdict, played.run.scheduler.stop_failure)
        elif _may_be_everybodys(played, one) or _looks_gone(played, way):
            assert verdict in (Verdict.FAILED, Verdict.PENDING), (way, verdict)
        else:
            assert verdict is Verdict.FAILED, (one.jobs[0].seq, way, verdict, played.run.scheduler.stop_failure)


def _may_be_everybodys(played: Played, one: Call) -> bool:
    """Whether not even half of those that ask for the same are healthy: then it may look as if the server failed it."""
    same = [other for other in played.work if (other.model, other.path) == (one.model, one.path)]
    return 2 * sum(not played.life.ways[other.jobs[0].seq] for other in same) < len(same)


def _looks_gone(played: Played, way: str) -> bool:
    """The last of all, each hung up on: nobody is left to show that the server is there."""
    stop = played.run.scheduler.stop_failure
    return way in ("hung up", KILLS) and stop is not None and stop.code == "disconnected"


def _check_counters(played: Played) -> None:
    """What is counted of calls that wait or are in flight is nothing at the end."""
    scheduler = played.run.scheduler
    backlog, look, suspects = scheduler.backlog, scheduler.look, scheduler.suspects
    left = {
        "in flight": scheduler.in_flight,
        "parked": scheduler.parked,
        "kept": backlog.kept + look.kept,
        "set aside": backlog.aside,
        "again": sum(lane.again for lane in scheduler.lanes),
        "in flight there": sum(len(lane.in_flight) for lane in scheduler.lanes),
        "suspects": len(suspects.line) + len(suspects._together) + len(suspects._alone) + len(suspects._met),
        "suspected once": len(suspects._acquitted) + len(suspects._hung_up),
        "refused": len(scheduler._judge.witnesses.refused),
        "paid": len(scheduler.quota._paid),
        "paced": len(scheduler._dispatch.openings.paced),
        "of the round": len(look._sent),
        "probes": sum(
            service.probe is not None for lane in scheduler.lanes for service in lane.offer.services.values()
        ),
    }
    assert not any(left.values()), left
