"""What the simulator says: synthetic words, vectors and pictures that follow from the request alone.

The answer to id "q7" is `id:1a2b3c4d w1 w2 é3 w4 漢5 w6 🙂7 w8 …`: token 0 carries the CRC-32 of the id, so that a
swapped answer shows; token i is " w<i>", but " é<i>" where i % 8 is 3, " 漢<i>" where it is 5, " 🙂<i>" where it is 7.
"""

from __future__ import annotations

import struct
import zlib
from array import array
from hashlib import shake_256
from math import sqrt
from random import Random

DEFAULT_TOKENS = 8
DEFAULT_DIMS = 8

_GROUPS = (
    ("river", "garden", "library", "harbour", "orchard", "lighthouse", "market", "valley", "kitchen", "meadow"),
    ("quiet", "bright", "early", "gentle", "curious", "patient", "green", "old", "warm", "small"),
    ("waits for", "listens to", "remembers", "follows", "greets", "draws", "keeps", "carries", "answers", "wakes"),
    ("morning", "lantern", "letter", "story", "bicycle", "swallow", "song", "kettle", "map", "cloud"),
)
_SENTENCES = (
    "the {1} {0} {2} a {3}.",
    "every {3} {2} the {0}, and the {0} is {1}.",
    "a {1} {3} by the {0}, says the {3}, is enough.",
    "there is a {3} in the {0} that {2} the {1} {3}.",
    "by noon the {0} {2} its {1} {3}.",
)
_LETTERS = {3: "é", 5: "漢", 7: "🙂"}
_WORDS: list[str] = []


def tokens(id: str, count: int = DEFAULT_TOKENS) -> list[str]:  # noqa: A002 - the word used everywhere
    """The tokens of the answer to `id`."""
    while len(_WORDS) < count:
        _WORDS.append(f" {_LETTERS.get(len(_WORDS) % 8, 'w')}{len(_WORDS)}")
    if count <= 0:
        return []
    return [f"id:{zlib.crc32(_bytes(id)):08x}", *_WORDS[1:count]]


def text(id: str, count: int = DEFAULT_TOKENS) -> str:  # noqa: A002 - the word used everywhere
    """The whole answer to `id`: its tokens, joined."""
    return "".join(tokens(id, count))


def prose(seed: str, count: int) -> list[str]:
    """Friendly sentences of exactly so many tokens, which follow from `seed`."""
    draw = Random(seed)
    found: list[str] = []
    while len(found) < count:
        words = draw.choice(_SENTENCES).format(*(draw.choice(group) for group in _GROUPS)).split()
        found += [f" {word}" for word in [words[0].capitalize(), *words[1:]]]
    if found and count > 0:
        found[0] = found[0].lstrip()
    return found[: max(0, count)]


def thoughts(count: int) -> list[str]:
    """The tokens of a thought."""
    return [f"{' ' if i else ''}t{i}" for i in range(count)]


def vector(text: str, dims: int = DEFAULT_DIMS) -> list[float]:
    """The embedding of `text`: of length 1, and exact in 32 bits, so that base64 and JSON say the same."""
    raw = struct.unpack(f"<{dims}i", shake_256(_bytes(text)).digest(4 * dims))
    length = sqrt(sum(x * x for x in raw)) or 1.0
    return array("f", [x / length for x in raw]).tolist()


def picture(text: str) -> bytes:
    """A PNG of one pixel, its colour taken from `text`."""

    def part(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    pixel = b"\0" + struct.pack(">I", zlib.crc32(_bytes(text)))[:3]
    header = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", zlib.compress(pixel)) + part(b"IEND", b"")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
