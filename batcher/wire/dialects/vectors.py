"""Counts the inputs of embedding jobs and checks that the vectors which come back are whole and usable."""

from __future__ import annotations

import math
from array import array
from base64 import b64decode
from typing import TYPE_CHECKING

from batcher.failures import AttemptError, Failure, malformed, shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batcher.model import Call, Job, Json


def inputs_of(job: Job) -> list[Json]:
    """The inputs of one job, each of which gets a vector: a text, texts, or tokens (a list of numbers is one input)."""
    value = job.content if job.body is None else job.body.get("input")
    if type(value) is list and not (value and type(value[0]) is int):
        return value
    return [value]


def check_vectors(vectors: Sequence[Json], expected: int) -> None:
    """Raise AttemptError unless there are `expected` vectors of one length with finite numbers, as lists or base64.

    A vector of zeros is none: it has no direction, and comes of a NaN that was lost on the way (Ollama's runner says it
    as null, which its server reads as 0).
    """
    if len(vectors) != expected:
        raise AttemptError(malformed(f"{len(vectors)} vectors for {expected} inputs"))
    length = 0
    for place, vector in enumerate(vectors):
        size = _length(vector)
        if not size:
            raise AttemptError(malformed(f"vector {place} is no list of finite numbers, not all 0: {shown(vector)}"))
        if length and size != length:
            raise AttemptError(malformed(f"vector {place} has {size} numbers, and the ones before it {length}"))
        length = size


class Sizes:
    """Holds the vectors of a run to one length a model: another one comes of another model under the same name."""

    def __init__(self) -> None:
        self._sizes: dict[tuple[Json, ...], int] = {}

    def differs(self, call: Call, vectors: Sequence[Json]) -> Failure | None:
        """The failure of vectors that are not as long as those before them; base64 is measured as text."""
        job = call.jobs[0]
        asked = (job.extra if job.body is None else job.body).get("dimensions", job.params.get("dimensions"))
        size = len(vectors[0])
        first = self._sizes.setdefault((call.model, repr(asked), type(vectors[0])), size)
        if first == size:
            return None
        return malformed(f"a vector of length {size}, where those before it in this run have {first}: another model?")


def _length(vector: Json) -> int:
    """How many numbers a vector has; 0 if it is none, or of zeros. The sum is finite only if every number is."""
    try:
        numbers = vector if type(vector) is list else _unpacked(vector)
        return len(numbers) if math.isfinite(sum(numbers)) and any(numbers) else 0
    except (TypeError, ValueError, OverflowError):
        return 0


def _unpacked(text: str) -> array[float]:
    """Little-endian 32-bit floats from base64. Raises ValueError or TypeError."""
    return array("f", b64decode(text, validate=True))
