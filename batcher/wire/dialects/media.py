"""Images and audio as the two APIs carry them: bare base64 natively, data URIs and parts elsewhere."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Final

from batcher.codec import HEAD, media_type

if TYPE_CHECKING:
    from batcher.model import Json

SOUNDS: Final = {"audio/mpeg": "mp3", "audio/wav": "wav"}
"""What a content part calls the formats of sound; Ollama carries it in the field for images."""


def payload(media: str) -> str:
    """The bare base64 of media that may come as a data URI."""
    return media.partition(",")[2] if media.startswith("data:") else media


def to_part(media: str) -> dict[str, Json]:
    """The content part that carries base64 or a data URI on `/v1/chat/completions`."""
    if media.startswith("data:"):
        return {"type": "image_url", "image_url": {"url": media}}
    kind = _type_of(media)
    if kind in SOUNDS:
        return {"type": "input_audio", "input_audio": {"data": media, "format": SOUNDS[kind]}}
    return {"type": "image_url", "image_url": {"url": f"data:{kind};base64,{media}"}}


def _type_of(media: str) -> str:
    """The type of base64 by its first bytes; unknown ones are called JPEG, and the server looks for itself."""
    try:
        head = base64.b64decode(media[: HEAD // 3 * 4], validate=True)
    except (binascii.Error, ValueError):
        head = b""
    return media_type(head) or "image/jpeg"
