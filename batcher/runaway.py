"""Tells an answer that runs away, by its tail: the same few words for ever, or white space without end. Pure.

Models fall into loops that only the token limit ends, if there is one (Ollama's is ten times the context). What is
meant by a loop has to leave alone what people do ask for:

- rulers, borders and table rows: they are shorter than `REPEATED` or followed by something else;
- rows of a matrix or a table that are the same: fewer than `TIMES`;
- counting, code, base64 and prose: they do not repeat to the letter;
- a blank screen: 25 lines of 80 columns are 2,025 characters, less than `BLANK`.

It takes for a loop what cannot be told from one: the same number more than `REPEATED` / 3 times in one row of JSON, or
a word that was to be written a thousand times.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from batcher.model import Choice, Completion

REPEATED: Final = 4096
"""Characters that a repetition fills at least: some 1,000 tokens, a minute of a slow model."""

TIMES: Final = 64
"""How often at least the repeated piece is there: 64 pieces of 64 characters are `REPEATED`, longer ones need more."""

LONGEST: Final = 512
"""The longest piece whose repetition is looked for, in characters: a paragraph. So much of the end holds one whole."""

BLANK: Final = 2048
"""Characters of nothing but white space, as constrained JSON ends when the model does not know how to go on."""

PIECES: Final = LONGEST * TIMES // 4
"""Arrivals of text that are looked back over: a token has some 4 characters."""


def repeats(text: str) -> bool:
    """Whether the text ends in a repetition that only a loop writes."""
    if len(text) < BLANK:
        return False
    if text[-BLANK:].isspace():
        return True
    end = text[-2 * LONGEST :]
    before = end.rfind(end[LONGEST:], 0, -1)
    if before < 0:
        return False
    period = LONGEST - before
    length = max(REPEATED, TIMES * period)
    return len(text) >= length and text[-length:-period] == text[period - length :]


def runs_away(completion: Completion) -> bool:
    """Whether every choice that still grows only repeats itself."""
    growing = [choice for choice in completion.choices.values() if choice.finish_reason is None]
    return bool(growing) and all(repeats(tail(choice)) for choice in growing)


def tail(choice: Choice) -> str:
    """The end of what was said last: a tool call comes after the text, and that after the thinking."""
    if choice.tool_calls:
        function = choice.tool_calls[-1].get("function")
        arguments = function.get("arguments") if isinstance(function, dict) else None
        return arguments if isinstance(arguments, str) else ""
    return "".join((choice.texts or choice.thoughts)[-PIECES:])
