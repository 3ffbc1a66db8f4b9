"""Speaks `/v1/responses`: takes an `input`, a `prompt` or `messages`, reads output items, whole or as named events.

Text deltas show progress and give the partial text of a failure; the answer itself is what `response.completed` says.
Sources: OpenAI API reference (response object and streaming events); Ollama openai/responses.go (text before a tool
call gets no `.done` events; the status is always `completed`); llama.cpp tools/server (`timings` beside `response`).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from batcher.failures import AttemptError, malformed, shown, truncated
from batcher.model import Kind
from batcher.outcome import Choice, Delta, more
from batcher.wire.dialects.endings import MOST, MOST_TOKENS, entries_of, has_content, list_of, text_of, too_many
from batcher.wire.dialects.envelope import counted_nothing, take_envelope, without
from batcher.wire.dialects.messages import to_input
from batcher.wire.dialects.parameters import openai_fields
from batcher.wire.dialects.shapes import require
from batcher.wire.faults import check_keys, check_word
from batcher.wire.rules import classify_error

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batcher.model import Call, Job, Json
    from batcher.outcome import Completion

STREAMS: Final = True
PATH: Final = "/v1/responses"

THINKING: Final = frozenset({"response.reasoning_summary_text.delta", "response.reasoning_text.delta"})
ENDS: Final = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled"})
RESPONSE_KEYS: Final = frozenset({"output", "status"})
ITEMS: Final = ("message", "reasoning", "function_call")
TEXTS: Final = {"output_text": "text", "refusal": "refusal"}
"""Where the parts of a message have their words, by type."""
ITEM_KEYS: Final = frozenset({"type", "content", "summary", "name", "arguments", "call_id", "role", "status"})
PART_KEYS: Final = frozenset({"type", "text", "refusal", "logprobs", "annotations"})
"""What an answer hangs on: what is nearly one of these was damaged."""

_OLLAMAS_ID: Final = re.compile(r"resp_\d{1,6}")
"""Ollama openai/responses.go: a random number below a million."""
REASONS: Final = {"max_output_tokens": "length"}
"""Why a response is incomplete, in the words of finish reasons; others stay as they are."""


def encode(jobs: Sequence[Job], *, stream: bool) -> dict[str, Json]:
    """Return the body for one job with an input, a prompt or messages. Raises LineError for embeddings and images."""
    job = jobs[0]
    require(job, PATH, Kind.RESPONSES, Kind.CHAT, Kind.GENERATE)
    body: dict[str, Json] = {} if job.model is None else {"model": job.model}
    body["input"] = _input(job)
    if job.system and not _begins_with_system(body["input"]):
        body["instructions"] = job.system
    if job.tools:
        body["tools"] = [_flat(tool) for tool in job.tools]
    if stream:
        body["stream"] = True
    body.update(openai_fields(job, PATH))
    return body


def decode(record: dict[str, Json], completion: Completion) -> bool:
    """Add one event; true if it brought content. Raises AttemptError if the response failed."""
    kind = str(record.get("type"))
    if kind == "response.output_text.delta":
        choice = completion.choices.get(0)
        if choice is None:
            choice = completion.choices[0] = Choice()
        text = text_of(record.get("delta"), "delta")
        choice.texts.append(text)
        return bool(text)
    if kind in THINKING:
        return completion.add(Delta(thinking=text_of(record.get("delta"), "delta")))
    if kind == "response.refusal.delta":
        return completion.add(Delta(refusal=text_of(record.get("delta"), "delta")))
    if kind == "response.function_call_arguments.delta":
        return bool(record.get("delta"))
    if kind == "response.output_item.done":
        items = completion.tail.setdefault("items", [])
        items.append(record.get("item"))
        if len(items) > MOST:
            raise too_many("items")
    elif kind in ENDS:
        _end(record, completion)
    return False


def whole(body: dict[str, Json], completion: Completion, call: Call) -> None:  # noqa: ARG001 - the dialects' signature
    """Take a response that came in one piece. Raises AttemptError if it failed, was cut, or is no response."""
    if type(body.get("output")) is not list:
        raise AttemptError(without("output", body))
    _take(body, body.get("status") or "completed", completion)


def missing(completion: Completion, *, done: bool) -> str | None:  # noqa: ARG001 - `[DONE]` is not part of this API
    """Name the event that is missing, or return None."""
    return None if completion.proof else "`response.completed`"


def rebuild(completion: Completion) -> dict[str, Json]:
    """Return the response object, which the last event carries whole."""
    return completion.whole or completion.head or {}


def _input(job: Job) -> Json:
    """The line's `input` as it is; a prompt with images, or messages, as items."""
    if isinstance(job.content, list) and any("type" in item for item in job.content):
        return job.content
    return to_input(job.content, None, job.images)


def _begins_with_system(value: Json) -> bool:
    return type(value) is list and bool(value) and value[0].get("role") in ("system", "developer")


def _flat(tool: Json) -> Json:
    """A tool in this API's form, which has no object `function` around name and parameters."""
    if type(tool) is dict and type(function := tool.get("function")) is dict:
        return {"type": "function", **function}
    return tool


def _end(record: dict[str, Json], completion: Completion) -> None:
    response = record.get("response")
    if type(response) is not dict:
        raise AttemptError(malformed(f"{record['type']} without a response"))
    check_keys(response, RESPONSE_KEYS, "a response")
    items = completion.tail.pop("items", [])
    if not response.get("output") and items:  # some servers leave the output of the last event empty
        response = {**response, "output": items}
    status = response.get("status")
    if status not in ("incomplete", "failed", "cancelled"):  # the event says more than a status that was not updated
        status = record["type"].removeprefix("response.")
    _take(response, status, completion)
    if "timings" in record:
        take_envelope({"timings": record["timings"]}, completion)
    completion.tail.clear()  # the response object has it all
    completion.tail["whole"] = bool(record["response"].get("output"))


def _take(response: dict[str, Json], status: str, completion: Completion) -> None:
    """Read a response object; what the deltas said gives way to it. Raises AttemptError unless it is an answer."""
    if status in ("failed", "cancelled"):
        words = response.get("error") or f'the server ended the response with status "{status}"'
        raise AttemptError(classify_error(words, PATH))
    if status in ("queued", "in_progress"):
        raise AttemptError(truncated(f'its output: the status is "{status}"; ask without "background"'))
    output = list_of(response.get("output"), "output")
    if counted_nothing(response.get("usage")) and (_is_of_ollama(response) or not output):
        raise AttemptError(truncated("a token: the server counted none, neither of the prompt nor of the answer"))
    streamed = completion.choices.get(0)
    choice = _choice(output) if output or streamed is None else streamed
    if streamed is not None and has_content(streamed) and not has_content(choice):
        raise AttemptError(malformed("a last event without the answer that was streamed before it"))
    if streamed is not None:
        _keep(streamed, choice)
    choice.finish_reason = "tool_calls" if choice.tool_calls else "stop"
    if status == "incomplete":
        details = response.get("incomplete_details")
        reason = str(details.get("reason") or status) if type(details) is dict else status
        choice.finish_reason = REASONS.get(reason, reason)
        completion.flag("incomplete")
    completion.choices[0] = choice
    completion.head = None
    take_envelope(response, completion)
    completion.proof = f"response.{status}"


def _keep(streamed: Choice, choice: Choice) -> None:
    """Keep what was streamed of a kind that the last event says nothing of: items alone may tell a part of it."""
    choice.texts = choice.texts or streamed.texts
    choice.thoughts = choice.thoughts or streamed.thoughts
    choice.refusals = choice.refusals or streamed.refusals


def _is_of_ollama(response: dict[str, Json]) -> bool:
    """Whether the ids are Ollama's: it ends a generation that was cut with "completed" and a usage of zeros.

    Others count nothing of whole answers (https://github.com/vllm-project/vllm/issues/23007).
    """
    return _OLLAMAS_ID.fullmatch(str(response.get("id"))) is not None


def _choice(output: list[Json]) -> Choice:
    """The items of an output as one answer. Raises AttemptError for one that was damaged on its way."""
    choice = Choice()
    entries = len(output)
    for item in output:
        if type(item) is not dict:
            raise AttemptError(malformed(f"an item of the output that is no object: {shown(item)}"))
        entries += entries_of(item)
        if entries > MOST:
            raise too_many("items and parts")
        kind = item.get("type") or ("message" if "content" in item else None)
        if kind is None:
            raise AttemptError(malformed(f"an item of the output without a type: {shown(item)}"))
        check_keys(item, ITEM_KEYS, "an item of the output")
        check_word(kind, ITEMS)
        if kind == "message":
            _add_message(item, choice)
        elif kind == "reasoning":
            thought = _joined(item.get("summary")) or _joined(item.get("content"))
            if thought:
                choice.thoughts = more(choice.thoughts, (thought,))
        elif kind == "function_call":
            function = {"name": item.get("name"), "arguments": item.get("arguments")}
            call = {"id": item.get("call_id"), "type": "function", "function": function}
            choice.tool_calls = more(choice.tool_calls, (call,))
    return choice


def _add_message(item: dict[str, Json], choice: Choice) -> None:
    for part in list_of(item.get("content"), "content"):
        if type(part) is not dict:
            raise AttemptError(malformed(f"a part of a message that is no object: {shown(part)}"))
        kind = part.get("type") or next((kind for kind, key in TEXTS.items() if key in part), None)
        check_keys(part, PART_KEYS, "a part of a message")
        check_word(kind, TEXTS)
        if kind in TEXTS and TEXTS[kind] not in part:
            raise AttemptError(malformed(f"a part of a message without its text: {shown(part)}"))
        if kind == "output_text":
            choice.texts.append(text_of(part.get("text"), "text"))
            choice.logprobs = more(choice.logprobs, list_of(part.get("logprobs"), "logprobs", MOST_TOKENS))
        elif kind == "refusal":
            choice.refusals = more(choice.refusals, (text_of(part.get("refusal"), "refusal"),))


def _joined(parts: Json) -> str:
    """The paragraphs of a reasoning item."""
    texts = []
    for part in list_of(parts, "reasoning"):
        if type(part) is dict:
            check_keys(part, PART_KEYS, "a part of a thought")
            if "text" not in part:
                raise AttemptError(malformed(f"a part of a thought without its text: {shown(part)}"))
            texts.append(text_of(part.get("text"), "text"))
    return "\n\n".join(texts)
