"""Which jobs can share a loaded model, and what is said of a file that makes Ollama load one again and again."""

from __future__ import annotations

from typing import Any

import pytest

from batcher.model import Api, Job, Kind
from batcher.wire.dialects import call_for
from batcher.wire.dialects.loading import Contexts, load_options


def job(model: str | None = "m", **fields: Any) -> Job:
    return Job(id="a", seq=fields.pop("seq", 0), kind=Kind.GENERATE, model=model, content="hi", **fields)


GROUPED: list[tuple[Job, Job, bool]] = [
    (job(), job(), True),
    (job(), job("n"), False),
    (job("m"), job("m:latest"), True),
    (job(), job(options={"temperature": 0, "seed": 7}), True),
    (job(), job(options={"num_ctx": 4096}), False),
    (job(options={"num_ctx": 4096}), job(options={"num_ctx": 8192}), False),
    (job(options={"num_ctx": 4096, "num_gpu": 1}), job(options={"num_gpu": 1, "num_ctx": 4096, "top_k": 1}), True),
    (job(options={"num_ctx": None}), job(), True),
    (job(options={"num_ctx": 4096}), job(extra={"options": {"num_ctx": 4096}}), True),
    (job(extra={"shift": False}), job(), False),
    (job(path="/api/generate", body={"prompt": "hi", "options": {"num_ctx": 4096}}), job(), False),
]


@pytest.mark.parametrize(("one", "other", "together"), GROUPED)
def test_jobs_that_can_share_a_loaded_model(one: Job, other: Job, *, together: bool) -> None:
    """Sampling divides nobody; the model does, and so do the options with which Ollama loads it."""
    groups = [call_for((each,), Api.NATIVE, stream=True).group for each in (one, other)]
    assert (groups[0] == groups[1]) is together


def test_no_other_api_has_load_options() -> None:
    """What is not said there divides nobody."""
    assert load_options(job(options={"num_ctx": 4096}), "/v1/chat/completions") == ""


def test_contexts_that_take_turns_are_noted_once() -> None:
    """One note names the model, both sizes and the line; other models and other APIs are no reason for it."""
    contexts = Contexts()
    same = [job(), job("n", options={"num_ctx": 4096}), job("n", options={"num_ctx": 4096, "seed": 1}), job()]
    assert [contexts.note(each, "/api/generate") for each in same] == [None] * 4
    other = job("n", options={"num_ctx": 8192}, seq=6)
    assert contexts.note(other, "/v1/chat/completions") is None
    note = contexts.note(other, "/api/generate")
    assert note is not None
    assert all(word in note for word in ("n ", "4096", "8192", "line 7"))
    assert contexts.note(job(options={"num_ctx": 1}), "/api/generate") is None
