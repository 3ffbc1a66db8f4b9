"""Why jobs failed: counted by code and by words, of which numbers do not matter, with an example of each."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from batcher.failures import Failure
    from batcher.model import Json

MOST: Final = 200
"""Causes that are told apart; what is more is counted by its code alone."""
LOOKED_AT: Final = 200
"""Characters of a message that tell one cause from another."""
_VARYING = re.compile(r"\b[0-9a-f]{8,}(?:-[0-9a-f]+)*\b|\d+(?:[.,:]\d+)*", re.IGNORECASE)
"""What differs from job to job where the cause is the same: numbers, times, ids."""


@dataclass(slots=True)
class Cause:
    """`message` and `id` are those of the first job of its kind."""

    code: str
    message: str
    id: str
    count: int = 0


@dataclass(slots=True)
class Causes:
    """All that were met, in the order in which they came."""

    _by_shape: dict[tuple[str, str], Cause] = field(default_factory=dict)

    def add(self, failure: Failure, job: str) -> None:
        """Count a failure of a job."""
        shape = (failure.code, _VARYING.sub("0", failure.message[:LOOKED_AT]))
        if shape not in self._by_shape and len(self._by_shape) >= MOST:
            shape = (failure.code, "")
        cause = self._by_shape.get(shape)
        if cause is None:
            cause = self._by_shape[shape] = Cause(failure.code, failure.message, job)
        cause.count += 1

    def ranked(self) -> list[Cause]:
        """The commonest first."""
        return sorted(self._by_shape.values(), key=lambda cause: -cause.count)

    def to_json(self, most: int = 20) -> list[Json]:
        """The commonest, for programs."""
        return [
            {"code": cause.code, "count": cause.count, "message": cause.message, "id": cause.id}
            for cause in self.ranked()[:most]
        ]
