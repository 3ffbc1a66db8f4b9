"""Answers that are shown beside each other: what of a text is shown, and which of its words the other has not."""

from __future__ import annotations

from difflib import SequenceMatcher
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from batcher import codec
from batcher.figures import count
from batcher.view.comparison.likeness import words_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MARKED: Final = 600
"""Words of a text up to which differing ones are marked: difflib takes the product of both lengths."""
BEFORE: Final = 60
"""Characters that are shown before the first one that differs, where what is alike is long."""


class Words(NamedTuple):
    text: str
    is_other: bool
    """The other text has something else there."""


class Answer(NamedTuple):
    """A text, or what stands for one, and what is to be known of it."""

    text: str
    words: str


def answer_of(record: Mapping[str, Any]) -> Answer:
    """An answer's text; its calls, where it has none; and why it is odd, if it is."""
    text = record.get("text")
    if (type(text) is not str or not text) and record.get("tool_calls"):
        text = told(record["tool_calls"])
    flags = record.get("flags")
    words = [flag for flag in flags[:5] if type(flag) is str] if type(flags) is list else []
    return Answer(text if type(text) is str else "", " ".join(words))


def told(value: Any) -> str:
    """A JSON value as text."""
    return value if type(value) is str else codec.dumps(value).decode("utf-8", "replace")


def marked(a: str, b: str) -> tuple[list[Words], list[Words]]:
    """Both texts in pieces, of which those are marked that the other does not have there; not of long ones."""
    left, right = _split(a), _split(b)
    if max(len(left), len(right)) > MARKED:
        return [Words(a, is_other=False)], [Words(b, is_other=False)]
    of_a, of_b = [], []
    for kind, start, end, other_start, other_end in SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        of_a.append(Words("".join(left[start:end]), is_other=kind != "equal"))
        of_b.append(Words("".join(right[other_start:other_end]), is_other=kind != "equal"))
    return [piece for piece in of_a if piece.text], [piece for piece in of_b if piece.text]


def _split(text: str) -> list[str]:
    """The text cut before each of its words: joined it is what it was."""
    pieces, end = [], 0
    for word in words_of(text):
        start = text.index(word, end)
        if start > end:
            pieces.append(text[end:start])
        pieces.append(word)
        end = start + len(word)
    return [*pieces, *([text[end:]] if end < len(text) else [])]


def window(texts: Sequence[str], most: int) -> list[str]:
    """Of each text at most so many characters: from shortly before the first that is not the same in all of them."""
    shared = sum(1 for _ in takewhile(lambda each: len(set(each)) == 1, zip(*texts, strict=False)))
    start = shared - BEFORE if shared > 2 * BEFORE and max(map(len, texts)) > most else 0
    return [_cut(text, start, most) for text in texts]


def _cut(text: str, start: int, most: int) -> str:
    kept = text[start : start + most]
    before = "…" if start else ""
    behind = f" … ({count(len(text), 'characters')} in all)" if start + most < len(text) else ""
    return f"{before}{kept}{behind}"
