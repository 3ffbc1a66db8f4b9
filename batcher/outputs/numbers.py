"""Vectors as they come from a server → the bytes of a row, little-endian, in the width that was asked for."""

from __future__ import annotations

import struct
from binascii import a2b_base64
from math import sqrt
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDTHS: Final = {"float32": 4, "float16": 2}
"""Bytes of a number, by the names that numpy has for them."""
_LETTERS: Final = {"float32": "f", "float16": "e"}
_SMALL: Final = b"\0\x80"
"""The bytes of zero, with either sign."""
_NANS: Final = {"float32": struct.pack("<f", float("nan")), "float16": struct.pack("<e", float("nan"))}


def row_of(vector: Sequence[float] | bytes | str, dtype: str) -> bytes:
    """The row of a vector: numbers, or little-endian float32 as bytes or as base64.

    Rounds to nearest, ties to even, as numpy does. Bytes become float32 without a number being made of them. Raises
    ValueError if a number is too large for the width, or all are too small: a vector of zeros has no direction.
    """
    if isinstance(vector, str):
        vector = a2b_base64(vector)
    if isinstance(vector, bytes):
        if dtype == "float32":
            return vector
        vector = numbers_of(vector, "float32")
    try:
        row = struct.pack(f"<{len(vector)}{_LETTERS[dtype]}", *vector)  # in half of the time of `array`
    except (OverflowError, struct.error) as error:  # of an integer it is the latter
        raise ValueError(f"a number is too large for {dtype}") from error
    if not row.lstrip(_SMALL) and not any(numbers_of(row, dtype)):
        raise ValueError(f"a vector of zeros, in {dtype}, has no direction")
    return row


def numbers_of(row: bytes, dtype: str) -> tuple[float, ...]:
    """The numbers of a row."""
    return struct.unpack(f"<{len(row) // WIDTHS[dtype]}{_LETTERS[dtype]}", row)


def no_row(dim: int, dtype: str) -> bytes:
    """What stands where there is no vector: NaN, all over."""
    return _NANS[dtype] * dim


def normalized(vector: Sequence[float] | bytes) -> list[float]:
    """A vector of length 1 in the same direction. Raises ValueError if it has no direction."""
    numbers = numbers_of(vector, "float32") if isinstance(vector, bytes) else vector
    most = max(map(abs, numbers))
    if not most:
        raise ValueError("a vector of zeros has no direction")
    scaled = [number / most for number in numbers]  # else the length of what is huge is infinite, of what is tiny 0
    length = sqrt(sum(number * number for number in scaled))
    return [number / length for number in scaled]
