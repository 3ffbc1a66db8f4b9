"""Schemas as options and lines give them: what is taken for one, what is refused, and what a complaint says."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel

from batcher import codec
from batcher.failures import ConfigError, UsageError
from batcher.inputs.schemas import ANY_OBJECT, Schema, schema_of, schema_on_line

if TYPE_CHECKING:
    from pathlib import Path

OBJECT = {"type": "object", "properties": {"a": {"type": "array", "items": {"type": "integer"}}}, "required": ["a"]}


class Verdict(BaseModel):
    label: str
    score: int


def test_a_schema_comes_as_people_have_it(tmp_path: Path) -> None:
    """A mapping, JSON, a file with or without a mark at its start, a class of pydantic's."""
    file = tmp_path / "s.json"
    file.write_bytes(b'\xef\xbb\xbf{"type": "object"}')
    for given in ({"type": "object"}, '{"type": "object"}', str(file), f"@{file}", file):
        assert schema_of(given).document == {"type": "object"}
    verdict = schema_of(Verdict)
    assert verdict.fault({"label": "x", "score": 1}) is None
    assert verdict.fault({"label": "x", "score": "y"}) is not None


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ({"a": [1]}, None),
        ({}, '"a" is a required property'),
        ({"a": [1, "x"]}, 'a[1]: "x" is not of type "integer"'),
        ([], "[] is not of type"),
        ({"a": ["y" * 5000]}, "a[0]: "),
    ],
)
def test_the_first_thing_that_does_not_fit_is_told(value: Any, fault: str | None) -> None:
    """Where it stands, and what is wrong; not the whole of the answer."""
    found = Schema(OBJECT).fault(value)
    assert (found is None) == (fault is None)
    if found is not None and fault is not None:
        assert found.startswith(fault)
        assert len(found) < 400


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"maximum": 10**30}, f'{{"maximum":{10**30}}}'),
        ({"title": "\ud800"}, '{"title":"\ufffd"}'),
        ({"title": "\ud83d\ude00"}, '{"title":"\U0001f600"}'),
    ],
)
def test_a_schema_of_a_line_may_hold_any_json(document: Any, words: str) -> None:
    """Numbers keep their digits, and halves of characters are written as they are elsewhere."""
    schema = schema_on_line(document)
    assert schema.words == words
    assert schema.fault(10**29) is None


@pytest.mark.parametrize("document", [10**30, codec.loads('{"not":' * 300 + "{}" + "}" * 300), {"maximum": 10**5000}])
def test_a_schema_of_a_line_that_is_none_is_refused_in_words(document: Any) -> None:
    with pytest.raises(ValueError, match="schema"):
        schema_on_line(document)


@pytest.mark.parametrize("schema", [{"type": "object"}, {"enum": [1]}, {"items": {"$ref": "#"}, "type": "integer"}])
@pytest.mark.parametrize("answer", ["[" * 300 + "]" * 300, "[" * 1000 + "]" * 1000, "7" * 5000, f"[{'7' * 5000}]"])
def test_what_cannot_be_held_against_a_schema_does_not_fit(schema: dict[str, Any], answer: str) -> None:
    """A model may write anything: the library takes no more than 255 levels, and no number that Python does not."""
    found = Schema(schema).fault(codec.loads(answer))
    assert found is not None
    assert "\n" not in found


@pytest.mark.parametrize(("value", "fits"), [({}, True), ({"a": 1}, True), ([], False), (None, False), (3, False)])
def test_any_object(value: Any, *, fits: bool) -> None:
    assert (ANY_OBJECT.fault(value) is None) is fits


@pytest.mark.parametrize(
    "given",
    [
        "[]",
        "true",
        5,
        None,
        {"type": "strange"},
        {"$ref": "#/nowhere"},
        {"$ref": "http://127.0.0.1:9/x"},
        {"pattern": "("},
    ],
)
def test_what_is_no_schema_is_refused(given: Any) -> None:
    with pytest.raises(UsageError, match="--schema: "):
        schema_of(given)


def test_nothing_is_fetched() -> None:
    """A reference to another place is refused for that alone, whether anybody is there or not."""
    with pytest.raises(UsageError, match=r"refers to http://127\.0\.0\.1:9/x, and nothing is fetched"):
        schema_of({"$ref": "http://127.0.0.1:9/x"})


def test_drafts_are_told_apart() -> None:
    """By `$schema`; without one it is the newest."""
    older = {
        "$schema": "http://json-schema.org/draft-04/schema#",
        "type": "integer",
        "minimum": 1,
        "exclusiveMinimum": True,
    }
    assert Schema(older).fault(1) is not None
    newer = {"prefixItems": [{"type": "integer"}]}
    assert Schema(newer).fault(["x"]) is not None


def test_equal_schemas_of_lines_are_made_once() -> None:
    assert schema_on_line({"type": "object"}) is schema_on_line({"type": "object"})


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jsonschema_rs", None)
    with pytest.raises(ConfigError, match=r"batcher\[schema\]"):
        schema_of({"type": "object"})
