"""The directive inside a prompt that tells the simulator how to behave: `[[sim id=q7 do=truncate times=2 after=5]]`.

Keys, all optional; values hold no spaces and are percent-decoded:

    id           names the job in the counts; default the first 80 characters of the text
    do           faults, comma separated (see WIRE_FAULTS and refusals.REFUSALS)
    status       an HTTP status; the reply is the usual one of that status
    times        how many first requests of this id get the fault; default all
    after        records sent before a fault that ends or stalls a stream; default all content
    tokens       tokens in the answer; think: tokens of thinking, 0; calls: tool calls, if the request has tools, 0
    calls_on     "done" puts the native API's tool calls on the last record
    delay, ttft  seconds between records, and before the first
    finish       the finish reason;   say: the answer's text;   prompt_tokens: the count that the server claims
    served       the model that the answer names
    message      the words of an error;   header.NAME: any header of the response
    retry_after  that header, as it stands here; with hint (see notation.HINTS), so many seconds said in that way
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING
from urllib.parse import unquote

from batcher.simulator.notation import HINTS, Hint, hinted, reset
from batcher.simulator.refusals import BY_STATUS, REFUSALS, Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

WIRE_FAULTS = {
    # before the first byte
    "silent": "no byte at all, until the client closes (at most 60 s)",
    "reset_before": "RST instead of a response",
    "close_before": "FIN instead of a response",
    "crash": "RST on every connection of the server; its models must be loaded again",
    "runner_crash": "as on Ollama when a runner dies: every answer in the making becomes an error",
    "stall_head": "half of the response's head, then silence, until the client closes (at most 60 s)",
    "endless_head": "a response's head of 64 MiB",
    # the body ends early; streams after `after` records, whole answers half-way
    "truncate": "clean end without the terminal mark; a whole answer: as done_false, embeddings: half of the JSON",
    "cut": "chunked body without its end, Content-Length body too short, then FIN",
    "reset": "RST in the body",
    "stall": "silence in the body, until the client closes (at most 60 s)",
    "pings": "SSE comments (NDJSON: blank lines) and no content, until the client closes (at most 60 s)",
    "endless_line": "64 MiB without a line end",
    "error_line": "a record that is an error; on /v1 then [DONE]; a whole answer: HTTP 500",
    "error_event": "as error_line, as `event: error`, no [DONE]",
    "error_field": "as error_line, as llama.cpp's field `error: {…}`, no [DONE]",
    "empty_delta": "Ollama's lost error: a chunk without model and content, then a clean end",
    "done_false": "whole: HTTP 200 with done:false (finish_reason null); streams: as truncate",
    # after or instead of the terminal mark
    "keep_open": "the body does not end after the terminal mark, until the client closes (at most 60 s)",
    "extra_after_done": "one more content record and a second mark after the terminal one",
    "stale": "the connection is closed without a byte at the next request on it",
    "hangup": "the connection is closed after the answer without having said so",
    # the same answer in other bytes
    "comments": "an SSE comment (NDJSON: a blank line) before each record",
    "wrapped_comments": "an SSE comment that a gateway took for data (`data: : …`) before each record",
    "empty_data": "`data` without a value before each record (NDJSON: a blank line)",
    "crlf": "lines end in CR LF",
    "cr": "SSE lines end in CR alone",
    "buffered": "the whole stream in one piece, as behind a proxy that buffers",
    "nospace": "`data:{…}` without the space",
    "multiline": "each record's JSON over several `data:` lines",
    "bom": "a byte order mark before the first byte of the body",
    "no_last_newline": "the last record has no line end",
    "json_for_sse": "whole JSON although a stream was asked for",
    "stream_unasked": "a stream although whole JSON was asked for",
    "slice": "one byte a write",
    "gzip": "Content-Encoding: gzip, asked for or not",
    "bomb": "a gzip body of 0.3 MB that is 256 MiB of spaces",
    "close_delimited": "the body ends with the connection: neither chunked nor Content-Length",
    "oops": "a record that is no JSON, after `after` records (default 1)",
    "bad_utf8": "the first record's text begins with an invalid byte",
    # another answer
    "big": "one token of 1.25 MiB",
    "loop": "the same token, as often as `tokens` says",
    "spaces": "blanks and line ends, as often as `tokens` says",
    "length": "finish reason length",
    "empty": "no content",
    "load_done_reason": "no content and done_reason load",
    "no_usage": "no token counts",
    "null_finish": "finish reason null (absent), the rest complete",
    # embeddings: of the input that carries the directive
    "missing_vector": "no vector for this input",
    "nan_vector": "NaN, bare, as Python servers write it",
    "null_vector": "null, as servers that cannot write NaN do",
    "zero_vector": "all zeros",
    "wrong_dims": "one number more than the others",
    "shuffled_index": "/v1: the vectors in reverse order, each with its right index",
    "duplicate_index": "/v1: every vector says index 0",
}
FAULTS = WIRE_FAULTS.keys() | REFUSALS.keys()
STOPPING = frozenset(
    (
        *("truncate", "cut", "reset", "stall", "pings", "endless_line", "done_false"),
        *("error_line", "error_event", "error_field", "empty_delta"),
    )
)
_DIRECTIVE = re.compile(r"\[\[sim\s+([^\]]*)\]\]")


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What one directive says. `delay` and `ttft` in seconds; `None` leaves a thing to the server's settings."""

    id: str = ""
    do: frozenset[str] = frozenset()
    status: int | None = None
    times: int | None = None
    after: int | None = None
    tokens: int | None = None
    think: int = 0
    calls: int = 0
    calls_on: str = ""
    delay: float | None = None
    ttft: float | None = None
    finish: str = ""
    say: str | None = None
    prompt_tokens: int | None = None
    served: str = ""
    message: str = ""
    retry_after: str = ""
    hint: str = ""
    headers: tuple[tuple[str, str], ...] = field(default=())

    def active(self, nth: int) -> bool:
        """True if the faults hold for the n-th request of this id, counted from 1."""
        return bool(self.do or self.status) and (self.times is None or nth <= self.times)

    def refusal(self) -> Refusal | None:
        """The error that this behaviour asks for, if it asks for one."""
        named = next((name for name in self.do if name in REFUSALS), None)
        if self.status is None:
            return REFUSALS[named] if named else None
        name = named or BY_STATUS.get(self.status)
        if name is None or REFUSALS[name].status != self.status:
            return Refusal(self.status, f"simulated status {self.status}")
        return REFUSALS[name]

    def hinted(self, wall: float) -> Hint:
        """When to come back, in the way that is asked for. `wall` is the server's clock."""
        if not self.hint:
            return Hint((("Retry-After", self.retry_after),) if self.retry_after else ())
        wait = float(self.retry_after or 0)
        if self.hint not in ("go", "plain", "iso", "epoch", "epoch-ms"):
            return hinted(self.hint, wait, wall)
        until = reset(self.hint, wait, wall)
        return Hint((("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", until)))


def parse(settings: str, default: Behaviour = Behaviour()) -> Behaviour:
    """The behaviour that `key=value …` describes, `default` for the rest. Raises `ValueError` on what means nothing."""
    values: dict[str, object] = {f.name: getattr(default, f.name) for f in fields(Behaviour)}
    headers = list(default.headers)
    for part in settings.split():
        key, equals, coded = part.partition("=")
        value = unquote(coded)
        if not equals:
            raise ValueError(f"simulator: {part!r} in a directive is not key=value")
        if key.startswith("header."):
            headers.append((key.removeprefix("header."), value))
        elif key == "do":
            values["do"] = _faults(value)
        elif key in _READERS:
            values[key] = _READERS[key](value)
        else:
            raise ValueError(f"simulator: unknown key {key!r} in a directive")
    values["headers"] = tuple(headers)
    return Behaviour(**values)  # type: ignore[arg-type]  # each value was read by its key's reader


def behaviour_of(text: str, default: Behaviour) -> Behaviour:
    """The behaviour that a prompt asks for. Raises `ValueError` as `parse` does."""
    if "[[sim" in text and (match := _DIRECTIVE.search(text)):
        return parse(match[1], default)
    return default


def _faults(names: str) -> frozenset[str]:
    faults = frozenset(names.split(","))
    if unknown := faults - FAULTS:
        raise ValueError(f"simulator: unknown fault {', '.join(sorted(unknown))}")
    return faults


def _hint(kind: str) -> str:
    if kind not in HINTS:
        raise ValueError(f"simulator: unknown hint {kind!r}; there are {', '.join(HINTS)}")
    return kind


_READERS: dict[str, Callable[[str], object]] = {
    "id": str,
    "status": int,
    "times": int,
    "after": int,
    "tokens": int,
    "think": int,
    "calls": int,
    "calls_on": str,
    "delay": float,
    "ttft": float,
    "finish": str,
    "say": str,
    "prompt_tokens": int,
    "served": str,
    "message": str,
    "retry_after": str,
    "hint": _hint,
}  # fmt: skip - a table


def named_fault(name: str) -> str:
    """The words of a directive that provoke the fault, or the HTTP status, of that name. Raises `ValueError`."""
    if name.isdecimal() and len(name) == 3:
        return f"status={name}"
    if name not in FAULTS:
        raise ValueError(f"{name!r} is neither a fault nor an HTTP status; docs/simulator.md lists them")
    return f"do={name}"
