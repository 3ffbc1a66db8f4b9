"""Writes as JSON what orjson refuses, so that no answer is lost to a stray value.

Halves of surrogate pairs are joined, lone ones become U+FFFD (no strict parser reads an escape of one), NaN and the
infinities null, integers of thousands of digits hexadecimal text, values nested too deep or of a foreign type a text.
"""

from __future__ import annotations

import json
from math import isfinite
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batcher.model import Json

_DEPTH = 200
_BITS = 4096


def dump_anything(value: Json) -> bytes:
    """One line of JSON without its newline, all ASCII; raises nothing."""
    return json.dumps(_clean(value, 0), ensure_ascii=True, separators=(",", ":")).encode()


def _clean(value: Json, depth: int) -> Json:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _whole(value)
    if isinstance(value, int):
        return value if value.bit_length() <= _BITS else hex(value)
    if isinstance(value, float):
        return value if isfinite(value) else None
    if depth >= _DEPTH:
        return "(nested too deep)"
    if isinstance(value, dict):
        return {_whole(str(key)): _clean(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(item, depth + 1) for item in value]
    return _whole(repr(value))


def _whole(text: str) -> str:
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
