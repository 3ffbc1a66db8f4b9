"""Several exchanges that make one result: an answer that does not fit is asked again, in the validator's words. Pure.

What is asked again has the wrong answer and what is wrong with it behind the question, and no more than the last of
them. A prompt that goes to a path without conversations has them in its text.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from batcher.exchange.answers import MISMATCH
from batcher.failures import FailureClass
from batcher.model import Api, Kind, Usage
from batcher.wire.dialects import call_for

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batcher.attempt import Attempt
    from batcher.model import Call, Completion, Fits, Job, Json

TEXTUAL: Final = frozenset({"/api/generate", "/v1/completions"})
"""Paths that take a prompt and no conversation."""
QUOTED: Final = 4000
"""Characters of a wrong answer that are shown to the model again: it may have gone on until it was cut off."""
SCHEMA: Final = 8000
"""Characters of a schema that are told: a server that ignores it has not told the model."""
_KEYS: Final = ("messages", "prompt", "input")
"""Where a whole body has what is asked."""


@dataclass(slots=True)
class Dialogue:
    """What was said for one job so far."""

    asked_again: int = 0
    spent: Usage = field(default_factory=Usage)


def goes_on(call: Call, attempt: Attempt, retries: int) -> bool:
    """Whether there is more to ask after an answer; then the call's body is that. At most `retries` times again."""
    completion = attempt.completion
    if completion is None or len(call.jobs) != 1:
        return False
    job, dialogue = call.jobs[0], call.dialogue
    if (
        not _may_be_mended(attempt, completion)
        or job.fits is None
        or retries <= (dialogue.asked_again if dialogue else 0)
    ):
        return False
    if dialogue is None:
        dialogue = call.dialogue = Dialogue()
    dialogue.asked_again += 1
    _spend(dialogue, completion)
    words = _correction(completion.mismatch or "", job.fits)
    call.body = _said(job, call, completion.first.text[:QUOTED], words)
    return True


def conclude(call: Call, completion: Completion) -> None:
    """Have the answer tell of the exchanges before it."""
    if call.dialogue is not None:
        completion.spent = call.dialogue.spent


def _may_be_mended(attempt: Attempt, completion: Completion) -> bool:
    """Whether the answer is complete and does not fit, and that alone is held against it."""
    failure = attempt.failure
    is_suspect = failure is not None and failure.kind is FailureClass.SUSPECT
    if failure is not None and not (is_suspect and failure.code in (MISMATCH, "invalid_json")):
        return False
    return completion.mismatch is not None and not completion.first.refusals


def _spend(dialogue: Dialogue, completion: Completion) -> None:
    if completion.usage is not None:
        dialogue.spent = total(dialogue.spent, completion.usage)


def total(one: Usage, other: Usage) -> Usage:
    """The tokens of both; what neither tells is not known."""
    return Usage(
        _sum(one.prompt_tokens, other.prompt_tokens),
        _sum(one.completion_tokens, other.completion_tokens),
        _sum(one.reasoning_tokens, other.reasoning_tokens),
        _sum(one.cached_tokens, other.cached_tokens),
    )


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None and other is None else (one or 0) + (other or 0)


def _correction(fault: str, fits: Fits) -> str:
    schema = f" It has to fit this JSON Schema: {fits.words}" if 0 < len(fits.words) <= SCHEMA else ""
    return f"This answer cannot be used: {fault}.{schema} Answer again, with the JSON and nothing else."


def _said(job: Job, call: Call, answer: str, words: str) -> bytes:
    """The body that asks again."""
    content = job.content if job.body is None else next(job.body[key] for key in _KEYS if key in job.body)
    if call.path in TEXTUAL:
        return _encoded(job, call, f"{content}\n\n{answer}\n\n{words}")
    beginning, images = _conversation(content, job.images)
    turns = [{"role": "assistant", "content": answer}, {"role": "user", "content": words}]
    return _encoded(replace(job, images=images), call, [*beginning, *turns])


def _conversation(content: Json, images: Sequence[str]) -> tuple[list[Json], tuple[str, ...]]:
    """What was asked as messages; images that belong to the last of these are put there."""
    if type(content) is not str:
        return [*content], tuple(images)
    message: dict[str, Json] = {"role": "user", "content": content}
    return [{**message, "images": [*images]} if images else message], ()


def _encoded(job: Job, call: Call, content: Json) -> bytes:
    if job.body is None:
        kind = Kind.CHAT if job.kind is Kind.GENERATE and type(content) is list else job.kind
        asked: Any = replace(job, content=content, kind=kind, path=call.path)
    else:
        key = next(key for key in _KEYS if key in job.body)
        asked = replace(job, body={**job.body, key: content}, path=call.path)
    api = Api.NATIVE if call.path.startswith("/api/") else Api.OPENAI
    return call_for((asked,), api, stream=call.stream).body
