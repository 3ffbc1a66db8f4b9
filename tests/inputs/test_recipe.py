"""Recipes: from a row to the request that it stands for, under the id that it has or gets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest

from batcher.failures import LineError, UsageError
from batcher.inputs.formats import parse_job
from batcher.inputs.formats.defaults import Defaults
from batcher.inputs.recipe import Recipe
from batcher.model import Job, Kind

if TYPE_CHECKING:
    from pathlib import Path

CHAT = '[{"role":"system","content":"Be short."},{"role":"user","content":"{{ q }}"}]'
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def recipe(**said: str) -> Recipe:
    texts = {name: said.get(name) for name in ("prompt", "messages", "embed", "system")}
    found = Recipe.of(texts, {name: text for name, text in said.items() if name.endswith("_field")})
    assert found is not None
    return found


def job(row: dict[str, Any], **said: str) -> Job:
    return parse_job(orjson.dumps(row), 0, Defaults(model="m", recipe=recipe(**said)))


def test_what_is_asked_comes_from_the_templates() -> None:
    """A prompt, a conversation or a text to embed, with a system prompt beside it."""
    row = {"q": "Why?", "who": "a judge", "prompt": "not this", "temperature": 2}
    asked = job(row, prompt="Q: {{ q }}", system="You are {{ who }}.")
    assert (asked.kind, asked.content, asked.system, asked.params) == (Kind.GENERATE, "Q: Why?", "You are a judge.", {})
    conversation = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Why?"}]
    assert job(row, messages=CHAT).content == conversation
    assert job(row, messages=f'{{"messages": {CHAT}}}').content == conversation
    embedded = job(row, embed="{{ q }} {{ who }}")
    assert (embedded.kind, embedded.content) == (Kind.EMBED, "Why? a judge")


def test_columns_name_id_model_and_image() -> None:
    """Named columns are taken for what they hold, with a template and without one."""
    row = {"key": 7, "id": "x", "engine": "big", "scan": PNG, "q": "Why?"}
    fields = {"id_field": "key", "model_field": "engine", "image_field": "scan"}
    asked = job(row, prompt="{{ q }}", **fields)
    assert (asked.id, asked.model, asked.images) == ("7", "big", (PNG,))
    plain = job({**row, "prompt": "Hi", "scan": [PNG, PNG]}, **fields)
    assert (plain.id, plain.model, plain.content, len(plain.images)) == ("7", "big", "Hi", 2)
    assert job({**row, "engine": None, "scan": ""}, prompt="{{ q }}", **fields).model == "m"
    assert job({"id": "x", "q": "y", "images": [PNG]}, prompt="{{ q }}").images == (PNG,)
    for column in fields.values():
        with pytest.raises(LineError, match=f'no column "{column}"'):
            job({key: value for key, value in row.items() if key != column}, prompt="{{ q }}", **fields)
    with pytest.raises(LineError, match='"key", which holds the ids, is null'):
        job({**row, "key": None}, prompt="{{ q }}", **fields)


def test_an_id_is_made_of_the_columns_that_are_used() -> None:
    """Another template over the same columns keeps it, a used column changes it, an unused one does not."""
    row = {"a": 1, "b": "x", "c": "y"}
    first = job(row, prompt="{{ a }} {{ b }}").id
    assert first.startswith("h:")
    assert job({"c": "other", "b": "x", "a": 1}, prompt="{{ b }}, then {{ a }}!").id == first
    assert job(row, prompt="{{ a }}", system="{{ b }}").id == first
    assert job({**row, "b": "z"}, prompt="{{ a }} {{ b }}").id != first
    assert job({**row, "c": "z"}, prompt="{{ row }}").id != job(row, prompt="{{ row }}").id
    assert job({**row, "id": "own"}, prompt="{{ a }} {{ b }}").id == "own"
    assert (
        job(row, prompt="{{ a }}", model_field="b").id != job({**row, "b": "w"}, prompt="{{ a }}", model_field="b").id
    )


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"prompt": "a", "embed": "b"}, "--embed and --prompt both say"),
        ({"prompt": " "}, "--prompt is empty"),
        ({"messages": "[{]"}, "--messages: broken JSON in line 1"),
        ({"messages": "[]"}, "--messages: .*empty"),
        ({"messages": '[{"content":"x"}]'}, "--messages: .*role"),
        ({"messages": '[{"role":"user","content":"{{ x"}]'}, "--messages: .*line 1"),
        ({"prompt": "@gone.j2"}, "--prompt: gone.j2 cannot be read: No such file"),
        ({"prompt": "Classify {text}: {label}"}, r"\{\{ text \}\}, with two braces, not \{text\}"),
        ({"messages": '[{"role":"user","content":"{text}"}]'}, "two braces"),
        ({"prompt": "{{ Review text }}"}, r"line 1 of the template; .*row\["),
    ],
)
def test_a_wrong_recipe_is_a_usage_error(said: dict[str, str], words: str) -> None:
    """It is told before any row is read."""
    with pytest.raises(UsageError, match=words):
        recipe(**said)


def test_a_template_may_stand_in_a_file(tmp_path: Path) -> None:
    """`@` names it; the newline at its end is an editor's. What is said is the text, as it was."""
    (tmp_path / "p.j2").write_text("\ufeffIs {{ q }} good?\n")
    from_file = recipe(prompt=f"@{tmp_path / 'p.j2'}")
    assert from_file.record({"q": "it"}) == {"prompt": "Is it good?"}
    again = Recipe.again(from_file.said)
    assert again is not None
    assert again.record({"q": "it"}) == {"prompt": "Is it good?"}
    assert recipe(prompt="@@{{ q }}").record({"q": "it"}) == {"prompt": "@it"}
    (tmp_path / "p.j2").write_bytes(b"\xff")
    with pytest.raises(UsageError, match="is not UTF-8: byte 1"):
        recipe(prompt=f"@{tmp_path / 'p.j2'}")


def test_a_system_prompt_alone_is_for_lines_that_have_none() -> None:
    """It may name columns of a job file; without any it is no recipe but a text for all."""
    assert job({"prompt": "Hi", "who": "Ada"}, system="You are {{ who }}.").system == "You are Ada."
    assert job({"prompt": "Hi", "who": "Ada", "system": "Own."}, system="You are {{ who }}.").system == "Own."
    assert Recipe.of({"system": "Be brief."}, {}) is None
