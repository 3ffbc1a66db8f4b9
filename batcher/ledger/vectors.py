"""Turns embedding vectors into numbers or into base64 of little-endian float32, from either or from its bytes."""

from __future__ import annotations

import sys
from array import array
from base64 import b64decode, b64encode
from itertools import islice
from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterable

_LOOKED_AT = 1000
"""Lines that are looked at: of files that hold vectors nearly all have one."""
_SWAP = sys.byteorder == "big"


def to_base64(vector: Iterable[float] | bytes | str) -> str:
    """Base64 of little-endian float32. Raises `OverflowError` or `TypeError` if a component is no such number."""
    if isinstance(vector, str):
        return vector
    if isinstance(vector, bytes):
        return b64encode(vector).decode()
    numbers = array("f", vector)
    if _SWAP:
        numbers.byteswap()
    return b64encode(numbers.tobytes()).decode()


def form_of(lines: Iterable[bytes]) -> str | None:
    """How the first vector among the first lines of results is written, by the names of `--embedding-format`."""
    for line in islice(lines, _LOOKED_AT):
        if b'"embedding' not in line:
            continue
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue
        several = record.get("embeddings") if isinstance(record, dict) else None
        vector = record.get("embedding") if not several and isinstance(record, dict) else several and several[0]
        if vector is not None:
            return "base64" if isinstance(vector, str) else "float"
    return None


def to_floats(vector: Iterable[float] | bytes | str) -> list[float]:
    """The components as numbers. Raises `ValueError` if the text is no base64 of whole float32 numbers."""
    if not isinstance(vector, bytes | str):
        return vector if isinstance(vector, list) else list(vector)
    numbers = array("f")
    numbers.frombytes(b64decode(vector, validate=True) if isinstance(vector, str) else vector)
    if _SWAP:
        numbers.byteswap()
    return numbers.tolist()
