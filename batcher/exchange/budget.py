"""How much of an answer is taken in before it is given up: bytes of one in one piece, text of one in a stream. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from batcher.failures import AttemptError, Failure, FailureClass

if TYPE_CHECKING:
    from batcher.model import Completion

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
STEP: Final = 16 * MEBI
"""Bytes of a stream after which what it brought is counted."""


@dataclass(slots=True)
class Budget:
    """Of one answer: `due` is how many bytes may have come before it is to be looked at."""

    path: str
    due: int = field(default_factory=lambda: STEP)

    def look(self, taken: int, completion: Completion, *, streamed: bool) -> None:
        """Count what came in `taken` bytes. Raises AttemptError for too much: a second try would bring the same."""
        self.due = taken + STEP
        if not streamed:
            most = LARGE.get(self.path, WHOLE)
            if taken > most:
                raise AttemptError(_too_large(f"more than {most // MEBI} MiB in one piece"))
            return
        text, pieces = _held(completion)
        if text > TEXT or pieces > PIECES:
            raise AttemptError(_too_large(f"{text} characters in {pieces} pieces, and no end"))


def _held(completion: Completion) -> tuple[int, int]:
    """Characters and pieces that an answer holds so far."""
    text = pieces = 0
    for choice in completion.choices.values():
        for held in (choice.texts, choice.thoughts, choice.refusals):
            text += sum(map(len, held))
            pieces += len(held)
        text += sum(len((call.get("function") or {}).get("arguments") or "") for call in choice.tool_calls)
        pieces += len(choice.tool_calls) + 16 * len(choice.logprobs)
    return text, pieces


def _too_large(words: str) -> Failure:
    return Failure(FailureClass.PERMANENT, TOO_LARGE, f"the answer is larger than any is taken in: {words}")
