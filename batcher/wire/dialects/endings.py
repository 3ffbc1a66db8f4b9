"""Decides how an answer in choices (`/v1/chat/completions`, `/v1/completions`) ends, and what proves it complete.

Proof is a finish reason for every index seen, or `[DONE]` after content, if all records before it were understood.
Neither alone can be demanded: servers leave out the one or the other on complete answers. Ollama's `/v1` loses errors
in mid-stream: one more record without content, then the end, with neither mark (Ollama middleware/openai.go).
"""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from batcher.failures import AttemptError, Failure, FailureClass, malformed, shown, truncated
from batcher.wire.dialects.envelope import counted_nothing, without
from batcher.wire.faults import is_fine, is_note
from batcher.wire.rules import classify_error

if TYPE_CHECKING:
    from batcher.model import Call, Json
    from batcher.outcome import Choice, Completion, Usage

MOST: Final = 4096
"""Entries of one record that are taken one by one, choices, tool calls and parts together: nothing waits for long."""
MOST_TOKENS: Final = 2**18
"""Tokens with log probabilities that one record may bring."""
FEW: Final = 4
"""Digits of a place that is told as a text."""
NONE: Final = "none"
BROKEN: Final = "broken off"

MEANINGS: Final[dict[str, tuple[str, ...]]] = {
    NONE: (
        *("", "null", "none", "nil"),  # KoboldCpp (PowerShell/AIShell#350); Python's `str(None)`
        *("undefined", "n/a", "false", "0"),  # JavaScript's and others' way to say so
        "unspecified",  # Gemini: FINISH_REASON_UNSPECIFIED
        *("in_progress", "running", "generating", "streaming", "continue", "not_finished", "pending"),
    ),
    BROKEN: (
        *("error", "abort", "aborted"),  # OpenRouter; vLLM, SGLang
        *("network_error", "server_error", "internal_error"),  # Zhipu: pydantic/pydantic-ai#7678
        *("cancelled", "canceled", "user_cancel", "timeout"),  # Cohere
        "insufficient_system_resource",  # DeepSeek
        *("engine_overloaded", "overloaded", "service_unavailable", "connection_error"),  # Moonshot; gateways
        *("interrupted", "terminated", "preempted", "failed", "failure", "rejected", "expired"),
        *(
            "malformed_function_call",
            "unexpected_tool_call",
            "malformed_response",
        ),  # Gemini: another sample may be fine
        *("malformed_tool_call", "missing_thought_signature"),  # Gemini
        *("malformed_tool_use", "malformed_model_output"),  # Bedrock
        *("resource_exhausted", "rate_limit_exceeded", "interrupt"),  # gateways; Strands
    ),
    "length": (
        *("length", "max_tokens", "max_output_tokens"),  # OpenAI; Gemini, Anthropic; /v1/responses
        "model_length",  # Mistral
        *("model_context_window_exceeded", "context_window_exceeded", "context_length_exceeded"),  # Anthropic
        *("max_length", "max_new_tokens", "error_limit"),  # TGI's older forms; Hugging Face; Cohere
        *("token_limit", "context_length", "max_completion_tokens", "limit"),  # watsonx; llama.cpp's stop_type
    ),
    "content_filter": (
        *("content_filter", "content_filtered"),  # OpenAI, Azure; Bedrock
        *("safety", "prohibited_content", "blocklist", "recitation", "spii", "image_safety"),  # Gemini
        *("image_prohibited_content", "image_recitation", "model_armor", "jailbreak"),  # Gemini
        *("blocked", "content_blocked"),  # gateways
        *("sensitive", "moderation", "content_policy"),  # Zhipu and others
        *("refusal", "guardrail_intervened", "guardrails", "error_toxic"),  # Anthropic; Bedrock; Cohere
    ),
    "incomplete": (
        *("other", "language", "pause_turn", "compaction", "incomplete"),  # Gemini; Anthropic
        *("image_other", "no_image"),  # Gemini
        *("time_limit", "repetition", "repetition_truncation", "too_many_tool_calls"),  # watsonx; Gemini
    ),
}
"""What finish reasons mean, in lower case: no reason, an answer that was broken off, or the flag for one that was cut.

Any other is an end as it should be. Sources: vLLM (https://github.com/vllm-project/vllm/issues/57082), litellm
(https://github.com/BerriAI/litellm/pull/27101), Gemini (https://github.com/googleapis/python-genai/issues/1836), Ollama
(https://github.com/ollama/ollama/issues/4357), Mistral (https://docs.rs/crate/mistral-openapi-client), Anthropic
(@ai-sdk/anthropic's src/map-anthropic-stop-reason.ts), Bedrock's `stopReason`, Cohere's OpenAPI (`FinishReason`)."""

STEMS: Final = (
    ("content_filter", r"filter|safety|moderat|policy|guardrail|sensitiv|prohibit|refus|censor|toxic|unsafe"),
    ("content_filter", r"block(ed|list)|(^|_)risk"),
    ("length", r"(max|limit|exceed|overflow|too|out_of|length).*(token|length|context)"),
    ("length", r"(token|length|context).*(max|limit|exceed|overflow|long)"),
    (BROKEN, r"error|exception|fail|abort|cancel|timed?_?out|crash|(^|_)killed|interrupt|preempt|disconnect|overload"),
    (BROKEN, r"unavail|(^|_)oom(_|$)|out_of_memory|(^|_)lost(_|$)|broken|evicted|rate_limit|quota|exhausted"),
    ("incomplete", r"limit|incomplete|truncat|repetiti|budget|partial"),
)
"""What a reason that is none of those words means by what it has in it, in this order: each gateway has its own."""

_MEANING: Final = {word: meaning for meaning, words in MEANINGS.items() for word in words}
_WORD: Final = re.compile(r"<?(?:finish_?reason[._])?([a-z0-9_/]*)")
_HUMP: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def meaning_of(reason: str) -> str | None:
    """What a finish reason means by `MEANINGS`, however it is written: `SAFETY`, `FinishReason.SAFETY`, `safety: x`."""
    word = reason
    for written in (reason, _HUMP.sub("_", reason)):  # `MAX_TOKENS`, then `maxTokens`
        folded = written.strip().lower()
        if (known := _MEANING.get(folded)) is not None:
            return known
        found = _WORD.match(folded.replace("-", "_"))
        if found is None or not found[1]:
            return None
        word = found[1]
        if (known := _MEANING.get(word)) is not None:
            return known
    return next((meaning for meaning, stem in STEMS if re.search(stem, word)), None)


def flag_of(reason: str | None) -> str | None:
    """The flag that a finish reason earns the answer."""
    meaning = meaning_of(reason) if reason and reason != "stop" else None
    return None if meaning in (NONE, BROKEN) else meaning


def finish_of(piece: dict[str, Json], path: str, key: str = "finish_reason") -> str | None:
    """The finish reason of a choice, or none. Raises AttemptError if the server broke off, or had no prompt.

    SGLang's own form is an object with the `type` (https://github.com/sgl-project/sglang/pull/1407).
    """
    if error := piece.get("error"):
        raise AttemptError(classify_error(error, path))
    said = piece.get(key)
    if said == "stop" or not said:
        return said or None
    reason = said.get("type") or said.get("reason") if type(said) is dict else said
    if type(reason) is not str:
        if reason is None:
            return None
        raise AttemptError(malformed(f"a {key} that is no text: {shown(said)}"))
    meaning = meaning_of(reason)
    if meaning == BROKEN:
        words = said.get("message") if type(said) is dict else None
        raise AttemptError(classify_error(words or f'the server broke the answer off: {key} "{reason}"', path))
    if reason == "load":  # Ollama openai/openai.go: an empty prompt only loads the model
        words = "the server found nothing to answer and only loaded the model; give the job a prompt"
        raise AttemptError(Failure(FailureClass.PERMANENT, "empty_prompt", words))
    return None if meaning == NONE else reason


AS_TEXT: Final = "Internal error: "
"""How LocalAI says in a stream that it broke off: as a last piece of text, with the reason "stop" in the same record,
where its own last record has none (mudler/LocalAI core/http/endpoints/openai/completion.go)."""


def check_last(text: Json, reason: str | None, path: str) -> None:
    """Raise AttemptError if the last piece of a stream is an error in the place of text."""
    if reason == "stop" and type(text) is str and text.startswith(AS_TEXT):
        raise AttemptError(classify_error(text, path))


def settle(completion: Completion) -> None:
    """Set the proof once every index seen has a finish reason; take it back when a new index appears."""
    completion.proof = "finish_reason"
    for choice in completion.choices.values():
        if choice.finish_reason is None:
            completion.proof = None
            return


def missing(completion: Completion, *, done: bool) -> str | None:
    """Name the mark that is missing, or return None. `done`: `[DONE]` was read."""
    if (
        completion.proof is None
        and done
        and "strange" not in completion.tail
        and any(map(has_content, completion.choices.values()))
    ):
        completion.proof = "[DONE]"
    return None if completion.proof else "a finish reason or `[DONE]`"


def settle_whole(body: dict[str, Json], completion: Completion) -> None:
    """Prove an answer that came in one piece. Raises AttemptError if its generation was cut.

    A choice without a finish reason is accepted where there is content and the server counted tokens: Ollama answers
    a generation that was cut with `finish_reason: null` and a usage of zeros.
    """
    for choice in completion.choices.values():
        if choice.finish_reason is None:
            break
    else:
        completion.proof = "finish_reason"
        return
    if counted_nothing(body.get("usage")) or not any(map(has_content, completion.choices.values())):
        raise AttemptError(truncated("a finish reason"))
    completion.proof = "whole"


def has_content(choice: Choice) -> bool:
    """Whether anything was said: text, thinking, a tool call or a refusal."""
    return bool(any(choice.texts) or choice.thoughts or choice.tool_calls or choice.refusals)


def settle_counts(completion: Completion, usage: Usage) -> None:
    """Take out a count of 0 of an answer that has something in it.

    It comes of a usage that was said before anything was made, as of gateways that say one with their first record.
    """
    if usage.completion_tokens == 0 and any(map(has_content, completion.choices.values())):
        completion.usage = replace(usage, completion_tokens=None)


FOREIGN: Final = (
    *("delta", "message"),  # chat completions; Cohere, Anthropic
    *("content", "text", "completion", "response"),  # llama.cpp's own, Anthropic's older, Ollama's
    *("output", "candidates"),  # DashScope; Gemini
    *("token", "generated_text"),  # TGI's own
)
"""What a piece of an answer is in, in other APIs' streams."""


def check_foreign(record: dict[str, Json], place: str) -> None:
    """Raise AttemptError for a record that has its piece of the answer in another place than it must."""
    key = next((key for key in FOREIGN if record.get(key)), None)
    if key is not None and place not in record and not is_note(record):
        raise AttemptError(malformed(f"a record with {key!r} and without {place!r}: {shown(record)}"))


STATES: Final = ("type", "status", "state")
"""Where a note says that nothing is wrong."""


def take_strange(record: dict[str, Json], completion: Completion) -> None:
    """Remember a record that says nothing known: `[DONE]` proves nothing behind it, for it may have told of the end."""
    is_known = not record.keys().isdisjoint(("usage", "timings")) or any(is_fine(record.get(key, -1)) for key in STATES)
    if not is_known and not is_note(record):
        completion.tail["strange"] = True


def choices_of(body: dict[str, Json]) -> list[dict[str, Json]]:
    """The choices of an answer in one piece. Raises AttemptError if there are none."""
    choices = list_of(body.get("choices"), "choices")
    for choice in choices:
        if type(choice) is not dict:
            raise AttemptError(without("choices", body))
    if not choices:
        raise AttemptError(without("choices", body))
    return choices


def choices_asked(call: Call) -> float:
    """How many choices a call asks for."""
    job = call.jobs[0] if call.jobs else None
    if job is None:
        return math.inf
    body = job.extra if job.body is None else job.body
    wanted = job.params.get("n", body.get("n"))
    if type(body.get("prompt")) is list:
        return math.inf  # each of its prompts has choices of its own
    return wanted if type(wanted) is int else 1


def index_of(piece: dict[str, Json], place: int = 0) -> int:
    """The index of a choice, or of a vector; its place where the server names none."""
    index = piece.get("index")
    if index is None:
        return place
    if type(index) is not int:
        if isinstance(index, bool) or (isinstance(index, float) and index.is_integer()):
            return int(index)  # what is equal to a number is that number, as it is to `skim`
        if type(index) is str and index.isdecimal() and len(index) <= FEW:
            return int(index)
        raise AttemptError(malformed(f"an index that is no number: {shown(index)}"))
    return index


def text_of(value: Json, key: str) -> str:
    """A text; null is "". Raises AttemptError for anything else."""
    if value is None:
        return ""
    if type(value) is not str:
        raise AttemptError(malformed(f"{key} that is no text: {shown(value)}"))
    return value


def list_of(value: Json, key: str, most: int = MOST) -> list[Json]:
    """A list; null is empty. Raises AttemptError for anything else, and for more than `most` entries."""
    if value is None:
        return []
    if type(value) is not list:
        raise AttemptError(malformed(f"{key} that is no list: {shown(value)}"))
    if len(value) > most:
        raise too_many(key, most)
    return value


def entries_of(message: dict[str, Json]) -> int:
    """How many entries a message has that are taken one by one: its parts, thoughts and tool calls."""
    return sum([len(value) for value in message.values() if type(value) is list])


def too_many(what: str, most: int = MOST) -> AttemptError:
    """The error for a record with more entries than any answer has."""
    return AttemptError(malformed(f"a record with more than {most} {what}"))
