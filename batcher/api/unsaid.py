"""Takes the keys out of a result before a program has it, as they are taken out of the lines of a file."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batcher.model import Json
    from batcher.outcome import Choice, Completion, Result
    from batcher.redaction import Redactor


def unsaid(result: Result, redactor: Redactor) -> Result:
    """The result, changed in its place, without the live keys that the server may have repeated.

    The words of an error are cleared of whatever looks like a key. `meta` and what else is the caller's stay.
    """
    failure, completion = result.failure, result.completion
    if failure is not None:
        result.failure = replace(failure, code=redactor.value(failure.code), message=redactor.text(failure.message))
    if completion is not None and redactor and _suspects(redactor, completion, result.raw):
        _clear(completion, redactor)
        result.raw = redactor.value(result.raw)
    return result


def _suspects(redactor: Redactor, completion: Completion, raw: Json) -> bool:
    """Whether there may be a key in what the server said, vectors left aside."""
    choices = [
        (
            choice.text,
            choice.thinking,
            "".join(choice.refusals),
            choice.tool_calls,
            choice.logprobs,
            choice.finish_reason,
        )
        for choice in completion.choices.values()
    ]
    around = completion.served_model, completion.parsed, completion.head, completion.tail, completion.whole
    try:
        # Letters and digits stand as they are here, and what is looked for is made of them.
        return redactor.suspects(repr((choices, around, raw)).encode("utf-8", "replace"))
    except RecursionError:
        return True


def _clear(completion: Completion, redactor: Redactor) -> None:
    for choice in completion.choices.values():
        _clear_choice(choice, redactor)
    for name in ("served_model", "parsed", "head", "tail", "whole"):
        setattr(completion, name, redactor.value(getattr(completion, name)))


def _clear_choice(choice: Choice, redactor: Redactor) -> None:
    for name in ("texts", "thoughts", "refusals"):  # pieces of one text: a key may be cut among them
        text = "".join(getattr(choice, name))
        if (clear := redactor.value(text)) != text:
            setattr(choice, name, [clear])
    for name in ("tool_calls", "logprobs", "finish_reason"):
        setattr(choice, name, redactor.value(getattr(choice, name)))
