"""How alike two answers are: texts by their pairs of neighbouring words, JSON field by field."""

from __future__ import annotations

import re
import string
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from batcher import codec
from batcher.view.statistics.measures import LONGEST

if TYPE_CHECKING:
    from collections.abc import Mapping

Comparable: TypeAlias = str | int | float | bytes
"""A text or a number as it is, the JSON of anything else."""
_PLAIN: Final = frozenset({str, int, float})
"""What Python holds equal as JSON does, since neither true nor false is of these types."""
READ: Final = 20_000
"""Characters of a text that are looked at for how alike it is to another: 4 ms at most for two of them."""
NAMES: Final = 300
"""Fields of an answer that are told apart."""
NESTED: Final = 4
"""Objects in objects whose fields are fields of their own; what lies deeper is compared as one value."""
DEEPEST: Final = 100
"""Levels of a value that are looked at."""
WHOLE: Final = "(value)"
"""The name of JSON that is no object."""
_UNSPACED: Final = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
"""Scripts that put no spaces between words: Thai, Lao, Burmese, Khmer, kana, Han. Each character counts as a word."""
_MARKS: Final = tuple(sorted({*string.punctuation, *"\u2018\u2019\u201c\u201d\u00ab\u00bb\u2013\u2014\u2026"} - {"_"}))
_HAS_UNSPACED: Final = re.compile(f"[{_UNSPACED}]")
_WORDS: Final = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+|[^\w\s]")


def words_of(text: str) -> list[str]:
    """The words and marks of a text."""
    if not text.isascii() and _HAS_UNSPACED.search(text):
        return _WORDS.findall(text)
    for mark in _MARKS:
        if mark in text:
            text = text.replace(mark, f" {mark} ")  # a third of the price of a regular expression
    return text.split()


def similarity(a: str, b: str) -> float:
    """From 0 to 1: the part of the pairs of neighbouring words that both have, beginning and end being words too.

    That is Dice's coefficient of bags of bigrams, in a time that grows with the texts, where difflib's ratio takes the
    product of both. Texts that differ in their white space alone are as alike as can be.
    """
    if a == b:
        return 1.0
    left, right = words_of(a[:READ]), words_of(b[:READ])
    others = Counter(pairwise(["", *right, ""]))
    number = 0
    for pair in pairwise(["", *left, ""]):
        if left_over := others.get(pair):  # a pair counts as often as both have it
            others[pair] = left_over - 1
            number += 1
    return 2 * number / (len(left) + 1 + len(right) + 1)


def fields_of(record: Mapping[str, Any]) -> dict[str, Comparable]:
    """The fields of an answer's JSON, `a.b` for one within another, each as what is equal where the values are."""
    if "parsed" not in record:
        return {}
    value = record["parsed"]
    if type(value) is not dict or not value:
        return {WHOLE: canonical(value)}
    found: dict[str, Comparable] = {}
    _flatten(value, "", 0, found)
    return found


def _flatten(value: Mapping[str, Any], before: str, depth: int, found: dict[str, Comparable]) -> None:
    for key, item in value.items():
        name = f"{before}{key}"[:LONGEST]
        if type(item) is dict and item and depth < NESTED:
            _flatten(item, f"{name}.", depth + 1, found)
        elif len(found) < NAMES:
            found[name] = item if type(item) in _PLAIN else canonical(item)
        else:
            return


def canonical(value: Any) -> Comparable:
    """What is equal for equal JSON values, and for no others: 1 is 1.0 and not true, and keys have no order."""
    return value if type(value) in _PLAIN else codec.dumps(_ordered(value, 0))


def calls_of(record: Mapping[str, Any]) -> bytes | None:
    """What an answer wants called; ids of calls are made up by servers. None where it calls nothing."""
    calls = record.get("tool_calls")
    if type(calls) is not list or not calls:
        return None
    wanted = [call.get("function") if type(call) is dict else call for call in calls]
    return codec.dumps(_ordered(wanted, 0))


def _ordered(value: Any, depth: int) -> Any:
    if type(value) is float:
        return int(value) if value.is_integer() else value
    if type(value) is not dict and type(value) is not list:
        return value
    if depth >= DEEPEST:
        return None
    if type(value) is list:
        return [_ordered(item, depth + 1) for item in value]
    return {key: _ordered(value[key], depth + 1) for key in sorted(value)}
