"""Reads the JSON that a model wrote, with the habits that models have. Pure.

    read     white space around it; a fence of backticks, with words around that; words before or after it; thoughts
             before it, to `</think>`, of servers that do not take them out
    named    a trailing comma, NaN, quotes that are none of JSON's, comments, an end in the middle, several values

What is read is what stands there: nothing is mended, since what a model meant can be asked of it alone.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import orjson

from batcher import codec

if TYPE_CHECKING:
    from batcher.model import Json

_FENCE: Final = re.compile(r"```[ \t]*([A-Za-z0-9_+-]*)[ \t]*\r?\n(.*?)\r?\n?[ \t]*```", re.DOTALL)
_OPENING: Final = re.compile(r"[{\[]")
_TRAILING: Final = re.compile(r",\s*[}\]]")
_CONSTANT: Final = re.compile(r"(?<![\w\"])(NaN|-?Infinity|None|True|False|undefined)(?![\w\"])")
_TEXTS: Final = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"')
_MARKS: Final = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[{}\[\]"]')
"""Texts, and the marks around values that stand in none; a quote alone begins a text without an end."""
_THOUGHT: Final = "</think>"
"""What stands behind a thought in the text of many models (DeepSeek R1, Qwen 3); its beginning may be in the prompt."""
_STARTS: Final = 64
"""Places in a text at which JSON is looked for."""
_LONGEST: Final = 4 << 20
"""Characters of a text in which it is."""


def read(text: str) -> tuple[Json, str | None]:
    """(the value, `None`), or (`None`, what is wrong)."""
    try:
        return codec.loads(text), None
    except orjson.JSONDecodeError as error:
        first = error
    if not text.strip():
        return None, "the answer is empty"
    if _THOUGHT in text:
        value, why = read(text.rpartition(_THOUGHT)[2])
        if why is None:
            return value, None
    blocks = [block for _, block in _FENCE.findall(text)]
    if len(blocks) == 1:
        value, why = _strictly(blocks[0])
        if why is not None:  # a fence may stand in a text of JSON
            found = _amid(text, first)
            return found if found[1] is None else (None, why)
        return value, None
    if blocks:
        return _only(blocks) or (None, f"there are {len(blocks)} blocks of code, and JSON is one value")
    return _amid(text, first)


def _strictly(text: str) -> tuple[Json, str | None]:
    try:
        return codec.loads(text), None
    except orjson.JSONDecodeError as error:
        return None, _named(text, error)


def _only(blocks: list[str]) -> tuple[Json, str | None] | None:
    """The one of several blocks that is JSON, if one alone is."""
    found = [value for value, why in map(_strictly, blocks) if why is None]
    return (found[0], None) if len(found) == 1 else None


def _amid(text: str, error: orjson.JSONDecodeError) -> tuple[Json, str | None]:
    """The object or list that stands amid words, if one alone does."""
    if len(text) > _LONGEST:
        return None, _named(text, error)
    starts = [match.start() for match, _ in zip(_OPENING.finditer(text), range(_STARTS), strict=False)]
    end = max(text.rfind("}"), text.rfind("]")) + 1
    for start in starts:
        if start >= end:
            break
        value, why = _strictly(text[start:end])
        if why is None:
            return value, None
        if text[start] == "{" or text.lstrip().startswith("["):
            inner, rest = _first(text[start:end])
            if rest is None:
                return None, _named(text[start:], error)
            if not _OPENING.search(rest):
                return inner, None
            return None, "there are several JSON values, and one is wanted"
    return None, _named(text[starts[0] :] if starts else text, error)


def _first(text: str) -> tuple[Json, str | None]:
    """(the value at the beginning, what follows on it); (`None`, `None`) if there is none."""
    depth = 0
    for match in _MARKS.finditer(text):
        mark = match[0]
        depth += (mark in "{[") - (mark in "}]")
        if mark == '"':
            break
        if not depth:
            value, why = _strictly(text[: match.end()])
            return (value, text[match.end() :]) if why is None else (None, None)
    return None, None


def _named(text: str, error: orjson.JSONDecodeError) -> str:
    """What is wrong with a text, by what models do."""
    if not _OPENING.search(text):
        return "the answer is no JSON"
    bare = _TEXTS.sub('""', text)
    if match := _TRAILING.search(bare):
        return f"a comma stands before {match[0][-1]}, behind the last value"
    if match := _CONSTANT.search(bare):
        return f"{match[0]} is not JSON"
    if re.search(r"[{,\[]\s*'", bare):
        return "single quotes are not JSON's"
    if re.search(r"(^|\s)(//|/\*)", bare):
        return "comments are not JSON"
    if bare.count('"') % 2 or bare.count("{") > bare.count("}") or bare.count("[") > bare.count("]"):
        return "the JSON ends in the middle"
    return f"broken JSON: {error.msg}"
