"""Turns what a line says of an image (base64, or the path of a file) into base64, and reads no file it should not.

Only regular files below one directory are opened, without waiting and without following a link put in their place:
a job file may come from somebody else, and `/dev/zero`, a FIFO or `~/.ssh` must not end up in a request.
"""

from __future__ import annotations

import os
from base64 import b64encode
from binascii import Error, a2b_base64
from typing import TYPE_CHECKING

from batcher.codec import HEAD, media_type
from batcher.failures import LineError
from batcher.opening import UnfitError, open_below

if TYPE_CHECKING:
    from pathlib import Path

IMAGE_LIMIT = 20 * 1024 * 1024
"""The largest image sent, in bytes."""

_WEB = ("http://", "https://")
_LONGEST_PATH = 4096


def load_image(text: str, root: Path | None) -> str:
    """An image as base64: from base64, from a `data:` URI, or from a file below `root`. Raises `LineError`."""
    return _load(text, root)[1]


def is_inline(text: str) -> bool:
    """Whether an image stands in the text itself, and in no file."""
    return text.startswith(("data:", *_WEB)) or media_type(_decoded_head(text)) is not None


def load_uri(text: str, root: Path | None) -> str:
    """An image as a URL that can stand in a content part: `data:` and http(s) as they are, a file as a `data:` URI.

    Raises `LineError`.
    """
    if text.startswith(("data:", *_WEB)):
        return text
    media, encoded = _load(text, root)
    return f"data:{media};base64,{encoded}"


def _load(text: str, root: Path | None) -> tuple[str, str]:
    encoded = _after_comma(text) if text.startswith("data:") else text
    media = media_type(_decoded_head(encoded))
    if media is not None:
        if len(encoded) > (IMAGE_LIMIT + 2) // 3 * 4:
            raise LineError("image_too_large", _too_large("the image", len(encoded) // 4 * 3))
        return media, encoded
    if not text:
        raise LineError("image_missing", "the image is an empty text")
    if text.startswith(_WEB):
        raise LineError(
            "image_url",
            f"the image {text!r:.300} is on the web, and batcher fetches none: have it as a file, or on /v1 as a part "
            "of messages, which the server fetches: --messages with image_url",
        )
    if encoded is not text or len(text) > _LONGEST_PATH:
        raise LineError("image_type", "the image is no base64 of a PNG, JPEG, WebP or GIF")
    data = _read(text.removeprefix("file://"), root)
    media = media_type(data[:HEAD])
    if media is None:
        raise LineError("image_type", f"{text} is no PNG, JPEG, WebP or GIF; convert it first")
    return media, b64encode(data).decode()


def _after_comma(text: str) -> str:
    head, comma, encoded = text.partition(",")
    if not comma or not head.endswith(";base64"):
        raise LineError("image_type", "a data: URI of an image must read data:image/png;base64,…")
    return encoded


def _decoded_head(encoded: str) -> bytes:
    try:
        return a2b_base64(encoded[: HEAD // 3 * 4], strict_mode=True)
    except (Error, ValueError):
        return b""  # a path


def _read(name: str, root: Path | None) -> bytes:
    if root is None:
        raise LineError("image_outside", f"{name} cannot be read: paths of images need a job file to be relative to")
    try:
        base = root.resolve()
        path = (base / name).resolve()
        if not path.is_relative_to(base):
            raise LineError("image_outside", f"{name} lies outside of {root}; move the image below the job file")
        return _read_regular(base, path, name)
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: links in a circle; ValueError: a NUL
        reason = error.strerror if isinstance(error, OSError) else str(error)
        hint = "" if "." in name else ", nor is it base64 of a PNG, JPEG, WebP or GIF"
        raise LineError("image_missing", f"the image {name!r:.300} cannot be read: {reason}{hint}") from error


def _read_regular(base: Path, path: Path, name: str) -> bytes:
    try:
        descriptor = open_below(base, path)
    except (UnfitError, IsADirectoryError) as error:
        raise LineError("image_not_file", f"{name} is no regular file") from error
    with os.fdopen(descriptor, "rb") as file:
        size = os.fstat(descriptor).st_size
        if size > IMAGE_LIMIT:
            raise LineError("image_too_large", _too_large(name, size))
        data = file.read(IMAGE_LIMIT + 1)  # it may have grown meanwhile
    if len(data) > IMAGE_LIMIT:
        raise LineError("image_too_large", _too_large(name, len(data)))
    return data


def _too_large(name: str, size: int) -> str:
    return f"{name} has {size / 2**20:.1f} MiB; at most {IMAGE_LIMIT // 2**20} MiB are sent, so scale it down"
