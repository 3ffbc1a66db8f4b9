"""Answers of any shape on OpenAI's paths: they are read or refused, and never end in a stray exception."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from batcher.failures import AttemptError
from batcher.model import Call, Job, Kind
from batcher.outcome import Completion
from batcher.wire.dialects import chat, completions, embeddings, images, responses

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 3) | st.sampled_from(["", "stop", "a", "error"]),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["content", "x", "text"]), inner, max_size=2)
    ),
    max_leaves=4,
)
CHOICE = st.dictionaries(
    st.sampled_from(["index", "delta", "message", "text", "finish_reason", "logprobs"]),
    JSON
    | st.dictionaries(st.sampled_from(["content", "tool_calls", "reasoning", "refusal", "role"]), JSON, max_size=3),
    max_size=4,
)
EVENTS = ["response.output_text.delta", "response.output_item.done", "response.completed", "response.refusal.delta"]
ITEM = st.fixed_dictionaries(
    {"type": st.sampled_from(["message", "reasoning", "function_call"])}, optional={"content": JSON, "summary": JSON}
)
ANYTHING = st.fixed_dictionaries(
    {},
    optional={
        "choices": JSON | st.lists(CHOICE | JSON, max_size=2),
        "data": JSON,
        "delta": JSON,
        "id": JSON,
        "item": JSON,
        "model": JSON,
        "output": JSON | st.lists(ITEM, max_size=2),
        "response": JSON | st.fixed_dictionaries({"output": JSON | st.lists(ITEM, max_size=2)}),
        "status": JSON,
        "timings": JSON,
        "type": JSON | st.sampled_from(EVENTS),
        "usage": JSON
        | st.dictionaries(st.sampled_from(["prompt_tokens", "completion_tokens_details"]), JSON, max_size=2),
    },
)


@pytest.mark.slow
@pytest.mark.parametrize("dialect", [chat, completions, responses, embeddings, images])
@settings(max_examples=200, deadline=None)
@given(records=st.lists(ANYTHING, max_size=3), body=ANYTHING)
def test_nonsense_is_an_attempt_that_failed(dialect: Any, records: list[Any], body: Any) -> None:
    """Records and bodies of any shape are read or refused as AttemptError; nothing else escapes, then or later."""
    call = Call((Job(id="a", seq=0, kind=Kind.EMBED, content="x"),), dialect.PATH, b"", stream=True)
    streamed, whole = Completion(), Completion()
    with suppress(AttemptError):
        for record in records:
            dialect.decode(record, streamed)
        if dialect.missing(streamed, done=True) is None:
            dialect.rebuild(streamed)
    with suppress(AttemptError):
        dialect.whole(body, whole, call)
    for completion in (streamed, whole):
        assert type(completion.first.text + completion.first.thinking) is str
        assert completion.served_model is None or type(completion.served_model) is str
