"""Reads what `/v1` answers carry around their content: the served model, token counts and the server's own times.

Sources: OpenAI API reference (usage and its details); llama.cpp tools/server (`timings`, in milliseconds); Ollama
openai/openai.go (`/v1/completions` sends a usage of zeros in every record before the real one).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from batcher import codec
from batcher.failures import malformed
from batcher.outcome import ServerTimes, Usage
from batcher.wire.faults import MARKS

if TYPE_CHECKING:
    from batcher.failures import Failure
    from batcher.model import Json
    from batcher.outcome import Completion

RARE: Final = frozenset({"timings", *MARKS})
"""What may stand in a record beside its choices, and is not to be passed over."""
MOST: Final = 2**53
"""The largest count, or number of milliseconds, that is believed: beyond, JSON readers disagree (RFC 8259, 6)."""
COUNTS: Final = ("prompt_tokens", "input_tokens", "completion_tokens", "output_tokens")
CACHED: Final = ("prompt_cache_hit_tokens", "cached_tokens")
"""What was read from a cache; DeepSeek's and Moonshot's APIs say it beside the counts."""
DETAILS: Final = frozenset(
    {
        *("completion_tokens_details", "output_tokens_details", "prompt_tokens_details", "input_tokens_details"),
        *CACHED,
    }
)


def without(what: str, body: dict[str, Json]) -> Failure:
    """The failure of a body that lacks its answer, and that no shape of error explains; it is told as it came."""
    return malformed(f"an answer without {what}: {codec.told(body)[:300]}")


def take_envelope(record: dict[str, Json], completion: Completion) -> None:
    """Keep the first envelope that has an id, and the last usage and timings that count anything."""
    head = completion.head
    if head is None or not head.get("id"):
        completion.head = record
    if completion.served_model is None and type(model := record.get("model")) is str:
        completion.served_model = model or None  # Ollama's lost errors and Azure's filters have ""
    counts = record.get("usage")
    if counts:
        take_counts(counts, completion)
    elif "x_groq" in record and type(groq := record["x_groq"]) is dict:  # Groq's streams, with their last record
        take_counts(groq.get("usage"), completion)
    timings = record.get("timings")
    if timings and (server := times_of(timings)):
        completion.server = server
        completion.tail["timings"] = timings


def take_counts(counts: Json, completion: Completion) -> None:
    """Keep a usage that counts anything."""
    if usage := usage_of(counts):
        completion.usage = usage
        completion.tail["usage"] = counts


def usage_of(counts: Json) -> Usage | None:
    """The token counts, by the names of any endpoint; `None` where nothing was counted: zeros are no count."""
    if type(counts) is not dict:
        return None
    prompt, completion = counts.get("prompt_tokens"), counts.get("completion_tokens")
    if not (type(prompt) is type(completion) is int and 0 <= prompt <= MOST and 0 <= completion <= MOST):  # the usual
        prompt = _count(counts, "prompt_tokens", "input_tokens")
        completion = _count(counts, "completion_tokens", "output_tokens")
    if not prompt and not completion:
        return None
    if DETAILS.isdisjoint(counts):
        return Usage(prompt, completion)
    made = counts.get("completion_tokens_details") or counts.get("output_tokens_details")
    read = counts.get("prompt_tokens_details") or counts.get("input_tokens_details")
    return Usage(
        prompt,
        completion,
        _count(made, "reasoning_tokens") if type(made) is dict else None,
        _count(read if type(read) is dict else counts, *CACHED),
    )


def counted_nothing(counts: Json) -> bool:
    """Whether a usage is there and all zero: how Ollama answers when its generation was cut."""
    return type(counts) is dict and bool(counts) and not any(counts.get(name) for name in COUNTS)


def times_of(timings: Json) -> ServerTimes | None:
    """llama.cpp's `timings` in seconds."""
    if type(timings) is not dict:
        return None
    prompt, made = _seconds(timings.get("prompt_ms")), _seconds(timings.get("predicted_ms"))
    if prompt is None and made is None:
        return None
    return ServerTimes(prompt_eval_s=prompt, eval_s=made)


def _count(counts: dict[str, Json], *names: str) -> int | None:
    for name in names:
        value = counts.get(name)
        if type(value) is float and value.is_integer():  # gateways whose language has no other numbers
            value = int(value)
        if type(value) is int and 0 <= value <= MOST:
            return value
    return None


def _seconds(milliseconds: Json) -> float | None:
    is_time = isinstance(milliseconds, int | float) and 0 <= milliseconds <= MOST
    return milliseconds / 1000 if is_time else None
