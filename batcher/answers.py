"""What is doubtful about an answer that is complete: cut, empty, fewer than asked for, no JSON where JSON was asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import orjson

from batcher.failures import Failure, FailureClass
from batcher.model import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping, Set as AbstractSet

    from batcher.model import Completion, Job, Json

FLAGS: Final = {
    "length": "the answer was cut at the token limit; raise max_tokens",
    "content_filter": "the server's filter cut the answer",
    "incomplete": "the server marked the answer incomplete",
    "empty": "the answer has no text, no tool call and no refusal",
    "invalid_json": "JSON was asked for and the answer is none",
    "fewer_choices": "fewer choices than n",
}
"""What `--fail-on` can name, and what it means."""


def judge(job: Job, completion: Completion) -> Json:
    """Flag what is doubtful and return the answer parsed, if JSON was asked for and it is JSON; else None."""
    if completion.vectors is not None or completion.images is not None:
        return None
    choices = completion.choices.values()
    for choice in choices:
        if choice.finish_reason in ("length", "max_output_tokens"):
            completion.flag("length")
        elif choice.finish_reason == "content_filter":
            completion.flag("content_filter")
    if job.kind is Kind.RESPONSES and _filled(job, completion):
        completion.flag("length")
    first = completion.first
    if not (any(first.texts) or first.tool_calls or first.refusals):
        completion.flag("empty")
    body = job.extra if job.body is None else job.body
    wanted = job.params.get("n", body.get("n"))
    if isinstance(wanted, int) and len(choices) < wanted:
        completion.flag("fewer_choices")
    if _wants_json(job.params, body) and not first.tool_calls:
        return _parsed(first.text, completion)
    return None


def asks_json(job: Job) -> bool:
    """Whether the job asked for JSON, so that its text is worth parsing."""
    if job.body is None:
        return "format" in job.params
    text = job.body.get("text")  # where /v1/responses has it
    flat = text.get("format") if isinstance(text, dict) else None
    asked = job.body.get("response_format") or job.body.get("format") or flat
    return bool(asked) and not (isinstance(asked, dict) and asked.get("type") == "text")


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
            return Failure(FailureClass.SUSPECT, name, FLAGS.get(name, name))
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
    limit = job.params.get("max_tokens") if job.body is None else job.body.get("max_output_tokens")
    tokens = completion.usage.completion_tokens if completion.usage else None
    return type(limit) is int and tokens is not None and tokens >= limit > 0


def _parsed(text: str, completion: Completion) -> Json:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        completion.flag("invalid_json")
        return None
