"""What a JSON text will weigh in memory once it is read, known before: `[[],[],[]]` takes twenty times its bytes."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from batcher.codec import uncollected
from batcher.failures import AttemptError, malformed

if TYPE_CHECKING:
    from collections.abc import Iterator

LONG: Final = 4096
"""Bytes of a record that is longer than nearly any of a stream."""
HEAVY: Final = 1024 * 1024
"""Bytes of a text that are read without being weighed."""
MOST: Final = 768 * 1024 * 1024
"""Bytes that one text may take when it is read: fifteen million numbers of embeddings, or 64 MiB of any text."""
WEIGHTS: Final = ((b",", 40), (b"[", 96), (b"{", 240), (b":", 56), (b'"', 24))
"""Bytes that an entry, a list, an object, a key and half a text take at most, each by its mark (CPython 3.11)."""


@contextmanager
def weighed(data: bytes) -> Iterator[None]:
    """Weigh a heavy text that is read in the block, and let nobody collect garbage meanwhile."""
    weigh(data)
    with uncollected():
        yield


def weigh(data: bytes) -> None:
    """Raise AttemptError for a text that would take more than `MOST` when it is read."""
    if len(data) <= HEAVY:
        return
    weight = len(data) + sum(data.count(mark) * each for mark, each in WEIGHTS)
    if weight > MOST:
        raise AttemptError(malformed(f"{len(data)} bytes of JSON that would take {weight} when read"))
