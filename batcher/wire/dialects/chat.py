"""Speaks `/v1/chat/completions`: takes `messages` or a `prompt`, reads choices, alone or in a stream.

Sources: OpenAI API reference (chat completion and chunk objects); Ollama openai/openai.go (`reasoning`); llama.cpp
tools/server and DeepSeek's API (`reasoning_content`); Mistral's API (content in parts).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from batcher.failures import AttemptError, malformed, shown
from batcher.model import END, Kind
from batcher.outcome import Choice, Delta
from batcher.wire.dialects import endings
from batcher.wire.dialects.endings import (
    MOST,
    choices_of,
    entries_of,
    finish_of,
    index_of,
    list_of,
    settle,
    settle_whole,
    text_of,
    too_many,
)
from batcher.wire.dialects.envelope import RARE, take_counts, take_envelope
from batcher.wire.dialects.messages import to_openai
from batcher.wire.dialects.parameters import openai_fields
from batcher.wire.dialects.parts import logprobs_of, said_in, thought_in
from batcher.wire.dialects.shapes import require
from batcher.wire.dialects.toolpieces import calls_in, merge
from batcher.wire.faults import check_keys

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from batcher.model import Call, Job, Json
    from batcher.outcome import Completion

STREAMS: Final = True
PATH: Final = "/v1/chat/completions"
THINKING: Final = (
    *("reasoning_content", "reasoning", "reasoning_details", "thinking_blocks"),
    *("reasoning_text", "thinking"),
)
"""Where servers put what the model thought; some send several, with the same text (OpenRouter, LiteLLM)."""

BESIDE: Final = frozenset({"tool_calls", "function_call", "refusal", *THINKING})
"""What may stand in a message beside its text."""

TOP_KEYS: Final = frozenset({"choices"})
PIECE_KEYS: Final = frozenset({"index", "delta", "message", "finish_reason"})
DELTA_KEYS: Final = frozenset({"content", "role", *BESIDE})
"""Keys that an answer hangs on: one that is nearly one of them is one that was damaged."""

missing = endings.missing


def encode(jobs: Sequence[Job], *, stream: bool) -> dict[str, Json]:
    """Return the body for one chat or prompt job. Raises LineError for any other."""
    job = jobs[0]
    require(job, PATH, Kind.CHAT, Kind.GENERATE)
    messages = job.content if job.kind is Kind.CHAT else [{"role": "user", "content": job.content}]
    body: dict[str, Json] = {} if job.model is None else {"model": job.model}
    body["messages"] = to_openai(messages, job.system, job.images)
    if job.tools:
        body["tools"] = job.tools
    if stream:
        body["stream"] = True
    body.update(openai_fields(job, PATH))
    if body.get("stream"):
        body.setdefault("stream_options", {"include_usage": True})
    return body


def skim(records: Iterable[Json], completion: Completion) -> Json:
    """Add what nearly every record is: one known choice that goes on with a text, or a thought, and nothing else."""
    choices = completion.choices
    for record in records:
        try:
            pieces = record["choices"]
            piece = pieces[0]
            choice, delta = choices[piece["index"]], piece["delta"]
            if len(pieces) != 1 or piece["finish_reason"] is not None or record.get("usage"):
                return record
            if len(piece) != 3 and (piece.get("logprobs") is not None or "error" in piece):
                return record
            if not RARE.isdisjoint(record):
                return record
            text = delta.get("content")
            if text and len(delta) == 1 and type(text) is str:
                choice.texts.append(text)
                continue
            thought = delta.get("reasoning_content") or delta.get("reasoning")
        except (LookupError, TypeError, AttributeError):
            return record  # an unusual one, which is read with care
        thoughts = choice.thoughts
        if (
            text not in (None, "")
            or not thought
            or not thoughts
            or type(thought) is not str
            or len(delta) != 1 + ("content" in delta)
        ):
            return record
        thoughts.append(thought)
    return END


def decode(record: dict[str, Json], completion: Completion) -> bool:
    """Add a record of any shape: the first, the last, several choices, tool calls, thinking, logprobs, usage.

    True if it brought content. Raises AttemptError if it says the server broke off, or was damaged on its way.
    """
    take_envelope(record, completion)
    if "choices" not in record:
        check_keys(record, TOP_KEYS, "a record")
        endings.check_foreign(record, "choices")
        endings.take_strange(record, completion)
    content = changed = False
    pieces = list_of(record.get("choices"), "choices")
    entries = len(pieces)
    for piece in pieces:
        if type(piece) is not dict:
            raise AttemptError(malformed(f"a choice that is no object with a delta: {shown(piece)}"))
        index = _index_of(piece, completion)
        choice = completion.choices.get(index)
        delta = _part(piece, index, completion)
        entries += entries_of(delta)
        if entries > MOST:
            raise too_many("choices, parts and tool calls")
        said = _delta(piece, delta, index)
        if said.finish_reason is not None:
            endings.check_last(said.text, said.finish_reason, PATH)
        calls = calls_in(delta)
        content |= completion.add(said) or bool(calls)
        if calls:
            merge(calls, completion.choices[index])
        if delta.get("content") == "" and not completion.choices[index].texts:
            completion.choices[index].texts.append("")  # "" and null differ in the object that `rebuild` gives back
        _keep(piece, delta, index, completion)
        if said.finish_reason is not None and "usage" in piece:  # Moonshot (earendil-works/pi#2017)
            take_counts(piece["usage"], completion)
        changed = changed or said.finish_reason is not None or choice is None
    if changed:
        settle(completion)
    return content


def whole(body: dict[str, Json], completion: Completion, call: Call) -> None:  # noqa: ARG001 - the dialects' signature
    """Take an answer that came in one piece. Raises AttemptError if it is cut, damaged, or no chat completion."""
    pieces = body.get("choices")
    if type(pieces) is not list or len(pieces) != 1 or type(pieces[0]) is not dict:
        pieces = choices_of(body)
    entries = len(pieces)
    for place, piece in enumerate(pieces):
        message = piece.get("message")
        if message is None and "message" in piece and piece.get("finish_reason"):
            message = {}  # Azure's filter and others give a reason and nothing else
        if type(message) is not dict:
            raise AttemptError(malformed(f"choice {place} has no message; is {PATH} the endpoint for this?"))
        index, text = piece.get("index"), message.get("content")
        if type(index) is not int:
            index = index_of(piece, place)
        is_plain = type(text) is str and "role" in message and len(message) == 2 and piece.get("logprobs") is None
        if is_plain and index not in completion.choices:  # nearly every answer
            completion.choices[index] = Choice([text] if text else [], finish_reason=finish_of(piece, PATH))
        else:
            entries += entries_of(message)
            if entries > MOST:
                raise too_many("choices, parts and tool calls")
            check_keys(message, DELTA_KEYS, "a message")
            delta = _delta(piece, message, index)
            delta.tool_calls = calls_in(message)
            completion.add(delta)
    take_envelope(body, completion)
    settle_whole(body, completion)


def rebuild(completion: Completion) -> dict[str, Json]:
    """Return the chat completion object as if it had not been streamed."""
    if completion.whole is not None:
        return completion.whole
    tail = dict(completion.tail)
    kept = tail.pop("choices", {})
    for key in ("messages", "strange"):
        tail.pop(key, None)
    choices = [
        _choice(index, choice, *kept.get(index, ({}, {}))) for index, choice in sorted(completion.choices.items())
    ]
    head = {key: value for key, value in (completion.head or {}).items() if key != "obfuscation"}
    return {**head, "object": "chat.completion", "choices": choices, **tail}


def _index_of(piece: dict[str, Json], completion: Completion) -> int:
    """The index of a piece. Raises AttemptError where none tells which of several choices it goes on with."""
    if len(completion.choices) > 1 and "index" not in piece:
        raise AttemptError(malformed(f"a choice without an index, one of several: {shown(piece)}"))
    return index_of(piece, 0)


def _part(piece: dict[str, Json], index: int, completion: Completion) -> dict[str, Json]:
    """What a choice of a record brings: its `delta`, or the `message` or `text` that some servers stream in its place.

    A message beside deltas, or at their end, says again what they said. Raises AttemptError for what was damaged.
    """
    delta = piece.get("delta")
    if type(delta or {}) is not dict:
        raise AttemptError(malformed(f"a choice that is no object with a delta: {shown(piece)}"))
    if not delta or not _says(delta):
        message = piece.get("message")
        if message is None and type(text := piece.get("text", delta and delta.get("text"))) is str:
            message = {"content": text}
        if type(message) is dict and _says(message) and _is_news(message, piece, index, completion):
            completion.tail.setdefault("messages", set()).add(index)
            return message
        _check_piece(piece)
    elif "index" not in piece:
        check_keys(piece, PIECE_KEYS, "a choice")
    if delta:
        check_keys(delta, DELTA_KEYS, "a delta")
    return delta or {}


def _check_piece(piece: dict[str, Json]) -> None:
    """Raise AttemptError if a choice without a delta has one under another name."""
    check_keys(piece, PIECE_KEYS, "a choice")
    if "delta" not in piece and "message" not in piece:
        for key, value in piece.items():
            if type(value) is dict and not DELTA_KEYS.isdisjoint(value):
                raise AttemptError(malformed(f"a choice with {key[:40]!r}, which must be 'delta': it was damaged"))


def _says(message: dict[str, Json]) -> bool:
    return bool(message.get("content")) or any(message.get(key) for key in BESIDE)


def _is_news(message: dict[str, Json], piece: dict[str, Json], index: int, completion: Completion) -> bool:
    """Whether a message in a stream is a piece of the answer, and not all of it again."""
    choice = completion.choices.get(index)
    if choice is None or not endings.has_content(choice):
        return True
    is_last = bool(piece.get("finish_reason")) and message.get("content") == choice.text
    return index in completion.tail.get("messages", ()) and not is_last


def _delta(piece: dict[str, Json], message: dict[str, Json], index: int) -> Delta:
    """What a delta, or a whole message, means, but for its tool calls."""
    text, thinking = said_in(message.get("content"))
    for key in THINKING:
        if thought := message.get(key):
            thinking = thought_in(thought)
            break
    return Delta(
        text=text,
        thinking=thinking,
        index=index,
        finish_reason=finish_of(piece, PATH),
        logprobs=logprobs_of(piece.get("logprobs")),
        refusal=text_of(message.get("refusal"), "refusal"),
    )


def _keep(piece: dict[str, Json], delta: dict[str, Json], index: int, completion: Completion) -> None:
    """Keep the fields that are not added up (role, vendors' own), so that `rebuild` can give them back."""
    kept, message = completion.tail.setdefault("choices", {}).setdefault(index, ({}, {}))
    message.update(delta)
    if len(message) > MOST:
        raise too_many("keys in all")
    logprobs = kept.get("logprobs")
    kept.update(piece)
    if logprobs:  # the last record has null in their place
        kept["logprobs"] = logprobs


def _choice(index: int, choice: Choice, kept: dict[str, Json], delta: dict[str, Json]) -> dict[str, Json]:
    message = {"role": "assistant", **delta, "content": choice.text if choice.texts else None}
    for key in THINKING:
        if key in message:
            message[key] = choice.thinking or None
    if choice.refusals:
        message["refusal"] = "".join(choice.refusals)
    message.pop("tool_calls", None)
    if choice.tool_calls:
        calls = ({key: value for key, value in call.items() if key != "index"} for call in choice.tool_calls)
        message["tool_calls"] = list(calls)
    whole = {**kept, "index": index, "message": message, "finish_reason": choice.finish_reason}
    whole.pop("delta", None)
    if choice.logprobs:
        beside = kept.get("logprobs")
        whole["logprobs"] = {**(beside if type(beside) is dict else {}), "content": choice.logprobs}
    return whole
