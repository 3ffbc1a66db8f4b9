"""The page of a comparison: sums, agreement field by field, and the rows that differ most, text beside text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from batcher.figures import count
from batcher.view.comparison.likeness import canonical
from batcher.view.comparison.shown import Words, answer_of, marked, told, window
from batcher.view.comparison.sides import spent
from batcher.view.comparison.words import agreement, differing, notes, percent, share, steadiness, table
from batcher.view.report.chart import Table
from batcher.view.report.contents import Part, Tile, clean
from batcher.view.report.frame import render

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from batcher.view.comparison.comparison import Comparison, Row
    from batcher.view.comparison.repeats import Repeats

TEXT: Final = 4000
"""Characters of a text that are shown."""
VALUE: Final = 300
"""Characters of a field that are shown."""
ANSWERS: Final = 8
"""The most answers to a row that are shown."""
BUDGET: Final = 1_200_000
"""Bytes of what others wrote: a page stays below 3 MB."""
LINE: Final = 200


class Beside(NamedTuple):
    title: str
    pieces: list[Words]


class Shown(NamedTuple):
    ident: str
    words: str
    fields: Table | None
    answers: list[Beside]


@dataclass(slots=True, kw_only=True)
class Page:
    """`rows`: how much the answers differ, the id, their lines; those that differ most first."""

    name: str
    version: str
    rows: Iterable[Row]
    _spent: int = 0
    _left_out: int = 0

    def of_two(self, of: Comparison, names: tuple[str, str]) -> str:
        """Make the page of two files, of which the last parts of their names are given."""
        rows = [[clean(cell) for cell in row] for row in table(of)]
        parts = [
            Part(
                "A and B",
                Table(
                    ["", *(f"{side}: {clean(name)}" for side, name in zip("AB", names, strict=True)), "B beside A"],
                    rows,
                ),
                "Times, tokens and cost are of the rows that both answered.",
            )
        ]
        if of.fields:
            ranked = sorted(of.fields.items(), key=lambda item: (share(item[1]), item[0]))
            cells = [
                [clean(name), percent(share(field)), *map(count, (field.same, field.both, field.only_a, field.only_b))]
                for name, field in ranked
            ]
            heads = ["field", "agree", "the same", "in both", "in A alone", "in B alone"]
            parts.append(Part("Agreement of fields", Table(heads, cells)))
        tiles = [Tile("rows in both", count(of.joined)), Tile("of these differ", count(of.differing.count))]
        tiles += [Tile(f"{name} the same", words.partition(" the same")[0]) for name, words in agreement(of)]
        ids = [
            f"{name}: {words}" + (f" ({', '.join(clean(ident[:LINE]) for ident in named.ids)})" if named else "")
            for name, named, words in notes(of)
        ]
        said = [f"{name}: {words}" for name, words in agreement(of)]
        return self._render(
            headline=f"{count(of.joined, 'rows')} answered in both, {count(of.differing.count)} of them differ",
            tiles=tiles,
            notes=[*said, *ids],
            tables=parts,
            titles=("A", "B"),
        )

    def of_one(self, of: Repeats) -> str:
        """Make the page of one file whose rows were asked several times."""
        parts = []
        if of.fields:
            ranked = sorted(of.fields.items(), key=lambda item: (item[1].mean or 0.0, item[0]))
            cells = [
                [clean(name), percent(field.mean), *map(count, (field.unanimous, field.rows))] for name, field in ranked
            ]
            parts = [
                Part("Agreement of fields", Table(["field", "pairs that agree", "rows in which all do", "rows"], cells))
            ]
        tiles = [
            Tile("rows", count(of.rows)),
            Tile("answers", count(of.answers)),
            Tile("rows that differ", count(of.differing.count)),
        ]
        return self._render(
            headline=f"{count(of.rows, 'rows')} with {count(of.answers, 'answers')}",
            tiles=tiles,
            notes=[f"{name}: {words}" for name, words in (*spent(of.side), *steadiness(of))],
            tables=parts,
            titles=(),
        )

    def _render(self, *, titles: tuple[str, ...], **words: Any) -> str:
        rows = list(self._rows(titles))
        title = "Rows that differ most" if titles else "Rows that agree least"
        note = "Words that the other text does not have there are marked, where texts are short." if titles else ""
        if self._left_out:
            note += f" {count(self._left_out, 'rows')} are left out: the page is full."
        shown = note if rows else "None differs."
        return render(
            "comparison.html.j2", name=clean(self.name), version=self.version, rows=rows, rows_title=title,
            rows_note=shown, **words,
        )  # fmt: skip

    def _rows(self, titles: tuple[str, ...]) -> Iterator[Shown]:
        for distance, ident, lines in self.rows:
            if self._spent >= BUDGET:
                self._left_out += 1
                continue
            kept = lines[:ANSWERS]
            found = [answer_of(line) for line in kept]
            texts = window([answer.text for answer in found], TEXT)
            pieces = marked(*texts) if titles else [[Words(text, is_other=False)] for text in texts]
            more = f" · {len(kept)} of {count(len(lines), 'answers')}" if len(lines) > len(kept) else ""
            answers = []
            for at, (line, answer) in enumerate(zip(kept, found, strict=True)):
                about = titles[at] if titles else str(line.get("id"))[-LINE:]
                model = line.get("model")
                title = " · ".join(part for part in (about, model if type(model) is str else "", answer.words) if part)
                shown = [Words(self._text(piece.text), piece.is_other) for piece in pieces[at]]
                answers.append(Beside(self._text(title[:LINE]), shown or [Words("(no text)", is_other=False)]))
            said = f"{percent(distance)} differ{more}{differing(lines)}"
            heads = titles or [self._text(str(line.get("id"))[-LINE:]) for line in kept]
            yield Shown(self._text(ident[:LINE]), self._text(said), self._fields(kept, heads), answers)

    def _fields(self, lines: Sequence[Mapping[str, Any]], heads: Sequence[str]) -> Table | None:
        """The fields of JSON whose values are not the same in all, with these."""
        values = [value if type(value := line.get("parsed")) is dict else {} for line in lines]
        names = dict.fromkeys(name for of in values for name in of)
        differing = [name for name in names if len({canonical(of[name]) if name in of else None for of in values}) > 1]
        cells = [
            [self._text(name[:LINE]), *(self._text(told(of[name])[:VALUE]) if name in of else "-" for of in values)]
            for name in differing[:50]
        ]
        return Table(["field", *heads], cells) if cells else None

    def _text(self, text: str) -> str:
        kept = clean(text)
        self._spent += 5 * len(kept)  # as entities, or in UTF-8
        return kept
