"""JSON as models write it: what is read, what is named, and that nothing is mended."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given, strategies as st

from batcher.exchange.jsontext import read

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 70), 1 << 70) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("ab`{}[]\"' \n", max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)
WORDS = st.text("abc .,:!?\n", max_size=20)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a":1}', {"a": 1}),
        (' \n{"a":1}\n', {"a": 1}),
        ("3", 3),
        ('"text"', "text"),
        ('```json\n{"a":1}\n```', {"a": 1}),
        ('```JSON\r\n{"a":1}\r\n```', {"a": 1}),
        ("```\n[1]\n```", [1]),
        ('```json {"a":1} ```', {"a": 1}),
        ('Sure!\n```json\n{"a": 1}\n```\nHope it helps {x}', {"a": 1}),
        ('```json\n{"a":1}', {"a": 1}),
        ('Here is the JSON: {"a":1}', {"a": 1}),
        ('{"a":1} is what you want.', {"a": 1}),
        ('The list: ["a", {"b": 2}].', ["a", {"b": 2}]),
        ('{"code": "```py\\nx\\n```"}', {"code": "```py\nx\n```"}),
        ('See: {"code": "```py\\nx\\n```"}', {"code": "```py\nx\n```"}),
        ('```json\n{"a":1}\n```\nand in Python\n```python\nx = 1\n```', {"a": 1}),
        ('{"a": "it\'s, }"}', {"a": "it's, }"}),
        ('<think>first {"a":0}, or</think>\n{"a":1}', {"a": 1}),
        ('perhaps {"a":0}\n</think>\n\n```json\n{"a":1}\n```', {"a": 1}),
        ('See: {"a": "</think>"}', {"a": "</think>"}),
        ('{"n": 123456789012345678901234567890}', {"n": 123456789012345678901234567890}),
    ],
)
def test_what_is_read(text: str, value: Any) -> None:
    assert read(text) == (value, None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        (" \n", "empty"),
        ("I think it is good.", "no JSON"),
        ('{"a":1,}', "a comma stands before }"),
        ("[1, 2,\n]", "a comma stands before ]"),
        ('```json\n{"a":1,}\n```', "a comma stands before }"),
        ('{"a":NaN}', "NaN is not JSON"),
        ('{"a":-Infinity}', "-Infinity is not JSON"),
        ('{"a": None}', "None is not JSON"),
        ('{"a": True}', "True is not JSON"),
        ("{'a': 1}", "single quotes"),
        ('{"a": 1 // one\n}', "comments"),
        ('{"a": 1', "ends in the middle"),
        ('{"a": "b', "ends in the middle"),
        ('Well: {"a": [1, 2', "ends in the middle"),
        ('{"a":1}{"b":2}', "several JSON values"),
        ('{"a":1}\n{"b":2}', "several JSON values"),
        ('```json\n{"a":1}\n```\nor\n```json\n{"b":1}\n```', "2 blocks"),
        ('{"a" 1}', "broken JSON"),
        ('{"a": "NaN", "b", "c"}', "broken JSON"),
    ],
)
def test_what_is_named(text: str, words: str) -> None:
    value, why = read(text)
    assert value is None
    assert why is not None
    assert words in why


@given(value=JSON)
def test_json_is_read_as_it_is(value: Any) -> None:
    """Whatever it holds, texts with fences and braces in them too."""
    text = json.dumps(value, ensure_ascii=False)
    assert read(text) == (value, None) or text == '""'


@given(value=st.dictionaries(st.text("ab", max_size=3), JSON, min_size=1), before=WORDS, after=WORDS)
def test_an_object_amid_words_is_found(value: dict[str, Any], before: str, after: str) -> None:
    assert read(f"{before}{json.dumps(value, ensure_ascii=False)}{after}") == (value, None)


@given(st.text("{}[]\",:`1a \n'\\", max_size=60))
def test_nothing_is_made_up(text: str) -> None:
    """What is read stands in the text, and is JSON there; all else has a reason."""
    value, why = read(text)
    if why is None and value not in (None, ""):
        assert any(
            _is_json(text[start:end], value) for start in range(len(text)) for end in range(start, len(text) + 1)
        )
    assert why is None or value is None


@pytest.mark.parametrize("text", ["{" * 100_000, "[" * 100_000, '{"a":' * 50_000, "[1, " * 100_000, '"' * 100_001])
def test_endless_marks_cost_little(text: str) -> None:
    assert read(text)[1] is not None


def _is_json(text: str, value: Any) -> bool:
    try:
        return bool(orjson.loads(text) == value)
    except orjson.JSONDecodeError:
        return False
