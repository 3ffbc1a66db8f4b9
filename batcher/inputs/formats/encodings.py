"""Makes UTF-8 of other encodings as it is read, so that what is none of it costs its own row and no more."""

from __future__ import annotations

import codecs
from typing import BinaryIO, Final

from batcher.failures import InputError, LineError, UsageError

_NAME: Final = "batcher.bad"
_BAD: Final = 0xDC00
"""A byte that is none stands as this plus its value: half a surrogate pair, which no encoding has, and no UTF-8."""


_MARKS: Final = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Byte order marks; what begins with one is no other encoding, whatever is said for all inputs (RFC 3629, 6)."""
_LONGEST_MARK: Final = 4


class Recoded:
    """A file of another encoding, to be read as UTF-8, but for one whose mark says what it is.

    Raises `UsageError` if nobody knows the encoding.
    """

    def __init__(self, file: BinaryIO, encoding: str) -> None:
        self._file = file
        codecs.register_error(_NAME, _bad)
        self._encoding = checked(encoding)
        self._decoder: codecs.IncrementalDecoder | None = None
        self._ready = b""
        self._over = False

    def read(self, size: int = -1) -> bytes:
        """At most so many bytes, and all there are without a size; none at the end.

        Raises `InputError` if the order of the bytes should be told by a mark, and there is none.
        """
        if size < 0:
            return b"".join(iter(lambda: self.read(1 << 18), b""))
        while not self._ready and not self._over:
            chunk = self._file.read(size)
            self._over = not chunk
            if self._decoder is None:
                while 0 < len(chunk) < _LONGEST_MARK and (more := self._file.read(size)):
                    chunk += more
                marked = next((name for mark, name in _MARKS.items() if chunk.startswith(mark)), self._encoding)
                self._decoder = codecs.getincrementaldecoder(marked)(_NAME)
            try:
                text = self._decoder.decode(chunk, self._over)
            except UnicodeDecodeError:
                raise
            except UnicodeError as error:  # it is not their errors handler that is asked
                name = self._encoding
                if name.lower().replace("_", "-").removeprefix("utf-") not in ("16", "32", "utf16", "utf32"):
                    raise InputError(f"it cannot be read as {name}: {error}") from error
                raise InputError(f"it has no byte order mark; say --encoding {name}-le, or {name}-be") from None
            self._ready = text.encode("utf-8", "surrogatepass")
        piece, self._ready = self._ready[:size], self._ready[size:]
        return piece

    read1 = read


def checked(encoding: str) -> str:
    """The encoding. Raises `UsageError` if it is none of text."""
    try:
        "".encode(encoding)
    except (LookupError, ValueError, UnicodeError) as error:
        raise UsageError(f"--encoding: {error}; usual ones are cp1252, utf-16 and shift_jis") from None
    return encoding


def _bad(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "".join(chr(_BAD + byte) for byte in error.object[error.start : error.end]), error.end


def decoded(record: bytes) -> str:
    """The text of a row. Raises `LineError` that says which byte is none."""
    try:
        text = record.decode()
    except UnicodeDecodeError as error:
        raise LineError("input_encoding", f"the row is {complaint(record, error)}") from error
    if "\0" in text:
        raise LineError("input_nul", f"the row holds a NUL (character {text.index(chr(0)) + 1}), which is no text")
    return text


def complaint(data: bytes, error: UnicodeDecodeError) -> str:
    """Say which byte of a row is none of its encoding."""
    found = int.from_bytes(data[error.start : error.start + 3], "big")
    code = (found & 0x0F0000) >> 4 | (found & 0x3F00) >> 2 | found & 0x3F
    if found >> 20 == 0xE and _BAD <= code <= _BAD + 0xFF:
        place = len(data[: error.start].decode()) + 1
        return (
            f"no text: character {place} is the byte 0x{code - _BAD:02x}, which is none in the encoding of --encoding"
        )
    byte = f"byte {error.start + 1} is 0x{data[error.start]:02x}"
    return f"not UTF-8: {byte}; say what it is with --encoding, such as cp1252"
