"""What bytes hold: JSON in and out with every integer whole, and which image or sound a file is by its first bytes.

orjson makes fractions of integers beyond 64 bits, or refuses them. What has none, as nearly all JSON, costs less than
half a microsecond more a kilobyte.
"""

from __future__ import annotations

import copyreg
import gc
import json
import re
import reprlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NoReturn

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batcher.model import Json

RUN: Final = 19
"""The least digits of an integer that orjson cannot hold: -9223372036854775809."""
CONVERTED: Final = 4300
"""The most digits that Python makes an integer of (`sys.int_info.default_max_str_digits`); more take too long."""
DEPTH: Final = 250
"""How deep values may nest to be written: orjson writes 254 levels."""

_DIGITS: Final = bytes(ord("0") if byte in b"0123456789" else ord(" ") for byte in range(256))
_ZEROS: Final = b"0" * RUN
STRIDE: Final = 4
_FEW: Final = b"0" * (RUN // STRIDE)
_LONG: Final = re.compile(rb"(?<![0-9.eE+])[0-9]{%d}" % RUN)
_RUN: Final = re.compile(rb"[0-9]{%d,}" % RUN)
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


@contextmanager
def uncollected() -> Iterator[None]:
    """Look for no garbage in the block: what is read from JSON has no circles, and goes when nobody has it any more.

    Going through all there is again and again takes an eighth to a fifth of the time of reading many lines, and six
    times as long as reading one of millions of values.
    """
    is_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if is_on:
            gc.enable()


def loads(data: bytes | str) -> Json:
    """The value of a JSON text. Raises `orjson.JSONDecodeError`.

    Integers are `int`; one of more than `CONVERTED` digits is an `orjson.Fragment`, which is written as it came.
    """
    if isinstance(data, str):
        data = data.encode("utf-8", "surrogatepass")
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:  # also where an integer is beyond what a float holds
        if not has_long_integer(data):
            raise
        orjson.loads(_RUN.sub(_beginning, data))  # Python's own reader takes halves of characters, too
        value = _read(data)
        if value is None:
            raise
        return value
    return whole(value, data)


def whole(value: Json, data: bytes) -> Json:
    """The value that orjson reads in a JSON text, with the integers of which it makes fractions."""
    if _FEW in data[::STRIDE].translate(_DIGITS) and has_long_integer(data):
        return _read(data, value)
    return value


def loads_leniently(data: bytes) -> Json:
    """The value, read with halves of characters, control characters, NaN and bad UTF-8 (U+FFFD); None if it is none."""
    return _read(data.decode("utf-8", "replace"), strict=False)


def has_long_integer(data: bytes) -> bool:
    """Whether there may be an integer of more than 64 bits in a JSON text; a text of digits is taken for one."""
    if _FEW not in data[::STRIDE].translate(_DIGITS):  # such a run has at least four of every fourth byte
        return False
    return _ZEROS in data.translate(_DIGITS) and _LONG.search(data) is not None


def dumps(value: Json, option: int = 0) -> bytes:
    """The value as JSON, as `orjson.dumps` writes it. Raises TypeError for what is no JSON, or nests too deep.

    Halves of a surrogate pair that stand side by side become their character, and those that stand alone U+FFFD, since
    UTF-8 has none: no reader would take them back.
    """
    try:
        return orjson.dumps(value, option=option)
    except TypeError:
        return orjson.dumps(_writable(value, 0), option=option)


def told(value: Json) -> str:
    """The value as JSON for a message; the start of it, as Python tells it, where it nests too deep to be written."""
    try:
        return orjson.dumps(value, default=str).decode()
    except TypeError:
        return reprlib.repr(value)


def decimal(number: int) -> str | None:
    """Its digits; `None` if there are more than Python writes out."""
    try:
        return str(number)
    except ValueError:
        return None


def whole_text(text: str) -> str:
    """The text with halves of surrogate pairs joined; one that stands alone becomes U+FFFD."""
    if _SURROGATE.search(text) is None:
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _read(data: str | bytes, otherwise: Json = None, *, strict: bool = True) -> Json:
    """The value by Python's own reader, which keeps all digits."""
    try:
        text = data if isinstance(data, str) else data.decode()
        return json.loads(text, parse_int=_integer, parse_constant=_refuse if strict else None, strict=strict)
    except (ValueError, RecursionError):
        return otherwise


def _beginning(digits: re.Match[bytes]) -> bytes:
    """As many as an escape has, which they may be of."""
    return digits[0][:4]


def _integer(digits: str) -> Json:
    return int(digits) if len(digits) <= CONVERTED else orjson.Fragment(digits.encode())


def _reduced(fragment: orjson.Fragment) -> tuple[type, tuple[bytes]]:
    return orjson.Fragment, (orjson.dumps(fragment),)


copyreg.pickle(orjson.Fragment, _reduced)  # what is read here may go to another process


def _refuse(name: str) -> NoReturn:
    raise ValueError(name)


def _writable(value: Json, depth: int) -> Json:
    """The value with what orjson refuses in a form that it takes."""
    if isinstance(value, str):
        return whole_text(value)
    if isinstance(value, int) and value.bit_length() > RUN * 3 and (digits := decimal(value)) is not None:
        return orjson.Fragment(digits.encode())
    if depth < DEPTH:
        if isinstance(value, dict):
            return {_writable(key, depth): _writable(item, depth + 1) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [_writable(item, depth + 1) for item in value]
    return value


_STARTS = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"ID3", "audio/mpeg"),
    (b"\xff\xfb", "audio/mpeg"),
    (b"\xff\xf3", "audio/mpeg"),
    (b"\xff\xf2", "audio/mpeg"),
)
_RIFF = {b"WEBP": "image/webp", b"WAVE": "audio/wav"}

HEAD = 12
"""Bytes that are enough to tell; 16 characters of base64 hold them."""


def media_type(head: bytes) -> str | None:
    """The media type of an image, or of sound, which Ollama takes in the same field; `None` for anything else."""
    if head.startswith(b"RIFF"):
        return _RIFF.get(head[8:HEAD])
    return next((name for start, name in _STARTS if head.startswith(start)), None)
