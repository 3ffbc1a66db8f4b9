"""Statistics in words and bars, for a terminal."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING, Final

from batcher.figures import count, money, rate, seconds, span
from batcher.redaction import printable
from batcher.view.statistics.events import HOLDS, KINDS, OUTAGES, clock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from batcher.view.histogram import Histogram
    from batcher.view.statistics.groups import Group
    from batcher.view.statistics.statistics import Statistics

BARS: Final = 16
BAR: Final = 40
"""Cells of the longest bar."""
ROWS: Final = 24
"""Models, servers and hours that are named; `--json` has all."""
NAME: Final = 40
WORDS: Final = 90
CAUSES: Final = 8
_EIGHTHS: Final = " ▏▎▍▌▋▊▉"
_FEW: Final = 5
"""Answers below which bars say no more than the quantiles do."""


def lines(of: Statistics) -> Iterator[str]:
    """All of it, line by line. Whoever prints them takes out what a terminal would obey in names and words."""
    stretches = of.stretches()
    worked = of.worked()
    yield _row("answers", _joined([count(of.answers), *_odd(of)]))
    if stretches:
        pauses = (
            f", {count(len(stretches), 'stretches')} with pauses of more than 5 minutes between"
            if stretches[1:]
            else ""
        )
        began, ended = clock(stretches[0].start), clock(stretches[-1].end)
        yield _row("time", f"{began} to {ended} UTC · {span(worked)} of work{pauses}")
    if worked and of.answers:
        parts = [f"{rate(of.answers / worked)} answers/s"]
        if of.completion_tokens:
            parts.append(f"{rate(of.completion_tokens / worked)} tokens/s")
        if of.attempts:
            parts.append(f"{count(of.attempts, 'requests')}, {count(of.retries)} of them retries")
        yield _row("speed", _joined(parts))
    yield from _tokens(of)
    if of.prices is not None:
        unknown = f"{count(of.unpriced, 'answers')} whose price is not known" if of.unpriced else ""
        known = money(of.cost) if of.cost is not None else ""
        yield _row("cost", " and ".join(part for part in (known, unknown) if part) or "nothing was counted")
    full = of.fullness(stretches)
    if full.most:
        of_what = "the limit since it last moved" if full.is_told else "the most at a time"
        used = f"{100 * full.part:.0f} % of {_whole(full.most)}, {of_what}"
        yield _row("slots", f"{rate(full.mean)} in flight on average; {used}")
    found = of.bottleneck(stretches)
    if bound := of.told_bottleneck or (found.words if found is not None else ""):
        yield _row("bound by", bound)
    yield from _quantiles(of)
    yield from _histogram("latency", of.latency, seconds)
    yield from _histogram("TTFT", of.ttft, seconds)
    yield from _histogram("tokens of an answer", of.completions, _whole)
    yield from _groups("model", of.models.ranked(), len(of.models.by_name), of)
    yield from _groups("server", of.servers.ranked(), len(of.servers.by_name), of)
    if len(of.hours.by_name) > 1:
        yield from _groups("hour (UTC)", of.hours.in_order(), len(of.hours.by_name), of)
    yield from _failures(of)
    if of.flags:
        yield _row("flags", ", ".join(f"{printable(name, NAME)} {count(n)}" for name, n in of.flags.most_common(ROWS)))
    yield from _events(of)


def _odd(of: Statistics) -> list[str]:
    return [
        f"{count(of.failed)} failed" if of.failed else "",
        f"{count(of.invalid)} of these never sent" if of.invalid else "",
        f"{count(of.copies)} copied from equal requests" if of.copies else "",
        f"{count(of.unreadable, 'lines')} unreadable (batcher verify says which)" if of.unreadable else "",
        f"{count(of.superseded, 'failures')} that no longer stand left out" if of.superseded else "",
    ]


def _tokens(of: Statistics) -> Iterator[str]:
    if not (of.prompt_tokens or of.completion_tokens):
        return
    cached = f" ({count(of.cached_tokens)} from the server's cache)" if of.cached_tokens else ""
    thought = f" ({count(of.reasoning_tokens)} of thinking)" if of.reasoning_tokens else ""
    untold = f"not told of {count(of.uncounted, 'answers')}" if of.uncounted else ""
    parts = [f"{count(of.prompt_tokens)} in{cached}", f"{count(of.completion_tokens)} out{thought}", untold]
    yield _row("tokens", _joined(parts))


def _quantiles(of: Statistics) -> Iterator[str]:
    rows: list[tuple[str, Histogram, Callable[[float], str]]] = [
        ("latency", of.latency, seconds),
        ("TTFT", of.ttft, seconds),
        ("ITL p50", of.itl, seconds),
        ("ITL p95", of.itl_p95, seconds),
        ("tokens/s", of.speed, rate),
        ("tokens in", of.prompts, _whole),
        ("tokens out", of.completions, _whole),
    ]
    told = [row for row in rows if row[1].count]
    if not told:
        return
    yield ""
    table = [["of an answer", "min", "p50", "p90", "p95", "p99", "max"]]
    for name, histogram, words in told:
        table.append([name, *(words(histogram.quantile(q) or 0.0) for q in (0, 0.5, 0.9, 0.95, 0.99, 1))])
    yield from _columns(table, 14, 10)


def _histogram(name: str, of: Histogram, words: Callable[[float], str]) -> Iterator[str]:
    bars = of.bars(BARS)
    if of.count < _FEW or len(bars) < 2:
        return
    most = max(number for _, _, number in bars)
    yield ""
    yield name
    for low, high, number in bars:
        yield f"  {words(low):>8} – {words(high):>8}  {_bar(number / most):<{BAR}} {count(number)}"  # noqa: RUF001 - a range
    if of.nothing:
        yield f"  {'none':>19}  {'':<{BAR}} {count(of.nothing)}"


def _groups(title: str, groups: Iterable[tuple[str, Group]], number: int, of: Statistics) -> Iterator[str]:
    shown = [*islice(groups, ROWS)]
    if not shown:
        return
    has_cost = of.prices is not None
    rows = [[title, "answers", "failed", "tokens in", "tokens out", "p50", "p95", *(["cost"] if has_cost else [])]]
    yield ""
    for name, group in shown:
        cells = [
            printable(name, NAME),
            *(count(group.answers), count(group.failed), count(group.prompt_tokens), count(group.completion_tokens)),
            *(seconds(group.latency.quantile(q)) for q in (0.5, 0.95)),
            *([_cost(group)] if has_cost else []),
        ]
        rows.append(cells)
    yield from _columns(rows, 0, 12)
    if number > len(shown):
        yield f"and {count(number - len(shown))} more (--json has them)"


def _columns(rows: Sequence[Sequence[str]], first: int, least: int) -> Iterator[str]:
    """Lines of a table: the first column to the left, the others to the right, each as wide as its widest cell asks."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, *cells in rows:
        shown = [cell.rjust(max(least, width + 1)) for cell, width in zip(cells, widths[1:], strict=True)]
        yield name.ljust(max(first, widths[0])) + "".join(shown)


def _cost(group: Group) -> str:
    if group.cost is None:
        return "?" if group.unpriced else "-"
    return money(group.cost) + (" + ?" if group.unpriced else "")


def _failures(of: Statistics) -> Iterator[str]:
    ranked = of.causes.ranked()
    if ranked:
        yield ""
    for cause in ranked[:CAUSES]:
        words = printable(f"{cause.code}: {cause.message}", WORDS)
        yield _row("failed", f"{count(cause.count)} × {words} ({printable(cause.id, NAME)})")  # noqa: RUF001 - times
    if rest := ranked[CAUSES:]:
        number = sum(cause.count for cause in rest)
        yield _row("failed", f"{count(number)} for {count(len(rest))} other causes (--json)")


def _events(of: Statistics) -> Iterator[str]:
    """What happened to the runs, added up by kind; the state file has at most a thousand events."""
    if not of.events.known:
        yield _row("events", "no state file beside the results tells of any")
        return
    spent: Counter[str] = Counter()
    number: Counter[str] = Counter()
    for event in of.events.all:
        number[event.kind] += event.times
        if event.kind in HOLDS or event.kind in OUTAGES:
            spent[event.kind] += round(event.end - event.start)
    told = [
        f"{KINDS[kind]}: {count(times)} ×" + (f", {span(spent[kind])}" if kind in spent else "")  # noqa: RUF001 - times
        for kind, times in number.most_common()
    ]
    yield _row("events", "; ".join(told) or "none")


def _bar(share: float) -> str:
    whole, part = divmod(round(share * BAR * 8), 8)
    return "█" * whole + (_EIGHTHS[part] if part else "" if whole else "▏" if share else "")


def _row(name: str, text: str) -> str:
    return f"{name:<9} {text}"


def _joined(parts: Iterable[str]) -> str:
    return " · ".join(part for part in parts if part)


def _whole(x: float) -> str:
    return f"{x:,.0f}" if x >= 10 else f"{x:.1f}".removesuffix(".0")
