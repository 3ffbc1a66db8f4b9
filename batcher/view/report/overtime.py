"""Charts of the course of time: answers, requests in flight, tokens, failures; behind them what held the runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from batcher.figures import count, rate, seconds, span
from batcher.view.report.axes import Course, linear, rounded
from batcher.view.report.chart import Box, Chart, Key, Line, Table, path_of, whole
from batcher.view.statistics.events import HOLDS, KINDS, OUTAGES, clock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from batcher.view.statistics.statistics import Statistics
    from batcher.view.statistics.timeline import Slot, Stretch

TABLE_ROWS: Final = 120
"""Rows of a table of the course of time: of more slots several are one row."""


class OverTime(NamedTuple):
    of: Statistics
    stretches: list[Stretch]
    course: Course


def over_time(of: Statistics, stretches: list[Stretch]) -> Iterator[Chart]:
    """All for which there are numbers."""
    if not stretches:
        return
    over = OverTime(of, stretches, Course(stretches))
    if of.answers:
        yield _course(over, "throughput", "Answers a second over time", "answers/s", lambda s: _a_second(s.answers, s))
    if of.latency.count:
        yield _in_flight(over)
    if of.completion_tokens:
        yield _course(over, "tokens", "Tokens a second over time", "tokens/s out", lambda s: _a_second(s.tokens, s))
    if of.failed:
        yield _failures(over)


def _in_flight(over: OverTime) -> Chart:
    chart = _course(over, "flight", "In flight over time", "requests", lambda s: s.in_flight)
    chart.note += "Attempts that failed are not on any line, and so not in here. "
    moves = over.of.events.limits
    if moves:
        scale = linear(max(*(limit for _, limit in moves), _most(over.stretches, lambda s: s.in_flight)), whole)
        chart.y_marks = scale.marks
        chart.lines = _steps(over, lambda s: s.in_flight, scale.at)
        points: list[tuple[float, float]] = []
        for moment, limit in moves:
            if points:
                points.append((over.course.at(moment), points[-1][1]))
            points.append((over.course.at(moment), scale.at(limit)))
        points.append((100.0, points[-1][1]))
        chart.lines.append(Line(path_of(points), "limit"))
        chart.keys += [Key("line", "in flight"), Key("limit", "the limit, where it moved")]
    return chart


def _course(over: OverTime, name: str, title: str, unit: str, value: Callable[[Slot], float]) -> Chart:
    """Something over time, as steps: the mean of each slot. What held the runs stands behind it."""
    most = _most(over.stretches, value)
    scale = linear(most, whole if most >= 5 else _small)
    slots = [slot for stretch in over.stretches for slot in stretch.slots]
    average = sum(value(slot) * slot.span for slot in slots) / (sum(slot.span for slot in slots) or 1.0)
    usual = sorted(slot.span for slot in slots)[len(slots) // 2]
    behind, keys = _holds(over)
    return Chart(
        name=name,
        title=title,
        x="time of day, UTC",
        y=unit,
        words=f"{unit}: {rate(average)} on average, {rate(most)} at most, in slots of {_length(usual)}.",
        x_marks=over.course.marks,
        y_marks=scale.marks,
        table=_slots_table(slots, unit, value),
        behind=behind,
        keys=keys,
        lines=_steps(over, value, scale.at),
        cuts=over.course.cuts,
        note="Pauses of more than five minutes are cut out at the broken lines. " if over.course.cuts else "",
    )


def _failures(over: OverTime) -> Chart:
    chart = _course(over, "failures", "Failures over time", "jobs that failed", lambda s: s.failed)
    scale = linear(_most(over.stretches, lambda s: s.failed), whole, counts=True)
    chart.y_marks, chart.lines = scale.marks, []
    for stretch in over.stretches:
        for slot in stretch.slots:
            if slot.failed:
                left, right = over.course.at(slot.start), over.course.at(slot.end)
                high = scale.at(slot.failed)
                words = f"{clock(slot.start)}: {count(slot.failed)} failed"
                chart.boxes.append(Box(left, 100 - high, max(right - left, 0.2), high, "failure", words))
    chart.words = f"{count(over.of.failed)} jobs failed in all; when each gave up."
    return chart


def _holds(over: OverTime) -> tuple[list[Box], list[Key]]:
    """Boxes behind a course of time, for holds and for outages, and what they mean."""
    boxes, kinds = [], set()
    for event in over.of.events.holds:
        left, right = over.course.at(event.start), over.course.at(event.end)
        style = "outage" if event.kind in OUTAGES else "hold"
        kinds.add(event.kind)
        words = f"{KINDS[event.kind]} from {clock(event.start)} for {span(event.end - event.start)} {event.server}"
        boxes.append(Box(left, 0, max(right - left, 0.3), 100, style, words))
    told = [("outage", OUTAGES), ("hold", HOLDS)]
    keys = [Key(style, ", ".join(KINDS[kind] for kind in KINDS if kind in kinds & these)) for style, these in told]
    return boxes, [key for key in keys if key.words]


def _slots_table(slots: list[Slot], unit: str, value: Callable[[Slot], float]) -> Table:
    by = -(-len(slots) // TABLE_ROWS)
    is_fine = any(slot.span * by < 1.0 for slot in slots[:-1])
    rows = []
    for place in range(0, len(slots), by):
        some = slots[place : place + by]
        mean = sum(value(slot) * slot.span for slot in some) / (sum(slot.span for slot in some) or 1.0)
        lasted = some[-1].end - some[0].start
        rows.append([_moment(some[0].start, is_fine=is_fine), _length(lasted), rate(mean)])
    return Table(["from (UTC)", "for", unit], rows)


def _steps(over: OverTime, value: Callable[[Slot], float], up: Callable[[float], float]) -> list[Line]:
    areas, lines = [], []
    for stretch in over.stretches:
        points: list[tuple[float, float]] = []
        for slot in stretch.slots:
            height = up(value(slot)) if slot.span else 0.0
            points += [(over.course.at(slot.start), height), (over.course.at(slot.end), height)]
        lines.append(path_of(points))
        areas.append(path_of([(points[0][0], 0.0), *points, (points[-1][0], 0.0)]))
    return [Line("".join(areas), "area"), Line("".join(lines), "line")]


def _most(stretches: list[Stretch], value: Callable[[Slot], float]) -> float:
    return max((value(slot) for stretch in stretches for slot in stretch.slots if slot.span), default=0.0)


def _a_second(number: int, slot: Slot) -> float:
    return number / slot.span if slot.span else 0.0


def _moment(at: float, *, is_fine: bool) -> str:
    """When, to the tenth of a second where rows are closer than seconds."""
    return f"{clock(at)}.{int(at % 1.0 * 10)}" if is_fine else clock(at)


def _length(s: float) -> str:
    return rounded(seconds(s)) if s < 9.95 else span(s)


def _small(x: float) -> str:
    return f"{x:.2f}".rstrip("0").rstrip(".")
