"""Looks at a growing answer now and then: whether it comes too slowly, and whether it runs away. Pure.

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

from batcher.exchange.timeouts import too_slow
from batcher.failures import AttemptError, Failure, FailureClass

if TYPE_CHECKING:
    from batcher.exchange.timeouts import Timeouts
    from batcher.outcome import Choice, Completion, Timing

LOOK_EVERY: Final = 5.0
"""Seconds from one look to the next. Nothing is looked at between them: a record costs one comparison."""

WINDOW: Final = 120.0
"""Seconds of content over which the speed is measured."""

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


class Guard:
    """Watches one answer. Call `look` when content has arrived at or after `due` (monotonic seconds)."""

    __slots__ = ("_completion", "_since", "_timeouts", "_timing", "_tokens", "due")

    def __init__(self, completion: Completion, timing: Timing, timeouts: Timeouts) -> None:
        self.due = 0.0
        self._completion = completion
        self._timing = timing
        self._timeouts = timeouts
        self._since: float | None = None
        self._tokens: float = 0

    def look(self, now: float) -> None:
        """Raise AttemptError `too_slow` or `runaway`. The first look, at the first content, starts the clock."""
        self.due = now + LOOK_EVERY
        if self._since is None:
            self._since, self._tokens = now, at_least(self._completion, self._timing)
            return
        if now - self._since >= WINDOW and self._timeouts.min_speed:
            tokens = at_least(self._completion, self._timing)
            speed = (tokens - self._tokens) / (now - self._since)
            if speed < self._timeouts.min_speed:
                raise AttemptError(too_slow(speed, self._timeouts))
            self._since, self._tokens = now, tokens
        if self._timeouts.runaway and runs_away(self._completion):
            words = "the answer only repeated itself and was cut off (--runaway); what had arrived is in `partial`"
            raise AttemptError(Failure(FailureClass.SUSPECT, "runaway", words))


def at_least(completion: Completion, timing: Timing) -> float:
    """Tokens that have certainly come: as many as arrivals, as pieces of text, or as a quarter of the characters.

    A proxy that holds back and sends much at once makes few arrivals; a server that sends one token a record, and
    languages with a token a character, make few characters.
    """
    pieces = characters = 0
    for choice in completion.choices.values():
        for part in (choice.texts, choice.thoughts):
            pieces += len(part)
            characters += sum(map(len, part))
    return max(len(timing.arrivals), pieces, characters / 4)


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
