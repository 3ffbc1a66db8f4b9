"""Unpacks gzip, bzip2, xz and zstd as they are read, in bounded memory; what is readable comes before damage is told.

A file that unpacks to more than a thousand times its size is no data set (gzip cannot do more than 1,032 times, RFC
1951), and reading ends there.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from batcher.failures import InputError
from batcher.inputs.formats.reading import missing

if TYPE_CHECKING:
    from collections.abc import Callable

EXTENSIONS: Final = {".gz": "gzip", ".bz2": "bzip2", ".xz": "xz", ".zst": "zstd"}
MAGIC: Final = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
"""How packed files begin."""

_PACKED: Final = 16 * 1024
"""Bytes that are read of a packed file at a time."""
_ZSTD: Final = 512
"""Bytes that zstd gets at a time: it can make 32,768 times as many of them at once, and takes no limit (RFC 8878)."""
_PIECE: Final = 256 * 1024
_ZSTD_WINDOW: Final = 128 << 20
"""Bytes of memory that a zstd file may ask for: those of `zstd --long`."""
_SMALL: Final = 64 << 20
"""Bytes below which nothing is said against any ratio."""
_RATIO: Final = 1000


class Unpacked:
    """A packed file, to be read as what is in it. Raises `InputError` where it is damaged, or a bomb."""

    def __init__(self, file: BinaryIO, kind: str) -> None:
        self._file, self._kind = file, kind
        self._make = _MAKERS[kind]
        self._decoder: Any = self._make()
        self._begun = False
        self._rest = b""
        """Packed bytes that were read and not yet unpacked."""
        self._ready = b""
        self._packed = self._unpacked = 0
        self._damage: InputError | None = None
        """What is to be told once all that was read before it has been given."""

    def read(self, size: int = -1) -> bytes:
        """At most so many bytes, and all there are without a size; none at the end."""
        if size < 0:
            pieces = []
            while piece := self.read(_PIECE):
                pieces.append(piece)
            return b"".join(pieces)
        while not self._ready:
            if not self._fill():
                return b""
        piece, self._ready = self._ready[:size], self._ready[size:]
        return piece

    read1 = read

    def close(self) -> None:
        self._file.close()

    def _fill(self) -> bool:
        """Unpack some more; false at the end."""
        decoder = self._decoder
        if self._damage is not None:
            raise self._damage
        if decoder.eof:
            if not self._rest and not self._take():
                return False
            if not self._rest.strip(b"\0"):
                self._rest = b""  # what pads an archive on tape
                return True
            self._decoder, self._begun = self._make(), False
            return True
        if not self._rest and self._wants_more() and not self._take():
            if not self._begun:
                return False
            raise InputError(f"the {self._kind} data is cut off; what could be read of it was")
        self._ready = self._decoded(decoder)
        self._begun = True
        self._unpacked += len(self._ready)
        if self._unpacked > max(_SMALL, _RATIO * self._packed):
            raise InputError(
                f"the {self._kind} data unpacks to more than {_RATIO:,} times its size; nothing behind that was read"
            )
        return True

    def _decoded(self, decoder: Any) -> bytes:
        """What comes of the packed bytes at hand; where they are damaged, what comes before, or `InputError`."""
        before = decoder.copy() if self._kind == "gzip" else None
        try:
            return self._unpack()
        except Exception as error:
            if not isinstance(error, _ERRORS) and type(error).__name__ != "ZstdError":
                raise
            damage = InputError(f"the {self._kind} data is damaged ({error}); nothing behind that was read")
            if not (piece := _up_to_damage(before, self._rest)):
                raise damage from error
            self._damage = damage
            return piece

    def _wants_more(self) -> bool:
        return bool(getattr(self._decoder, "needs_input", True))

    def _take(self) -> bool:
        self._rest = self._file.read(_PACKED)
        self._packed += len(self._rest)
        return bool(self._rest)

    def _unpack(self) -> bytes:
        decoder, data, behind = self._decoder, self._rest, b""
        piece: bytes
        if self._kind == "zstd":
            data, behind = data[:_ZSTD], data[_ZSTD:]
            piece = decoder.decompress(data)
        else:
            piece = decoder.decompress(data, _PIECE)
        self._rest = (decoder.unused_data if decoder.eof else getattr(decoder, "unconsumed_tail", b"")) + behind
        return piece


def _up_to_damage(decoder: Any, data: bytes) -> bytes:
    """What comes of data before an error in it, for which a decoder gives none of it: with gzip, a wrong checksum."""
    pieces: list[bytes] = []
    with suppress(zlib.error):
        for place in range(len(data) if decoder is not None else 0):
            pieces.append(decoder.decompress(data[place : place + 1]))  # noqa: PERF401 - what came before counts
    return b"".join(pieces)


def _zstd() -> Any:
    try:
        import zstandard
    except ImportError:
        raise missing("zstd", "zstandard", "data") from None
    return zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).decompressobj()


_MAKERS: Final[dict[str, Callable[[], Any]]] = {
    "gzip": lambda: zlib.decompressobj(wbits=31),
    "bzip2": bz2.BZ2Decompressor,
    "xz": lambda: lzma.LZMADecompressor(memlimit=_ZSTD_WINDOW),
    "zstd": _zstd,
}
_ERRORS: Final = (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError)
