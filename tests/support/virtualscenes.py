"""Servers worth a simulation: what they are like, what they are asked, how well a limit has to do there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from support.virtualload import Work
from support.virtualserver import Batching, Hosted

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.virtualserver import Clock, Server

GOODPUT = 0.97
"""Of the best fixed number of calls in flight, from a cold start."""
FIRST = 3.0
"""How much longer the slowest twentieth of first tokens may take, on servers with few slots."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A server and its jobs. `best` is the smallest fixed number in flight that is within 0.5 % of the best one."""

    name: str
    serve: Callable[[Clock], Server]
    work: Work
    best: int
    upto: int = 256
    """The highest fixed number that is worth a try."""
    start: int = 2
    least: int = 1
    seconds: float = 300.0
    seeds: int = 8
    goodput: float = GOODPUT
    first: float | None = None


def slots(count: int, jitter: float = 0.0) -> Callable[[Clock], Batching]:
    """A llama.cpp runner on a workstation: 30 ms a token, prompts at 1,000 tokens a second."""
    return lambda clock: Batching(clock, count, 0.030, 0.0009, prompt_rate=1_000, jitter=jitter)


def batch(count: int = 256, prompt_rate: float = 20_000, jitter: float = 0.0) -> Callable[[Clock], Batching]:
    """A GPU server whose step takes 18 ms alone and 56 ms with 256 sequences."""
    return lambda clock: Batching(clock, count, 0.018, 0.00015, prompt_rate=prompt_rate, jitter=jitter)


def loading(count: int, load_s: float) -> Callable[[Clock], Batching]:
    """Such a runner that has to load its model first, and does not tell."""

    def serve(clock: Clock) -> Batching:
        server = slots(0)(clock)
        clock.at(load_s, lambda: server.resize(count))
        return server

    return serve


def shared(count: int, taken: int) -> Callable[[Clock], Batching]:
    """A server that another client takes slots of, from 100 s to 200 s."""

    def serve(clock: Clock) -> Batching:
        server = slots(count)(clock)
        clock.at(100.0, lambda: server.resize(count - taken))
        clock.at(200.0, lambda: server.resize(count))
        return server

    return serve


TOLD = Work(exact=True)
PLAIN = Work()
WHOLE = Work(whole=True)
FAR = Work(trip_s=0.05)

TARGETS = (
    Scene(name="4 slots, silent queue", serve=slots(4), work=TOLD, best=4, upto=16, first=FIRST, seeds=16),
    Scene(name="1 slot, silent queue", serve=slots(1), work=TOLD, best=1, upto=16, first=FIRST, seeds=16),
    Scene(name="256 batching slots", serve=batch(), work=PLAIN, best=255, seeds=3),
    Scene(
        name="small cache, preemption",
        serve=lambda clock: Batching(clock, 256, 0.018, 0.0003, prompt_rate=10_000, cache=16_000),
        work=PLAIN,
        best=63,
        seeds=3,
    ),
    Scene(name="300 a minute, no hint", serve=Hosted, work=FAR, best=24, upto=65, start=8),
    Scene(
        name="300 a minute, Retry-After",
        serve=lambda clock: Hosted(clock, hints=True),
        work=FAR,
        best=24,
        upto=65,
        start=8,
    ),
)
"""What the limit has to reach."""

SHORT_SLOT = Scene(
    name="1 slot, answers of 0.1 s",
    serve=lambda clock: Batching(clock, 1, 0.005, 0.0, prompt_rate=20_000),
    work=Work(prompt=40, tokens=18, sigma=0.3, exact=True, trip_s=0.004),
    best=2,
    upto=9,
    seconds=10.0,
    goodput=0.95,
)
SHORT_BATCH = Scene(
    name="32 batching, 10 s",
    serve=lambda clock: Batching(clock, 32, 0.010, 0.0002, prompt_rate=20_000),
    work=Work(prompt=100, tokens=60, sigma=0.5, trip_s=0.004),
    best=32,
    upto=65,
    seconds=10.0,
    goodput=0.95,
)
SHORT = (
    SHORT_SLOT,
    replace(SHORT_SLOT, name="1 slot, 0.1 s, nothing told", work=replace(SHORT_SLOT.work, exact=False)),
    replace(SHORT_SLOT, name="1 slot, 0.1 s, gap of 20 ms", work=replace(SHORT_SLOT.work, trip_s=0.02)),
    replace(
        SHORT_BATCH,
        name="8 batching, 10 s",
        serve=lambda clock: Batching(clock, 8, 0.010, 0.0002, prompt_rate=10_000),
        best=8,
        upto=33,
    ),
    SHORT_BATCH,
    replace(SHORT_BATCH, name="32 batching, 10 s, told", work=replace(SHORT_BATCH.work, exact=True)),
    # five doublings of 0.7 s each are no less
    replace(SHORT_BATCH, name="32 batching, 10 s, whole", work=replace(SHORT_BATCH.work, whole=True), goodput=0.65),
)
"""Runs of ten seconds from a cold start, with short answers: what counts is how soon a limit is found."""

OTHERS = (
    Scene(
        name="300 in whole minutes, hint",
        serve=lambda clock: Hosted(clock, hints=True, window=True),
        work=FAR,
        best=31,
        upto=65,
        start=8,
    ),
    Scene(
        name="300 in whole minutes, none",
        serve=lambda clock: Hosted(clock, window=True),
        work=FAR,
        best=31,
        upto=65,
        start=8,
    ),
    Scene(name="4 slots, nothing told", serve=slots(4), work=PLAIN, best=4, upto=16, seeds=16),
    Scene(name="1 slot, nothing told", serve=slots(1), work=PLAIN, best=1, upto=16, seeds=16),
    Scene(name="4 slots, much jitter", serve=slots(4, jitter=0.7), work=PLAIN, best=7, upto=16, goodput=0.93),
    Scene(
        name="4 slots, equal answers",
        serve=lambda clock: Batching(clock, 4, 0.010, 0.0, prompt_rate=4_000),
        work=Work(tokens=20, sigma=0.1),
        best=4,
        upto=16,
        seconds=100.0,
        first=FIRST,
    ),
    Scene(
        name="8 slots, 2,000 answers of 0.2 s",
        serve=lambda clock: Batching(clock, 8, 0.010, 0.0, prompt_rate=1e6),
        work=Work(tokens=20, sigma=0.0, jobs=2_000, trip_s=0.002),
        best=8,
        upto=16,
        seeds=2,
    ),
    Scene(name="8 slots", serve=slots(8), work=TOLD, best=8, upto=33),
    Scene(name="64 slots", serve=batch(64), work=PLAIN, best=64, upto=129, seeds=3),
    Scene(
        name="256 slots, mixed prompts",
        serve=batch(prompt_rate=8_000),
        work=Work(prompt=300, prompt_sigma=1.3),
        best=255,
        seeds=2,
    ),
    Scene(name="256 slots, much jitter", serve=batch(jitter=1.0), work=PLAIN, best=255, seeds=2),
    Scene(name="64 slots, answers of 80 s", serve=batch(64), work=Work(tokens=2_000), best=64, upto=129, seeds=3),
    Scene(name="4 slots, 2 for a while", serve=shared(4, 2), work=TOLD, best=4, upto=16, goodput=0.8),
    Scene(name="16 slots, 8 for a while", serve=shared(16, 8), work=TOLD, best=16, upto=65, goodput=0.8),
    Scene(name="4 slots, 40 jobs", serve=slots(4), work=Work(exact=True, jobs=40), best=4, upto=16, goodput=0.9),
    Scene(
        name="4 slots, loads for 5 s",
        serve=loading(4, 5.0),
        work=Work(tokens=20, jobs=80),
        best=4,
        upto=16,
        goodput=0.9,
        first=FIRST,
        seeds=16,
    ),
    Scene(
        name="4 slots, answers of 8 ms",
        serve=lambda clock: Batching(clock, 4, 0.0004, 0.0, prompt_rate=1e6),
        work=Work(tokens=20, exact=True, trip_s=0.002),
        best=7,
        upto=33,
        seconds=20.0,
        seeds=3,
    ),
    Scene(name="4 slots, whole answers", serve=slots(4), work=WHOLE, best=4, upto=16, goodput=0.95),
    Scene(name="256 slots, whole answers", serve=batch(), work=WHOLE, best=255, seeds=3, goodput=0.85),
    Scene(
        name="1 slot, embeddings",
        serve=lambda clock: Batching(clock, 1, 1e-4, 0.0, prompt_rate=5_000),
        work=Work(whole=True, tokens=0),
        best=2,
        upto=16,
        seeds=3,
    ),
)
"""What is instructive beside."""
