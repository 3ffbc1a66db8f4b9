"""How an answer begins: as one JSON object, an event stream, or lines of JSON.

The content type and the first bytes decide, not what was asked for: servers that ignore `stream` answer an event stream
with one JSON object, and some stream unasked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from batcher.model import Call

BLANK: Final = b"\xef\xbb\xbf \t\r\n"
"""What may stand before an answer: a byte order mark and white space."""

JSON: Final = "application/json"
"""The content type of an answer in one piece."""

FIELD: Final = len(b"event:")
"""The longest name of an event stream's field, in bytes."""


def is_events(head: bytes, content_type: str) -> bool:
    """Whether a body that does not come in one piece is an event stream."""
    if "event-stream" in content_type or _looks_like_events(head):
        return True
    return not ("ndjson" in content_type or head.startswith((b"{", b"[")))


def is_whole(head: bytes, content_type: str, call: Call) -> bool:
    """Whether it is one JSON object, or a page that is none. NDJSON is known by its content type alone."""
    if head.startswith((b"{", b"[")):
        native_stream = call.stream and call.path.startswith("/api/")
        return "ndjson" not in content_type and not (native_stream and "application/json" not in content_type)
    return head.startswith(b"<") or ("event-stream" not in content_type and not _looks_like_events(head))


def _looks_like_events(head: bytes) -> bool:
    return head.startswith((b"data:", b"event:", b"id:", b"retry:", b"error:", b":"))
