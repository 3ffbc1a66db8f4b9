"""What a report says beside its charts: the sums in short, what is to be known of them, and tables."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from batcher.figures import count, money, rate, seconds, span
from batcher.view.report.chart import Table, whole
from batcher.view.statistics.events import KINDS, clock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from batcher.view.statistics.groups import Group
    from batcher.view.statistics.statistics import Statistics
    from batcher.view.statistics.timeline import Stretch

_HOUR: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d")
ROWS: Final = 200
"""Rows of a table of models, servers, hours, causes or events."""
_CONTROLS: Final = {**{n: 0x2400 + n for n in range(32) if n not in (9, 10)}, 127: 0x2421, 13: 0x240D}
"""Control characters → the pictures that Unicode has of them. Marks of direction end with their `bdi`."""


class Tile(NamedTuple):
    words: str
    value: str


class Part(NamedTuple):
    title: str
    table: Table
    note: str = ""
    is_wordy: bool = False
    """Cells are words rather than numbers."""


def headline(of: Statistics, stretches: list[Stretch]) -> str:
    parts = [count(of.answers, "answers"), f"{count(of.failed)} failed" if of.failed else "none failed"]
    if stretches:
        began, ended = clock(stretches[0].start), clock(stretches[-1].end)
        if began[:10] == ended[:10]:  # its day is told once
            ended = clock(stretches[-1].end, with_date=False)
        parts += [f"{span(of.worked())} of work" + (f" in {count(len(stretches))} stretches" if stretches[1:] else "")]
        parts += [f"{began} to {ended} UTC"]
    return " · ".join(parts)


def tiles(of: Statistics, stretches: list[Stretch]) -> Iterator[Tile]:
    worked = of.worked()
    yield Tile("answers", count(of.answers))
    yield Tile("failed", count(of.failed))
    if worked and of.answers:
        yield Tile("answers/s", rate(of.answers / worked))
        if of.completion_tokens:
            yield Tile("tokens/s out", rate(of.completion_tokens / worked))
    for name, histogram in (("latency", of.latency), ("TTFT", of.ttft)):
        for q in (0.5, 0.95) if histogram.count else ():
            yield Tile(f"{name} p{q * 100:g}", seconds(histogram.quantile(q)))
    if of.prompt_tokens or of.completion_tokens:
        yield Tile("tokens in", count(of.prompt_tokens))
    if of.cached_tokens:
        yield Tile("of these cached", count(of.cached_tokens))
    if of.completion_tokens:
        yield Tile("tokens out", count(of.completion_tokens))
    if of.cost is not None or of.unpriced:
        yield Tile("cost" if not of.unpriced else "cost, as far as known", "?" if of.cost is None else money(of.cost))
    full = of.fullness(stretches)
    if full.most:
        yield Tile(
            f"of {whole(full.most)} {'slot' if whole(full.most) == '1' else 'slots'} in use", f"{100 * full.part:.0f} %"
        )


def notes(of: Statistics) -> Iterator[str]:
    if of.unpriced:
        yield f"The price of {count(of.unpriced, 'answers')} is not known."
    if of.uncounted:
        yield f"Of {count(of.uncounted, 'answers')} the server did not tell the tokens."
    if of.copies:
        yield f"{count(of.copies, 'answers')} are copies of those to equal requests; times and tokens count once."
    if of.packed:
        yield f"{count(of.packed, 'answers')} came in packs; the times of a pack count once."
    if of.retries:
        yield f"{count(of.retries)} of {count(of.attempts, 'requests')} were retries; all times are of last attempts."
    yield from _of_holds(of)
    if of.invalid:
        yield f"{count(of.invalid)} of the failures were lines of the input that could not be sent."
    if of.unreadable:
        yield f"{count(of.unreadable, 'lines')} of the results file are no results; batcher verify says which."
    if of.superseded:
        yield f"{count(of.superseded, 'failures')} that no longer stand were left out."


def _hours(of: Statistics) -> Iterator[tuple[str, Group]]:
    for hour, group in of.hours.in_order():
        yield (f"{hour.replace('T', ' ')}:00" if _HOUR.fullmatch(hour) else hour), group


def _of_holds(of: Statistics) -> Iterator[str]:
    if not of.events.known and (of.answers or of.failed):
        yield "Holds and outages are not known: there is no state file beside the results."
    elif of.events.known and not of.events.holds:
        yield "There was no hold and no outage."


def tables(of: Statistics) -> Iterator[Part]:
    for title, groups, number in (
        ("By model", of.models.ranked(), len(of.models.by_name)),
        ("By server", of.servers.ranked(), len(of.servers.by_name)),
        ("By hour (UTC)", _hours(of), len(of.hours.by_name)),
    ):
        if number:
            yield Part(title, _groups(groups, of), _more(number))
    causes = of.causes.ranked()
    if causes:
        rows = [
            [clean(cause.code), count(cause.count), clean(cause.message[:300]), clean(cause.id)]
            for cause in causes[:ROWS]
        ]
        heads = ["code", "jobs", "words of the first", "its id"]
        yield Part("Failures by cause", Table(heads, rows), _more(len(causes)), is_wordy=True)
    if of.flags:
        rows = [[clean(name), count(number)] for name, number in of.flags.most_common(ROWS)]
        yield Part("Flags", Table(["flag", "answers"], rows), _more(len(of.flags)))
    if of.events.known and of.events.all:
        rows = [
            [
                *(clock(event.start), span(event.end - event.start), KINDS[event.kind], count(event.times)),
                *(clean(event.server), clean(event.words)),
            ]
            for event in of.events.all[:ROWS]
        ]
        heads = ["from (UTC)", "for", "what", "times", "server", "words"]
        yield Part("What happened meanwhile", Table(heads, rows), _more(len(of.events.all)), is_wordy=True)


def _groups(groups: Iterable[tuple[str, Group]], of: Statistics) -> Table:
    """Columns of which no group has anything are left out."""
    told: dict[str, Callable[[Group], str]] = {
        "answers": lambda group: count(group.answers),
        "failed": lambda group: count(group.failed),
    }
    if of.prompt_tokens:
        told["tokens in"] = lambda group: count(group.prompt_tokens)
    if of.completion_tokens:
        told["tokens out"] = lambda group: count(group.completion_tokens)
    if of.ttft.count:
        told["TTFT p50"] = lambda group: seconds(group.ttft.quantile(0.5))
        told["TTFT p95"] = lambda group: seconds(group.ttft.quantile(0.95))
    if of.latency.count:
        told["latency p50"] = lambda group: seconds(group.latency.quantile(0.5))
        told["latency p95"] = lambda group: seconds(group.latency.quantile(0.95))
    if of.prices is not None and of.answers:
        told["cost"] = _cost
    rows = [[clean(name), *(tell(group) for tell in told.values())] for name, group in list(groups)[:ROWS]]
    return Table(["", *told], rows)


def _cost(of: Group) -> str:
    known = money(of.cost) if of.cost is not None else "?" if of.unpriced else "-"
    return known + (f", and {count(of.unpriced)} unknown" if of.unpriced and known != "?" else "")


def _more(number: int) -> str:
    return f"The first {ROWS} of {count(number)}; batcher stats --json has more." if number > ROWS else ""


def clean(text: str) -> str:
    """Text in which control characters are seen, and half surrogates are U+FFFD."""
    return text.translate(_CONTROLS).encode("utf-8", "replace").decode()
