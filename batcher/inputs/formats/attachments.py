"""The images that a line brings along: beside its text, or in its messages; those in files are read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batcher.inputs.formats.images import is_inline, load_image, load_uri
from batcher.inputs.formats.parameters import wrong

if TYPE_CHECKING:
    from pathlib import Path

    from batcher.inputs.formats.defaults import Defaults
    from batcher.model import Json


def images_of(record: dict[str, Json], defaults: Defaults) -> tuple[str, ...]:
    """The images that a line has beside its text. Raises `LineError`."""
    images = record.get("images")
    if not images:
        return ()
    return tuple(_load_all(images, "images", defaults))


def _load_all(images: Json, key: str, defaults: Defaults) -> list[str]:
    if type(images) is not list or any(type(image) is not str for image in images):
        raise wrong(key, "a list of base64 texts or paths", images)
    return [load_image(image, _root(image, defaults)) for image in images]


def _root(image: str, defaults: Defaults) -> Path | None:
    """Where the file of an image may lie; asked for those alone that are files."""
    return None if is_inline(image) else defaults.root()


def load_images(messages: list[Json], defaults: Defaults) -> None:
    """Put the images of messages in place of their paths: Ollama's `images`, and OpenAI's content parts.

    Raises `LineError`.
    """
    for message in messages:
        if message.get("images"):
            message["images"] = _load_all(message["images"], "images of a message", defaults)
        content = message.get("content")
        if type(content) is list:
            for part in content:
                _load_part(part, defaults)


def _load_part(part: dict[str, Json], defaults: Defaults) -> None:
    image = part.get("image_url") if type(part) is dict else None
    if type(image) is str:
        part["image_url"] = load_uri(image, _root(image, defaults))
    elif type(image) is dict and type(image.get("url")) is str:
        image["url"] = load_uri(image["url"], _root(image["url"], defaults))
    elif image is not None:
        raise wrong("image_url", "a URL or an object with one", image)


def attach(messages: list[Json], images: tuple[str, ...]) -> None:
    """The line's images belong to the last thing the user said."""
    message = next((m for m in reversed(messages) if m.get("role") == "user"), messages[-1])
    message["images"] = [*(message.get("images") or []), *images]
