"""Counts the inputs of embedding jobs and checks that the vectors which come back are whole and usable."""

from __future__ import annotations

import math
from array import array
from base64 import b64decode
from typing import TYPE_CHECKING

from batcher.failures import AttemptError, malformed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batcher.model import Job, Json


def inputs_of(job: Job) -> list[Json]:
    """The inputs of one job, each of which gets a vector: a text, texts, or tokens (a list of numbers is one input)."""
    value = job.content if job.body is None else job.body.get("input")
    if type(value) is list and not (value and type(value[0]) is int):
        return value
    return [value]


def check_vectors(vectors: Sequence[Json], expected: int) -> None:
    """Raise AttemptError unless there are `expected` vectors of one length with finite numbers, as lists or base64."""
    if len(vectors) != expected:
        raise AttemptError(malformed(f"{len(vectors)} vectors for {expected} inputs"))
    length = 0
    for place, vector in enumerate(vectors):
        size = _length(vector)
        if not size:
            raise AttemptError(malformed(f"vector {place} is no list of finite numbers: {vector!r:.80}"))
        if length and size != length:
            raise AttemptError(malformed(f"vector {place} has {size} numbers, and the ones before it {length}"))
        length = size


def _length(vector: Json) -> int:
    """How many numbers a vector has; 0 if it is none. The sum is finite only if every number is."""
    try:
        numbers = vector if type(vector) is list else _unpacked(vector)
        return len(numbers) if math.isfinite(sum(numbers)) else 0
    except (TypeError, ValueError, OverflowError):
        return 0


def _unpacked(text: str) -> array[float]:
    """Little-endian 32-bit floats from base64. Raises ValueError or TypeError."""
    return array("f", b64decode(text, validate=True))
