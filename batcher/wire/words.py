"""What an error says: its words and its numbers, in whatever form its body came."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import orjson

from batcher import codec
from batcher.wire.framing import EventStream, RecordTooLongError

if TYPE_CHECKING:
    from collections.abc import Iterator

MESSAGE_LIMIT: Final = 2048
"""How much of the server's own words is kept, in characters."""
READ_LIMIT: Final = 16 * 1024
"""How much of a body that is no JSON is looked through for words, in bytes, and of words for what they mean."""

_WORDS: Final = (
    *("message", "msg", "detail", "error", "errors", "error_msg", "error_message", "errorMessage", "fault"),
    *("faultstring", "exception", "description", "errormsg", "errormessage", "errmsg", "retmsg", "err", "failure"),
    *("reason", "type", "code", "title"),
)
"""Where errors say what they are, as `faults` knows their shapes."""
_STATUS: Final = re.compile(r"(?:code|status|http)['\"]?\s{0,2}[:= ]\s{0,2}['\"]?([45]\d\d)\b", re.IGNORECASE)
"""A status in plain words: `Error code: 429 - {'error': …}`, as Python's clients print their errors."""
_DEPTH: Final = 32
"""Objects in each other in which an error is looked for."""
_FEW: Final = 10
"""Digits from which on a text is no code: "²" is a digit and none of Python's, and 5,000 are too many for it."""
_EVENTS: Final = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:data|event|id|retry|error|):")


def unwrapped(body: bytes) -> bytes:
    """The error in an event stream that came under another status than 200; any other body as it is."""
    if _EVENTS.match(body) is None:
        return body
    stream = EventStream()
    try:
        data = [data for _, data in (*stream.feed(body[:READ_LIMIT]), *stream.close()) if data and data != b"[DONE]"]
    except RecordTooLongError:
        return body
    return next((one for one in data if one.startswith(b"{")), b"\n".join(data)) or body


def words(body: bytes) -> str:
    """The server's own words: the strings of an error object, the title and start of a page, or the text itself."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        text = body[:READ_LIMIT].decode("utf-8", "replace").strip()
        title = re.search(r"<title[^<>]*>([^<]*)", text, re.IGNORECASE)
        plain = re.sub(r"<[^<>]*>|\s+", " ", text).strip()
        return " ".join(f"{title[1].strip() + ': ' if title else ''}{plain}".split())[: 200 if title else MESSAGE_LIMIT]
    told = "; ".join(strings_of(error_of(value)))[:MESSAGE_LIMIT]
    return told or body[:MESSAGE_LIMIT].decode("utf-8", "replace").strip()


def loads(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def error_of(value: Any) -> Any:
    """What stands for the error in a body: the value of its `error`, or the body; Google sends it as a list of one."""
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict):
        value = value[0]
    inner = value.get("error", value) if isinstance(value, dict) else value
    return value if inner is None else inner


def strings_of(error: Any, depth: int = 0) -> Iterator[str]:
    """Yield message, type and code of an error, also of one that is JSON inside a string (Ollama's runner errors)."""
    if isinstance(error, str):
        inner = _inner_json(error)
        if inner is None:
            yield error
        else:
            yield from strings_of(inner.get("error", inner), depth)
    elif isinstance(error, dict) and depth < _DEPTH:
        for key in _WORDS:
            value = error.get(key)
            if isinstance(value, str | dict):
                yield from strings_of(value, depth + 1)
            elif value and not isinstance(value, int | float):
                yield codec.told(value)
    elif error is not None:
        yield codec.told(error) if isinstance(error, dict) else str(error)


def _inner_json(text: str) -> dict[str, Any] | None:
    value = loads(text.encode("utf-8", "replace")) if text.startswith("{") else None
    return value if isinstance(value, dict) else None


def numbers_of(error: Any, depth: int = 0) -> Iterator[int]:
    if isinstance(error, dict) and depth < _DEPTH:
        for key in ("code", "status", "status_code", "statusCode", "StatusCode", "statuscode", "httpcode"):
            value = error.get(key)
            if isinstance(value, int):
                yield value
            elif isinstance(value, str) and value.isdecimal() and len(value) < _FEW:
                yield int(value)
        yield from numbers_of(error.get("error"), depth + 1)
    elif isinstance(error, str):
        inner = _inner_json(error)
        yield from numbers_of(inner, depth) if inner else map(int, _STATUS.findall(error[:MESSAGE_LIMIT]))


_TYPES: Final = re.compile(r"; (?:[a-z_]+_error|[A-Z][A-Za-z]*(?:Error|Exception))(?=;|$)")


def told(text: str) -> str:
    """The words without the types of error behind them, which the rules read and people need not."""
    return _TYPES.sub("", text)
