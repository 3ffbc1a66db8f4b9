"""`POST /api/chat`: messages in, one message out, whole or as newline-delimited records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from batcher.failures import AttemptError, malformed, shown
from batcher.model import END, Kind
from batcher.outcome import more
from batcher.wire.dialects import ollama_record
from batcher.wire.dialects.messages import to_native
from batcher.wire.dialects.parameters import native_fields
from batcher.wire.dialects.shapes import require
from batcher.wire.faults import check_keys

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from batcher.model import Call, Job, Json
    from batcher.outcome import Completion

PATH: Final = "/api/chat"
STREAMS: Final = True

ORDER: Final = (
    "model",
    "remote_model",
    "remote_host",
    "created_at",
    "message",
    "done",
    "done_reason",
    "_debug_info",
    "logprobs",
    *ollama_record.METRICS,
)
MESSAGE_ORDER: Final = ("role", "content", "thinking", "tool_calls")
KEYS: Final = frozenset(ORDER)
MESSAGE_KEYS: Final = frozenset(MESSAGE_ORDER)
PLAIN: Final = frozenset({"role", "content"})


def encode(jobs: Sequence[Job], *, stream: bool) -> dict[str, Json]:
    """A conversation, or a prompt as its only message. Raises LineError for what cannot be said here."""
    job = jobs[0]
    require(job, PATH, Kind.CHAT, Kind.GENERATE)
    messages = job.content if job.kind is Kind.CHAT else [{"role": "user", "content": job.content}]
    body = ollama_record.addressed(job)
    body["messages"] = to_native(messages, job.system, job.images)
    if job.tools:
        body["tools"] = job.tools
    body["stream"] = stream
    body.update(native_fields(job, PATH))
    return body


def skim(records: Iterable[Json], completion: Completion) -> Json:
    """Add what nearly every record is: a message that goes on with a text and nothing else."""
    if not completion.choices:
        return next(iter(records), END)  # the first one opens the answer
    add = completion.choices[0].texts.append
    for record in records:
        try:
            message = record["message"]
            text = message["content"]
            if record["done"] or len(record) != 4 or len(message) != 2 or not text or type(text) is not str:
                return record
        except (LookupError, TypeError):
            return record  # an unusual one, which is read with care
        if "role" not in message or "created_at" not in record or "model" not in record:
            return record
        add(text)
    return END


def decode(record: dict[str, Json], completion: Completion) -> bool:
    """Add one record. Raises AttemptError if it is none of Ollama's, or says that nothing was generated."""
    if "done" not in record and ollama_record.says_nothing(record, "message"):
        return False
    choice = completion.choices.get(0) or ollama_record.begin(record, completion)
    message = record.get("message")
    content = False
    if type(message) is dict:
        check_keys(message, MESSAGE_KEYS, "a message")
        content = ollama_record.add(choice, message.get("content"), message)
    elif message is None:
        check_keys(record, KEYS, "a record")
    else:
        raise AttemptError(malformed(f"a `message` that is no object but {shown(message)}"))
    if "logprobs" in record:
        choice.logprobs = more(choice.logprobs, ollama_record.logprobs(record))
    if record.get("done"):
        ollama_record.finish(record, completion, choice, PATH)
    return content


def whole(body: dict[str, Json], completion: Completion, call: Call) -> None:  # noqa: ARG001 - the protocol's signature
    """Take the answer in one piece: it is the last record, with all of the text."""
    message = body.get("message")
    if type(message) is dict and message.keys() == PLAIN and body.get("done") is True and "logprobs" not in body:
        text = message["content"]
        if type(text) is str:  # nearly every answer
            choice = ollama_record.begin(body, completion)
            choice.texts = [text] if text else []
            ollama_record.finish(body, completion, choice, PATH)
            return
    decode(body, completion)
    if "message" not in body:
        raise AttemptError(malformed("an answer without `message`"))


def missing(completion: Completion, *, done: bool) -> str | None:  # noqa: ARG001 - `[DONE]` is not Ollama's
    return ollama_record.missing(completion)


def rebuild(completion: Completion) -> dict[str, Json]:
    """The object that `stream: false` would have given: the last record with all of the text."""
    if completion.whole is not None:
        return completion.whole
    last = completion.tail or completion.head or {}
    choice = completion.first
    message = {
        **(last.get("message") or {"role": "assistant"}),
        "content": choice.text,
        "thinking": choice.thinking,
        "tool_calls": choice.tool_calls,
    }
    fields = {
        **last,
        "message": ollama_record.ordered(message, MESSAGE_ORDER),
        "logprobs": choice.logprobs,
    }
    return ollama_record.ordered(fields, ORDER)
