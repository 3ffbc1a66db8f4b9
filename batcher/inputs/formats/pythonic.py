"""Which types of Arrow Python has other ones for: what is read as these loses nothing but what nobody could be told."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError


def told_by_python(kind: Any) -> Any:
    """The type as Python can tell its values: times to microseconds, in UTC where nobody knows the zone.

    Whether these stand alone, or inside of lists, objects and dictionaries. Containers often come without the database
    of zones (the package tzdata).
    """
    import pyarrow as pa

    inner = told_by_python
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us" if kind.unit == "ns" else kind.unit, _zone(kind.tz))
    if pa.types.is_duration(kind):
        return pa.duration("us") if kind.unit == "ns" else kind
    if pa.types.is_dictionary(kind):
        value = inner(kind.value_type)
        return kind if value == kind.value_type else value
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(inner(field.type)) for field in kind])
    if pa.types.is_map(kind):
        return pa.map_(inner(kind.key_type), inner(kind.item_type), keys_sorted=kind.keys_sorted)
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(kind.value_field.with_type(inner(kind.value_type)), kind.list_size)
    if pa.types.is_large_list(kind):
        return pa.large_list(kind.value_field.with_type(inner(kind.value_type)))
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(inner(kind.value_type)))
    return kind


def _zone(name: str | None) -> str | None:
    if name is None or name[:1] in "+-":
        return name
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return "+00:00"
    return name
