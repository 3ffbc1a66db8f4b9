"""Reads what a chat message may hold in parts: its content, its thoughts, and log probabilities in either form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from batcher.failures import AttemptError, malformed, shown
from batcher.wire.dialects.endings import MOST, MOST_TOKENS, list_of, text_of, too_many
from batcher.wire.faults import check_keys, check_word

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batcher.model import Json

THOUGHTS: Final = frozenset({"thinking", "reasoning", "reasoning.text", "reasoning.summary", "reasoning_text"})
"""Types of content parts that are thinking (Mistral's API, OpenRouter's)."""

PART_KEYS: Final = frozenset({"type", "text", "thinking", "summary", "content"})


def logprobs_of(given: Json) -> Sequence[Json]:
    """One object a token; the old form has lists side by side (Together: togethercomputer/together-python#251)."""
    if type(given) is not dict:
        return given if type(given) is list else ()
    if given.get("content") is not None or type(given.get("tokens")) is not list:
        return list_of(given.get("content"), "logprobs", MOST_TOKENS)
    tokens = list_of(given["tokens"], "logprobs", MOST_TOKENS)
    values = list_of(given.get("token_logprobs"), "logprobs", MOST_TOKENS)
    ids = list_of(given.get("token_ids"), "logprobs", MOST_TOKENS)
    tops = list_of(given.get("top_logprobs"), "logprobs", MOST_TOKENS)
    found = []
    for place, token in enumerate(tokens):
        one = {"token": token, "logprob": values[place] if place < len(values) else None}
        if place < len(ids):
            one["token_id"] = ids[place]
        if place < len(tops):
            one["top_logprobs"] = tops[place]
        found.append(one)
    return found


def said_in(content: Json) -> tuple[str, str]:
    """(text, thinking) of content, which may come in parts."""
    if type(content) is str:
        return content, ""
    if content is None:
        return "", ""
    parts = [content] if type(content) is dict else content
    if type(parts) is not list:
        raise AttemptError(malformed(f"content that is neither text nor parts: {shown(content)}"))
    text = thinking = ""
    for part in parts:
        if type(part) is str:
            text += part
        elif type(part) is dict:
            check_keys(part, PART_KEYS, "a part of the content")
            kind = part.get("type")
            if kind != "text":
                check_word(kind, THOUGHTS)
            if type(kind) is str and kind in THOUGHTS:
                thinking += thought_in(part)
            elif "text" not in part and kind in (None, "text"):
                raise AttemptError(malformed(f"a part of the content without its text: {shown(part)}"))
            else:
                text += text_of(part.get("text"), "text")
    return text, thinking


def thought_in(thought: Json) -> str:
    """The text of a thought, which may come in parts, each under a name of its own (OpenRouter, Mistral, LiteLLM)."""
    if type(thought) is str:
        return thought
    texts: list[str] = []
    left, taken = [thought], 0
    while left:
        part, taken = left.pop(), taken + 1
        if taken + len(left) > MOST:
            raise too_many("parts of a thought")
        if type(part) is str:
            texts.append(part)
        elif type(part) is list:
            left.extend(reversed(part))
        elif type(part) is dict:
            check_keys(part, PART_KEYS, "a thought")
            said = next((part[key] for key in ("text", "thinking", "summary", "content") if part.get(key)), None)
            if said is None and part.get("type") == "text" and "text" not in part:
                raise AttemptError(malformed(f"a part of a thought without its text: {shown(part)}"))
            left.extend([] if said is None else [said])
        else:
            raise AttemptError(malformed(f"a thought that is neither text nor parts: {shown(part)}"))
    return "".join(texts)
