"""Joins the lines of two results files by id, and those of one by the row that was asked several times."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from batcher.inputs.done import DoneIds, Sight
from batcher.view.comparison.comparison import NAMED
from batcher.view.comparison.repeats import ANSWERS, row_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batcher.commands.past import Past
    from batcher.view.comparison.comparison import Comparison
    from batcher.view.comparison.repeats import Repeats

_NONE: Final = 0xFFFF_FFFF
"""There is no earlier answer to the row."""


def join(a: Past, b: Past, into: Comparison) -> None:
    """Read both, and count each row. For each id of either some 27 bytes are kept, and no text."""
    answers, failures = DoneIds(), DoneIds()  # where A's lines begin; `answers` also has which ids B has a line of
    for start, ident, is_result in a.places():
        if not is_result:
            into.a.failed += 1
            failures.add(ident, _place(start))
        elif answers.add(ident, _place(start)):
            into.a.lines += 1
        else:
            into.a.repeated += 1
    for start, record, is_result in b.records():
        ident = str(record["id"])
        answered = answers.get(ident)
        if answers.see(ident, answered or _place(0)) is Sight.REPEATED:
            into.b.repeated += 1
            continue
        into.b.lines += is_result
        into.b.failed += not is_result
        if answered is not None and not is_result:
            into.failed_b.add(ident)
        elif answered is not None:
            into.add(a.at(int(answered, 16)) or {}, record, (int(answered, 16), start))
        elif ident in failures:
            (into.failed_a if is_result else into.failed_both).add(ident)
        else:
            into.only_b.add(ident)
    into.settle()
    into.a.unreadable, into.b.unreadable = a.unreadable, b.unreadable
    met = into.joined + into.failed_a.count + into.failed_b.count + into.failed_both.count
    _name_rest(a, answers, into, into.a.lines + into.a.failed - met)


def _name_rest(a: Past, met: DoneIds, into: Comparison, number: int) -> None:
    """Name the first of A's rows that B has no line of."""
    into.only_a.count = number
    if not number:
        return
    for _, ident, _ in a.places():
        if not met.seen(ident):
            into.only_a.ids.append(ident if isinstance(ident, str) else ident.decode("utf-8", "replace"))
            if len(into.only_a.ids) >= min(NAMED, number):
                return


@dataclass(slots=True)
class Turns:
    """Which lines of a results file are answers to the same row. For each 13 bytes are kept, for each row 27 more."""

    past: Past
    _starts: array[int] = field(default_factory=lambda: array("Q"))
    _before: array[int] = field(default_factory=lambda: array("I"))
    """The number of the answer before it to the same row."""
    _has_later: bytearray = field(default_factory=bytearray)

    def gather(self, into: Repeats) -> None:
        """Read all of it, and count each row by its answers."""
        last = DoneIds()
        for start, record, is_result in self.past.records():
            row = row_of(str(record["id"]))
            into.side.failed += not is_result
            into.side.lines += is_result
            if not is_result:
                continue
            if row is None:
                into.single += 1
                continue
            number, earlier = len(self._starts), last.get(row)
            if earlier is not None:
                last.discard(row)
                self._has_later[int(earlier, 16)] = 1
            last.add(row, _place(number))
            self._starts.append(start)
            self._before.append(_NONE if earlier is None else int(earlier, 16))
            self._has_later.append(0)
        for number, has_later in enumerate(self._has_later):
            if not has_later:
                into.add(self.answers(number), number)
        into.settle()
        into.side.unreadable = self.past.unreadable

    def answers(self, number: int) -> list[Mapping[str, Any]]:
        """The answers to a row, of which the last has that number, in the order of the input."""
        found: list[Mapping[str, Any]] = []
        while number != _NONE and len(found) < ANSWERS:
            found.append(self.past.at(self._starts[number]) or {})
            number = self._before[number]
        return sorted(found, key=_order)


def _order(record: Mapping[str, Any]) -> int:
    return seq if type(seq := record.get("seq")) is int else 0


def _place(number: int) -> str:
    """A number as `DoneIds` keeps it."""
    return f"{number:016x}"
