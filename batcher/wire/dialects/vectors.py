"""Counts the inputs of embedding jobs and checks that the vectors which come back are whole and usable."""

from __future__ import annotations

import math
import struct
import sys
from array import array
from binascii import a2b_base64
from functools import cache, lru_cache, partial
from typing import TYPE_CHECKING, Final

from batcher.failures import AttemptError, Failure, FailureClass, malformed, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from batcher.model import Call, Job, Json


HUGE: Final = 2.0**50
"""A number as large as this is in no vector."""
_TEXT: Final = frozenset({str})
_FALSE, _TRUE = struct.pack("<f", 0), struct.pack("<f", 1)
_HIGH_OF_FALSE, _HIGH_OF_TRUE = _FALSE[3:], _TRUE[3:]
_USUAL: Final = bytes(byte for byte in range(256) if byte & 0x7F < 0x58)
"""The first bytes, sign and most of the exponent, of 32-bit floats that are smaller."""


def inputs_of(job: Job) -> list[Json]:
    """The inputs of one job, each of which gets a vector: a text, texts, or tokens (a list of numbers is one input)."""
    value = job.content if job.body is None else job.body.get("input")
    if type(value) is list and not (value and type(value[0]) is int):
        return value
    return [value]


def inputs_of_all(jobs: Sequence[Job]) -> list[Json]:
    """The inputs of several jobs, one after the other."""
    found = [job.content for job in jobs]
    if _TEXT.issuperset(map(type, found)):  # nearly always
        return found
    return [value for job in jobs for value in inputs_of(job)]


def check_vectors(vectors: Sequence[Json], expected: int, *, binary: bool = False) -> list[Json]:
    """The vectors, base64 as the bytes that it stands for: little-endian float32; if it is `binary`, lists too.

    Raises AttemptError unless there are `expected` of one length with finite numbers. A vector of zeros is none: it has
    no direction, and comes of a NaN that was lost on the way (Ollama's runner says it as null, which its server reads
    as 0).
    """
    if len(vectors) != expected:
        raise AttemptError(malformed(f"{len(vectors)} vectors for {expected} inputs"))
    length, found, read = 0, [], _reader()
    for place, vector in enumerate(vectors):
        taken = vector
        if type(vector) is str:
            try:
                taken = read(vector + "=" * (-len(vector) % 4))  # which may be left out (RFC 4648, 3.2)
            except ValueError:
                taken = b""
            size = _length(taken)
        elif type(vector) is list and (size := _length(packed := _packed(vector))):
            taken = packed if binary else vector  # so the numbers are gone through once, while they are at hand
        else:
            size = _length(vector)
        if not size:
            raise AttemptError(malformed(f"vector {place} is no list of finite numbers, not all 0: {shown(vector)}"))
        if length and size != length:
            raise AttemptError(malformed(f"vector {place} has {size} numbers, and the ones before it {length}"))
        length = size
        found.append(taken)
    return found


def floats_of(vector: Json) -> Sequence[float]:
    """The numbers of a vector that was checked: a list, or bytes."""
    if type(vector) is not bytes:
        return vector  # type: ignore[no-any-return]  # it was checked
    numbers = array("f", vector)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


class Sizes:
    """Holds the vectors of a run to one length a model: another one comes of another model under the same name.

    `known` has the lengths so far, those of earlier runs with the same results among them.
    """

    def __init__(self) -> None:
        self.known: dict[str, int] = {}

    def differs(self, call: Call, vectors: Sequence[Json]) -> Failure | None:
        """The failure of vectors that are not as long as those before them, or as was asked for."""
        job = call.jobs[0]
        asked = (job.extra if job.body is None else job.body).get("dimensions", job.params.get("dimensions"))
        size = _count(vectors[0])
        if type(asked) is int and size != asked:
            words = f"{asked} dimensions were asked for, and the server gives {size}: it does not cut vectors"
            return Failure(FailureClass.PERMANENT, "dimensions_ignored", words)
        first = self.known.setdefault(f"{call.model} {asked!r}", size)
        if first == size:
            return None
        return malformed(f"a vector of length {size}, where those before it have {first}: another model?")


@cache
def _reader() -> Callable[[str], bytes]:
    """What reads base64, and raises ValueError for what is none: at the rate of memory where pybase64 is installed."""
    try:
        from pybase64 import b64decode
    except ImportError:
        return partial(a2b_base64, strict_mode=True)
    return partial(b64decode, validate=True)


@lru_cache(maxsize=16)
def _floats(count: int) -> struct.Struct:
    """What makes bytes of so many numbers: kept, as to look up its format costs a quarter of that."""
    return struct.Struct(f"<{count}f")


def _packed(vector: list[Json]) -> bytes:
    """The bytes of a list, which is gone through once; none if it is to be looked at more closely.

    Types are looked at only where these bytes have a 1 or a 0: of vectors of length 1, hardly one has either. (`rfind`
    takes half the time of `in` here.)
    """
    try:
        data = _floats(len(vector)).pack(*vector)
    except (struct.error, OverflowError):
        return b""
    high = data[3::4]
    is_likely = (_HIGH_OF_TRUE in high and data.rfind(_TRUE) >= 0) or (_HIGH_OF_FALSE in high and _FALSE in data)
    return b"" if is_likely and _has_truths(vector) else data


def _has_truths(vector: list[Json]) -> bool:
    """Whether a list has `true` or `false`, which Python takes for 1 and 0."""
    return bool in {*map(type, vector)}


def _length(vector: Json) -> int:
    """How many numbers a vector has; 0 if it is none, or of zeros. The sum is finite only if every number is."""
    try:
        if type(vector) is list:
            return len(vector) if math.isfinite(sum(vector)) and any(vector) and not _has_truths(vector) else 0
        return _length_of(vector) if type(vector) is bytes else 0
    except (TypeError, ValueError, OverflowError):
        return 0


def _length_of(data: bytes) -> int:
    """The same of little-endian 32-bit floats. Raises ValueError.

    No number is made where their exponents tell that none is huge. A huge one is of no vector: floats of another width
    or byte order look so, whose exponents are anything.
    """
    if len(data) % 4 == 0 and not data[3::4].translate(None, _USUAL) and data.lstrip(b"\0\x80"):
        return len(data) // 4
    numbers = array("f", data)
    if sys.byteorder == "big":
        numbers.byteswap()
    return len(numbers) if max(map(abs, numbers)) < HUGE and math.isfinite(sum(numbers)) and any(numbers) else 0


def _count(vector: Json) -> int:
    """How many numbers a vector has: of a list, of bytes, or of base64."""
    if type(vector) is str:
        return (3 * len(vector) // 4 - vector.count("=", -2)) // 4
    return len(vector) if type(vector) is list else len(vector) // 4
