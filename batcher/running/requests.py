"""Which requests were met, by 128 bits of what they ask, and where their answers stand: 24 bytes each and an index.

The key is long since two requests that share one would share an answer: of a billion, by chance one in 10^20 runs.
"""

from __future__ import annotations

from array import array
from hashlib import blake2b
from struct import Struct
from typing import TYPE_CHECKING, Final

import orjson

from batcher.model import EMBED

if TYPE_CHECKING:
    from batcher.model import Job, Json

_LEAST: Final = 12
_WORDS: Final = Struct("<QQ")
_LOAD: Final = 0.65
"""As for ids (`inputs/done`)."""
_HALF: Final = (1 << 64) - 1


def _halves(digest: bytes) -> tuple[int, int]:
    low, high = _WORDS.unpack(digest)
    return low, high


class Requests:
    """Entries are numbered from 1 in the order in which they came; `places` is what is noted about each."""

    __slots__ = ("_high", "_index", "_low", "places")

    def __init__(self) -> None:
        self._low = array("Q", [0])
        self._high = array("Q", [0])
        self.places = array("Q", [0])
        self._index = array("I", [0]) * (1 << _LEAST)

    def __len__(self) -> int:
        return len(self._low) - 1

    def entry(self, key: tuple[int, int]) -> tuple[int, bool]:
        """(the number of a request by its key, whether it is new); a new one has the place 0."""
        low, high = key
        index, mask = self._index, len(self._index) - 1
        slot = low & mask
        while number := index[slot]:
            if self._low[number] == low and self._high[number] == high:
                return number, False
            slot = (slot + 1) & mask
        number = len(self._low)
        self._low.append(low)
        self._high.append(high)
        self.places.append(0)
        index[slot] = number
        if number > len(index) * _LOAD:
            self._grow()
        return number, True

    def _grow(self) -> None:
        size = 2 * len(self._index)
        self._index = array("I")  # the old one goes before the new one comes
        index = array("I", [0]) * size
        mask = size - 1
        with memoryview(self._low) as whole, whole[1:] as lows:
            for number, low in enumerate(lows, 1):
                slot = low & mask
                while index[slot]:
                    slot = (slot + 1) & mask
                index[slot] = number
        self._index = index


def key_of(job: Job, turn: int = 0) -> tuple[int, int]:
    """128 bits over all that a job asks, and of whom; `turn` keeps apart what is asked several times on purpose.

    Nearly every embedding asks for nothing but its text: then the hash of its request is one half, and the other is
    Python's own of the text, which has a key of its own in each process (PEP 456).
    """
    if job.kind is EMBED and type(job.content) is str and job.hash and not (job.params or job.options or job.extra):
        return int(job.hash, 16), hash((turn, job.path, job.model, job.content)) & _HALF
    asked = _asked(job, turn)
    try:
        data = orjson.dumps(asked, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # an integer beyond 64 bits
        data = repr(asked).encode("utf-8", "surrogatepass")
    return _halves(blake2b(data, digest_size=16).digest())


def _asked(job: Job, turn: int) -> list[Json]:
    return [
        turn,
        job.path,
        job.kind,
        job.model,
        job.body,
        job.content,
        job.turns,
        job.system,
        job.images,
        job.tools,
        dict(job.params),
        dict(job.options),
        dict(job.extra),
    ]
