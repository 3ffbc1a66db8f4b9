"""Turns embedding vectors into numbers or into base64 of little-endian float32, from either."""

from __future__ import annotations

import sys
from array import array
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_SWAP = sys.byteorder == "big"


def to_base64(vector: Iterable[float] | str) -> str:
    """Base64 of little-endian float32. Raises `OverflowError` or `TypeError` if a component is no such number."""
    if isinstance(vector, str):
        return vector
    numbers = array("f", vector)
    if _SWAP:
        numbers.byteswap()
    return b64encode(numbers.tobytes()).decode()


def to_floats(vector: Iterable[float] | str) -> list[float]:
    """The components as numbers. Raises `ValueError` if the text is no base64 of whole float32 numbers."""
    if not isinstance(vector, str):
        return vector if isinstance(vector, list) else list(vector)
    numbers = array("f")
    numbers.frombytes(b64decode(vector, validate=True))
    if _SWAP:
        numbers.byteswap()
    return numbers.tolist()
