"""What a file is, by its first bytes: the images and sounds that models take."""

from __future__ import annotations

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
