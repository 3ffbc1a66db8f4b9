"""The results of several parts, each once: what their runs were told, and what is twice, damaged or lost among them."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Final, TypeVar

from batcher.failures import InputError
from batcher.figures import count
from batcher.inputs.changes import run_changes
from batcher.inputs.done import DoneIds
from batcher.ledger.names import vectors_path
from batcher.ledger.parts import Part
from batcher.ledger.verification import SHOWN, first_model
from batcher.outputs.store import Store, row_named

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from contextlib import ExitStack
    from pathlib import Path

    from batcher.ledger.state import State
    from batcher.model import Json

_T = TypeVar("_T")
SOME: Final = 2048
"""Lines that are looked at together."""


class TwiceError(InputError):
    """An id has results in two parts."""


@dataclass(slots=True)
class Gathered:
    """Parts, open and held, and what is in them. `twice` counts results of ids that had one, which do not count."""

    parts: list[Part]
    results: DoneIds = field(default_factory=DoneIds)
    twice: int = 0
    unreadable: int = 0
    """Lines that are no results."""
    lost: int = 0
    """Results whose vectors are not in their store."""
    stores: dict[int, Store] = field(default_factory=dict)
    """The stores of vectors, by the number of their part."""

    @classmethod
    def of(cls, paths: Sequence[Path], stack: ExitStack) -> Gathered:
        """Open them until the stack is left. Raises `OutputError` (73), `LockedError` (75), `InputError` (65)."""
        parts = []
        for path in paths:
            part = Part.open(path, len(paths))
            stack.callback(part.file.close)
            parts.append(part)
        return cls(parts)

    @property
    def states(self) -> list[State]:
        return [part.state for part in self.parts if part.state is not None]

    def check_alike(self) -> None:
        """Raise `InputError` (65) if their runs were told something else, or took other rows."""
        told = [part for part in self.parts if part.state is not None]
        for part in told[1:]:
            first = told[0]
            if differing := run_changes(_asked(first), _asked(part)):
                raise InputError(
                    f"{first.path} and {part.path} are of runs that were told something else, from the one to the "
                    f"other: {', '.join(differing)}. Parts are of one input and one set of parameters"
                )

    def absent(self) -> list[str]:
        """The parts of which there is no file, where all are parts of as many: 3/8."""
        shards = [part.shard for part in self.parts]
        if None in shards:
            return []
        numbers = {shard.partition("/")[0] for shard in shards if shard}
        whole = {shard.partition("/")[2] for shard in shards if shard}
        of = next(iter(whole), "")
        if len(whole) != 1 or not of.isdecimal():
            return []
        return [f"{number}/{of}" for number in range(1, int(of) + 1) if str(number) not in numbers]

    def gather(self, *, keep_first: bool = False) -> None:
        """Read all results. Raises `TwiceError` (65) if an id has one in two parts.

        `keep_first`: of several to the same request the first counts, in the order of the parts.
        """
        clashes: list[str] = []
        clashing = 0
        for number, part in enumerate(self.parts):
            self.unreadable += part.survey().unreadable
            has_store = self._check_rows(number, part)
            for found in part.results():
                if not has_store and row_named(found.line) is not None:
                    self._lose(part, found.offset)
                    continue
                if self.results.add(found.ident, found.digest):
                    continue
                is_same = self.results.get(found.ident) == _text(found.digest)
                if keep_first and is_same:
                    self.twice += 1
                    part.dropped.add(found.offset)
                    continue
                clashing += 1
                if len(clashes) < SHOWN:
                    other = self._first_of(found.ident, number)
                    what = "" if is_same else ", to different requests"
                    clashes.append(f"{_text(found.ident)} in {other} and {part.path}{what}")
        if clashing:
            more = f" and {clashing - len(clashes)} more" if clashing > len(clashes) else ""
            raise TwiceError(f"two parts have results of {count(clashing, 'ids')}: {'; '.join(clashes)}{more}")

    def first_model(self) -> str | None:
        """The model on the first results that name one."""
        for part in self.parts:
            part.file.seek(0)
            if model := first_model(part.file):
                return model
        return None

    def idents_unseen(self) -> Iterator[tuple[str, Path]]:
        """Results that no row of the input asked for."""
        for part in self.parts:
            for found in part.results():
                if not self.results.seen(found.ident):
                    yield _text(found.ident), part.path

    def close(self) -> None:
        for store in self.stores.values():
            store.close()

    def _first_of(self, ident: str | bytes, before: int) -> Path:
        """The part, among the first so many, that has the result of an id."""
        name = _text(ident)
        return next(
            part.path
            for part in self.parts[: before + 1]
            if any(_text(found.ident) == name for found in part.results())
        )

    def _check_rows(self, number: int, part: Part) -> bool:
        """Hold the vectors of a part to their lines: what is lost is none, and its job is to be asked again.

        Whether it has a store of vectors.
        """
        path = vectors_path(part.path)
        if not path.exists():
            return False
        store = self.stores[number] = Store.open_to_read(path)
        named = ((found.offset, row) for found in part.results() if (row := row_named(found.line)) is not None)
        for some in in_groups(named):
            for (offset, _), is_fault in zip(some, store.faults([row for _, row in some]), strict=True):
                if is_fault:
                    self._lose(part, offset)
        return True

    def _lose(self, part: Part, offset: int) -> None:
        part.dropped.add(offset)
        self.lost += 1


def _asked(part: Part) -> dict[str, Json]:
    """What a part's run was told about each row, and which rows it took, whatever its share of them."""
    assert part.state is not None
    rows = {name: value for name, value in part.state.selection.items() if name not in ("shard", "done_from")}
    inputs = part.state.input.get("inputs") or [part.state.input]
    chunks = next((one["chunks"] for one in inputs if one.get("chunks")), None)
    return {**part.state.run, **rows, **({"chunks": chunks} if chunks else {})}


def in_groups(items: Iterable[_T]) -> Iterator[list[_T]]:
    """Some of them at a time."""
    left = iter(items)
    while some := list(islice(left, SOME)):
        yield some


def _text(part: str | bytes) -> str:
    return part.decode() if isinstance(part, bytes) else part
