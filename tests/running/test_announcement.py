"""What is said of an input before it is sent: of models that want something before each text, what that is."""

from __future__ import annotations

import pytest

from batcher.inputs.formats.defaults import Defaults
from batcher.model import Api, Job, Kind
from batcher.running.announcement import Share, announced


@pytest.mark.parametrize(
    ("model", "prefix", "words"),
    [
        ("nomic-embed-text:v1.5", "", "'search_document: ' before texts"),
        ("intfloat/multilingual-e5-large", "", "'passage: ' before texts"),
        ("embeddinggemma:300m", "", "'title: none | text: ' before texts"),
        ("BAAI/bge-small-en-v1.5", "", "words of its own before queries"),
        ("nomic-embed-text", "search_query: ", ""),
        ("bge-m3", "", ""),
        ("intfloat/e5-mistral-7b-instruct", "", ""),
        ("all-minilm", "", ""),
        (None, "", ""),
    ],
)
def test_models_that_want_a_prefix(model: str | None, prefix: str, words: str) -> None:
    """It is told once, if there is none."""
    notes: list[str] = []
    jobs = [Job(id=name, seq=0, kind=Kind.EMBED, hash="", model=model, content="a text") for name in "ab"]
    passed = announced(jobs, Api.NATIVE, Defaults(prefix=prefix), note=notes.append, share=Share(), place=str)
    assert list(passed) == jobs
    assert len(notes) == 1 + bool(words)
    assert words in notes[-1]
