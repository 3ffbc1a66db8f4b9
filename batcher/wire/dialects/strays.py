"""What comes in the place of a record, or is damaged: read leniently, told as a failure, or known to be nothing."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import orjson

from batcher import codec
from batcher.failures import malformed, shown
from batcher.wire.faults import error_in
from batcher.wire.rules import classify_error, unreadable

if TYPE_CHECKING:
    from batcher.failures import Failure
    from batcher.model import Json

PING: Final = re.compile(rb"\W*(?:ping|pong|heart[-_ ]?beat|keep[-_ ]?alive|processing|waiting)\W*", re.IGNORECASE)
"""Words in the place of a record that only keep the connection open."""
END: Final = re.compile(rb"\W*(?:done|end|eos|eof|finished)\W*", re.IGNORECASE)
"""Words in the place of `[DONE]`, which prove nothing: what ends an answer then is its finish reason."""


def instead_of_a_record(data: bytes, value: Json, path: str) -> Failure | None:
    """The failure that a record tells which is no object but `value` (None: no JSON); None if it says nothing."""
    if type(value) is str:
        data = value.encode("utf-8", "replace")
    elif type(value) is list and len(value) == 1 and type(value[0]) is dict:  # Google sends errors so
        error = error_in(value[0])
        if error is not None:
            return classify_error(error, path)
    if data.strip() == b"null" or PING.fullmatch(data) or END.fullmatch(data):
        return None
    if value is None or type(value) is str:
        return unreadable(data, path)
    return malformed(f"a record that is no object: {shown(value)}")


def told(data: bytes, path: str) -> Failure:
    """The failure that an event named `error` tells."""
    value = mended(data)
    error = (error_in(value) or value) if type(value) is dict else value
    return classify_error(error or data.decode("utf-8", "replace"), path)


def mended(data: bytes) -> Json:
    """A JSON value, read leniently: halves of characters, invalid UTF-8 and control characters; None if it is none."""
    try:
        return codec.loads(data)
    except orjson.JSONDecodeError:
        return codec.loads_leniently(data.removeprefix(b"\xef\xbb\xbf"))


def is_utf8(data: bytes) -> bool:
    """Whether it can be read as it is."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
