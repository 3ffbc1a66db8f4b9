"""Speaks `/v1/completions`: takes a `prompt`, reads choices of text, alone or in a stream.

Sources: OpenAI API reference (legacy completions; logprobs as one object of parallel lists); llama.cpp tools/server
(logprobs as `{"content": […]}`); Ollama openai/openai.go (a usage of zeros in every record but the last).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from batcher.failures import AttemptError, malformed, shown
from batcher.model import END, Kind
from batcher.outcome import Delta, more
from batcher.wire.dialects import endings
from batcher.wire.dialects.endings import (
    MOST_TOKENS,
    choices_of,
    finish_of,
    index_of,
    list_of,
    settle,
    settle_whole,
    text_of,
)
from batcher.wire.dialects.envelope import RARE, take_envelope
from batcher.wire.dialects.parameters import openai_fields
from batcher.wire.dialects.shapes import refusal, require
from batcher.wire.faults import check_keys

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from batcher.model import Call, Job, Json
    from batcher.outcome import Choice, Completion

STREAMS: Final = True
PATH: Final = "/v1/completions"

TOP_KEYS: Final = frozenset({"choices"})
PIECE_KEYS: Final = frozenset({"index", "text", "finish_reason", "logprobs"})
"""Keys that an answer hangs on: one that is nearly one of them is one that was damaged."""

missing = endings.missing


def encode(jobs: Sequence[Job], *, stream: bool) -> dict[str, Json]:
    """Return the body for one prompt job. Raises LineError for messages, a system text or images."""
    job = jobs[0]
    require(job, PATH, Kind.GENERATE)
    if job.system or job.images:
        raise refusal(job, f"{PATH} takes no {'system text' if job.system else 'images'}, only a prompt")
    body: dict[str, Json] = {} if job.model is None else {"model": job.model}
    body["prompt"] = job.content
    if stream:
        body["stream"] = True
    body.update(openai_fields(job, PATH))
    if body.get("stream"):
        body.setdefault("stream_options", {"include_usage": True})
    return body


def skim(records: Iterable[Json], completion: Completion) -> Json:
    """Add what nearly every record is: one known choice that goes on, with text and nothing else."""
    choices = completion.choices
    for record in records:
        try:
            pieces = record["choices"]
            piece = pieces[0]
            choice, text = choices[piece["index"]], piece["text"]
            if len(pieces) != 1 or piece["finish_reason"] is not None or record.get("usage"):
                return record
            if len(piece) != 3 and (piece.get("logprobs") is not None or "error" in piece):
                return record
            if not text or type(text) is not str or not RARE.isdisjoint(record):
                return record
        except (LookupError, TypeError, AttributeError):
            return record  # an unusual one, which is read with care
        choice.texts.append(text)
    return END


def decode(record: dict[str, Json], completion: Completion) -> bool:
    """Add a record of any shape: the first, the last, several choices, logprobs, usage.

    True if it brought content. Raises AttemptError if it says the server broke off.
    """
    take_envelope(record, completion)
    if "choices" not in record:
        check_keys(record, TOP_KEYS, "a record")
        endings.check_foreign(record, "choices")
        endings.take_strange(record, completion)
    content = False
    for place, piece in enumerate(list_of(record.get("choices"), "choices")):
        if type(piece) is not dict:
            raise AttemptError(malformed(f"a choice that is no object: {shown(piece)}"))
        endings.check_last(piece.get("text"), piece.get("finish_reason"), PATH)
        content |= _add(piece, place, completion)
    if completion.choices:
        settle(completion)
    return content


def whole(body: dict[str, Json], completion: Completion, call: Call) -> None:  # noqa: ARG001 - the dialects' signature
    """Take an answer that came in one piece. Raises AttemptError if it is cut, or no text completion."""
    for place, piece in enumerate(choices_of(body)):
        if "text" not in piece:
            raise AttemptError(malformed(f"choice {place} has no text; is {PATH} the endpoint for this?"))
        _add(piece, place, completion)
    take_envelope(body, completion)
    settle_whole(body, completion)


def rebuild(completion: Completion) -> dict[str, Json]:
    """Return the text completion object as if it had not been streamed."""
    if completion.whole is not None:
        return completion.whole
    tail = dict(completion.tail)
    kept = tail.pop("choices", {})
    tail.pop("strange", None)
    choices = [
        {**kept.get(index, {}), "text": choice.text, "finish_reason": choice.finish_reason, **_logprobs(choice)}
        for index, choice in sorted(completion.choices.items())
    ]
    return {**(completion.head or {}), "choices": choices, **tail}


def _add(piece: dict[str, Json], place: int, completion: Completion) -> bool:
    index = index_of(piece, place)
    if "text" not in piece or "index" not in piece:
        check_keys(piece, PIECE_KEYS, "a choice")
        endings.check_foreign(piece, "text")
        _check_piece(piece)
    new = index not in completion.choices
    delta = Delta(text=text_of(piece.get("text"), "text"), index=index, finish_reason=finish_of(piece, PATH))
    content = completion.add(delta)
    choice = completion.choices[index]
    if type(logprobs := piece.get("logprobs")) is dict:
        _add_logprobs(logprobs, choice)
    if new or delta.finish_reason is not None:
        completion.tail.setdefault("choices", {}).setdefault(index, {}).update(piece)
    return content


def _check_piece(piece: dict[str, Json]) -> None:
    """Raise AttemptError if a choice that goes on has a text under another name."""
    if "text" not in piece and piece.get("finish_reason") is None:
        for key, value in piece.items():
            if value and type(value) is str and key not in PIECE_KEYS:
                raise AttemptError(malformed(f"a choice with {key[:40]!r} and no text: {shown(piece)}"))


def _add_logprobs(logprobs: dict[str, Json], choice: Choice) -> None:
    """Join by key: `content` holds one object a token; the legacy object has parallel lists, and stays one object."""
    if "content" in logprobs:
        choice.logprobs = more(choice.logprobs, list_of(logprobs["content"], "logprobs", MOST_TOKENS))
        return
    if not choice.logprobs:
        choice.logprobs = [{}]
    joined = choice.logprobs[0]
    for key, values in logprobs.items():
        if type(values) is not list:
            joined.setdefault(key, values)
        elif type(joined.get(key)) is list:
            joined[key].extend(values)
        else:
            joined[key] = list(values)


def _logprobs(choice: Choice) -> dict[str, Json]:
    """The field as the server gives it in one piece, in the form it streamed."""
    if not choice.logprobs:
        return {}
    first = choice.logprobs[0]
    legacy = type(first) is dict and "tokens" in first
    return {"logprobs": first if legacy else {"content": choice.logprobs}}
