"""Joins what a server cut inside a character: half of a surrogate pair in one record, the other half in the next.

Servers that write JavaScript's or Java's strings piece by piece do so (https://github.com/elizaOS/eliza/issues/30904).
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from batcher import codec

if TYPE_CHECKING:
    from batcher.model import Json
    from batcher.outcome import Completion

LOST = "\ufffd"


def join_halves(completion: Completion) -> None:
    """Make whole characters of the halves in an answer that is all there; what stays half is replaced and flagged."""
    for choice in completion.choices.values():
        for pieces in (choice.texts, choice.thoughts, choice.refusals):
            if pieces:
                pieces[:] = [_joined("".join(pieces), completion)]
        if choice.tool_calls:
            with suppress(RecursionError):  # what is nested so deep is no call of a tool; the ledger cuts it off
                choice.tool_calls[:] = _mended(choice.tool_calls, completion)


def _mended(value: Json, completion: Completion) -> Json:
    if isinstance(value, str):
        return _joined(value, completion)
    if isinstance(value, dict):
        return {_joined(key, completion): _mended(item, completion) for key, item in value.items()}
    return [_mended(item, completion) for item in value] if isinstance(value, list) else value


def _joined(text: str, completion: Completion) -> str:
    whole = codec.whole_text(text)
    if whole.count(LOST) > text.count(LOST):
        completion.flag("utf8_replaced")
    return whole
