"""Which Arrow type holds the values of a column, as more of them are seen: the narrowest that loses nothing.

null alone, text               text
whole numbers                  int64, uint64; text with all digits beyond that
numbers                        float64, as long as no whole one among them loses a digit
vectors                        lists of float32
what nests, alike in all rows  as Arrow has it
anything else                  text: texts as they are, the rest as JSON
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any, Final

from batcher.ledger.vectors import to_floats
from batcher.outputs.values import NESTED, text_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batcher.model import Json

_EXACT: Final = 1 << 53
"""Beyond, not every whole number is a float64."""
_NUMBERS: Final = frozenset({int, float})
VECTOR: Final = "embedding"


class Seen:
    """What was seen of a column."""

    __slots__ = ("_is_text", "_is_vector", "_kinds", "_least", "_most", "_nested", "_sizes")

    def __init__(self, name: str) -> None:
        self._is_vector = name == VECTOR
        self._is_text = False
        self._kinds: set[type] = set()
        self._least = self._most = 0
        self._nested: Any = None
        self._sizes: set[int | None] = set()
        """How many numbers vectors have."""

    def add(self, values: Sequence[Json]) -> None:
        """Take in some values."""
        if values.count(None) == len(values):  # as errors mostly are; the others cost more to look at
            return
        kinds = set(map(type, values))
        are_whole = kinds == {int}
        kinds.discard(type(None))
        self._kinds |= kinds
        if self._is_vector:
            sizes = {_size(value) for value in values if value is not None}
            self._is_vector = None not in sizes
            self._sizes |= sizes
        if int in kinds:
            whole = values if are_whole else [value for value in values if type(value) is int]
            self._least, self._most = min(self._least, *whole), max(self._most, *whole)
        if len(kinds) == 1 and kinds <= NESTED and not self._is_vector and not self._is_text:
            kind = _nested(values)
            self._nested = kind if self._nested is None else _merged(self._nested, kind)
            self._is_text = self._nested is None

    @property
    def kind(self) -> Any:
        """The type that holds all of them."""
        import pyarrow as pa

        kinds = self._kinds
        if self._is_vector and kinds:
            # of one length, as vector databases want them
            return pa.list_(pa.float32(), next(iter(self._sizes)) if len(self._sizes) == 1 else -1)
        if len(kinds) == 1 and (kind := self._of_one(next(iter(kinds)))) is not None:
            return kind
        if kinds == {int, float} and max(-self._least, self._most) <= _EXACT:
            return pa.float64()
        return pa.string()

    def _of_one(self, kind: type) -> Any:
        import pyarrow as pa

        if kind is bool:
            return pa.bool_()
        if kind is float:
            return pa.float64()
        if kind is int and self._least >= -(1 << 63) and self._most < 1 << 63:
            return pa.int64()
        if kind is int and self._least >= 0 and self._most < 1 << 64:
            return pa.uint64()
        return self._nested if kind in NESTED and _is_told(self._nested) else None


def array_of(values: Sequence[Json], kind: Any) -> Any:
    """The values as an array of the type that `Seen` gave."""
    import pyarrow as pa

    if pa.types.is_string(kind):
        try:
            return pa.array(values, kind)
        except (pa.ArrowException, TypeError):  # there is something else among them
            values = [None if value is None else text_of(value) for value in values]
    elif (pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind)) and pa.types.is_float32(kind.value_type):
        values = [None if value is None else array("f", to_floats(value)).tolist() for value in values]
    return pa.array(values, kind)


def _size(vector: Json) -> int | None:
    """How many numbers a vector has; `None` for what is none: others may have written the line."""
    if type(vector) is list and not _NUMBERS.issuperset(map(type, vector)):
        return None
    try:
        return len(array("f", to_floats(vector)))
    except (TypeError, ValueError, OverflowError):
        return None


def _nested(values: Sequence[Json]) -> Any:
    """The type that Arrow finds for what nests; `None` if there is none."""
    import pyarrow as pa

    try:
        return pa.array(values).type
    except (pa.ArrowException, OverflowError):
        return None


def _merged(one: Any, other: Any) -> Any:
    """The type that holds the values of both; `None` if there is none."""
    import pyarrow as pa

    if one == other or other is None or one is None:
        return one if other is not None else None
    if pa.types.is_null(one) or pa.types.is_null(other):
        return other if pa.types.is_null(one) else one
    if {one, other} == {pa.int64(), pa.float64()}:
        return pa.float64()
    if pa.types.is_list(one) and pa.types.is_list(other):
        inner = _merged(one.value_type, other.value_type)
        return None if inner is None else pa.list_(inner)
    if pa.types.is_struct(one) and pa.types.is_struct(other):
        fields = {field.name: field.type for field in one}
        for field in other:
            fields[field.name] = _merged(fields[field.name], field.type) if field.name in fields else field.type
        return None if None in fields.values() else pa.struct([*fields.items()])
    return None


def _is_told(kind: Any) -> bool:
    """Whether Parquet can hold it: there are no structs without fields."""
    import pyarrow as pa

    if kind is None:
        return False
    if pa.types.is_struct(kind):
        return kind.num_fields > 0 and all(_is_told(field.type) for field in kind)
    return _is_told(kind.value_type) if pa.types.is_list(kind) else True
