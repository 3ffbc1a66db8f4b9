"""Reads one JSON object, and says what is wrong with what is none."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING

import orjson

from batcher import codec
from batcher.failures import LineError
from batcher.inputs.formats.encodings import complaint

if TYPE_CHECKING:
    from collections.abc import Iterable

    from batcher.model import Json

_DEPTH = 250
"""orjson reads deeper than it writes, so what could not be written again is told here."""

# Escapes are taken one by one from the left, so that the second half of `\\` never begins one.
_ESCAPES = re.compile(
    rb"(?P<pair>\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})|(?P<lone>\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\."
)
_VALUES = 1 << 20
"""The most values on a line, in objects and lists: 100 MB of memory."""
_PIECE = 1 << 20
_BOM = b"\xef\xbb\xbf"
_OPENED = ("[", "{")
_CONSTANTS = ("NaN", "Infinity", "-Infinity")
_TEXT = frozenset({str})


def read_object(data: bytes) -> dict[str, Json]:
    """One JSON object. A lone surrogate becomes U+FFFD, as it would on any server. Raises `LineError`."""
    if len(data) > _VALUES:
        _check_values(data)
    try:
        record = orjson.loads(data)
        if type(record) is dict and _TEXT.issuperset(map(type, record.values())):
            return record  # no number that could be long, and nothing that could be deep
        record = codec.whole(record, data)
    except orjson.JSONDecodeError as error:
        record = _read_again(data, error)
    if type(record) is not dict:
        hint = "; if all of it is one array, say --input-format json" if type(record) is list else ""
        raise LineError("input_invalid", f"the line is {_shape(record)}, not a JSON object; write it as {{…}}{hint}")
    if len(data) > 2 * _DEPTH and data.count(b"{") + data.count(b"[") > _DEPTH:
        _check_depth(record)
    return record


def _check_values(data: bytes) -> None:
    """See that a long line holds no more values than memory has room for: `{}` takes 64 bytes in the place of 3."""
    if _structure(data) > _VALUES:  # what stands in texts among it: it is to be looked at more closely
        data = data.replace(b"\\\\", b"").replace(b'\\"', b"")
        count, inside = 0, 0
        for start in range(0, len(data), _PIECE):
            pieces = data[start : start + _PIECE].split(b'"')
            count += _structure(b"".join(pieces[inside::2]))
            if count > _VALUES:
                raise LineError("line_too_large", f"the line holds more than {_VALUES:,} values; split it")
            inside = (inside + len(pieces) - 1) % 2


def _structure(data: bytes) -> int:
    return data.count(b",") + data.count(b"[") + data.count(b"{")


def _read_again(data: bytes, error: orjson.JSONDecodeError) -> Json:
    if codec.has_long_integer(data):
        with suppress(orjson.JSONDecodeError):
            return codec.loads(data)
    try:
        data.decode()
    except UnicodeDecodeError as bad:
        raise LineError("input_encoding", f"the line is {complaint(data, bad)}") from error
    if data.startswith(_BOM):  # of a file that others were appended to
        return read_object(data.removeprefix(_BOM))
    if b"\\u" not in data:
        raise _broken(error) from error
    try:
        return codec.loads(without_lone_escapes(data))
    except orjson.JSONDecodeError as again:
        raise _broken(again) from again


def without_lone_escapes(data: bytes) -> bytes:
    """JSON in which escapes of half a surrogate pair, which no strict parser reads, are U+FFFD."""
    return _ESCAPES.sub(_mended, data)


def _mended(escape: re.Match[bytes]) -> bytes:
    return rb"\ufffd" if escape["lone"] else escape[0]


def _broken(error: orjson.JSONDecodeError) -> LineError:
    if error.doc[max(error.pos - 1, 0) :].startswith(_CONSTANTS) or error.doc[error.pos :].startswith(_CONSTANTS):
        return LineError("input_invalid", f"NaN and Infinity are not JSON (column {error.colno}); use null")
    hint = "; if an array or an object begins here, say --input-format json" if error.doc.strip() in _OPENED else ""
    return LineError("input_invalid", f"broken JSON at column {error.colno}: {error.msg}{hint}")


def _check_depth(record: dict[str, Json]) -> None:
    level: list[Json] = [record]
    for _ in range(_DEPTH):
        level = [inner for value in level for inner in _inside(value)]
    if level:
        raise LineError("input_invalid", f"the line nests deeper than {_DEPTH} levels")


def _inside(value: Json) -> Iterable[Json]:
    """The objects and lists that stand in a value."""
    held = value.values() if type(value) is dict else value
    return [inner for inner in held if type(inner) is dict or type(inner) is list]


def _shape(value: Json) -> str:
    names = {list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
