"""Decompresses what a server compressed unasked, with bounds on size and on ratio."""

from __future__ import annotations

import zlib
from typing import Final

from batcher.failures import AttemptError, malformed

DECODED_LIMIT: Final = 256 * 1024 * 1024
RATIO_LIMIT: Final = 64
"""Streams of a token a record are the most repetitive of answers: OpenAI's shrink 55-fold, others' 36-fold."""
HEAD_START: Final = 4 * 1024 * 1024
"""Bytes that are allowed whatever the ratio: a short answer may be of blanks."""
KNOWN: Final = frozenset({"gzip", "x-gzip", "deflate"})
PLAIN: Final = frozenset({b"", b"{", b"[", b"<", b":", b"d", b"e"})
"""How JSON, pages and event streams begin."""
UNCHANGED: Final = frozenset({"", "identity"})


def inflater(encoding: str) -> Inflate | Unknown | None:
    """What undoes a `Content-Encoding`; `None` where there is nothing to undo."""
    name = encoding.strip().lower()
    if name in UNCHANGED:
        return None
    return Inflate(may_be_bare=name == "deflate") if name in KNOWN else Unknown(encoding)


class Unknown:
    """A body that is said to be in an encoding which was not asked for and cannot be undone here, or in several.

    Some say so of what they send as it is: what begins as an answer does is taken at that.
    """

    __slots__ = ("_encoding", "_is_plain")

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding
        self._is_plain = False

    def feed(self, chunk: bytes) -> bytes:
        self._is_plain = self._is_plain or chunk.lstrip()[:1] in PLAIN
        if not self._is_plain:
            raise AttemptError(malformed(f"an answer encoded as {self._encoding!r:.40}, which was not asked for"))
        return chunk


class Inflate:
    """One body of gzip or zlib data. Gzip may come in several members, one after the other (RFC 1952, 2.2).

    What is called deflate is zlib's format, and from some servers the bare one (RFC 9110, 8.4.1.2).
    """

    __slots__ = ("_given", "_may_be_bare", "_taken", "_zlib")

    def __init__(self, *, may_be_bare: bool = False) -> None:
        self._zlib = zlib.decompressobj(wbits=47)
        self._taken = self._given = 0
        self._may_be_bare = may_be_bare

    def feed(self, chunk: bytes) -> bytes:
        """Return what the next bytes hold. Raises AttemptError if they are no such data, or grow beyond the bounds."""
        self._taken += len(chunk)
        pieces = []
        while chunk:
            if self._zlib.eof:
                chunk = chunk.lstrip(b"\0")  # padding, as gzip itself allows behind a member
                if not chunk:
                    break
                self._zlib = zlib.decompressobj(wbits=47)
            allowed = min(DECODED_LIMIT, self._taken * RATIO_LIMIT + HEAD_START) - self._given
            try:
                data = self._zlib.decompress(chunk, max(allowed, 1))
            except zlib.error as error:
                if self._may_be_bare and self._taken == len(chunk):
                    self._may_be_bare, self._zlib = False, zlib.decompressobj(wbits=-15)
                    continue
                raise AttemptError(malformed(f"a compressed answer that cannot be read: {error}")) from None
            self._given += len(data)
            if self._zlib.unconsumed_tail:
                raise AttemptError(malformed(f"a compressed answer that grows beyond {allowed} bytes"))
            pieces.append(data)
            chunk = self._zlib.unused_data
        return b"".join(pieces)
