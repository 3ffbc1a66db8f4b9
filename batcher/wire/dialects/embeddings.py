"""Speaks `/v1/embeddings`: takes the inputs of one or many jobs, reads one vector for each.

Sources: OpenAI API reference (embeddings; token arrays); Ollama openai/openai.go (base64 is little-endian float32).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from batcher.failures import AttemptError, malformed, shown
from batcher.model import Kind
from batcher.wire.dialects.endings import index_of
from batcher.wire.dialects.envelope import take_envelope, without
from batcher.wire.dialects.parameters import openai_fields
from batcher.wire.dialects.shapes import require
from batcher.wire.dialects.vectors import check_vectors, inputs_of_all

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batcher.model import Call, Job, Json
    from batcher.outcome import Completion

STREAMS: Final = False
PATH: Final = "/v1/embeddings"
BASE64: Final = b',"encoding_format":"base64"}'
"""How the body ends that asks for vectors as bytes: a quarter of their JSON, and no number to be read."""


def encode(jobs: Sequence[Job], *, stream: bool) -> dict[str, Json]:  # noqa: ARG001 - the dialects' signature
    """Return the body for the inputs of all `jobs`, whose parameters are the same. Raises LineError for other kinds."""
    for job in jobs:
        if job.kind is not Kind.EMBED:
            require(job, PATH, Kind.EMBED)
    first = jobs[0]
    body: dict[str, Json] = {} if first.model is None else {"model": first.model}
    body["input"] = first.content if len(jobs) == 1 else inputs_of_all(jobs)
    body.update(openai_fields(first, PATH))
    return body


def decode(record: dict[str, Json], completion: Completion) -> bool:  # noqa: ARG001 - the dialects' signature
    """Raise AttemptError: embeddings never come in a stream."""
    raise AttemptError(malformed(f"{PATH} answered with a stream of records"))


def whole(body: dict[str, Json], completion: Completion, call: Call) -> None:
    """Take the vectors in the order of the inputs. Raises AttemptError unless each input has exactly one."""
    data = body.get("data")
    if type(data) is not list:
        raise AttemptError(without("data", body))
    completion.vectors = check_vectors(_in_order(data), len(inputs_of_all(call.jobs)), binary=call.binary)
    take_envelope(body, completion)
    completion.proof = "vectors"


def missing(completion: Completion, *, done: bool) -> str | None:  # noqa: ARG001 - the dialects' signature
    """Name the answer itself, if it is not there."""
    return None if completion.proof else "a list of embeddings"


def rebuild(completion: Completion) -> dict[str, Json]:
    """Return the answer, which always comes in one piece."""
    return completion.whole or {}


def _in_order(data: list[Json]) -> list[Json]:
    """The vectors by their `index`; an item that has none stands at its own place."""
    vectors: dict[int, Json] = {}
    for place, item in enumerate(data):
        if type(item) is not dict:
            raise AttemptError(malformed(f"an embedding that is no object: {shown(item)}"))
        index = item.get("index", place)
        if type(index) is not int:
            index = index_of(item, place)
        if not 0 <= index < len(data) or index in vectors:
            raise AttemptError(malformed(f"index {index!r:.40} of an embedding is wrong or there twice"))
        vectors[index] = item.get("embedding")
    return [vectors[index] for index in range(len(data))]
