"""Unpacks gzip, bzip2, xz and zstd as they are read, in bounded memory; what is readable comes before damage is told.

A file that unpacks to more than a thousand times its size is no data set (gzip cannot do more than 1,032 times, RFC
1951), and reading ends there.
"""

from __future__ import annotations

import bz2
import io
import lzma
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from batcher.failures import InputError
from batcher.inputs.formats.reading import missing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

EXTENSIONS: Final = {".gz": "gzip", ".bz2": "bzip2", ".xz": "xz", ".zst": "zstd"}
MAGIC: Final = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
"""How packed files begin."""
LONGEST_MARK: Final = max(map(len, MAGIC))

_MARKS: Final = {kind: magic for magic, kind in MAGIC.items()}
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
_KEPT: Final = 8 << 20
"""Packed bytes that are kept of what can be read but once, to be looked at again where they are damaged."""


class Unpacked:
    """A packed file, to be read as what is in it. Raises `InputError` where it is damaged, or a bomb."""

    def __init__(self, file: BinaryIO, kind: str) -> None:
        self._file, self._kind = file, kind
        self._make = _MAKERS[kind]
        self._decoder: Any = self._make()
        self._begun = self._is_marked = False
        self._rest = b""
        """Packed bytes that were read and not yet unpacked."""
        self._ready = b""
        self._packed = self._unpacked = 0
        self._origin = _place(file)
        self._began = self._given = 0
        """Where among the packed bytes what is unpacked now began, and how much of it was given."""
        self._kept = bytearray() if self._origin is None else None
        """The packed bytes from there on, if they cannot be read again, and are few."""
        self._damage: InputError | None = None
        """What is to be told once all that was read before it has been given."""
        self._last: Iterator[bytes] = iter(())

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
            self._ready = next(self._last, b"")
            if not self._ready:
                raise self._damage
            return self._counted()
        if decoder.eof:
            if not self._rest and not self._take():
                return False
            if not self._rest.strip(b"\0"):
                self._rest = b""  # what pads an archive on tape
                return True
            self._decoder, self._begun = self._make(), False
            self._began, self._given = self._packed - len(self._rest), 0
            self._kept = None if self._origin is not None else bytearray(self._rest)
            return True
        if not self._rest and self._wants_more() and not self._take():
            if not self._begun:
                return False
            raise InputError(f"the {self._kind} data is cut off; what could be read of it was")
        try:
            self._ready, self._rest = self._unpack(decoder, self._rest)
        except Exception as error:
            if not _is_damage(error):
                raise
            self._damage = self._told(error)
            self._last = self._up_to_damage()
            return True
        self._begun = True
        return self._counted()

    def _told(self, error: Exception) -> InputError:
        """What is said of damage."""
        if not self._is_marked:
            return InputError(f"this is no {self._kind} data; if it was unpacked already, call it by another name")
        return InputError(f"the {self._kind} data is damaged ({error}); nothing behind that was read")

    def _counted(self) -> bool:
        self._given += len(self._ready)
        self._unpacked += len(self._ready)
        if self._unpacked > max(_SMALL, _RATIO * self._packed):
            raise InputError(
                f"the {self._kind} data unpacks to more than {_RATIO:,} times its size; nothing behind that was read"
            )
        return True

    def _wants_more(self) -> bool:
        return bool(getattr(self._decoder, "needs_input", True))

    def _take(self) -> bool:
        self._rest = self._file.read(_PACKED)
        if not self._packed:
            self._is_marked = self._rest.startswith(_MARKS[self._kind])
        self._packed += len(self._rest)
        if self._kept is not None:
            self._kept += self._rest
            if len(self._kept) > _KEPT:
                self._kept = None
        return bool(self._rest)

    def _unpack(self, decoder: Any, data: bytes) -> tuple[bytes, bytes]:
        """(what comes of packed bytes, those that are to come again)."""
        behind = b""
        piece: bytes
        if self._kind == "zstd":
            data, behind = data[:_ZSTD], data[_ZSTD:]
            piece = decoder.decompress(data)
        else:
            piece = decoder.decompress(data, _PIECE)
        return piece, (decoder.unused_data if decoder.eof else getattr(decoder, "unconsumed_tail", b"")) + behind

    def _up_to_damage(self) -> Iterator[bytes]:
        """What comes before an error and was not given: decoders give nothing of the bytes in which there is one.

        So all is unpacked again, at last byte by byte: a checksum that is wrong costs nothing of what it is of.
        """
        decoder, given = self._make(), self._given
        for data in self._again():
            rest = data
            while rest or not getattr(decoder, "needs_input", True):
                try:
                    piece, rest = self._unpack(decoder, rest)
                except Exception as error:
                    if not _is_damage(error):
                        raise
                    return
                if len(piece) > given:
                    yield piece[given:]
                given = max(0, given - len(piece))

    def _again(self) -> Iterator[bytes]:
        """The packed bytes since what is unpacked now began, the last of them one by one."""
        size = self._packed - self._began
        if self._kept is not None:
            file: BinaryIO = io.BytesIO(self._kept)
        elif self._origin is not None:
            file = self._file
            file.seek(self._origin + self._began)
        else:
            return
        while size > 0 and (data := file.read(_PACKED if size > 2 * _PACKED else 1)):
            size -= len(data)
            yield data


class _Raw(io.RawIOBase):
    """What is in a packed file, for a buffer that has lines."""

    def __init__(self, file: BinaryIO, kind: str) -> None:
        self._file = Unpacked(file, kind)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def packing_of(head: bytes) -> str | None:
    """How a file is packed that begins so, if it is."""
    return next((kind for magic, kind in MAGIC.items() if head.startswith(magic)), None)


def as_unpacked(file: io.BufferedReader) -> io.BufferedReader:
    """The file, or what is in it, if it begins as packed ones do. Reading raises `InputError` as `Unpacked` does."""
    kind = packing_of(file.peek(LONGEST_MARK))
    return file if kind is None else io.BufferedReader(_Raw(file, kind), _PIECE)


def unpacked(data: bytes, kind: str, at_most: int) -> bytes:
    """What is in packed bytes, so many bytes of it at most. Raises `InputError` as `Unpacked` does."""
    file, pieces, size = Unpacked(io.BytesIO(data), kind), list[bytes](), 0
    while size < at_most and (piece := file.read(min(_PIECE, at_most - size))):
        pieces.append(piece)
        size += len(piece)
    return b"".join(pieces)


def _place(file: BinaryIO) -> int | None:
    """Where a file is that can be read again from there."""
    with suppress(AttributeError, OSError):
        if file.seekable():
            return file.tell()
    return None


def _is_damage(error: Exception) -> bool:
    return isinstance(error, _ERRORS) or type(error).__name__ == "ZstdError"


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
