"""Several exchanges that make one result: turns of a conversation, and answers that do not fit, asked again. Pure.

Each answer joins the conversation before the next turn; of one that was asked again the last alone does. What is asked
again has the wrong answer and what is wrong with it behind the question; if that does not help, it is asked without the
answer, behind what is wrong and an example of the form. A prompt that goes to a path without conversations has them in
its text.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from batcher.exchange.answers import MISMATCH
from batcher.failures import Failure, FailureClass, LineError
from batcher.model import Api, Kind
from batcher.outcome import Usage, total
from batcher.wire.dialects import call_for

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from batcher.model import Call, Fits, Job, Json
    from batcher.outcome import Attempt, Choice, Completion

TEXTUAL: Final = frozenset({"/api/generate", "/v1/completions"})
"""Paths that take a prompt and no conversation."""
QUOTED: Final = 4000
"""Characters of a wrong answer that are shown to the model again: it may have gone on until it was cut off."""
SCHEMA: Final = 8000
"""Characters of a schema that are told: a server that ignores it has not told the model."""
_FORM: Final = "Show me the form of your answer."
_IN_FORM: Final = "Answer in this form, with JSON and nothing else."
_KEYS: Final = ("messages", "prompt", "input")
"""Where a whole body has what is asked."""


@dataclass(slots=True)
class Dialogue:
    """What was said for one job so far."""

    content: Json
    """What was asked in this turn, with all that was said before."""
    place: int = 0
    """Turns that were taken after the first."""
    said: list[Completion] = field(default_factory=list)
    """The answers to the turns before this one."""
    tries: int = 0
    """How often this turn was asked again."""
    asked_again: int = 0
    """How often any was."""
    spent: Usage = field(default_factory=Usage)


def goes_on(call: Call, attempt: Attempt, retries: int) -> bool:
    """Whether there is more to ask after an answer; then the call's body is that.

    A turn is asked again `retries` times at most. An answer on which the next turn cannot follow is a failure.
    """
    completion = attempt.completion
    if completion is None or len(call.jobs) != 1:
        return False
    try:
        return _goes_on(call, attempt, completion, retries)
    except LineError as error:  # a model may call its tools with anything
        words = f"the answer cannot be told to the model again: {error.message}"
        attempt.failure = Failure(FailureClass.PERMANENT, error.code, words)
        return False


def _goes_on(call: Call, attempt: Attempt, completion: Completion, retries: int) -> bool:
    """Raises LineError where the server cannot be told what was said before."""
    job, dialogue = call.jobs[0], call.dialogue
    if dialogue is None:
        dialogue = Dialogue(
            job.content if job.body is None else next(job.body[key] for key in _KEYS if key in job.body)
        )
    if _may_be_mended(attempt, completion) and job.fits is not None and dialogue.tries < retries:
        dialogue.tries += 1
        dialogue.asked_again += 1
        example = job.fits.example if dialogue.tries > 1 else ""
        if 0 < len(example) <= SCHEMA:
            call.body = _shown(job, call, dialogue.content, example, completion.mismatch or "")
        else:
            words = _correction(completion.mismatch or "", job.fits)
            call.body = _corrected(job, call, dialogue.content, completion.first.text[:QUOTED], words)
    elif attempt.failure is None and dialogue.place < len(job.turns):
        turn = job.turns[dialogue.place]
        if completion.first.tool_calls and turn[0].get("role") != "tool":
            attempt.failure = _unanswered(completion.first.tool_calls, dialogue.place + 2)
            return False
        beginning, images = _conversation(dialogue.content, job.images if not dialogue.place else ())
        content = [*_pinned(beginning, images), _message(completion.first), *turn]
        call.body = _encoded(replace(job, images=()), call, content)
        dialogue.content = content
        dialogue.said.append(completion)
        dialogue.place += 1
        dialogue.tries = 0
    else:
        return False
    call.dialogue = dialogue
    if completion.usage is not None:
        dialogue.spent = total(dialogue.spent, completion.usage)
    return True


def conclude(call: Call, completion: Completion) -> Sequence[Completion]:
    """Have the last answer tell of the exchanges before it; returns the answers of all turns, if there are several."""
    dialogue = call.dialogue
    if dialogue is None:
        return ()
    completion.spent = dialogue.spent
    for earlier in dialogue.said:
        for name in earlier.flags:
            completion.flag(name)
    return [*dialogue.said, completion] if dialogue.said else ()


def _may_be_mended(attempt: Attempt, completion: Completion) -> bool:
    """Whether the answer is complete and does not fit, and that alone is held against it."""
    failure = attempt.failure
    is_suspect = failure is not None and failure.kind is FailureClass.SUSPECT
    if failure is not None and not (is_suspect and failure.code in (MISMATCH, "invalid_json")):
        return False
    return completion.mismatch is not None and not completion.first.refusals


def _correction(fault: str, fits: Fits) -> str:
    schema = f" It has to fit this JSON Schema: {fits.words}" if 0 < len(fits.words) <= SCHEMA else ""
    return f"This answer cannot be used: {fault}.{schema} Answer again, with the JSON and nothing else."


def _corrected(job: Job, call: Call, content: Json, answer: str, words: str) -> bytes:
    """The body that asks a turn again."""
    if call.path in TEXTUAL:
        return _encoded(job, call, f"{content}\n\n{answer}\n\n{words}")
    beginning, images = _conversation(content, job.images if not _is_later(call) else ())
    turns = [{"role": "assistant", "content": answer}, {"role": "user", "content": words}]
    return _encoded(replace(job, images=()), call, [*_pinned(beginning, images), *turns])


def _shown(job: Job, call: Call, content: Json, example: str, fault: str) -> bytes:
    """The body that asks a turn again as if the form of its answer had been talked about before, and what was wrong.

    A small model goes on as the conversation went: it answers wrongly behind a wrong answer, whatever it is told, and
    repeats words about an answer that stand last.
    """
    wanted = f"An answer of yours could not be used: {fault}. {_FORM}"
    if call.path in TEXTUAL:
        return _encoded(job, call, f"{wanted}\n\n{example}\n\n{content}\n\n{_IN_FORM}")
    beginning, images = _conversation(content, job.images if not _is_later(call) else ())
    messages = _pinned(beginning, images)
    last = max((place for place, one in enumerate(messages) if one.get("role") == "user"), default=len(messages))
    form = [{"role": "user", "content": wanted}, {"role": "assistant", "content": example}]
    question = messages[last : last + 1]
    asked = [{**one, "content": _with(one.get("content"), _IN_FORM)} for one in question]
    return _encoded(replace(job, images=()), call, [*messages[:last], *form, *asked, *messages[last + 1 :]])


def _with(content: Json, words: str) -> Json:
    """What is asked, which may have parts, with some more words behind it."""
    if type(content) is list:
        kind = next((part.get("type") for part in content if type(part) is dict and "text" in part), "text")
        return [*content, {"type": kind, "text": words}]
    return f"{content or ''}\n\n{words}"


def _is_later(call: Call) -> bool:
    return call.dialogue is not None and call.dialogue.place > 0


def _message(choice: Choice) -> dict[str, Json]:
    """An answer as the message that it is in the conversation."""
    message: dict[str, Json] = {"role": "assistant", "content": choice.text or "".join(choice.refusals)}
    if choice.tool_calls:
        message["tool_calls"] = [
            {key: value for key, value in one.items() if key != "index"} for one in choice.tool_calls
        ]
    return message


def _unanswered(calls: Sequence[Mapping[str, Json]], turn: int) -> Failure:
    named = (call.get("function") or call.get("custom") for call in calls)
    names = ", ".join(str(one.get("name") if isinstance(one, dict) else one) for one in named)
    words = (
        f"the model waits for the result of {names}, and turn {turn} goes on without it: "
        'give it as a turn such as {"role": "tool", "content": "…"}'
    )
    return Failure(FailureClass.PERMANENT, "tool_call_open", words)


def _pinned(messages: list[Json], images: tuple[str, ...]) -> list[Json]:
    """The messages with a job's images on the last of the user's, where they stay when others follow."""
    if not images:
        return messages
    last = max((place for place, one in enumerate(messages) if one.get("role") == "user"), default=len(messages) - 1)
    pinned = {**messages[last], "images": [*(messages[last].get("images") or ()), *images]}
    return [*messages[:last], pinned, *messages[last + 1 :]]


def _conversation(content: Json, images: Sequence[str]) -> tuple[list[Json], tuple[str, ...]]:
    """What was asked as messages, and the images that belong to the last of the user's."""
    return ([{"role": "user", "content": content}] if type(content) is str else [*content]), tuple(images)


def _encoded(job: Job, call: Call, content: Json) -> bytes:
    if job.body is None:
        kind = Kind.CHAT if job.kind is Kind.GENERATE and type(content) is list else job.kind
        asked = replace(job, content=content, kind=kind, path=call.path)
    else:
        key = next(key for key in _KEYS if key in job.body)
        asked = replace(job, body={**job.body, key: content}, path=call.path)
    api = Api.NATIVE if call.path.startswith("/api/") else Api.OPENAI
    return call_for((asked,), api, stream=call.stream).body
