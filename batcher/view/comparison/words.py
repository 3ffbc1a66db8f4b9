"""Comparisons in words for a terminal of any width: sums, and the answers that differ most beside each other."""

from __future__ import annotations

from io import StringIO
from typing import TYPE_CHECKING, Any, Final

from batcher.figures import count
from batcher.redaction import printable
from batcher.view.comparison.comparison import compared
from batcher.view.comparison.shown import answer_of, window
from batcher.view.comparison.sides import figures, spent

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from batcher.view.comparison.comparison import Agreement, Comparison, Named, Row
    from batcher.view.comparison.repeats import Repeats
    from batcher.view.comparison.sides import Side
    from batcher.view.histogram import Histogram

FIELDS: Final = 30
"""Fields that are named, those that agree least first; `--json` has all."""
NAME: Final = 40
COLUMN: Final = 16
LINES: Final = 12
"""Lines of a terminal for each answer that is shown."""
LEAST: Final = 24
"""Cells of a column below which answers stand one below the other."""
BESIDE: Final = 4
"""The most answers to a row that are shown."""


def comparison_lines(of: Comparison, rows: Iterable[Row], width: int) -> Iterator[str]:
    """All of it, line by line. Whoever prints them takes out what a terminal would obey in names and words."""
    yield _row("rows", f"{count(of.joined)} answered in both · {count(of.differing.count)} of them differ")
    for name, named, words in notes(of):
        yield _row(name, f"{words}{_ids(named)}")
    yield ""
    yield f"{'':<18}{'A':>{COLUMN}}{'B':>{COLUMN}}{'B beside A':>{COLUMN}}"
    for name, *cells in table(of):
        yield f"{name:<18}" + "".join(f"{printable(cell, COLUMN - 1):>{COLUMN}}" for cell in cells)
    yield ""
    for name, words in agreement(of):
        yield _row(name, words)
    yield from _fields({name: (share(field), _told(field)) for name, field in of.fields.items()})
    yield from _rows(rows, width, "the rows that differ most")


def repeats_lines(of: Repeats, rows: Iterable[Row], width: int) -> Iterator[str]:
    """The same of the answers to each row."""
    single = f" · {count(of.single)} with one answer alone" if of.single else ""
    yield _row("rows", f"{count(of.rows)} with {count(of.answers, 'answers')}{single}")
    if of.side.failed:
        yield _row("failed", count(of.side.failed))
    for name, words in (*spent(of.side), *steadiness(of)):
        yield _row(name, words)
    yield from _fields(
        {
            name: (field.mean or 0.0, f"{percent(field.mean)} of pairs agree; all in {count(field.unanimous)} rows")
            for name, field in of.fields.items()
        }
    )
    yield from _rows(rows, width, "the rows that agree least")


def notes(of: Comparison) -> Iterator[tuple[str, Named | None, str]]:
    """What is to be known of rows that are not compared, or are not the same: a name, some ids, a sentence."""
    for name, named, words in (
        ("only in A", of.only_a, "{} of which B has no line"),
        ("only in B", of.only_b, "{} of which A has no line"),
        ("failed", of.failed_a, "{} in A, and answered in B"),
        ("failed", of.failed_b, "{} in B, and answered in A"),
        ("failed", of.failed_both, "{} in both"),
        ("asked", of.asked_otherwise, "{} asked for something else of the same model: their hashes differ"),
    ):
        if named.count:
            yield name, named, words.format(count(named.count, "rows"))
    if of.uncompared:
        words = f"{count(of.uncompared, 'rows')} without text, JSON or calls: vectors and pictures are not compared"
        yield "not seen", None, words
    if of.other_models:
        words = f"{count(of.other_models, 'rows')} of other models, whose hashes do not tell if all else was the same"
        yield "asked", None, words
    if of.told_otherwise:
        yield "asked", None, f"by their state files the runs differ in {', '.join(of.told_otherwise)}"
    for name, side in (("A", of.a), ("B", of.b)):
        if side.unreadable or side.repeated:
            parts = [
                f"no result on {count(side.unreadable, 'lines')}" if side.unreadable else "",
                f"an earlier id on {count(side.repeated, 'lines')}" if side.repeated else "",
            ]
            yield name, None, f"{' and '.join(filter(None, parts))}: batcher verify says which"


def table(of: Comparison) -> Iterator[tuple[str, str, str, str]]:
    """Figures of both: answers and failures of all rows, the rest of those that both answered."""
    yield "model", _models(of.a), _models(of.b), ""
    yield "answers", count(of.a.lines), count(of.b.lines), ""
    yield "failed", count(of.a.failed), count(of.b.failed), ""
    for figure in figures(of.a, of.b):
        yield figure.words, *figure.cells()


def agreement(of: Comparison) -> Iterator[tuple[str, str]]:
    """How far answers agree, by what is compared."""
    if of.texts:
        words = f"{percent(of.exact / of.texts)} the same ({count(of.exact)} of {count(of.texts)})"
        yield "text", f"{words}{_alike(of.similarities)}"
    for name, told in (("calls", of.calls), ("parsed", of.parsed)):
        if told.both or told.only_a or told.only_b:
            yield name, f"{percent(share(told))} the same ({_told(told)})"


def steadiness(of: Repeats) -> Iterator[tuple[str, str]]:
    """How far the answers to a row agree."""
    for name, told in (("text", of.texts), ("calls", of.calls)):
        if told.rows:
            words = f"{percent(told.mean)} of pairs agree; all in {count(told.unanimous)} of {count(told.rows, 'rows')}"
            yield name, words + (_alike(of.similarities) if name == "text" else "")


def share(of: Agreement) -> float:
    """Which part agrees of all that either side has."""
    total = of.both + of.only_a + of.only_b
    return of.same / total if total else 0.0


def percent(part: float | None) -> str:
    """Never 100 or 0 of what is not all or nothing."""
    if part is None:
        return "-"
    shown = f"{100 * part:.1f}".removesuffix(".0")
    if part not in (0, 1) and shown in ("0", "100"):
        return "<0.1 %" if shown == "0" else ">99.9 %"
    return f"{shown} %"


def _told(of: Agreement) -> str:
    alone = [f"{count(n)} in {side} alone" for n, side in ((of.only_a, "A"), (of.only_b, "B")) if n]
    return ", ".join([f"{count(of.same)} of {count(of.both)}", *alone])


def _alike(of: Histogram) -> str:
    return f"; similarity {of.mean or 0.0:.2f} on average, {of.quantile(0.1) or 0.0:.2f} or less in a tenth"


def _models(side: Side) -> str:
    if not side.models:
        return "-"
    (name, _), *rest = side.models.most_common()
    return name + (f" +{len(rest)}" if rest else "")


def _ids(named: Named | None) -> str:
    if named is None:
        return ""
    more = ", …" if named.count > len(named.ids) else ""
    return f" ({', '.join(printable(ident, NAME) for ident in named.ids)}{more})"


def _fields(told: Mapping[str, tuple[float, str]]) -> Iterator[str]:
    """Each field of answers in JSON, those that agree least first."""
    if not told:
        return
    ranked = sorted(told.items(), key=lambda item: (item[1][0], item[0]))
    shown = ranked[:FIELDS]
    width = max(len(printable(name, NAME)) for name, _ in shown)
    for name, (part, words) in shown:
        yield f"  {printable(name, NAME):<{width}}  {percent(part):>8}  {words}"
    if rest := ranked[FIELDS:]:
        yield f"  and {count(len(rest), 'fields')} more (--json has them)"


def _rows(rows: Iterable[Row], width: int, title: str) -> Iterator[str]:
    for number, (distance, ident, answers) in enumerate(rows):
        if not number:
            yield from ("", title)
        yield ""
        more = f" · {BESIDE} of {count(len(answers), 'answers')}" if len(answers) > BESIDE else ""
        yield printable(f"{printable(ident, NAME)} · {percent(distance)} differ{more}{differing(answers)}", width)
        yield from _beside(answers[:BESIDE], width)


def differing(answers: Sequence[Mapping[str, Any]]) -> str:
    """Which fields of two answers differ."""
    if len(answers) != 2:
        return ""
    names = compared(*answers).fields
    return f" · {', '.join(names[:8])}{', …' if names[8:] else ''}" if names else ""


def _beside(answers: Sequence[Mapping[str, Any]], width: int) -> Iterator[str]:
    """Texts beside each other, or one below the other where that leaves too little room."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    found = [answer_of(answer) for answer in answers]
    each = (width - 1) // len(found) - 3
    columns = len(found) if each >= LEAST else 1
    cells = max(each if columns > 1 else width - 4, 1)
    texts = window([answer.text for answer in found], cells * LINES)
    said = [_lines(text, answer.words) for text, answer in zip(texts, found, strict=True)]
    out = StringIO()
    console = Console(file=out, width=width, color_system=None, force_terminal=False, legacy_windows=False)
    grid = Table(box=box.SQUARE, show_header=False, expand=columns > 1, show_lines=True)
    for _ in range(columns):
        grid.add_column(ratio=1 if columns > 1 else None, overflow="fold")
    for at in range(0, len(said), columns):
        shown = []
        for text in said[at : at + columns]:
            wrapped = Text(text).wrap(console, cells, overflow="fold")
            more = ["…"] if len(wrapped) > LINES else []
            shown.append(Text("\n".join([*(line.plain.rstrip() for line in wrapped[:LINES]), *more])))
        grid.add_row(*shown)
    console.print(grid, highlight=False)
    yield from out.getvalue().splitlines()


def _lines(text: str, words: str) -> str:
    kept = "\n".join(printable(line) for line in text.split("\n"))
    return (kept or "(no text)") + (f"\n[{printable(words, NAME)}]" if words else "")


def _row(name: str, text: str) -> str:
    return f"{name:<9} {text}"
