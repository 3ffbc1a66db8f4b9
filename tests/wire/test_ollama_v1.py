"""Ollama's own `/v1`: what it does not read is told, and a limit is said under the name that it reads."""

from __future__ import annotations

from typing import Any

import pytest
from support.job_lines import USER, job_of

from batcher.model import Api
from batcher.wire.dialects import path_for
from batcher.wire.dialects.ollama_v1 import IGNORED, ignored, translated

CHAT, TEXT, RESPONSES = "/v1/chat/completions", "/v1/completions", "/v1/responses"


@pytest.mark.parametrize(
    ("record", "names"),
    [
        ({"prompt": "hi", "temperature": 0, "max_tokens": 5, "seed": 1, "stop": ["x"], "think": False}, []),
        ({"prompt": "hi", "top_k": 5}, ["top_k"]),
        ({"prompt": "hi", "min_p": 0.1, "repeat_penalty": 1.1}, ["min_p", "repeat_penalty"]),
        ({"prompt": "hi", "options": {"top_k": 5, "top_p": 0.5}}, ["options.top_k"]),
        ({"prompt": "hi", "n": 2}, ["n"]),
        ({"prompt": "hi", "params": {"raw": True, "logit_bias": {}}}, ["raw", "logit_bias"]),
        ({"messages": [USER], "tool_choice": "none"}, ["tool_choice"]),
        ({"prompt": "hi", "url": TEXT, "logprobs": 2}, ["logprobs"]),
        ({"input": "hi", "url": RESPONSES, "tool_choice": "none"}, ["tool_choice"]),
        ({"url": CHAT, "body": {"messages": [USER], "top_k": 5, "temperature": 0, "raw": True}}, ["top_k", "raw"]),
        ({"url": CHAT, "body": {"messages": [USER], "top_k": None, "user": "me", "store": True}}, []),
        ({"url": TEXT, "body": {"prompt": "hi", "best_of": 2, "echo": True}}, ["best_of", "echo"]),
        ({"input": "hi"}, []),
        ({"url": "/api/chat", "body": {"messages": [USER], "top_k": 5}}, []),
    ],
)
def test_what_has_no_effect_there(record: dict[str, Any], names: list[str]) -> None:
    """Named as the line names it; what changes no answer is not worth a word."""
    job = job_of(id="a", **record)
    assert ignored(job, path_for(job, Api.OPENAI)) == names


@pytest.mark.parametrize("body", [True, False])
def test_a_limit_is_said_as_it_is_read(*, body: bool) -> None:
    """`max_completion_tokens` means nothing to it: 6,043 tokens came where 50 were allowed."""
    said = {"max_completion_tokens": 50}
    record: dict[str, Any] = {"url": CHAT, "body": {"messages": [USER], **said}} if body else {"prompt": "hi", **said}
    job = job_of(id="a", **record)
    mended = translated(job, CHAT)
    assert (mended.body if body else mended.params) == {**(job.body or {}), **said, "max_tokens": 50}
    assert mended.hash == job.hash
    assert job.body is None or "max_tokens" not in job.body
    (record["body"] if body else record)["max_tokens"] = 7
    both = job_of(id="a", **record)
    assert translated(both, CHAT) is both
    assert translated(job, TEXT) is job
    plain = job_of(id="a", prompt="hi")
    assert translated(plain, CHAT) is plain


def test_every_path_of_the_table_is_one() -> None:
    """They are Ollama's paths below /v1."""
    assert {path[:4] for path in IGNORED} == {"/v1/"}
