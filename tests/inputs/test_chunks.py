"""Texts in chunks: each within its size, together the whole text, in places that are told."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from batcher.failures import UsageError
from batcher.inputs.chunks import Chunking, Size
from batcher.inputs.recipe import Recipe

WORDS = "One sentence has some words. Another one follows it! And a third?\n\n"


def pieces(text: str, size: str, overlap: str = "0t") -> list[str]:
    return [text[start:end] for start, end in Chunking(Size.of(size), Size.of(overlap)).spans(text)]


@given(st.text(max_size=400), st.integers(1, 40), st.floats(0, 0.5), st.sampled_from("tc"))
def test_chunks_are_the_text(text: str, count: int, share: float, unit: str) -> None:
    """Whatever the text: in order, on its way, with nothing but blanks between them; only that of a blank is one."""
    overlap = int(count * share)
    spans = list(Chunking(Size(count, unit), Size(overlap, unit)).spans(text))
    covered = 0
    for start, end in spans:
        assert text[covered:start].isspace() or start <= covered
        assert end > covered or not text.strip()
        assert unit == "t" or end - start <= count
        covered = end
    assert not text[covered:].strip()
    assert all(text[start:end].strip() == text[start:end] for start, end in spans) or not text.strip()
    assert len(spans) <= max(1, len(text))


@pytest.mark.parametrize(
    ("text", "size", "overlap", "wanted"),
    [
        ("short", "400t", "50t", ["short"]),
        ("", "400t", "0t", [""]),
        (" \n ", "4t", "0t", [" \n "]),
        ("aaaa bbbb cccc dddd", "2t", "0t", ["aaaa bbbb", "cccc dddd"]),
        ("aaaa bbbb cccc dddd", "2t", "1t", ["aaaa bbbb", "bbbb cccc", "cccc dddd"]),
        ("abcdefghij", "4c", "0c", ["abcd", "efgh", "ij"]),
        ("one two three. four five", "6t", "0t", ["one two three.", "four five"]),
        ("a b c d\n\ne. f", "6t", "0t", ["a b c d", "e. f"]),
        ("私は毎日本を読みます。", "6t", "0t", ["私は毎日本を", "読みます。"]),
        ("привет мир", "4t", "0t", ["привет", "мир"]),
    ],
)
def test_where_texts_are_cut(text: str, size: str, overlap: str, wanted: list[str]) -> None:
    """After a paragraph, a sentence, a word, if there is one in the last part; else where it is full."""
    assert pieces(text, size, overlap) == wanted


def test_only_what_changed_is_another_chunk() -> None:
    """Where the end of a text changes, the chunks before are what they were."""
    before, after = pieces(WORDS * 50, "40t", "8t"), pieces(WORDS * 49 + "Something else.", "40t", "8t")
    assert len(before) > 20
    same = sum(one == other for one, other in zip(before, after, strict=False))
    assert len(before) - 2 <= same < len(before)


@pytest.mark.parametrize(
    ("size", "overlap"), [("0t", "0t"), ("10t", "6t"), ("10t", "5c")], ids=["nothing", "most of it", "two units"]
)
def test_wrong_sizes(size: str, overlap: str) -> None:
    """They are told before anything is read."""
    with pytest.raises(UsageError, match="--chunk"):
        Chunking(Size.of(size), Size.of(overlap))


def test_what_is_no_text_to_embed() -> None:
    """A prompt would lose what it asks."""
    with pytest.raises(UsageError, match="--embed"):
        Chunking(Size(400), recipe=Recipe.of({"prompt": "Sum up: {{ text }}"}, {}))


@pytest.mark.parametrize("text", ["", "400", "t", "-4t", "4.5t", "400 tokens"])
def test_what_is_no_size(text: str) -> None:
    """It says how one is written."""
    with pytest.raises(ValueError, match="400t"):
        Size.of(text)
