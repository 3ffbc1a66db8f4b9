"""Shows a sweep: a table and a curve for a terminal, and all of it as JSON."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from batcher.figures import count, rate, seconds
from batcher.view.sweep import best_under_slo, is_better, is_rising, knee, rate_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from batcher.model import Json
    from batcher.view.steps import Point, Slo

WIDTH: Final = 40
"""Characters of the longest bar."""
_COLUMNS: Final = ("in flight", "answers/s", "tokens/s", "TTFT p50", "p95", "latency p95", "failed")


def table(points: Sequence[Point], auto: Point | None, slo: Slo) -> Iterator[str]:
    """A line for each point, by concurrency, `auto` below."""
    heads = (*_COLUMNS[:3], *(["in time/s"] if slo else []), *_COLUMNS[3:])
    rows = [(str(point.concurrency), point) for point in _sorted(points)]
    if auto is not None:
        rows.append((f"auto ({auto.concurrency})", auto))
    cells = [[name, *_cells(point, slo)] for name, point in rows]
    widths = [max(len(row[at]) for row in [list(heads), *cells]) for at in range(len(heads))]
    yield "  ".join(head.rjust(width) for head, width in zip(heads, widths, strict=True))
    for row, (_, point) in zip(cells, rows, strict=True):
        line = "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        yield f"{line}  {', '.join(point.marks())}".rstrip()


def _cells(point: Point, slo: Slo) -> list[str]:
    good = [_rate(point.good_per_s)] if slo else []
    times = [seconds(point.ttft_p50), seconds(point.ttft_p95), seconds(point.latency_p95)]
    return [_rate(point.answers_per_s), _rate(point.tokens_per_s), *good, *times, count(point.failed)]


def _rate(value: float | None) -> str:
    return "-" if value is None else rate(value)


def curve(points: Sequence[Point], auto: Point | None) -> Iterator[str]:
    """A bar for each point: as long as its throughput, of the best."""
    of, unit = rate_of(points)
    best = max(map(of, [*points, *([auto] if auto is not None else [])]), default=0.0)
    if not best:
        return
    found = knee(points)
    rows = [(str(point.concurrency), point) for point in _sorted(points)]
    if auto is not None:
        rows.append(("auto", auto))
    width = max(len(name) for name, _ in rows)
    for name, point in rows:
        bar = "█" * max(1, round(WIDTH * of(point) / best)) if of(point) else ""
        yield f"{name.rjust(width)} {bar} {rate(of(point))} {unit}{'  ← the knee' if point is found else ''}"


def verdict(points: Sequence[Point], auto: Point | None, slo: Slo) -> Iterator[str]:
    """What to do, in sentences; the last line is one for a config file, where there is something to say."""
    of, unit = rate_of(points)
    found = knee(points)
    if found is None:
        yield "nothing was answered, so there is nothing to choose by"
        return
    best = max(map(of, points))
    yield (
        f"the knee: {found.concurrency} in flight bring {rate(of(found))} {unit}, "
        f"{of(found) / best:.0%} of the most that was seen ({rate(best)})"
    )
    if is_rising(points):
        yield "it was still rising where the sweep ended: more may bring more (--up-to)"
    if auto is not None and of(found):
        yield f"auto: {rate(of(auto))} {unit}, {of(auto) / best:.0%} of the most, with {auto.concurrency} in flight"
    if slo:
        words = " and ".join(f"{name} ≤ {seconds(most)}" for name, most in slo.items())
        good = best_under_slo(points)
        if good is None:
            yield f"in time ({words}): none of the answers"
        else:
            yield f"in time ({words}): {rate(good.good_per_s or 0.0)} requests a second at {good.concurrency} in flight"
    yield f"concurrency = {choice(points, auto, slo)}"


def choice(points: Sequence[Point], auto: Point | None, slo: Slo) -> str | None:
    """What to set, as TOML has it: what keeps best to what was asked, else `auto` if it is better, else the knee."""
    good, found = best_under_slo(points) if slo else None, knee(points)
    if found is None or good is not None:
        return None if good is None else str(good.concurrency)
    return '"auto"' if auto is not None and is_better(auto, points) else str(found.concurrency)


def as_dict(points: Sequence[Point], auto: Point | None, slo: Slo, results: str) -> dict[str, Json]:
    """All of it for programs."""
    _, unit = rate_of(points)
    found, good = knee(points), best_under_slo(points) if slo else None
    chosen = choice(points, auto, slo)
    return {
        "results": results,
        "unit": unit,
        "steps": [_point(point) for point in _sorted(points)],
        "auto": None if auto is None else _point(auto),
        "knee": None if found is None else found.concurrency,
        "slo": dict(slo) or None,
        "best_under_slo": None if good is None else good.concurrency,
        "config": None if chosen is None else f"concurrency = {chosen}",
    }


def _point(point: Point) -> dict[str, Json]:
    held = point.held
    times = ("ttft_p50", "ttft_p95", "itl_p95", "latency_p50", "latency_p95")
    return {
        "concurrency": point.concurrency,
        "seconds": round(point.seconds, 3),
        "requests": point.requests,
        "failed": point.failed,
        **{name: _three(getattr(point, name)) for name in ("answers_per_s", "requests_per_s", "tokens_per_s")},
        "good_per_s": _three(point.good_per_s),
        **{f"{name}_s": _micro(getattr(point, name)) for name in times},
        "marks": [*point.marks()],
        "kept": held.kept,
        "throttled": held.throttled,
        "away_s": round(held.away, 1),
        "most_requests_per_s": None if held.most == math.inf else _three(held.most),
    }


def _three(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _micro(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


def _sorted(points: Sequence[Point]) -> list[Point]:
    return sorted(points, key=lambda point: point.concurrency)
