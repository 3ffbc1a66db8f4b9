"""Values made of schemas: they fit, or there is none."""

from __future__ import annotations

from typing import Any

import pytest

from batcher.inputs.schemas import Schema

TREE = {"$defs": {"n": {"type": "object", "properties": {"l": {"$ref": "#/$defs/n"}, "r": {"$ref": "#/$defs/n"}}}}}


@pytest.mark.parametrize(
    ("schema", "example"),
    [
        ({"properties": {"a": {"enum": ["x", "y"]}, "b": {"type": "integer"}}}, '{"a":"x","b":1}'),
        ({"type": "object", "properties": {"a": {"type": ["string", "null"]}}}, '{"a":"…"}'),
        ({"type": "array", "items": {"type": "boolean"}, "minItems": 2}, "[true,true]"),
        ({"type": "number", "minimum": 2.5}, "2.5"),
        ({"type": "integer", "exclusiveMinimum": 5}, ""),
        ({"properties": {"a": {"$ref": "#/$defs/b"}}, "$defs": {"b": {"const": "c"}}}, '{"a":"c"}'),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, '"…"'),
        ({"type": "string", "pattern": "^[0-9]+$"}, ""),
        ({"type": "array", "items": {"type": "null"}, "minItems": 10**9}, ""),
        ({"type": "object"}, ""),
        ({}, ""),
        ({"$ref": "#"}, ""),
        ({**TREE, "$ref": "#/$defs/n", "$comment": "each level doubles it"}, None),
    ],
)
def test_an_example_fits_or_there_is_none(schema: Any, example: str | None) -> None:
    """Also of schemas that go round in circles."""
    made = Schema(schema).example
    assert example is None or made == example
