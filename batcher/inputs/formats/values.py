"""How values of tables and databases stand in JSON: what it lacks becomes text, or what is nearest.

dates and times   ISO 8601; of nanoseconds the last three digits are lost
durations         seconds
decimals          text, with all their digits; so are integers of more than 64 bits
bytes             base64, which for those of an image is what a server takes
maps, structs     objects; `{bytes, path}`, as Hugging Face's datasets have images, is its bytes, else its path
intervals         objects of months, days and nanoseconds
UUIDs             text
NaN, infinity     null
"""

from __future__ import annotations

from base64 import b64encode
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from math import isfinite
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from batcher.failures import LineError

if TYPE_CHECKING:
    from collections.abc import Callable

    from batcher.model import Json


def plain(value: Any) -> Json:
    """A value as JSON has it; see the module. Raises `LineError` for what cannot be told in JSON."""
    change = _CHANGES.get(type(value))
    if change is None and isinstance(value, tuple) and hasattr(value, "months"):
        change = _interval
    if change is None:
        raise LineError("row_unreadable", f"a value of the type {type(value).__name__} cannot be told in JSON")
    return change(value)


def _same(value: Json) -> Json:
    return value


def _integer(value: int) -> Json:
    return value if -(1 << 63) <= value < 1 << 64 else str(value)


def _float(value: float) -> Json:
    return value if isfinite(value) else None


def _object(value: dict[Any, Any]) -> Json:
    if value.keys() == {"bytes", "path"}:
        if isinstance(value["bytes"], bytes):
            return _base64(value["bytes"])
        if value["bytes"] is None and isinstance(value["path"], str):
            return value["path"]
    return {str(plain(key)): plain(item) for key, item in value.items()}


def _interval(value: Any) -> Json:
    return {"months": value.months, "days": value.days, "nanoseconds": value.nanoseconds}


def _list(value: list[Any]) -> Json:
    if value and all(type(item) is tuple and len(item) == 2 for item in value):  # a map
        return _object(dict(value))
    return [plain(item) for item in value]


def _base64(value: bytes) -> str:
    return b64encode(value).decode()


def _iso(value: date | time) -> str:
    return value.isoformat()


_CHANGES: Final[dict[type, Callable[[Any], Json]]] = {
    type(None): _same,
    str: _same,
    bool: _same,
    int: _integer,
    float: _float,
    dict: _object,
    list: _list,
    tuple: _list,
    bytes: _base64,
    datetime: _iso,
    date: _iso,
    time: _iso,
    timedelta: timedelta.total_seconds,
    Decimal: str,
    UUID: str,
}
