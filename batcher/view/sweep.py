"""Which concurrency is tried next, and which of those that were is enough: the rules of `batcher bench`. Pure.

It doubles from 1 as long as that brings anything, then tries the middles beside the knee. The knee is the least
concurrency with 97 % of the best throughput: tokens a second where servers count them, else answers. Two steps of one
number differ by some per cent, so those between which the knee is chosen are measured twice. Of packs of embeddings
each is tried at one concurrency, then each concurrency with the best of them, then the packs beside it at the knee: a
cross, not a grid.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from batcher.view.steps import Point, Slo

ENOUGH: Final = 0.95
"""What brings less than a twentieth more is not worth more in flight."""
KNEE: Final = 0.97
"""The part of the best throughput that is as good as the best: what steps differ by by chance still leaves 95 %."""
CLOSE: Final = 0.9
"""The part of the best throughput with which a step may be the best, once it is measured again."""
FLAT: Final = 2
"""Doublings in a row that brought no twentieth more, after which the sweep ends: one may have had bad luck."""


def rate_of(points: Sequence[Point]) -> tuple[Callable[[Point], float], str]:
    """What points are held against each other by, and its name."""
    if points and all(point.tokens_per_s is not None for point in points if point.requests):
        return (lambda point: point.tokens_per_s or 0.0), "tokens/s"
    return (lambda point: point.answers_per_s), "answers/s"


def doubled(points: Sequence[Point], most: int) -> int | None:
    """What to try after these points, which came in this order; None: the knee lies behind."""
    if not points:
        return 1
    last = points[-1]
    if last.concurrency >= most or last.is_limited:
        return None
    rate, _ = rate_of(points)
    before, after = points[:-FLAT], points[-FLAT:]
    if before and all(point.is_fair for point in after):
        best = max(map(rate, before))
        if best > 0 and all(rate(point) * ENOUGH <= best for point in after):
            return None
    return min(2 * last.concurrency, most)


def middles(points: Sequence[Point]) -> list[int]:
    """What to try between the knee and its neighbours among points of doubled concurrency."""
    found = knee(points)
    if found is None:
        return []
    tried = sorted(point.concurrency for point in points)
    lower = [at for at in tried if at < found.concurrency][-1:]
    upper = [at for at in tried if at > found.concurrency][:1]
    pairs = [(at, found.concurrency) for at in lower] + [(found.concurrency, at) for at in upper]
    return [(low + high) // 2 for low, high in pairs if high - low > 1]


def knee(points: Sequence[Point]) -> Point | None:
    """The point with the least in flight that has 97 % of the best throughput; None if nothing was measured."""
    rate, _ = rate_of(points)
    return _least(points, rate, KNEE)


def best_under_slo(points: Sequence[Point]) -> Point | None:
    """The least concurrency with 97 % of the most answers a second that kept to what was asked; None: none did."""
    return _least(points, _good, KNEE)


def contenders(points: Sequence[Point], slo: Slo) -> list[Point]:
    """What to measure once more before one is chosen: the best, the knee, and the least that comes close to the best.

    Most in flight first, so that a server that slows down or speeds up tells for none of them. Nothing where they are
    one, and none that a rate limit held, which another look would meet again.
    """
    rate = _good if slo and best_under_slo(points) else rate_of(points)[0]
    found = {least.load: least for enough in (1.0, KNEE, CLOSE) if (least := _least(points, rate, enough)) is not None}
    chosen = [found[load] for load in sorted(found, reverse=True) if not found[load].is_limited]
    return chosen if len(found) > 1 else []


def _good(point: Point) -> float:
    return point.good_per_s or 0.0


def is_rising(points: Sequence[Point]) -> bool:
    """Whether the most that was tried brought a twentieth more than half of it: more may bring more."""
    rate, _ = rate_of(points)
    last = max(points, key=lambda point: point.concurrency)
    below = [rate(point) for point in points if 2 * point.concurrency <= last.concurrency]
    return bool(below) and not last.is_limited and rate(last) * ENOUGH > max(below)


def is_better(auto: Point, points: Sequence[Point]) -> bool:
    """Whether `auto` brought a twentieth more than any that was tried."""
    rate, _ = rate_of(points)
    return auto.is_fair and rate(auto) * ENOUGH > max(map(rate, points), default=0.0)


def is_contender(auto: Point, points: Sequence[Point], slo: Slo) -> bool:
    """Whether to measure `auto` once more: one step of it would be what is chosen."""
    is_chosen = is_better(auto, points) and not (slo and best_under_slo(points))
    return is_chosen and not auto.is_limited


def _least(points: Sequence[Point], rate: Callable[[Point], float], enough: float) -> Point | None:
    """The point with the least in flight that has enough of the best; None if none has anything.

    Of points that are fair, if any is; else of those in which the server was there at least.
    """
    there = [point for point in points if not point.is_away]
    fair = [point for point in there if point.is_fair] or there
    best = max(map(rate, fair), default=0.0)
    if not best:
        return None
    return min((point for point in fair if rate(point) >= enough * best), key=lambda point: (point.load, -rate(point)))


def best_pack(points: Sequence[Point]) -> int | None:
    """The pack with which to go on, of points that differ in it alone."""
    found = knee(points)
    return None if found is None else found.pack


def beside(pack: int | None, packs: Sequence[int]) -> list[int]:
    """The packs next to one, among those that are to be tried."""
    lower = [one for one in sorted(packs) if pack is not None and one < pack][-1:]
    upper = [one for one in sorted(packs) if pack is not None and one > pack][:1]
    return lower + upper
