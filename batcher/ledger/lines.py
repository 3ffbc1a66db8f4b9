"""Writes a result as one line of the results file or of the errors file. Never fails: the answer is paid for.

`docs/results.md` says what each field means.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from math import isfinite
from typing import TYPE_CHECKING, Final, TypeAlias

import orjson

from batcher import codec
from batcher.ledger.fallback import dump_anything
from batcher.ledger.vectors import to_base64, to_floats
from batcher.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batcher.failures import Failure
    from batcher.model import Choice, Completion, Json, Result, ServerTimes, Timing, Usage

Entry: TypeAlias = "tuple[str, str, bytes]"
"""A job's id, the hash of its request (16 hex digits, or "" if there is none), and its line with the newline."""

PARTIAL_LIMIT = 64 * 1024
"""The most partial text kept on an error line, in bytes."""
MESSAGE_LIMIT = 2 * 1024
"""The most of a server's words kept on an error line, in bytes."""

KEYLESS: Final = Redactor()
SAID: Final = frozenset(
    {
        *(
            "text",
            "thinking",
            "tool_calls",
            "refusal",
            "finish_reason",
            "logprobs",
            "parsed",
            "choices",
            "embedding",
            "turns",
        ),
        *("mismatch", "embeddings", "served_model", "error", "partial", "raw"),
    }
)
"""Fields with what a server said, who may have said a key. The others are ours or the user's: `meta` is untouched."""


def result_line(result: Result, *, base64: bool = False, redactor: Redactor = KEYLESS) -> bytes:
    """The line of a job that has its answer, newline included, without the keys that `redactor` knows.

    `base64`: write vectors as base64 of little-endian float32.
    """
    record: dict[str, Json] = {"id": result.id, "seq": result.seq, "hash": result.hash}
    completion = result.completion
    _put_target(record, result)
    if completion is not None:
        if completion.choices:
            _put_answer(record, completion)
        if completion.vectors:
            _put_vectors(record, result, completion.vectors, base64=base64)
    if result.turns:
        record["turns"] = [_turn(turn) for turn in result.turns]
    if result.image:
        record.update({"images": result.image} if len(result.image) > 1 else {"image": result.image[0]})
    if completion is not None:
        _put(record, "flags", completion.flags)
        if completion.spent is not None:
            _put(record, "usage", _sums(completion.spent, completion.usage))
        elif completion.usage is not None:
            _put(record, "usage", _usage(completion.usage))
    if result.timing is not None:
        record["timing"] = _timing(result.timing, completion)
    _put_origin(record, result)
    return _line(record, result, redactor)


def error_line(
    result: Result,
    *,
    at: float | None = None,
    redactor: Redactor = KEYLESS,
    place: Mapping[str, Json] | None = None,
) -> bytes:
    """The line of a job that failed, newline included. `at` is Unix time; else the end of the last attempt is taken.

    `place` says where its row stands in the inputs, if that is no line of one file.
    """
    record: dict[str, Json] = {"id": result.id, "seq": result.seq, **(place or {"line": result.seq + 1})}
    if result.failure is not None:
        record["error"] = _error(result.failure)
    _put_target(record, result)
    _put_origin(record, result)
    _put(record, "partial", _clip(redactor.clipped(result.text), PARTIAL_LIMIT))  # a key is not to be cut in two
    if at is None and result.timing is not None:
        at = result.timing.started_at + result.timing.total
    if at is not None:
        record["at"] = _iso(at)
    return _line(record, result, redactor)


def _put(record: dict[str, Json], key: str, value: Json) -> None:
    if value:
        record[key] = value


def _put_target(record: dict[str, Json], result: Result) -> None:
    if result.model:
        record["model"] = result.model
    if result.path:
        record["endpoint"] = result.path


def _put_origin(record: dict[str, Json], result: Result) -> None:
    if result.attempts:
        record["attempts"] = result.attempts
    if result.asked_again:
        record["asked_again"] = result.asked_again
    if result.server:
        record["server"] = result.server
    completion = result.completion
    if completion is not None and completion.served_model and completion.served_model != result.model:
        record["served_model"] = completion.served_model
    if result.pack is not None:
        record["pack"] = {"place": result.pack[0], "size": result.pack[1]}
    if result.raw:
        record["raw"] = result.raw


def _error(failure: Failure) -> dict[str, Json]:
    error: dict[str, Json] = {"class": failure.kind, "code": failure.code}
    if failure.status is not None:
        error["status"] = failure.status
    error["message"] = _clip(failure.message, MESSAGE_LIMIT)
    return error


def _line(record: dict[str, Json], result: Result, redactor: Redactor) -> bytes:
    if result.meta is not None:
        record["meta"] = result.meta
    if result.columns is not None:
        record["columns"] = result.columns
    line = _dumped(record)
    if redactor.suspects(line):
        line = _dumped({key: redactor.value(value) if key in SAID else value for key, value in record.items()})
    return line


def _dumped(record: dict[str, Json]) -> bytes:
    try:
        return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:  # a lone surrogate, an integer beyond 64 bits, nesting beyond 254 levels
        return dump_anything(record) + b"\n"


def _put_answer(record: dict[str, Json], completion: Completion) -> None:
    """The first choice in the line's own fields; all of them in `choices` if there are more."""
    _put_choice(record, completion.first)
    if completion.parsed is not None:
        record["parsed"] = completion.parsed
    if completion.mismatch is not None:
        record["mismatch"] = completion.mismatch
    if len(completion.choices) > 1:
        record["choices"] = [
            _put_choice({"index": index}, choice) for index, choice in sorted(completion.choices.items())
        ]


def _turn(completion: Completion) -> dict[str, Json]:
    """One of several answers, with what it cost."""
    turn = _put_choice({}, completion.first)
    if completion.parsed is not None:
        turn["parsed"] = completion.parsed
    if completion.usage is not None:
        _put(turn, "usage", _usage(completion.usage))
    return turn


def _put_choice(record: dict[str, Json], choice: Choice) -> dict[str, Json]:
    record["text"] = choice.text  # also when empty: who asked for text finds it
    if choice.thoughts:
        record["thinking"] = choice.thinking
    if choice.tool_calls:
        record["tool_calls"] = [neutral_tool_call(call) for call in choice.tool_calls]
    if choice.refusals:
        record["refusal"] = "".join(choice.refusals)
    if choice.finish_reason:
        record["finish_reason"] = choice.finish_reason
    if choice.logprobs:
        record["logprobs"] = choice.logprobs
    return record


def neutral_tool_call(call: dict[str, Json]) -> dict[str, Json]:
    """A tool call in one form for both APIs, its arguments an object if they are one and the text as it came if not."""
    function = call.get("function")
    if not isinstance(function, dict):
        return call  # a tool of another kind
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        arguments = _object(arguments)
    elif arguments is None:
        arguments = {}
    neutral = {"type": "function", "function": {"name": function.get("name"), "arguments": arguments}}
    return {"id": call["id"], **neutral} if call.get("id") else neutral


def _object(text: str) -> Json:
    try:
        value = codec.loads(text)
    except orjson.JSONDecodeError:
        return text
    return value if isinstance(value, dict) else text


def _put_vectors(record: dict[str, Json], result: Result, vectors: list[Json], *, base64: bool) -> None:
    if result.vector is not None:
        record["vector"] = {"row": result.vector[0], "crc32": result.vector[1]}
        return
    convert = to_base64 if base64 else to_floats
    written: list[Json] = []
    for vector in vectors:
        try:
            written.append(convert(vector))
        except (TypeError, ValueError, OverflowError):
            written.append(vector)  # no vector as promised; as it came, it can still be seen
    if result.many or len(written) > 1:
        record["embeddings"] = written
    else:
        record["embedding"] = written[0]


def _usage(usage: Usage) -> dict[str, int]:
    counts = {}
    if usage.prompt_tokens is not None:
        counts["prompt_tokens"] = usage.prompt_tokens
    if usage.completion_tokens is not None:
        counts["completion_tokens"] = usage.completion_tokens
    if usage.reasoning_tokens is not None:
        counts["reasoning_tokens"] = usage.reasoning_tokens
    if usage.cached_tokens is not None:
        counts["cached_tokens"] = usage.cached_tokens
    return counts


def _sums(spent: Usage, usage: Usage | None) -> dict[str, int]:
    """The tokens of all exchanges for a job."""
    counts, last = _usage(spent), {} if usage is None else _usage(usage)
    return {name: counts.get(name, 0) + last.get(name, 0) for name in counts | last}


def _timing(timing: Timing, completion: Completion | None) -> dict[str, Json]:
    waited = _micro(timing.waited) if timing.waited else 0.0
    times: dict[str, Json] = {"started_at": _iso(timing.started_at), "waited_s": waited}
    arrivals = timing.arrivals
    if arrivals:
        times["ttft_s"] = _micro(arrivals[0] - timing.started)
        if len(arrivals) > 1:
            gaps = timing.gaps()
            times["itl_p50_s"] = _micro(_percentile(gaps, 50))
            times["itl_p95_s"] = _micro(_percentile(gaps, 95))
    times["total_s"] = _micro(timing.finished - timing.started)
    if completion is not None:
        speed = _speed(arrivals, completion.usage) if arrivals else None
        if speed is not None:
            times["tokens_per_s"] = _micro(speed)
        if completion.server is not None:
            _put(times, "server", _server(completion.server))
    return times


def _micro(seconds: float) -> float:
    """To six decimals, as `round` does in three times the time."""
    return (seconds * 1e6 + 0.5) // 1 / 1e6


def _percentile(ascending: list[float], percent: int) -> float:
    """The nearest rank: the least value that at least `percent` of them do not exceed."""
    return ascending[max(-(-percent * len(ascending) // 100) - 1, 0)]


def _speed(arrivals: list[float], usage: Usage | None) -> float | None:
    """(completion tokens - 1) / (last - first content), in tokens a second; `None` if either is not known."""
    if len(arrivals) < 2 or usage is None or usage.completion_tokens is None or usage.completion_tokens < 2:
        return None
    span = arrivals[-1] - arrivals[0]
    return (usage.completion_tokens - 1) / span if span > 0 else None


def _server(server: ServerTimes) -> dict[str, float]:
    times = {}
    if server.load_s is not None:
        times["load_s"] = _micro(server.load_s)
    if server.prompt_eval_s is not None:
        times["prompt_eval_s"] = _micro(server.prompt_eval_s)
    if server.eval_s is not None:
        times["eval_s"] = _micro(server.eval_s)
    if server.total_s is not None:
        times["total_s"] = _micro(server.total_s)
    return times


def _iso(unix: float) -> str:
    """UTC to the millisecond, ISO 8601; times that no calendar knows become the epoch."""
    milliseconds = int(unix * 1000 + 0.5) if isfinite(unix) else 0
    return f"{_second(milliseconds // 1000)}.{milliseconds % 1000:03d}Z"


@lru_cache(maxsize=64)
def _second(unix: int) -> str:
    try:
        return datetime.fromtimestamp(unix, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return "1970-01-01T00:00:00"


def _clip(text: str, limit: int) -> str:
    """At most `limit` bytes of UTF-8, whole characters only."""
    if len(text) * 4 <= limit:
        return text
    encoded = text.encode("utf-8", "surrogatepass")
    return text if len(encoded) <= limit else encoded[:limit].decode("utf-8", "ignore")
