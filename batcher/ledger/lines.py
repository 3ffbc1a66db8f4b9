"""Writes a result as one line of the results file or of the errors file. Never fails: the answer is paid for.

`docs/results.md` says what each field means.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

import orjson

from batcher import codec
from batcher.ledger.fallback import dump_anything
from batcher.ledger.measures import iso, spent_fields, timing_fields, usage_fields
from batcher.ledger.vectors import to_base64, to_floats
from batcher.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from batcher.failures import Failure
    from batcher.model import Json
    from batcher.outcome import Choice, Completion, Result

Entry: TypeAlias = "tuple[str, str, bytes]"
"""A job's id, the hash of its request (16 hex digits, or "" if there is none), and its line with the newline."""

PARTIAL_LIMIT = 64 * 1024
"""The most partial text kept on an error line, in bytes."""
MESSAGE_LIMIT = 2 * 1024
"""The most of a server's words kept on an error line, in bytes."""

KEYLESS: Final = Redactor()
_OWN_FIRST: Final = b'{"id":%b,"seq":%d,"hash":"%b"'
_OWN_VECTOR: Final = b',"vector":{"row":%d,"crc32":%d}'
_OWN_PLACE: Final = b',"pack":{"place":%d,"size":%d}}\n'
"""What is a job's own on the line of one whose text went in a pack, and whose vector is in a file of its own."""
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
        _put(record, "usage", spent_fields(completion))
    if result.timing is not None:
        record["timing"] = timing_fields(result.timing, completion)
    _put_origin(record, result)
    return _line(record, result, redactor)


def pack_lines(results: Sequence[Result], *, base64: bool = False, redactor: Redactor = KEYLESS) -> list[bytes]:
    """The lines of jobs that were answered together, in one go: the first line with another's own fields in each.

    The same as `result_line` of each, which makes them where more than those fields is a job's own.
    """
    lines = _alike(results, redactor)
    if lines is None:
        lines = [result_line(result, base64=base64, redactor=redactor) for result in results]
    return lines


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
    if result.completion is not None:
        _put(record, "usage", spent_fields(result.completion))
    if at is None and result.timing is not None:
        at = result.timing.started_at + result.timing.total
    if at is not None:
        record["at"] = iso(at)
    return _line(record, result, redactor)


def _alike(results: Sequence[Result], redactor: Redactor) -> list[bytes] | None:
    """The lines of results that differ by id, number, hash, vector, tokens and place alone; `None` if they may not.

    What a server said, which may hold a key, is the same in all, and was looked at in the first.
    """
    first, vectors, packs, usages = results[0], [], [], []
    for result in results:
        if result.vector is None or result.pack is None or result.meta is not None or result.columns is not None:
            return None
        vectors.append(result.vector)
        packs.append(result.pack)
        usages.append(None if result.completion is None else result.completion.usage)
    names = () if usages[0] is None else tuple(usage_fields(usages[0]))
    counts = [[getattr(usage, name, None) for usage in usages] for name in names]
    if any(None in column for column in counts) or (not names and any(usages)):
        return None
    line = result_line(first, redactor=redactor)
    try:
        idents = [orjson.dumps(result.id) for result in results]
    except TypeError:  # a lone surrogate
        return None
    hashes = [result.hash.encode() for result in results]
    columns = (
        idents,
        [result.seq for result in results],
        hashes,
        *zip(*vectors, strict=True),
        *counts,
        *zip(*packs, strict=True),
    )
    own = [*zip(*columns, strict=True)]
    own_usage = b',"usage":{%b}' % b",".join(b'"%b":%%d' % name.encode() for name in names) if names else b""
    rest = line.removeprefix(_OWN_FIRST % own[0][:3])
    head, _, tail = rest.partition(_OWN_VECTOR % own[0][3:5])
    tail = tail.removesuffix(_OWN_PLACE % own[0][-2:])
    middle, _, tail = tail.partition(own_usage % own[0][5:-2]) if names else (b"", b"", tail)
    fixed = [part.replace(b"%", b"%%") for part in (head, middle, tail)]
    template = b"".join((_OWN_FIRST, fixed[0], _OWN_VECTOR, fixed[1], own_usage, fixed[2], _OWN_PLACE))
    lines = [template % each for each in own]
    return lines if lines[0] == line else None


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
        _put(turn, "usage", usage_fields(completion.usage))
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
    ident = call.get("id")
    return {"id": str(ident), **neutral} if ident or ident == 0 else neutral


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


def _clip(text: str, limit: int) -> str:
    """At most `limit` bytes of UTF-8, whole characters only."""
    if len(text) * 4 <= limit:
        return text
    encoded = text.encode("utf-8", "surrogatepass")
    return text if len(encoded) <= limit else encoded[:limit].decode("utf-8", "ignore")
