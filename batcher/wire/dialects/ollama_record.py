"""What the records of `/api/generate` and `/api/chat` have in common: pieces of an answer, and what the last one says.

Source: Ollama `api/types.go` (`GenerateResponse`, `ChatResponse`, `Metrics`). Durations are nanoseconds there; a count
or duration of 0 is left out.
"""

from __future__ import annotations

from dataclasses import replace
from operator import itemgetter
from typing import TYPE_CHECKING, Final

from batcher.failures import AttemptError, Failure, FailureClass, malformed, shown
from batcher.outcome import Choice, Completion, ServerTimes, Usage, more
from batcher.wire.dialects import endings
from batcher.wire.dialects.envelope import MOST
from batcher.wire.dialects.toolpieces import check_call
from batcher.wire.faults import is_note

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batcher.model import Job, Json

METRICS: Final = (
    "total_duration",
    "load_duration",
    "prompt_eval_count",
    "prompt_eval_duration",
    "eval_count",
    "eval_duration",
)
"""The metrics in Ollama's order."""
_metrics: Final = itemgetter(*METRICS)

ALWAYS: Final = frozenset({"content", "response"})
"""Fields that are there also when empty."""


def begin(record: dict[str, Json], completion: Completion) -> Choice:
    """Open the answer at its first record. Raises AttemptError if that is no record of Ollama's."""
    if "done" not in record:
        raise AttemptError(malformed(f"a record without `done`, with {', '.join(record)[:200] or 'nothing'}"))
    choice = completion.choices[0] = Choice()
    completion.head = record
    completion.served_model = model_of(record)
    return choice


def model_of(record: dict[str, Json]) -> str | None:
    """The model that a record names, if it is a name."""
    return model if type(model := record.get("model")) is str else None


def says_nothing(record: dict[str, Json], text: str) -> bool:
    """Whether a record without `done`, as Ollama's all have, is a ping. Raises AttemptError for one that says more."""
    if text in record:
        return False
    if not is_note(record):
        raise AttemptError(malformed(f"a record without `done`: {shown(record)}"))
    return True


def add(choice: Choice, text: Json, message: dict[str, Json]) -> bool:
    """Add a piece of text and what may lie beside it; true if it brought content.

    Raises AttemptError if the text or the thinking is none.
    """
    content = False
    if text:
        choice.texts.append(_checked(text))
        content = True
    if thinking := message.get("thinking"):
        choice.thoughts = more(choice.thoughts, (_checked(thinking),))
        content = True
    if calls := message.get("tool_calls"):
        if any(type(call) is not dict for call in endings.list_of(calls, "tool calls")):
            raise AttemptError(malformed(f"tool calls that are none: {shown(calls)}"))
        for call in calls:
            check_call(call)
        choice.tool_calls = more(choice.tool_calls, calls)
        content = True
    return content


def logprobs(record: dict[str, Json]) -> list[Json]:
    """The record's log probabilities. Raises AttemptError if they are no list."""
    given = record["logprobs"] or []
    if type(given) is not list:
        raise AttemptError(malformed(f"logprobs that are no list: {shown(given)}"))
    return given


def finish(record: dict[str, Json], completion: Completion, choice: Choice, path: str) -> None:
    """Take the last record: proof, reason, counts, durations. Raises AttemptError if it says nothing was generated."""
    reason = record.get("done_reason")
    if reason in ("load", "unload"):
        words = f"Ollama generated nothing (done_reason {reason!r}): the prompt or the messages are empty"
        raise AttemptError(Failure(FailureClass.PERMANENT, "empty_prompt", words, 200))
    choice.finish_reason = endings.finish_of(record, path, "done_reason")
    completion.proof = "done"
    completion.tail = record
    completion.served_model = model_of(record) or completion.served_model
    measure(record, completion)
    usage = completion.usage
    if usage is not None and usage.completion_tokens is None and not endings.has_content(choice):
        completion.usage = replace(usage, completion_tokens=0)  # it is left out


def measure(record: dict[str, Json], completion: Completion) -> None:
    """Take the server's counts, and its durations, from nanoseconds to seconds."""
    try:
        total, load, read, reading, made, making = values = _metrics(record)
        for value in values:
            if type(value) is not int or not 0 <= value <= MOST:
                break
        else:  # nearly every record
            completion.usage = Usage(read, made)
            completion.server = ServerTimes(load / 1e9, reading / 1e9, making / 1e9, total / 1e9)
            return
    except KeyError:
        pass
    total, load, read, reading, made, making = (_count(record.get(name)) for name in METRICS)
    if read is not None or made is not None:
        completion.usage = Usage(read, made)
    if any(value is not None for value in (total, load, reading, making)):
        completion.server = ServerTimes(_seconds(load), _seconds(reading), _seconds(making), _seconds(total))


def missing(completion: Completion) -> str | None:
    """The mark without which a native answer is not complete."""
    return None if completion.proof else "`done: true`"


def ordered(fields: dict[str, Json], order: Sequence[str]) -> dict[str, Json]:
    """The fields in the order of Ollama's structs, unknown ones last; empty optional ones are left out."""
    known = {key: fields[key] for key in order if key in ALWAYS or fields.get(key) not in ("", [], (), None)}
    return known | {key: value for key, value in fields.items() if key not in order}


def addressed(job: Job) -> dict[str, Json]:
    """The start of a body: the job's model, if it has one."""
    return {} if job.model is None else {"model": job.model}


def _seconds(nanoseconds: int | None) -> float | None:
    return None if nanoseconds is None else nanoseconds / 1e9


def _count(value: Json) -> int | None:
    return value if type(value) is int and 0 <= value <= MOST else None


def _checked(text: Json) -> str:
    if type(text) is not str:
        raise AttemptError(malformed(f"an answer whose text is {shown(text)}, of type {type(text).__name__}"))
    return text
