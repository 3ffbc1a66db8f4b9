"""The columns of a table: those of the input, then those of the answers, each under a name of its own.

    the input's             as they are called there; `id` first where it has none of that name
    the answer's            `text`, the fields of `parsed`, tokens … as far as any line has them; what it cost, where
                            there are prices; `error` always

A column of the answers that the input has too is called `answer_text`; names that differ in case alone count as one,
as they do for databases.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from operator import itemgetter
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from batcher.model import Json
    from batcher.outputs.joining import Chunk

Price: TypeAlias = "Callable[[Mapping[str, Json]], float | None]"

ID: Final = "id"
ERROR: Final = "error"
PARSED: Final = "parsed"
PREFIX: Final = "answer_"

_BEFORE: Final = ("text", "thinking", "refusal", "tool_calls", "turns", "choices")
"""Fields of a line that come before those of `parsed`."""
_AFTER: Final = ("mismatch", "finish_reason", "flags")
_TOKENS: Final = ("prompt_tokens", "completion_tokens")
COST: Final = "cost"
_LAST: Final = ("embedding", "embeddings", "image", "images")
_FIELDS: Final = frozenset({*_BEFORE, *_AFTER, COST, *_LAST})


@dataclass(slots=True)
class Columns:
    """What columns there are so far. `take` adds those of a chunk and gives the values of all.

    `fields` are those of `parsed` that are known beforehand. `price` tells what a line cost, None if that is not known.
    """

    fields: dict[str, None] = field(default_factory=dict)
    price: Price | None = None
    _rows: dict[str, None] = field(default_factory=dict)
    _present: set[str] = field(default_factory=set)
    _has_plain: bool = False
    """Some answers are JSON, and no object with fields."""

    def take(self, chunk: Chunk) -> dict[str, list[Json]]:
        """The values of a chunk, by the names of columns, in their order."""
        self._note(chunk)
        names = self._names()
        rows = chunk.rows
        found: dict[str, list[Json]] = {}
        if ID not in self._rows:
            found[names[ID]] = [*chunk.idents]
        for name in self._rows:
            found[name] = _values(name, rows)
        for key, values in self._answers(chunk).items():
            found[names[key]] = values
        return found

    @property
    def of_input(self) -> Sequence[str]:
        """Names of the columns that are the input's."""
        return [*self._rows]

    @property
    def id_name(self) -> str:
        """The column with the ids."""
        return ID if ID in self._rows else self._names()[ID]

    def _note(self, chunk: Chunk) -> None:
        """Take in which columns a chunk has."""
        new = set().union(*chunk.rows) - self._rows.keys()
        for row in chunk.rows if new else ():  # in the order in which they stand
            self._rows.update(dict.fromkeys(row))
        keys = chunk.keys
        self._present |= keys & _FIELDS - {COST}
        if self.price is not None:
            self._present.add(COST)
        if "usage" in keys:
            self._present.update(_TOKENS)
        for record in chunk.records if PARSED in keys else ():
            value = record.get(PARSED)
            if type(value) is not dict:
                self._has_plain = self._has_plain or value is not None
            elif not value.keys() <= self.fields.keys():
                self.fields.update(dict.fromkeys(value))

    def _answers(self, chunk: Chunk) -> dict[str, list[Json]]:
        """The answers' columns, by keys that no two have in common."""
        records = chunk.records
        found = self._said(_BEFORE, chunk)
        if self.fields or self._has_plain:
            values = [record.get(PARSED) for record in records]
            objects = [value if type(value) is dict else _NOTHING for value in values]
            for name in self.fields:
                found[_key(name)] = _values(name, objects)
            if self._has_plain:
                found[PARSED] = [None if type(value) is dict else value for value in values]
        found |= self._said(_AFTER, chunk)
        if not self._present.isdisjoint(_TOKENS):
            usages = [usage if type(usage := record.get("usage")) is dict else _NOTHING for record in records]
            for name in _TOKENS:
                found[name] = _values(name, usages)
        if self.price is not None:
            found[COST] = [*map(self.price, records)]
        found |= self._said(_LAST, chunk)
        errors = _values(ERROR, records) if ERROR in chunk.keys else ()
        found[ERROR] = [None if error is None else _told(error) for error in errors] or [None] * len(records)
        return found

    def _said(self, fields: Sequence[str], chunk: Chunk) -> dict[str, list[Json]]:
        """The values of fields that any line has had so far."""
        nothing: list[Json] = [None] * len(chunk.records)
        return {
            name: _values(name, chunk.records) if name in chunk.keys else nothing
            for name in fields
            if name in self._present
        }

    def _names(self) -> dict[str, str]:
        """Key → name in the table, for what is not the input's."""
        taken = {name.casefold() for name in self._rows}
        keys = [
            *([] if ID in self._rows else [ID]),
            *_BEFORE, *map(_key, self.fields), PARSED, *_AFTER, *_TOKENS, COST, *_LAST, ERROR,
        ]  # fmt: skip
        used: dict[str, str] = {}
        for key in keys:
            if key in _FIELDS and key not in self._present:
                continue
            wanted = name = key.removeprefix(_MARK)
            if name.casefold() in taken:
                wanted = name = PREFIX + name
            number = 2
            while name.casefold() in taken:
                name, number = f"{wanted}_{number}", number + 1
            taken.add(name.casefold())
            used[key] = name
        return used


def fields_of(schema: Json) -> list[str]:
    """The fields that answers have by their schema, which may be in an envelope; none if it names none."""
    if type(schema) is dict and schema.get("type") == "json_schema":
        schema = (schema.get("json_schema") or {}).get("schema")
    named = schema.get("properties") if type(schema) is dict else None
    return [*named] if type(named) is dict else []


_NOTHING: Final[Mapping[str, Json]] = {}
_MARK: Final = "parsed."
_key: Final[Callable[[str], str]] = _MARK.__add__
"""A field of `parsed`, told apart from a field of the line that has its name."""


def _values(name: str, mappings: Sequence[Mapping[str, Json]]) -> list[Json]:
    """What each has under a name: mostly all have something."""
    try:
        return list(map(itemgetter(name), mappings))
    except KeyError:
        return [mapping.get(name) for mapping in mappings]


def _told(error: Json) -> str:
    """Why a job failed: its code, and what there is to say."""
    return f"{error.get('code')}: {error.get('message')}" if isinstance(error, dict) else str(error)
