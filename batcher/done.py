"""Which jobs have a result, and for which request: a small memory of ids and hashes."""

from __future__ import annotations

from hashlib import blake2b

_UNKNOWN = -1
_HASH_DIGITS = 16


class Done:
    """The ids that have a result, each with the hash of its request.

    Ids are kept as 128-bit fingerprints, which cost a dict no more than 64-bit ones and leave no collision to think
    about. An id is its text, or the UTF-8 of it.
    """

    __slots__ = ("_hashes",)

    def __init__(self) -> None:
        self._hashes: dict[int, int] = {}

    def add(self, ident: str | bytes, digest: str | bytes | None) -> bool:
        """Remember an id; false, and nothing changes, if it is there already.

        A digest that is not of 16 hex digits, as foreign lines may have, counts as unknown.
        """
        key = fingerprint(ident)
        if key in self._hashes:
            return False
        self._hashes[key] = _number(digest)
        return True

    def discard(self, ident: str | bytes) -> None:
        self._hashes.pop(fingerprint(ident), None)

    def get(self, ident: str | bytes) -> str | None:
        """Give the hash in 16 hex digits; "" if it is unknown; `None` if there is no such id."""
        number = self._hashes.get(fingerprint(ident))
        if number is None:
            return None
        return "" if number == _UNKNOWN else f"{number:016x}"

    def __contains__(self, ident: str | bytes) -> bool:
        return fingerprint(ident) in self._hashes

    def __len__(self) -> int:
        return len(self._hashes)


def fingerprint(ident: str | bytes) -> int:
    """Make 128 bits that stand for an id."""
    # surrogatepass: an id that no file can hold still has a fingerprint; whoever writes it will complain
    raw = ident if isinstance(ident, bytes) else ident.encode(errors="surrogatepass")
    return int.from_bytes(blake2b(raw, digest_size=16).digest(), "little")


def _number(digest: str | bytes | None) -> int:
    if not digest or len(digest) != _HASH_DIGITS:
        return _UNKNOWN
    try:
        return int(digest, 16)
    except ValueError:
        return _UNKNOWN
