"""Speaks `/v1/chat/completions`: takes `messages` or a `prompt`, reads choices, alone or in a stream.

Sources: OpenAI API reference (chat completion and chunk objects); Ollama openai/openai.go (`reasoning`); llama.cpp
tools/server and DeepSeek's API (`reasoning_content`); Mistral's API (content in parts).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from batcher import codec
from batcher.failures import AttemptError, malformed
from batcher.model import END, Choice, Delta, Kind
from batcher.wire.dialects import endings
from batcher.wire.dialects.endings import choices_of, finish_of, index_of, list_of, settle, settle_whole, text_of
from batcher.wire.dialects.envelope import RARE, take_envelope
from batcher.wire.dialects.messages import to_openai
from batcher.wire.dialects.parameters import openai_fields
from batcher.wire.dialects.shapes import require

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from batcher.model import Call, Completion, Job, Json

STREAMS: Final = True
PATH: Final = "/v1/chat/completions"
THINKING: Final = ("reasoning_content", "reasoning")
"""Where servers put what the model thought; some send both, with the same text."""

BESIDE: Final = frozenset({"tool_calls", "refusal", *THINKING})
"""What may stand in a message beside its text."""

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
            if len(pieces) != 1 or piece.get("finish_reason") is not None or piece.get("logprobs") is not None:
                return record
            if record.get("usage") or not RARE.isdisjoint(record):
                return record
            text = delta.get("content")
            if text and len(delta) == 1 and type(text) is str:
                choice.texts.append(text)
                continue
            thought = delta.get("reasoning_content") or delta.get("reasoning")
        except (LookupError, TypeError, AttributeError):
            return record  # an unusual one, which is read with care
        is_thought = choice.thoughts and type(thought) is str and len(delta) == 1 + ("content" in delta)
        if text or not thought or not is_thought:
            return record
        choice.thoughts.append(thought)
    return END


def decode(record: dict[str, Json], completion: Completion) -> bool:
    """Add a record of any shape: the first, the last, several choices, tool calls, thinking, logprobs, usage.

    True if it brought content. Raises AttemptError if it says the server broke off.
    """
    take_envelope(record, completion)
    content = False
    for piece in list_of(record.get("choices"), "choices"):
        if type(piece) is not dict or type(delta := piece.get("delta") or {}) is not dict:
            raise AttemptError(malformed(f"a choice that is no object with a delta: {piece!r:.80}"))
        index = index_of(piece, 0)
        choice = completion.choices.get(index)
        pieces = _merging(_calls(delta), choice) if delta.get("tool_calls") else ()
        said = _delta(piece, delta, index, pieces)
        content |= completion.add(said)
        if delta.get("content") == "" and not completion.choices[index].texts:
            completion.choices[index].texts.append("")  # "" and null differ in the object that `rebuild` gives back
        _keep(piece, delta, index, completion)
        if said.finish_reason is not None or choice is None:
            settle(completion)
    return content


def whole(body: dict[str, Json], completion: Completion, call: Call) -> None:  # noqa: ARG001 - the dialects' signature
    """Take an answer that came in one piece. Raises AttemptError if it is cut, or no chat completion."""
    for place, piece in enumerate(choices_of(body)):
        message = piece.get("message")
        if type(message) is not dict:
            raise AttemptError(malformed(f"choice {place} has no message; is {PATH} the endpoint for this?"))
        index, text = index_of(piece, place), message.get("content")
        is_plain = type(text) is str and BESIDE.isdisjoint(message) and piece.get("logprobs") is None
        if is_plain and index not in completion.choices:  # nearly every answer
            completion.choices[index] = Choice([text] if text else [], finish_reason=finish_of(piece, PATH))
        else:
            completion.add(_delta(piece, message, index, _calls(message)))
    take_envelope(body, completion)
    settle_whole(body, completion)


def rebuild(completion: Completion) -> dict[str, Json]:
    """Return the chat completion object as if it had not been streamed."""
    if completion.whole is not None:
        return completion.whole
    tail = dict(completion.tail)
    kept = tail.pop("choices", {})
    choices = [
        _choice(index, choice, *kept.get(index, ({}, {}))) for index, choice in sorted(completion.choices.items())
    ]
    head = {key: value for key, value in completion.head.items() if key != "obfuscation"}
    return {**head, "object": "chat.completion", "choices": choices, **tail}


def _delta(piece: dict[str, Json], message: dict[str, Json], index: int, calls: Sequence[dict[str, Json]]) -> Delta:
    """What a delta, or a whole message, means."""
    text, thinking = _said(message.get("content"))
    for key in THINKING:
        if thought := message.get(key):
            thinking = text_of(thought, key)
            break
    logprobs = piece.get("logprobs")
    return Delta(
        text=text,
        thinking=thinking,
        index=index,
        finish_reason=finish_of(piece, PATH),
        tool_calls=calls,
        pieces="delta" in piece,
        logprobs=list_of(logprobs.get("content"), "logprobs") if type(logprobs) is dict else (),
        refusal=text_of(message.get("refusal"), "refusal"),
    )


def _said(content: Json) -> tuple[str, str]:
    """(text, thinking) of content, which may come in parts."""
    if type(content) is str:
        return content, ""
    if content is None:
        return "", ""
    if type(content) is not list:
        raise AttemptError(malformed(f"content that is neither text nor parts: {content!r:.80}"))
    text = thinking = ""
    for part in content:
        if type(part) is dict and part.get("type") == "text":
            text += text_of(part.get("text"), "text")
        elif type(part) is dict and part.get("type") == "thinking":
            thinking += _said(part.get("thinking"))[0]
    return text, thinking


def _calls(message: dict[str, Json]) -> Sequence[dict[str, Json]]:
    calls = message.get("tool_calls") or ()
    if calls and (type(calls) is not list or any(type(call) is not dict for call in calls)):
        raise AttemptError(malformed(f"tool calls that are no list of objects: {calls!r:.80}"))
    return calls


def _merging(calls: Sequence[dict[str, Json]], choice: Choice | None) -> list[dict[str, Json]]:
    """Pieces of tool calls, made safe to merge by index.

    Servers repeat id and name as "" in later pieces, send arguments as an object, or give every call the index 0
    with an id of its own (older Ollama, Gemini's compatibility layer).
    """
    known = {call.get("index"): call.get("id") for call in choice.tool_calls} if choice else {}
    pieces = []
    for call in calls:
        piece = {key: value for key, value in call.items() if value not in (None, "") and key != "function"}
        function = call.get("function") or {}
        if type(function) is not dict or type(piece.get("index", 0)) is not int:
            raise AttemptError(malformed(f"a tool call that cannot be read: {call!r:.80}"))
        piece["function"] = {key: value for key, value in function.items() if value not in (None, "")}
        arguments = function.get("arguments")
        if arguments is not None and type(arguments) is not str:
            piece["function"]["arguments"] = codec.dumps(arguments).decode()
        if piece.get("id") and known.get(piece.get("index"), piece["id"]) != piece["id"]:
            piece["index"] = len(known)
        if "index" in piece:
            known.setdefault(piece["index"], piece.get("id"))
        pieces.append(piece)
    return pieces


def _keep(piece: dict[str, Json], delta: dict[str, Json], index: int, completion: Completion) -> None:
    """Keep the fields that are not added up (role, vendors' own), so that `rebuild` can give them back."""
    kept, message = completion.tail.setdefault("choices", {}).setdefault(index, ({}, {}))
    message.update(delta)
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
        whole["logprobs"] = {**(kept.get("logprobs") or {}), "content": choice.logprobs}
    return whole
