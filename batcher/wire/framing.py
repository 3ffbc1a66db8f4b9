r"""Bytes in, whole records out: newline-delimited lines and server-sent events, under any chunking. No I/O.

Records split at bytes, never at characters, so a UTF-8 sequence may be cut anywhere. Sources: the WHATWG HTML standard,
"Server-sent events" (field parsing, CR / LF / CRLF, byte order mark); ndjson (`\n` alone ends a line).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

import orjson

from batcher.wire.faults import near

LIMIT: Final = 64 * 1024 * 1024
"""Bytes that a line or an event takes at most. Embeddings of a large pack and long contexts are a line of many MB."""

PIECE: Final = 64
"""Bytes that a piece of a line, and a line of an event, takes beside what is in it: there may be nothing in it."""
NAME: Final = 64
"""Bytes of an event's name that are looked at; those that mean anything are short words."""
BOM: Final = b"\xef\xbb\xbf"
DONE: Final = b"data: [DONE]"
MARK: Final = 16
"""Bytes that the mark of the end has at most, with the blanks that some put around it."""
FIELDS: Final = ("data", "event", "error", "id", "retry")
"""The fields of an event stream; the standard has others ignored."""
_FIELD: Final = re.compile(rb"([A-Za-z][A-Za-z0-9_-]{0,63}):")


class RecordTooLongError(ValueError):
    """A line or an event grew beyond the limit without ending."""


class Lines:
    r"""Splits at `\n` only; a trailing `\r` and a leading byte order mark are dropped, blank lines left out."""

    __slots__ = ("_held", "_limit", "_pieces", "_started")

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._pieces: list[bytes] = []
        self._held = 0
        self._started = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the lines that `chunk` completes. Raises RecordTooLongError."""
        *whole, rest = chunk.split(b"\n")
        if not whole:
            self._hold(rest)
            return []
        if self._pieces:
            self._hold(whole[0])
            whole[0] = b"".join(self._pieces)
            self._pieces.clear()
            self._held = 0
        if rest:
            self._hold(rest)
        if not self._started:
            self._started = True
            whole[0] = whole[0].removeprefix(BOM)
        if b"\r" not in chunk:  # the common case, without looking at the end of each line
            whole[0] = whole[0].removesuffix(b"\r")  # it may have begun in an earlier chunk
            if all(whole) and not any(map(bytes.isspace, whole)):
                return whole
            return [line for line in whole if line.strip()]
        return self._clean(whole)

    def close(self) -> list[bytes]:
        """Return the last line if its newline is missing."""
        last, self._pieces, self._held = b"".join(self._pieces), [], 0
        return self._clean([last if self._started else last.removeprefix(BOM)])

    def _hold(self, piece: bytes) -> None:
        self._held += len(piece) + PIECE
        if self._held > self._limit:
            raise RecordTooLongError(f"a line that takes more than {self._limit} bytes")
        self._pieces.append(piece)

    def _clean(self, lines: list[bytes]) -> list[bytes]:
        return [line for raw in lines if (line := raw.removesuffix(b"\r")).strip()]


class EventStream:
    """Server-sent events: `feed` returns (event, data) pairs; `event` is "" when the stream named none.

    Beyond the standard
    - a field named `error` is an event of that name: llama.cpp before PR #16109 sent `error: {…}` in place of `data:`;
    - events may be one newline apart (https://github.com/anomalyco/opencode/issues/27365): a line of data that is a
      whole JSON object ends there, if a line of data follows;
    - a line that is no field, or looks like a damaged one, is data as it stands: gateways write errors so, and nothing
      that may have been a record is passed over.

    `comments` counts the comment lines (servers send them as pings).
    """

    __slots__ = (
        "_data",
        "_event",
        "_held",
        "_is_part",
        "_lf_is_done",
        "_limit",
        "_single",
        "_size",
        "_started",
        "_tail",
        "comments",
    )

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._tail: list[bytes] = []
        self._held = 0
        """Bytes that the unfinished line takes."""
        self._data: list[bytes] = []
        self._size = 0
        """Bytes that the unfinished event takes."""
        self._is_part = False
        """Its first line was looked at, and is no whole object."""
        self._event = ""
        self._lf_is_done = False
        self._started = False
        self._single = False

    def usual(self, chunk: bytes) -> list[bytes] | None:
        """Return the data of a chunk that is made as nearly every one is; None: it is not, and is to be fed.

        Its events have one line each, with a JSON object; `[DONE]` may be the last.
        """
        if b"\r" in chunk or self._data or self._event or self._lf_is_done or len(self._tail) > 1:
            return None
        lines = (self._tail[0] + chunk if self._tail else chunk).split(b"\n")
        rest = lines.pop()
        if not lines or len(lines) % 2 or any(lines[1::2]) or len(rest) > self._limit:
            return None
        data = [line[6:] for line in lines[::2] if line[:7] == b"data: {"]
        if 2 * len(data) < len(lines):
            if 2 * len(data) + 2 < len(lines) or lines[-2] != DONE:
                return None
            data.append(DONE[6:])
        self._started = True
        self._tail, self._held = [rest] if rest else [], len(rest)
        return data

    def feed(self, chunk: bytes) -> list[tuple[str, bytes]]:
        """Return the events that `chunk` completes. Raises RecordTooLongError."""
        if self._lf_is_done or b"\r" in chunk:
            chunk = self._normalise(chunk)
        *lines, rest = chunk.split(b"\n")
        if self._tail and lines:
            self._tail.append(lines[0])
            lines[0] = b"".join(self._tail)
            self._tail.clear()
        if rest:
            self._tail.append(rest)
        events = self._events(lines) if lines else []
        self._held = len(rest) if lines else self._held + len(rest) + PIECE
        if self._held + self._size > self._limit:
            raise RecordTooLongError(f"an event that takes more than {self._limit} bytes")
        return events

    def close(self) -> list[tuple[str, bytes]]:
        """Return the last event if the stream ended without its blank line."""
        last = b"".join(self._tail)
        self._tail.clear()
        return self._events([last, b""])

    def _normalise(self, chunk: bytes) -> bytes:
        r"""Make every line end `\n`; a `\r` at the end of a chunk may have its `\n` in the next one."""
        if self._lf_is_done and chunk:
            chunk = chunk.removeprefix(b"\n")
            self._lf_is_done = False
        if chunk.endswith(b"\r"):
            self._lf_is_done = True
        return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _events(self, lines: list[bytes]) -> list[tuple[str, bytes]]:
        if not self._started:
            self._started = True
            lines[0] = lines[0].removeprefix(BOM)
        events: list[tuple[str, bytes]] = []
        for line in lines:
            if line.startswith(b"data:"):
                self._take(line[6:] if line[5:6] == b" " else line[5:], events)
            elif not line:
                self._end(events)
            elif line[0] != 0x3A or holds_json(line):  # a colon alone begins a comment, which is passed over
                self._field(line, events)
        return events

    def _take(self, data: bytes, events: list[tuple[str, bytes]]) -> None:
        """Take a line of data; what was before it ends if it is whole."""
        if self._data:
            self._end_whole(events)
        is_done = len(data) < MARK and data.strip() == b"[DONE]"
        if is_done:
            data = b"[DONE]"
            if self._data:
                self._end(events)
        self._data.append(data)
        self._size += len(data) + PIECE
        if is_done or (self._single and data[:1] == b"{" and data[-1:] == b"}"):
            self._end(events)

    def _end_whole(self, events: list[tuple[str, bytes]]) -> None:
        """End an event whose one line of data is a whole object, though no blank line has come."""
        if len(self._data) == 1 and not self._is_part and self._data[0][-1:] == b"}":
            if _is_object(self._data[0]):
                self._single = True
                self._end(events)
            else:  # an `event:` that follows has it looked at again
                self._is_part = True

    def _end(self, events: list[tuple[str, bytes]]) -> None:
        if self._data:
            events.append((self._event, self._data[0] if len(self._data) == 1 else b"\n".join(self._data)))
            self._data = []
            self._size = 0
            self._is_part = False
        self._event = ""

    def _field(self, line: bytes, events: list[tuple[str, bytes]]) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"event":
            self._end_whole(events)
            self._event = value[:NAME].decode("utf-8", "replace")
        elif name == b"data":
            self._take(value, events)
        elif name == b"error":
            events.append(("error", value))
        elif not _is_ignored(line):
            self._take(line, events)


def _is_object(data: bytes) -> bool:
    try:
        return type(orjson.loads(data)) is dict
    except orjson.JSONDecodeError:
        return False


def _is_ignored(line: bytes) -> bool:
    """Whether a line is a field that means nothing here, and no damaged one."""
    field = _FIELD.match(line)
    return field is not None and not holds_json(line) and not _is_damaged(field[1])


@lru_cache(maxsize=64)
def _is_damaged(name: bytes) -> bool:
    """Whether the name of a field is nearly one that means something; a stream has the same few again and again."""
    return near(name.decode(), FIELDS) is not None


def holds_json(line: bytes) -> bool:
    """Whether a line may be what is left of a record, though it begins as a comment or a field does."""
    return b'":' in line or b'{"' in line or line.endswith(b"}")
