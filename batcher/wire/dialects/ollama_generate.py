"""`POST /api/generate`: a prompt in, text out, whole or as newline-delimited records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from batcher.failures import AttemptError, malformed
from batcher.model import END, Kind
from batcher.outcome import more
from batcher.wire.dialects import ollama_record
from batcher.wire.dialects.media import payload
from batcher.wire.dialects.parameters import native_fields
from batcher.wire.dialects.shapes import require
from batcher.wire.faults import check_keys

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from batcher.model import Call, Job, Json
    from batcher.outcome import Completion

PATH: Final = "/api/generate"
STREAMS: Final = True

ORDER: Final = (
    "model",
    "remote_model",
    "remote_host",
    "created_at",
    "response",
    "thinking",
    "done",
    "done_reason",
    "context",
    *ollama_record.METRICS,
    "tool_calls",
    "_debug_info",
    "logprobs",
)

KEYS: Final = frozenset(ORDER)


def encode(jobs: Sequence[Job], *, stream: bool) -> dict[str, Json]:
    """A prompt with its system text and images. Raises LineError for messages, which have `/api/chat`."""
    job = jobs[0]
    require(job, PATH, Kind.GENERATE)
    body = ollama_record.addressed(job)
    body["prompt"] = job.content
    if job.system:
        body["system"] = job.system
    if job.images:
        body["images"] = [payload(image) for image in job.images]
    body["stream"] = stream
    body.update(native_fields(job, PATH))
    return body


def skim(records: Iterable[Json], completion: Completion) -> Json:
    """Add what nearly every record is: a response that goes on with a text and nothing else."""
    if not completion.choices:
        return next(iter(records), END)  # the first one opens the answer
    add = completion.choices[0].texts.append
    for record in records:
        try:
            text = record["response"]
            if record["done"] or len(record) != 4 or not text or type(text) is not str:
                return record
        except (LookupError, TypeError):
            return record  # an unusual one, which is read with care
        if "created_at" not in record or "model" not in record:
            return record
        add(text)
    return END


def decode(record: dict[str, Json], completion: Completion) -> bool:
    """Add one record. Raises AttemptError if it is none of Ollama's, or says that nothing was generated."""
    check_keys(record, KEYS, "a record")
    if "done" not in record and ollama_record.says_nothing(record, "response"):
        return False
    choice = completion.choices.get(0) or ollama_record.begin(record, completion)
    content = ollama_record.add(choice, record.get("response"), record)
    if "logprobs" in record:
        choice.logprobs = more(choice.logprobs, ollama_record.logprobs(record))
    if record.get("done"):
        ollama_record.finish(record, completion, choice, PATH)
    return content


def whole(body: dict[str, Json], completion: Completion, call: Call) -> None:  # noqa: ARG001 - the protocol's signature
    """Take the answer in one piece: it is the last record, with all of the text."""
    decode(body, completion)
    if "response" not in body:
        raise AttemptError(malformed("an answer without `response`"))


def missing(completion: Completion, *, done: bool) -> str | None:  # noqa: ARG001 - `[DONE]` is not Ollama's
    return ollama_record.missing(completion)


def rebuild(completion: Completion) -> dict[str, Json]:
    """The object that `stream: false` would have given: the last record with all of the text."""
    if completion.whole is not None:
        return completion.whole
    choice = completion.first
    fields = {
        **(completion.tail or completion.head or {}),
        "response": choice.text,
        "thinking": choice.thinking,
        "tool_calls": choice.tool_calls,
        "logprobs": choice.logprobs,
    }
    return ollama_record.ordered(fields, ORDER)
