"""Charts of how often what was measured, and of latency against the length of the answer."""

from __future__ import annotations

from math import isqrt
from typing import TYPE_CHECKING, Final, NamedTuple

from batcher.figures import count, rate, seconds
from batcher.view.report.axes import linear, logarithmic
from batcher.view.report.chart import HEIGHT, Box, Chart, Key, Line, Table, path_of, whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from batcher.view.histogram import Histogram
    from batcher.view.statistics.statistics import Statistics

BARS: Final = 40
FEWEST_BARS: Final = 8
"""Bars at most: of few values twice the root of their number, but so many."""


class Measure(NamedTuple):
    """What is measured of each of `what`, how a value is written, and what it means."""

    name: str
    title: str
    words: Callable[[float], str]
    means: str
    what: str = "requests"


LATENCY: Final = Measure("latency", "Latency", seconds, "from sending a request to the end of its answer")
TTFT: Final = Measure("ttft", "Time to first token", seconds, "from sending a request to its first content")
ITL: Final = Measure("itl", "Inter-token latency", seconds, "the median gap between arrivals, of each answer")
SPEED: Final = Measure("speed", "Tokens a second of an answer", rate, "tokens/s, from the first arrival to the last")
_COUNTED: Final = "tokens, as the server counts them"
OUT: Final = Measure("completion", "Tokens of an answer", whole, _COUNTED, "answers")
IN: Final = Measure("prompt", "Tokens of a prompt", whole, _COUNTED, "answers")


def distributions(of: Statistics) -> Iterator[Chart]:
    """All for which there are numbers."""
    for measure, histogram in ((LATENCY, of.latency), (TTFT, of.ttft), (ITL, of.itl), (SPEED, of.speed)):
        if histogram.count:
            yield _distribution(measure, histogram)
    if of.sample:
        yield _lengths(of)
    for measure, histogram in ((OUT, of.completions), (IN, of.prompts)):
        if histogram.count:
            yield _distribution(measure, histogram)


def _distribution(measure: Measure, of: Histogram) -> Chart:
    name, title, words, unit, what = measure
    bars = of.bars(min(BARS, max(FEWEST_BARS, 2 * isqrt(of.count))))
    quantiles = [(q, of.quantile(q) or 0.0) for q in (0.5, 0.9, 0.99) if of.min < of.max]
    told = " · ".join(f"p{q * 100:g} {words(value)}" for q, value in quantiles)
    told += f", from {words(of.min)} to {words(of.max)}" if told else ("all " * (of.count > 1) + words(of.min))
    keys = [Key(f"p{q * 100:g}", f"p{q * 100:g} {words(value)}") for q, value in quantiles]
    if not bars:
        bars = [(0.5, 1.0, 0)]
    scale, counts = (
        logarithmic(bars[0][0], bars[-1][1], words),
        linear(max(number for _, _, number in bars), whole, counts=True),
    )
    boxes = []
    for low, high, number in bars:
        left, right, tall = scale.at(low), scale.at(high), counts.at(number)
        label = f"{words(low)} to {words(high)}: {count(number, what)}"
        boxes.append(Box(left, 100 - tall, max(right - left - 0.3, 0.2), tall, "bar", label))
    paths = [(f"M{10 * scale.at(value):.1f} 0V{HEIGHT}", q) for q, value in quantiles if value >= scale.low]
    return Chart(
        name=name,
        title=title,
        x=f"{unit} (logarithmic)",
        y=what,
        words=f"{count(of.count, what)}: {told}.",
        x_marks=scale.marks,
        y_marks=counts.marks,
        table=Table(["above", "up to", what], [[words(a), words(b), count(n)] for a, b, n in bars]),
        keys=keys,
        boxes=boxes,
        lines=[*(Line(path, "casing") for path, _ in paths), *(Line(path, f"p{q * 100:g}") for path, q in paths)],
        note=f"{count(of.nothing, what)} with none are left out. " if of.nothing else "",
    )


def _lengths(of: Statistics) -> Chart:
    """Each answer that was drawn a dot; lines of the quantiles of all."""
    tokens, times = [n for n, _ in of.sample], [t for _, t in of.sample]
    classes = sorted(of.lengths.items())
    across = logarithmic(min(2.0 ** (classes[0][0] - 1), *tokens), max(2.0 ** classes[-1][0], *tokens), whole)
    up = logarithmic(max(min(times), 1e-6), max(of.latency.max, 1e-5), seconds)
    chart = Chart(
        name="lengths",
        title="Latency against the length of the answer",
        x="tokens of the answer (logarithmic)",
        y="latency (logarithmic)",
        words=f"The latency of {count(of.sampled_of, 'answers')} by their length: the table has its quantiles.",
        x_marks=across.marks,
        y_marks=up.marks,
        table=Table(
            ["tokens from", "to", "answers", "p50", "p95"],
            [
                [
                    *(whole(2 ** (n - 1)), whole(2**n - 1), count(h.count)),
                    *(seconds(h.quantile(q)) for q in (0.5, 0.95)),
                ]
                for n, h in classes
            ],
        ),
        keys=[Key("dot", "an answer"), Key("p50", "p50 of all"), Key("p90", "p95 of all")],
        dots=[(across.at(n), 100 - up.at(t)) for n, t in of.sample],
        note=(
            f"{count(len(of.sample))} of {count(of.sampled_of, 'answers')} are drawn, each with the same chance; lines "
            "and table are of all. "
            if of.sampled_of > len(of.sample)
            else "Every answer is drawn. "
        ),
    )
    for q, style in ((0.5, "p50"), (0.95, "p90")):
        points = [(across.at(0.75 * 2**n), up.at(h.quantile(q) or 0.0)) for n, h in classes]
        chart.lines += [Line(path_of(points), "casing"), Line(path_of(points), style)]
    return chart
