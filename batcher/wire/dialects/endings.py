"""Decides how an answer in choices (`/v1/chat/completions`, `/v1/completions`) ends, and what proves it complete.

Proof is a finish reason for every index seen, or `[DONE]` after content. Neither alone can be demanded: servers leave
out the one or the other on complete answers. Ollama's `/v1` loses errors in mid-stream: one more record without
content, then the end, with neither mark (Ollama middleware/openai.go).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from batcher.failures import AttemptError, Failure, FailureClass, malformed, truncated
from batcher.wire.dialects.envelope import counted_nothing
from batcher.wire.rules import classify_error

if TYPE_CHECKING:
    from batcher.model import Choice, Completion, Json

BROKEN_OFF: Final = frozenset({"error", "abort", "insufficient_system_resource"})
"""Finish reasons of answers that are not finished: OpenRouter and vLLM; vLLM; DeepSeek."""


def finish_of(piece: dict[str, Json], path: str) -> str | None:
    """The finish reason of a choice; "" is none. Raises AttemptError if the server broke off, or had no prompt."""
    reason = piece.get("finish_reason")
    if not reason:
        return None
    if type(reason) is not str:
        raise AttemptError(malformed(f"a finish_reason that is no text: {reason!r:.80}"))
    if reason in BROKEN_OFF:
        words = piece.get("error") or f'the server broke the answer off: finish_reason "{reason}"'
        raise AttemptError(classify_error(words, path))
    if reason == "load":  # Ollama openai/openai.go: an empty prompt only loads the model
        words = "the server found nothing to answer and only loaded the model; give the job a prompt"
        raise AttemptError(Failure(FailureClass.PERMANENT, "empty_prompt", words))
    return reason


def settle(completion: Completion) -> None:
    """Set the proof once every index seen has a finish reason; take it back when a new index appears."""
    completion.proof = "finish_reason"
    for choice in completion.choices.values():
        if choice.finish_reason is None:
            completion.proof = None


def missing(completion: Completion, *, done: bool) -> str | None:
    """Name the mark that is missing, or return None. `done`: `[DONE]` was read."""
    if completion.proof is None and done and any(map(has_content, completion.choices.values())):
        completion.proof = "[DONE]"
    return None if completion.proof else "a finish reason or `[DONE]`"


def settle_whole(body: dict[str, Json], completion: Completion) -> None:
    """Prove an answer that came in one piece. Raises AttemptError if its generation was cut.

    A choice without a finish reason is accepted where there is content and the server counted tokens: Ollama answers
    a generation that was cut with `finish_reason: null` and a usage of zeros.
    """
    settle(completion)
    if completion.proof is not None:
        return
    if counted_nothing(body.get("usage")) or not any(map(has_content, completion.choices.values())):
        raise AttemptError(truncated("a finish reason"))
    completion.proof = "whole"


def has_content(choice: Choice) -> bool:
    """Whether anything was said: text, thinking, a tool call or a refusal."""
    return bool(any(choice.texts) or choice.thoughts or choice.tool_calls or choice.refusals)


def choices_of(body: dict[str, Json]) -> list[dict[str, Json]]:
    """The choices of an answer in one piece. Raises AttemptError if there are none."""
    choices = list_of(body.get("choices"), "choices")
    if not choices or {*map(type, choices)} != {dict}:
        raise AttemptError(malformed(f"an answer without choices; it has {', '.join(body) or 'nothing'}"[:300]))
    return choices


def index_of(piece: dict[str, Json], place: int = 0) -> int:
    """The index of a choice; its place where the server names none."""
    index = piece.get("index")
    if index is None:
        return place
    if type(index) is not int:
        raise AttemptError(malformed(f"a choice whose index is no number: {index!r:.80}"))
    return index


def text_of(value: Json, key: str) -> str:
    """A text; null is "". Raises AttemptError for anything else."""
    if value is None:
        return ""
    if type(value) is not str:
        raise AttemptError(malformed(f"{key} that is no text: {value!r:.80}"))
    return value


def list_of(value: Json, key: str) -> list[Json]:
    """A list; null is empty. Raises AttemptError for anything else."""
    if value is None:
        return []
    if type(value) is not list:
        raise AttemptError(malformed(f"{key} that is no list: {value!r:.80}"))
    return value
