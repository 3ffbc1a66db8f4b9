"""What makes two jobs the same: the id a line carries, and the hash of the request it stands for."""

from __future__ import annotations

import json
from array import array
from dataclasses import replace
from hashlib import blake2b
from typing import TYPE_CHECKING

import orjson

from batcher import codec
from batcher.failures import LineError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from batcher.model import Job, Json, Kind

LATEST = ":latest"
"""The tag that Ollama adds to a name without one; both are one model."""

_WHOLE = float(1 << 53)
"""Below it every whole number is a float of its own."""
_NOTHING = blake2b(digest_size=8)
"""What a hash begins with: a copy costs less than its parameters, read anew."""
NEUTRAL = frozenset({"stream", "stream_options", "keep_alive", "truncate"})
"""Keys that change how an answer is delivered and not what is asked; no hash covers them."""


def canonical_id(value: Json) -> str | None:
    """An id as a string, so that `1`, `1.0` and `"1"` are one; `None` if there is none. Raises `LineError`.

    Whole numbers become fractions in a column with holes, as pandas has it.
    """
    if value is None:
        return None
    if type(value) is str:
        if value:
            return value
    elif type(value) is int:
        return str(value)
    elif type(value) is float and value.is_integer() and abs(value) < _WHOLE:
        return str(int(value))
    raise LineError("input_invalid", f"the id must be a non-empty string or an integer, not {_name(value)}")


def own_id(record: Mapping[str, Json]) -> str | None:
    """A line's own id. An OpenAI batch line means `custom_id`, whatever else it carries. Raises LineError."""
    own, custom = record.get("id"), record.get("custom_id")
    if custom is not None and (own is None or "body" in record):
        return canonical_id(custom)
    return canonical_id(own)


def canonical(values: Mapping[str, Json]) -> bytes:
    """Some columns of a row as bytes, the same whatever their order."""
    try:
        return orjson.dumps(values, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # an integer beyond 64 bits, a date
        return json.dumps(values, ensure_ascii=False, sort_keys=True, default=str).encode("utf-8", "surrogatepass")


def derived_id(data: bytes) -> str:
    """The id of a line that has none: the hash of its own bytes, or of the values that it is asked for."""
    return f"h:{blake2b(data, digest_size=16).hexdigest()}"


class Ids:
    """Gives ids to lines without one, for one pass over the input: equal lines get `#2`, `#3` … in file order.

    Start a new one for each pass, or the second pass takes every line for a repeat; or `replay` the first. `seen` says
    whether an id was met before: whoever asks for ids notes those that he gets before he asks for the next.
    """

    def __init__(self, seen: Callable[[str], bool] = lambda _: False) -> None:
        self._seen = seen
        self.derived = 0
        """Ids that were made."""
        self._numbers = array("I")
        """By line, up to the last that repeats an earlier one: its number, 0 if it is the first of its kind."""
        self._replaying = False

    def derive(self, data: bytes, seq: int = 0) -> str:
        """The id of the line `seq` without one."""
        derived = derived_id(data)
        self.derived += 1
        if self._replaying:
            number = self._numbers[seq] if seq < len(self._numbers) else 0
        elif number := self._next(derived) if self._seen(derived) else 0:
            self._numbers.frombytes(bytes(self._numbers.itemsize * (seq + 1 - len(self._numbers))))
            self._numbers[seq] = number
        return f"{derived}#{number}" if number else derived

    @property
    def repeated(self) -> bool:
        """Whether any line got a number."""
        return bool(self._numbers)

    def replay(self) -> None:
        """From now on give each line the id that it got before, whichever lines are asked for."""
        self._replaying = True

    def _next(self, derived: str) -> int:
        """The first number that is free, from 2 on: asked for, since to remember it would take memory for each line."""
        free = 2
        while self._seen(f"{derived}#{free}"):
            free *= 2
        taken = free // 2
        while taken + 1 < free:
            middle = (taken + free) // 2
            if self._seen(f"{derived}#{middle}"):
                taken = middle
            else:
                free = middle
        return free


def request_hash(asked: bytes) -> str:
    """64 bits of blake2b, in hex, over the canonical JSON of what is asked."""
    digest = _NOTHING.copy()
    digest.update(asked)
    return digest.hexdigest()


def canonical_request(
    kind: Kind,
    model: str | None,
    content: Json,
    *,
    system: str | None = None,
    tools: list[Json] | None = None,
    params: Mapping[str, Json] | None = None,
    options: Mapping[str, Json] | None = None,
    extra: Mapping[str, Json] | None = None,
    images: Sequence[str] = (),
) -> bytes:
    """What is asked, as JSON that is the same for all who ask the same. Raises `LineError` if it nests too deep."""
    return _canonical(
        [
            kind,
            model and model.removesuffix(LATEST),
            content,
            system,
            tools,
            _asked(_common(params)) if params else None,
            options or None,
            _asked(extra) if extra else None,
            images,
        ]
    )


def body_hash(kind: Kind, body: Mapping[str, Json]) -> str:
    """As `request_hash`, of a line that brought a whole body. Raises `LineError` if it nests too deep."""
    asked = _asked(body)
    if asked and isinstance(model := asked.get("model"), str) and model.endswith(LATEST):
        asked = {**asked, "model": model.removesuffix(LATEST)}
    return request_hash(_canonical([kind, asked]))


def rehashed(job: Job) -> Job:
    """The job with the hash of what it asks by now."""
    if job.body is not None:
        return replace(job, hash=body_hash(job.kind, job.body))
    asked = canonical_request(
        job.kind,
        job.model,
        [job.content, *job.turns] if job.turns else job.content,
        system=job.system,
        tools=job.tools,
        params=job.params,
        options=job.options,
        extra=job.extra,
        images=job.images,
    )
    return replace(job, hash=request_hash(asked))


def _common(params: Mapping[str, Json] | None) -> Mapping[str, Json] | None:
    """Without the second name for the limit of tokens: it says how to say it, and to whom."""
    if not params or "max_completion_tokens" not in params:
        return params
    return {{"max_completion_tokens": "max_tokens"}.get(key, key): value for key, value in params.items()}


def _asked(params: Mapping[str, Json] | None) -> Mapping[str, Json] | None:
    """Without what only steers delivery; none at all is the same as empty."""
    if not params or NEUTRAL.isdisjoint(params):
        return params or None
    return {key: value for key, value in params.items() if key not in NEUTRAL} or None


def _canonical(request: list[Json]) -> bytes:
    try:
        return codec.dumps(request, option=orjson.OPT_SORT_KEYS)
    except TypeError as error:
        raise LineError("input_invalid", f"the request cannot be written as JSON: {error}") from error


def _name(value: Json) -> str:
    """A JSON value in an error message: by type, since the value may be long."""
    names = {bool: "a boolean", float: "a fraction", int: "a number", str: "an empty string", list: "a list"}
    return names.get(type(value), "an object")
