"""`POST /api/embed`: one or many texts in, as many vectors out, always whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from batcher.failures import AttemptError, malformed
from batcher.model import Kind
from batcher.wire.dialects import ollama_record
from batcher.wire.dialects.parameters import native_fields
from batcher.wire.dialects.shapes import require
from batcher.wire.dialects.vectors import check_vectors, inputs_of_all

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batcher.model import Call, Job, Json
    from batcher.outcome import Completion

PATH: Final = "/api/embed"
STREAMS: Final = False


def encode(jobs: Sequence[Job], *, stream: bool) -> dict[str, Json]:  # noqa: ARG001 - this endpoint has no stream
    """One job's input as it is, or a pack's in one list; the first job's parameters hold for all. Raises LineError."""
    first = jobs[0]
    require(first, PATH, Kind.EMBED)
    body = ollama_record.addressed(first)
    body["input"] = first.content if len(jobs) == 1 else inputs_of_all(jobs)
    body.update(native_fields(first, PATH))
    return body


def decode(record: dict[str, Json], completion: Completion) -> bool:  # noqa: ARG001 - nothing comes in pieces here
    return False


def whole(body: dict[str, Json], completion: Completion, call: Call) -> None:
    """Take the vectors. Raises AttemptError unless there is one for each input, all finite and of one length."""
    vectors = body.get("embeddings")
    if vectors is None and type(body.get("embedding")) is list:
        vectors = [body["embedding"]]  # as the older /api/embeddings has it, whose form some servers give both
    if not isinstance(vectors, list):
        raise AttemptError(malformed("an answer without a list of embeddings"))
    completion.vectors = check_vectors(vectors, len(inputs_of_all(call.jobs)), binary=call.binary)
    ollama_record.measure(body, completion)
    completion.served_model = ollama_record.model_of(body)
    completion.proof = "embeddings"


def missing(completion: Completion, *, done: bool) -> str | None:  # noqa: ARG001 - `[DONE]` is not Ollama's
    return None if completion.proof else "`embeddings`"


def rebuild(completion: Completion) -> dict[str, Json]:
    return completion.whole or {}
