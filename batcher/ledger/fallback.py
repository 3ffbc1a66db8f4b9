"""Writes as JSON what is none, so that no answer is lost to a stray value, and every line can be read back.

Halves of surrogate pairs are joined, lone ones become U+FFFD (no strict parser reads an escape of one), NaN and the
infinities null, integers of thousands of digits hexadecimal text, values nested too deep or of a foreign type a text.
"""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING

import orjson

from batcher import codec

if TYPE_CHECKING:
    from batcher.model import Json

_DEPTH = 200


def dump_anything(value: Json) -> bytes:
    """One line of JSON without its newline; raises nothing."""
    return codec.dumps(_clean(value, 0))


def _clean(value: Json, depth: int) -> Json:
    if value is None or isinstance(value, bool | orjson.Fragment):
        return value
    if isinstance(value, str):
        return codec.whole_text(value)
    if isinstance(value, int):
        return hex(value) if codec.decimal(value) is None else int(value)
    if isinstance(value, float):
        return value if isfinite(value) else None
    if depth >= _DEPTH:
        return "(nested too deep)"
    if isinstance(value, dict):
        return {codec.whole_text(str(key)): _clean(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(item, depth + 1) for item in value]
    return codec.whole_text(repr(value))
