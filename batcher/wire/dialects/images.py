"""Speaks `/v1/images/generations`: takes a `prompt`, reads images as base64.

Sources: OpenAI API reference (images; `url` answers expire within an hour); Ollama openai/openai.go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from batcher.failures import AttemptError, Failure, FailureClass, malformed, shown
from batcher.model import Kind
from batcher.wire.dialects.envelope import take_envelope, without
from batcher.wire.dialects.parameters import openai_fields
from batcher.wire.dialects.shapes import refusal, require

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batcher.model import Call, Job, Json
    from batcher.outcome import Completion

STREAMS: Final = False
PATH: Final = "/v1/images/generations"


def encode(jobs: Sequence[Job], *, stream: bool) -> dict[str, Json]:  # noqa: ARG001 - the dialects' signature
    """Return the body for one image or prompt job. Raises LineError for others, and for a system text or images.

    `response_format` is not set: OpenAI's own models refuse it, and others need it; `params` can carry it.
    """
    job = jobs[0]
    require(job, PATH, Kind.IMAGE, Kind.GENERATE)
    if job.system or job.images:
        raise refusal(job, f"{PATH} takes no {'system text' if job.system else 'images'}, only a prompt")
    body: dict[str, Json] = {} if job.model is None else {"model": job.model}
    body["prompt"] = job.content
    body.update(openai_fields(job, PATH))
    return body


def decode(record: dict[str, Json], completion: Completion) -> bool:  # noqa: ARG001 - the dialects' signature
    """Raise AttemptError: images are not asked for in a stream."""
    raise AttemptError(malformed(f"{PATH} answered with a stream of records"))


def whole(body: dict[str, Json], completion: Completion, call: Call) -> None:  # noqa: ARG001 - the dialects' signature
    """Take the images. Raises AttemptError if there are none, or links in their place."""
    data = body.get("data")
    if type(data) is not list or not data:
        raise AttemptError(without("images", body))
    completion.images = [_image(item) for item in data]
    take_envelope(body, completion)
    completion.proof = "images"


def missing(completion: Completion, *, done: bool) -> str | None:  # noqa: ARG001 - the dialects' signature
    """Name the answer itself, if it is not there."""
    return None if completion.proof else "a list of images"


def rebuild(completion: Completion) -> dict[str, Json]:
    """Return the answer, which always comes in one piece."""
    return completion.whole or {}


def _image(item: Json) -> str:
    image = item.get("b64_json") if type(item) is dict else None
    if image and type(image) is str:
        return image
    if type(item) is dict and item.get("url"):
        words = (
            "the server answered with a link to the image, which batcher does not fetch; "
            'ask for the image itself with "params": {"response_format": "b64_json"}'
        )
        raise AttemptError(Failure(FailureClass.PERMANENT, "image_url_only", words))
    raise AttemptError(malformed(f"an image that is no b64_json: {shown(item)}"))
