"""What a report says beside its charts: the sums in short, what is to be known of them, and tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from batcher.figures import count, money, rate, seconds, span
from batcher.view.report.chart import Table, whole
from batcher.view.statistics.events import KINDS, clock

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from batcher.view.statistics.groups import Group
    from batcher.view.statistics.statistics import Statistics
    from batcher.view.statistics.timeline import Stretch

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
        when = f"{clock(stretches[0].start)} to {clock(stretches[-1].end)} UTC"
        parts += [f"{span(of.worked())} of work" + (f" in {count(len(stretches))} stretches" if stretches[1:] else "")]
        parts += [when]
    return " · ".join(parts)


def tiles(of: Statistics, stretches: list[Stretch]) -> Iterator[Tile]:
    worked = of.worked()
    yield Tile("answers", count(of.answers))
    yield Tile("failed", count(of.failed))
    if worked:
        yield Tile("answers/s", rate(of.answers / worked))
        if of.completion_tokens:
            yield Tile("tokens/s out", rate(of.completion_tokens / worked))
    for name, histogram in (("latency", of.latency), ("TTFT", of.ttft)):
        for q in (0.5, 0.95) if histogram.count else ():
            yield Tile(f"{name} p{q * 100:g}", seconds(histogram.quantile(q)))
    if of.prompt_tokens or of.completion_tokens:
        yield Tile("tokens in", count(of.prompt_tokens))
        yield Tile("tokens out", count(of.completion_tokens))
    if of.cached_tokens:
        yield Tile("of these in, cached", count(of.cached_tokens))
    if of.cost is not None or of.unpriced:
        yield Tile("cost" if not of.unpriced else "cost, as far as known", "?" if of.cost is None else money(of.cost))
    full = of.fullness(stretches)
    if full.most:
        yield Tile(f"of {whole(full.most)} slots in use", f"{100 * full.part:.0f} %")


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
    if of.invalid:
        yield f"{count(of.invalid)} of the failures were lines of the input that could not be sent."
    if of.unreadable:
        yield f"{count(of.unreadable, 'lines')} of the results file are no results; batcher verify says which."
    if of.superseded:
        yield f"{count(of.superseded, 'failures')} that no longer stand were left out."


def tables(of: Statistics) -> Iterator[Part]:
    for title, groups, number in (
        ("By model", of.models.ranked(), len(of.models.by_name)),
        ("By server", of.servers.ranked(), len(of.servers.by_name)),
        ("By hour (UTC)", of.hours.in_order(), len(of.hours.by_name)),
    ):
        if number:
            yield Part(title, _groups(groups, has_cost=of.prices is not None), _more(number))
    causes = of.causes.ranked()
    if causes:
        rows = [
            [clean(cause.code), count(cause.count), clean(cause.message[:300]), clean(cause.id)]
            for cause in causes[:ROWS]
        ]
        yield Part(
            "Failures by cause", Table(["code", "jobs", "words of the first", "its id"], rows), _more(len(causes))
        )
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


def _groups(groups: Iterable[tuple[str, Group]], *, has_cost: bool) -> Table:
    heads = ["", "answers", "failed", "tokens in", "tokens out", "TTFT p50", "TTFT p95", "latency p50", "latency p95"]
    rows = []
    for name, group in list(groups)[:ROWS]:
        row = [
            clean(name),
            *map(count, (group.answers, group.failed, group.prompt_tokens, group.completion_tokens)),
            *(seconds(of.quantile(q)) for of in (group.ttft, group.latency) for q in (0.5, 0.95)),
        ]
        if has_cost:
            known = money(group.cost) if group.cost is not None else "?" if group.unpriced else "-"
            row.append(known + (f", and {count(group.unpriced)} unknown" if group.unpriced and known != "?" else ""))
        rows.append(row)
    return Table([*heads, "cost"] if has_cost else heads, rows)


def _more(number: int) -> str:
    return f"The first {ROWS} of {count(number)}; batcher stats --json has more." if number > ROWS else ""


def clean(text: str) -> str:
    """Text in which control characters are seen, and half surrogates are U+FFFD."""
    return text.translate(_CONTROLS).encode("utf-8", "replace").decode()
