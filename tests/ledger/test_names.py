"""What files are called that belong to one of several models."""

from __future__ import annotations

import pytest

from batcher.failures import UsageError
from batcher.ledger.names import for_model, model_word


@pytest.mark.parametrize(
    ("name", "model", "expected"),
    [
        ("answers.jsonl", "llama3.2", "answers.llama3.2.jsonl"),
        ("answers.jsonl", "hub/qwen2.5:7b", "answers.hub-qwen2.5-7b.jsonl"),
        ("a.b/answers", "m", "a.b/answers.m"),
        ("in.results.jsonl", "m", "in.m.results.jsonl"),
        ("t.csv", "m", "t.m.csv"),
        ("sqlite:a.db", "m", "sqlite:a.m.db"),
        ("runs/{model}/{model}.jsonl", "a/b", "runs/a-b/a-b.jsonl"),
        ("out.jsonl", "../../etc/passwd", "out.etc-passwd.jsonl"),
        ("{model}", "..", None),
        ("{model}", "", None),
        ("out.jsonl", "/models/My Model.gguf", "out.models-My-Model.gguf.jsonl"),
        ("out.jsonl", "模型:七", "out.模型-七.jsonl"),
        ("out.jsonl", "a\x1b[31m\u202eb\n", "out.a-31m-b.jsonl"),
    ],
)
def test_a_file_of_a_model(name: str, model: str, expected: str | None) -> None:
    """The model stands before the ending, or where `{model}` does, and is nothing but a part of a name."""
    if expected is None:
        with pytest.raises(UsageError):
            for_model(name, model)
    else:
        assert for_model(name, model) == expected


def test_words_are_stable() -> None:
    """A name made of a name is the same."""
    for model in ("hub/qwen2.5:7b", "..a..", "x y"):
        assert model_word(model_word(model)) == model_word(model)
