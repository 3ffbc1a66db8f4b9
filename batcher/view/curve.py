"""Shows a sweep: a table and a curve for a terminal, and all of it as JSON."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from batcher.figures import count, money, rate, seconds
from batcher.view.sweep import best_under_slo, is_better, is_rising, knee, rate_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from batcher.model import Json
    from batcher.view.steps import Point, Slo

WIDTH: Final = 40
"""Characters of the longest bar."""
_MEASURED: Final[Mapping[str, Callable[[Point], float | None]]] = {
    "ttft": lambda point: point.ttft_p50,
    "latency": lambda point: point.latency_p50,
    "itl": lambda point: point.itl_p95,
}
"""What a step tells of each that may be asked (`SLOS`)."""
_COLUMNS: Final = ("in flight", "answers/s", "tokens/s", "TTFT p50", "p95", "latency p95", "failed")


def table(points: Sequence[Point], auto: Point | None, slo: Slo) -> Iterator[str]:
    """A line for each point, by concurrency, `auto` below."""
    has_packs = any(point.pack is not None for point in points)
    heads = (
        _COLUMNS[0],
        *(["pack"] if has_packs else []),
        *_COLUMNS[1:3],
        *(["in time/s"] if slo else []),
        *_COLUMNS[3:],
    )
    rows = [(str(point.concurrency), point) for point in _sorted(points)]
    if auto is not None:
        rows.append((f"auto ({auto.concurrency})", auto))
    cells = [[name, *([str(point.pack or "auto")] if has_packs else []), *_cells(point, slo)] for name, point in rows]
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
    rows = [(_name(point), point) for point in _sorted(points)]
    if auto is not None:
        rows.append(("auto", auto))
    width = max(len(name) for name, _ in rows)
    for name, point in rows:
        bar = "█" * max(1, round(WIDTH * of(point) / best)) if of(point) else ""
        yield f"{name.rjust(width)} {bar} {rate(of(point))} {unit}{'  ← the knee' if point is found else ''}"


def _name(point: Point) -> str:
    return str(point.concurrency) if point.pack is None else f"{point.concurrency} × {point.pack}"  # noqa: RUF001 - times


def _words(point: Point) -> str:
    of = f" of {count(point.pack, 'texts')}" if point.pack is not None else ""
    return f"{point.concurrency} in flight{of}"


def verdict(points: Sequence[Point], auto: Point | None, slo: Slo) -> Iterator[str]:
    """What to do, in sentences; the last line is one for a config file, where there is something to say."""
    of, unit = rate_of(points)
    found = knee(points)
    if found is None:
        yield _nothing(points)
        return
    fair = [point for point in points if not point.is_away]
    best = max(map(of, fair))
    yield (
        f"the knee: {_words(found)} bring {rate(of(found))} {unit}, "
        f"{of(found) / best:.0%} of the most that was seen ({rate(best)})"
    )
    if not any(point.is_fair for point in points):
        yield "in each step more than one request in twenty failed: the numbers are of those that did not"
    if is_rising(points):
        yield "it was still rising where the sweep ended: more may bring more (--up-to, or -c)"
    if auto is not None and of(found):
        yield f"auto: {rate(of(auto))} {unit}, {of(auto) / best:.0%} of the most, with {auto.concurrency} in flight"
    if slo:
        words = " and ".join(f"{name} ≤ {seconds(most)}" for name, most in slo.items())
        good = best_under_slo(points)
        if good is None:
            unknown = [name for name in slo if all(_MEASURED[name](point) is None for point in points)]
            why = f", as all came in one piece, of which {' and '.join(unknown)} cannot be told" if unknown else ""
            yield f"in time ({words}): none of the answers{why}"
        else:
            yield f"in time ({words}): {rate(good.good_per_s or 0.0)} answers a second at {_words(good)}"
    yield from choice(points, auto, slo)


def _nothing(points: Sequence[Point]) -> str:
    """Why there is nothing to choose by."""
    if not any(point.requests for point in points):
        longer = "" if any(point.failed for point in points) else "; answers may take longer than a step (--seconds)"
        return f"nothing was answered, so there is nothing to choose by{longer}"
    return "nothing was measured: the server was away in each step that it answered in; try again when it stays"


def spent(cost: float | None, unpriced: int) -> Iterator[str]:
    """What the answers of a sweep cost, those that are not kept among them, where there are prices."""
    known = [] if cost is None else [money(cost)]
    unknown = [f"that of {count(unpriced, 'answers')} whose price is not known"] if unpriced else []
    if known or unknown:
        yield f"cost of the sweep: {' and '.join([*known, *unknown])}"


def choice(points: Sequence[Point], auto: Point | None, slo: Slo) -> list[str]:
    """What to set, as lines of TOML: what keeps best to what was asked, else `auto` if it is better, else the knee."""
    good, found = best_under_slo(points) if slo else None, knee(points)
    if found is None:
        return []
    if good is None and auto is not None and is_better(auto, points):
        return ['concurrency = "auto"', *(['pack = "auto"'] if auto.pack is None and found.pack is not None else [])]
    chosen = good or found
    return [f"concurrency = {chosen.concurrency}", *([f"pack = {chosen.pack}"] if chosen.pack is not None else [])]


def as_dict(points: Sequence[Point], auto: Point | None, slo: Slo, results: str) -> dict[str, Json]:
    """All of it for programs."""
    _, unit = rate_of(points)
    found, good = knee(points), best_under_slo(points) if slo else None
    return {
        "results": results,
        "unit": unit,
        "steps": [_point(point) for point in _sorted(points)],
        "auto": None if auto is None else _point(auto),
        "knee": None if found is None else found.concurrency,
        "slo": dict(slo) or None,
        "best_under_slo": None if good is None else good.concurrency,
        "knee_pack": None if found is None else found.pack,
        "config": "\n".join(choice(points, auto, slo)) or None,
    }


def _point(point: Point) -> dict[str, Json]:
    held = point.held
    times = ("ttft_p50", "ttft_p95", "itl_p95", "latency_p50", "latency_p95")
    return {
        "concurrency": point.concurrency,
        "pack": point.pack,
        "seconds": round(point.seconds, 3),
        "requests": point.requests,
        "failed": point.failed,
        **{name: _three(getattr(point, name)) for name in ("answers_per_s", "requests_per_s", "tokens_per_s")},
        "good_per_s": _three(point.good_per_s),
        **{f"{name}_s": _micro(getattr(point, name)) for name in times},
        "looks": point.looks,
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
    return sorted(points, key=lambda point: (point.pack or 0, point.concurrency))
