"""Images and audio as the two APIs carry them: bare base64 natively, data URIs and parts elsewhere."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from batcher.model import Json

HEAD: Final = 16
"""Characters of base64 that are enough to tell a format: 12 bytes."""

IMAGES: Final = (
    (b"\x89PNG", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"BM", "image/bmp"),
)

AUDIO: Final = ((b"ID3", "mp3"), (b"\xff\xfb", "mp3"), (b"\xff\xf3", "mp3"), (b"\xff\xf2", "mp3"))


def payload(media: str) -> str:
    """The bare base64 of media that may come as a data URI."""
    return media.partition(",")[2] if media.startswith("data:") else media


def to_part(media: str) -> dict[str, Json]:
    """The content part that carries base64 or a data URI on `/v1/chat/completions`."""
    if media.startswith("data:"):
        return {"type": "image_url", "image_url": {"url": media}}
    head = _head(media)
    if sound := _sound(head):
        return {"type": "input_audio", "input_audio": {"data": media, "format": sound}}
    return {"type": "image_url", "image_url": {"url": f"data:{_picture(head)};base64,{media}"}}


def _head(media: str) -> bytes:
    try:
        return base64.b64decode(media[:HEAD], validate=True)
    except (binascii.Error, ValueError):
        return b""


def _picture(head: bytes) -> str:
    """The type of an image by its first bytes; unknown ones are called JPEG, and the server looks for itself."""
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "image/webp"
    return next((mime for magic, mime in IMAGES if head.startswith(magic)), "image/jpeg")


def _sound(head: bytes) -> str:
    """The format of audio by its first bytes, or "": Ollama carries audio in the field for images."""
    if head.startswith(b"RIFF") and head[8:12] == b"WAVE":
        return "wav"
    return next((name for magic, name in AUDIO if head.startswith(magic)), "")
