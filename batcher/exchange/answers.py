"""What is doubtful about an answer that is complete: it or its prompt was cut, it is empty or repeats itself, …"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from batcher.exchange import jsontext
from batcher.exchange.guard import BLANK, repeats, tail
from batcher.failures import FLAGS, Failure, FailureClass, internal
from batcher.model import Kind
from batcher.wire.dialects.endings import flag_of
from batcher.wire.dialects.toolpieces import is_cut

if TYPE_CHECKING:
    from collections.abc import Mapping, Set as AbstractSet

    from batcher.model import Call, Job, Json
    from batcher.outcome import Attempt, Choice, Completion

MISMATCH: Final = "schema_mismatch"
SLACK: Final = 8
"""Tokens by which a prompt that was cut misses the size of its context: marks of its beginning and end."""

_LIMITS: Final = ("max_output_tokens", "max_completion_tokens", "max_tokens")

SMALLEST: Final = 256
"""The smallest context that a prompt is thought to have been cut to, in tokens, where none was asked for."""


def judged(call: Call, attempt: Attempt, fail_on: AbstractSet[str]) -> Attempt:
    """Look at the answer of an attempt: what is doubtful about it is flagged, or a failure if `fail_on` names it."""
    completion = attempt.completion
    if completion is not None and attempt.failure is None and len(call.jobs) == 1:
        try:
            completion.parsed = judge(call.jobs[0], completion)
            if fail_on and completion.flags:
                attempt.failure = suspicion(completion, fail_on)
        except Exception as error:  # noqa: BLE001 - a bug met by one answer must not cost the others
            attempt.failure = internal(error)
    return attempt


def judge(job: Job, completion: Completion) -> Json:
    """Flag what is doubtful and return the answer parsed, if JSON was asked for and it is JSON; else None."""
    if completion.images is not None:
        return None
    if _was_cut(job, completion):
        completion.flag("input_truncated")
    if completion.vectors is not None:
        return None
    for choice in completion.choices.values():
        _judge_end(choice, completion)
    if (job.kind is Kind.RESPONSES or "tool_call_cut" in completion.flags) and _filled(job, completion):
        completion.flag("length")
    first = completion.first
    if not (any(first.texts) or first.tool_calls or first.refusals):
        completion.flag("empty")
    body = job.extra if job.body is None else job.body
    if not body and not job.params:
        return None
    wanted = job.params.get("n", body.get("n"))
    if isinstance(wanted, int) and len(completion.choices) < wanted:
        completion.flag("fewer_choices")
    if _wants_json(job.params, body) and not first.tool_calls:
        return _parsed(job, first.text, completion)
    return None


def _judge_end(choice: Choice, completion: Completion) -> None:
    """Flag what is doubtful about the end of one choice."""
    if choice.finish_reason != "stop" and (flag := flag_of(choice.finish_reason)) is not None:
        completion.flag(flag)
    if choice.tool_calls and any(map(is_cut, choice.tool_calls)):
        completion.flag("tool_call_cut")
    if len(choice.texts) > 1:
        choice.texts = ["".join(choice.texts)]  # it grows no more, and is asked for again
    if choice.texts and len(choice.texts[0]) < BLANK and not choice.tool_calls:
        return  # too short to repeat itself for long
    if repeats(tail(choice)):
        completion.flag("repeats")


def asks_many(job: Job) -> bool:
    """Whether the job has a list of inputs and so a list of vectors; a list of token numbers is one input."""
    if job.kind is not Kind.EMBED:
        return False
    content = job.content if job.body is None else job.body.get("input")
    return isinstance(content, list) and bool(content) and not isinstance(content[0], int)


def suspicion(completion: Completion, fail_on: AbstractSet[str]) -> Failure | None:
    """The failure that `--fail-on` makes of a flag, if it names one of them."""
    for name in completion.flags:
        if name in fail_on:
            reason = f" ({completion.mismatch})" if name == MISMATCH and completion.mismatch else ""
            return Failure(FailureClass.SUSPECT, name, FLAGS.get(name, name) + reason)
    return None


def _wants_json(params: Mapping[str, Json], body: Mapping[str, Json]) -> bool:
    """Whether the format asked for, by any API's name for it, is a schema or JSON and not plain text."""
    text = body.get("text")
    asked = (
        params.get("format")
        or body.get("response_format")
        or body.get("format")
        or (isinstance(text, dict) and text.get("format"))
    )
    return asked.get("type") != "text" if isinstance(asked, dict) else bool(asked)


def _filled(job: Job, completion: Completion) -> bool:
    """Whether the token limit was reached. Ollama and llama.cpp call such an answer `completed` on /v1/responses."""
    params = job.params
    limit = params.get("max_tokens", params.get("max_completion_tokens"))
    if job.body is not None:
        limit = next((job.body[key] for key in _LIMITS if key in job.body), None)
    tokens = completion.usage.completion_tokens if completion.usage else None
    return type(limit) is int and tokens is not None and tokens >= limit > 0


def _was_cut(job: Job, completion: Completion) -> bool:
    """Whether the server says that it read less than the prompt has: fewer tokens than words, and just a context full.

    Ollama cuts a prompt to its context (`num_ctx`) or to half of it and says so in its log alone (llm/llama_server.go;
    ollama#3839, #17427). No tokenizer joins words across white space, so a prompt has no fewer tokens than words. The
    count alone proves nothing: some servers leave out what they had in their cache. Text without spaces, as Chinese, is
    never found out, and never wronged.
    """
    counted = completion.usage.prompt_tokens if completion.usage else None
    if not counted or not _fills_a_context(counted, job):
        return False
    return counted < _words(job)


def _fills_a_context(counted: int, job: Job) -> bool:
    """Whether that many tokens are a context or half of one: a power of two, as most are, or the size asked for."""
    if counted >= SMALLEST - SLACK and abs(counted - 2 ** round(math.log2(counted))) <= SLACK:
        return True
    options = job.options if job.body is None else job.body.get("options")
    if job.extra:
        options = job.extra.get("options", options)
    asked = options.get("num_ctx") if options and hasattr(options, "get") else None
    return type(asked) is int and (abs(counted - asked) <= SLACK or abs(counted - asked // 2) <= SLACK)


def _words(job: Job) -> int:
    """How many words the prompt has: its texts, wherever the job holds them, cut at white space."""
    content = job.content
    if job.body is not None:
        content = next((job.body[key] for key in ("messages", "prompt", "input") if key in job.body), None)
    total = len((job.system or "").split())
    for part in content if isinstance(content, list) else [content]:
        said = part.get("content") if isinstance(part, dict) else part
        for piece in said if isinstance(said, list) else [said]:
            text = piece.get("text") if isinstance(piece, dict) else piece
            total += len(text.split()) if isinstance(text, str) else 0
    return total


def _parsed(job: Job, text: str, completion: Completion) -> Json:
    """The JSON of an answer, if it fits what the job wants; what does not is told by a flag, and why."""
    value, fault = jsontext.read(text)
    if fault is not None:
        completion.flag("invalid_json")
    elif job.fits is not None:
        fault = job.fits.fault(value)
    if fault is not None and job.fits is not None:
        completion.flag("schema_mismatch")
        completion.mismatch = fault
    return value if fault is None else None
