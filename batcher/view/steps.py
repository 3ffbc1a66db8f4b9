"""What a step of a sweep measured: a few requests in flight at once for a while, as one point of a curve. Pure.

What is counted lies in a window: from the moment when each slot has had an answer to the last request that was sent.
So neither the start, when nothing is in flight yet, nor the end, when fewer and fewer are, make a step look slow. An
answer that came in pieces counts by the part of its pieces' time that lies in the window, any other one when it ended.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

FEW: Final = 2
"""Answers a slot without which there is no window: then all the time of a step counts, and that is said."""
HELD: Final = 0.05
"""The part of its time that a step may have been held up without a word."""
FAILING: Final = 0.05
"""The part of its requests that may have failed in a step that others are held against."""


class Sample(NamedTuple):
    """One request that ended. Seconds on one clock."""

    sent: float
    first: float | None
    """The first content, where it came in pieces."""
    ended: float
    tokens: int | None = None
    """Of the answer, as the server counted them."""
    answers: int = 1
    """How many jobs it answered: a pack of embeddings several."""
    itl: float | None = None
    """The 95th percentile of the gaps between its pieces."""
    ok: bool = True

    @property
    def latency(self) -> float:
        return self.ended - self.sent

    @property
    def ttft(self) -> float | None:
        return None if self.first is None else self.first - self.sent

    def share(self, start: float, end: float) -> float:
        """How much of it lies in a window."""
        if self.first is None or self.first >= self.ended:
            return 1.0 if start < self.ended <= end else 0.0
        return max(0.0, min(self.ended, end) - max(self.first, start)) / (self.ended - self.first)


Slo = dict[str, float]
"""What an answer has to keep to, in seconds: `ttft`, `latency`, `itl`."""
SLOS: Final[Mapping[str, Callable[[Sample], float | None]]] = {
    "ttft": lambda sample: sample.ttft,
    "latency": lambda sample: sample.latency,
    "itl": lambda sample: sample.itl,
}


def meets(sample: Sample, slo: Slo) -> bool:
    """Whether an answer keeps to all of it; of what is not known, as the TTFT of one in a piece, nobody can say so."""
    return sample.ok and all((found := SLOS[name](sample)) is not None and found <= most for name, most in slo.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What else a step has to tell. `elapsed` is its whole time, in seconds; `away` and `limited` are parts of it."""

    elapsed: float = 0.0
    away: float = 0.0
    """No server answered."""
    limited: float = 0.0
    """Nothing could be sent for the sake of a rate limit."""
    throttled: int = 0
    """Requests that a server answered with: wait."""
    most: float = math.inf
    """Requests a second that a server is known to give."""
    kept: bool = True
    """Its answers are in the results file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One step. Rates are a second, times seconds; None is what nobody can say."""

    concurrency: int
    """How many requests might be in flight at each server: as was told, or as was found in the end."""
    seconds: float
    """How long the window is."""
    requests: int
    failed: int
    answers_per_s: float
    requests_per_s: float
    tokens_per_s: float | None = None
    good_per_s: float | None = None
    """Answers whose request kept to what was asked of it: all of a pack, or none."""
    ttft_p50: float | None = None
    ttft_p95: float | None = None
    itl_p95: float | None = None
    latency_p50: float | None = None
    latency_p95: float | None = None
    is_rough: bool = False
    """There was no window."""
    pack: int | None = None
    """How many embedding inputs went in one request, where that was told."""
    held: Held = Held()
    looks: int = 1
    """How many steps it is the mean of."""

    @property
    def way(self) -> tuple[int, int | None]:
        """What was set."""
        return self.concurrency, self.pack

    @property
    def load(self) -> int:
        """How much might be in flight: requests, of packs the texts in them."""
        return self.concurrency * (self.pack or 1)

    @property
    def is_away(self) -> bool:
        return self.held.away > HELD * self.held.elapsed

    @property
    def is_limited(self) -> bool:
        """A rate limit was met: more in flight bring no more."""
        held = self.held
        return held.throttled > 0 or held.limited > HELD * held.elapsed or self.requests_per_s >= held.most

    @property
    def is_fair(self) -> bool:
        """Whether it may be held against others: the server was there, and nearly all was answered."""
        return not self.is_away and self.requests > 0 and self.failed <= FAILING * (self.requests + self.failed)

    def marks(self) -> list[str]:
        """What is to be known of it, in words."""
        found = []
        if self.is_limited:
            found.append("rate limit")
        if self.is_away:
            found.append("server away")
        if self.is_rough:
            found.append("few answers")
        if not self.held.kept:
            found.append("rows again")
        if self.looks > 1:
            found.append(f"mean of {self.looks}")
        return found


def point_of(samples: Sequence[Sample], concurrency: int, held: Held, slo: Slo, *, settles: bool = False) -> Point:
    """Make a point of what ended in a step.

    Of one that `settles`, and finds its concurrency first, the later half counts.
    """
    good = [sample for sample in samples if sample.ok]
    start, end, is_rough = _window(samples, concurrency, settles=settles)
    parts = [(sample.share(start, end), sample) for sample in good]
    length = end - start
    each = 1 / length if length > 0 else 0.0
    counted = [sample for part, sample in parts if part] or good
    tokens = [part * sample.tokens for part, sample in parts if sample.tokens is not None]
    has_tokens = bool(good) and len(tokens) == len(good)
    point = Point(
        concurrency=concurrency,
        seconds=max(length, 0.0),
        requests=len(good),
        failed=len(samples) - len(good),
        answers_per_s=sum(part * sample.answers for part, sample in parts) * each,
        requests_per_s=sum(part for part, _ in parts) * each,
        tokens_per_s=sum(tokens) * each if has_tokens else None,
        ttft_p50=quantile([sample.ttft for sample in counted], 0.5),
        ttft_p95=quantile([sample.ttft for sample in counted], 0.95),
        itl_p95=quantile([sample.itl for sample in counted], 0.95),
        latency_p50=quantile([sample.latency for sample in counted], 0.5),
        latency_p95=quantile([sample.latency for sample in counted], 0.95),
        is_rough=is_rough,
        held=held,
    )
    if slo:
        good_per_s = sum(part * sample.answers for part, sample in parts if meets(sample, slo)) * each
        point = replace(point, good_per_s=good_per_s)
    return capped(point, held.most)


_MEANS: Final = (
    *("answers_per_s", "requests_per_s", "tokens_per_s", "good_per_s"),
    *("ttft_p50", "ttft_p95", "itl_p95", "latency_p50", "latency_p95"),
)


def both(one: Point, other: Point) -> Point:
    """Two steps of one concurrency as one: each counts by the length of its window.

    One that is no step to hold against others counts for nothing beside one that is.
    """
    if one.is_fair != other.is_fair:
        return one if one.is_fair else other
    length = one.seconds + other.seconds
    part = one.seconds / length if length else 0.5
    means: dict[str, Any] = {name: _mean(getattr(one, name), getattr(other, name), part) for name in _MEANS}
    return replace(
        one,
        seconds=length,
        requests=one.requests + other.requests,
        failed=one.failed + other.failed,
        is_rough=one.is_rough or other.is_rough,
        held=_joined(one.held, other.held),
        looks=one.looks + other.looks,
        **means,
    )


def _mean(one: float | None, other: float | None, part: float) -> float | None:
    """Of what both know; else what one of them knows."""
    if one is None or other is None:
        return one if other is None else other
    return part * one + (1 - part) * other


def _joined(one: Held, other: Held) -> Held:
    return Held(
        elapsed=one.elapsed + other.elapsed,
        away=one.away + other.away,
        limited=one.limited + other.limited,
        throttled=one.throttled + other.throttled,
        most=min(one.most, other.most),
        kept=one.kept and other.kept,
    )


def capped(point: Point, most: float) -> Point:
    """The point as a server that gives `most` requests a second has it in the long run.

    A limit by the minute lets the first of a minute through as fast as they come: none of that is there for many.
    """
    point = replace(point, held=replace(point.held, most=min(point.held.most, most)))
    if point.requests_per_s <= most:
        return point
    part = most / point.requests_per_s
    return replace(
        point,
        requests_per_s=most,
        answers_per_s=point.answers_per_s * part,
        tokens_per_s=None if point.tokens_per_s is None else point.tokens_per_s * part,
        good_per_s=None if point.good_per_s is None else point.good_per_s * part,
    )


def _window(samples: Sequence[Sample], concurrency: int, *, settles: bool) -> tuple[float, float, bool]:
    """From when to when what came counts; and whether that is all the time, as there was too little of it."""
    if not samples:
        return 0.0, 0.0, True
    ends = sorted(sample.ended for sample in samples)
    first, last = min(sample.sent for sample in samples), max(sample.sent for sample in samples)
    start = ends[min(concurrency, len(ends)) - 1] if not settles else (first + last) / 2
    in_it = sum(start < ended <= last for ended in ends)
    if last > start and (settles or len(ends) >= FEW * concurrency) and in_it >= max(1, concurrency // 2):
        return start, last, False
    return first, ends[-1], True


def quantile(values: Sequence[float | None], q: float) -> float | None:
    """The nearest rank among those that are known."""
    known = sorted(value for value in values if value is not None)
    return known[max(0, math.ceil(q * len(known)) - 1)] if known else None
