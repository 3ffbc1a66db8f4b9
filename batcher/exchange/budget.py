"""How much of an answer, and of all that are in flight, is taken in before one is given up. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from batcher.failures import AttemptError, Failure, FailureClass

if TYPE_CHECKING:
    from batcher.model import Json
    from batcher.outcome import Completion

TOO_LARGE: Final = "answer_too_large"
MEBI: Final = 1024 * 1024
TEXT: Final = 64 * MEBI
"""Characters of text, thinking and tool calls, a hundred times what any model writes."""
PIECES: Final = 4 * MEBI
"""Pieces of a stream that are held, each of which costs more than its text."""
WHOLE: Final = 128 * MEBI
"""Bytes of an answer in one piece: its text with logprobs and all that stands around it."""
LARGE: Final = {
    "/api/embed": 256 * MEBI,
    "/v1/embeddings": 256 * MEBI,
    "/v1/images/generations": 256 * MEBI,
}
"""The same for paths on which many vectors, or pictures, come in one answer."""
ALL: Final = 1024 * MEBI
"""Bytes that all answers in flight may hold together; a server that sends endless ones must not fill the memory."""
FIRST: Final = MEBI
"""Bytes of an answer after which it is looked at first: nearly all are shorter, and cost nothing here."""
STEP: Final = 16 * MEBI
"""Bytes of a stream after which what it brought is counted again, at the most."""
PIECE: Final = 64
"""Bytes that a piece of a stream takes beside its text."""
GROWTH: Final = 5
"""Bytes that a byte of JSON takes when it is read, at the most (`wire.dialects.weight`)."""


@dataclass(slots=True)
class Flight:
    """What all answers in flight hold, in bytes."""

    held: int = 0


@dataclass(slots=True)
class Budget:
    """Of one answer that is longer than `FIRST`."""

    path: str
    flight: Flight = field(default_factory=Flight)
    held: int = 0
    """Bytes of it that are counted in `flight`; given back by `release`."""

    def look(self, taken: int, completion: Completion, kept: int = 0, *, streamed: bool) -> int:
        """Count what came in `taken` bytes, of which `kept` are in records that are held as they are.

        Returns how many may have come before it is to be looked at again.

        Raises AttemptError for too much: of one, a second try would bring the same; of all, it may find more room.
        """
        if streamed:
            text, pieces = _held(completion)
            if text > TEXT or pieces > PIECES or kept > WHOLE:
                raise AttemptError(_too_large(f"{text + kept} characters in {pieces} pieces, and no end"))
            held = text + PIECE * pieces + GROWTH * kept
        else:
            most = LARGE.get(self.path, WHOLE)
            if taken > most:
                raise AttemptError(_too_large(f"more than {most // MEBI} MiB in one piece"))
            held = taken
        self.flight.held += held - self.held
        self.held = held
        if self.flight.held > ALL:
            words = f"the answers in flight hold more than {ALL // MEBI} MiB together; ask for fewer at once"
            raise AttemptError(Failure(FailureClass.TRANSIENT, "answers_too_large", words))
        return taken + min(max(taken, FIRST), STEP)

    def release(self) -> None:
        """Give back what it holds: the answer is over."""
        self.flight.held -= self.held
        self.held = 0


def _held(completion: Completion) -> tuple[int, int]:
    """Characters and pieces that an answer holds so far."""
    text = pieces = 0
    for choice in completion.choices.values():
        for held in (choice.texts, choice.thoughts, choice.refusals):
            text += sum(map(len, held))
            pieces += len(held)
        text += sum(map(_arguments, choice.tool_calls))
        pieces += len(choice.tool_calls) + 16 * len(choice.logprobs)
    return text, pieces


def _arguments(call: dict[str, Json]) -> int:
    """Characters of the arguments of a call, as far as they are there as text."""
    function = call.get("function")
    arguments = function.get("arguments") if type(function) is dict else None
    return len(arguments) if type(arguments) is str else 0


def _too_large(words: str) -> Failure:
    return Failure(FailureClass.PERMANENT, TOO_LARGE, f"the answer is larger than any is taken in: {words}")
