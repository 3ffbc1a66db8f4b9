"""What Ollama reads otherwise than others, or not at all, at its own `/v1`: it answers as if that had not been said.

Sources: Ollama v0.33.0-rc2, openai/openai.go and openai/responses.go (the fields of its requests).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from batcher.wire.dialects.parameters import COMMON_OF_OPTION, PLACES

if TYPE_CHECKING:
    from batcher.model import Job

_SAMPLING: Final = ("top_k", "min_p", "repeat_penalty", "n", "logit_bias")
_NATIVE: Final = ("raw", "options", "keep_alive", "truncate")
IGNORED: Final[dict[str, frozenset[str]]] = {
    "/v1/chat/completions": frozenset({*_SAMPLING, *_NATIVE, "think", "tool_choice", "parallel_tool_calls"}),
    "/v1/completions": frozenset({*_SAMPLING, *_NATIVE, "think", "best_of", "echo", "logprobs", "response_format"}),
    "/v1/responses": frozenset(
        {*_SAMPLING, *_NATIVE, "tool_choice", "parallel_tool_calls", "previous_response_id", "conversation", "include"}
    ),
    "/v1/embeddings": frozenset({"keep_alive", "options", "truncate"}),
}
"""Fields that change an answer elsewhere, by path."""
CHAT: Final = "/v1/chat/completions"
LIMIT: Final = "max_completion_tokens"


def ignored(job: Job, path: str) -> list[str]:
    """What of the job is sent and has no effect, by the names of its line."""
    unread = IGNORED.get(path)
    if unread is None:
        return []
    if job.body is not None:
        return [name for name, value in job.body.items() if name in unread and value is not None]
    places = PLACES[path]
    said = [name for name, value in job.params.items() if value is not None]
    named = [(name, name) for name in said] + [
        (f"options.{name}", COMMON_OF_OPTION.get(name, "")) for name in job.options
    ]
    read = [shown for shown, name in named if name in places and places[name].key in unread]
    return read + [name for name in job.extra if name in unread]


def translated(job: Job, path: str) -> Job:
    """The job with its limit under the name that Ollama reads, `max_tokens`, unless that is there; else the job itself.

    Without a limit a small model can go on to ten times its context.
    """
    if path != CHAT:
        return job
    if job.body is not None:
        if job.body.get(LIMIT) is None or job.body.get("max_tokens") is not None:
            return job
        return replace(job, body={**job.body, "max_tokens": job.body[LIMIT]})
    if job.params.get(LIMIT) is None or job.params.get("max_tokens") is not None:
        return job
    return replace(job, params={**job.params, "max_tokens": job.params[LIMIT]})
