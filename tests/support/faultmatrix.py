"""What can go wrong at a server: how the simulator is made to do it, where it applies, what the wire shows.

Each row is a test case for whatever talks to a server; `ways` says on which endpoints, streamed or whole.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from support.rawhttp import CHAT, EMBED, GENERATE, RESPONSES, V1_CHAT, V1_EMBED, V1_TEXT

if TYPE_CHECKING:
    from collections.abc import Iterator


class Way(NamedTuple):
    """How an answer is asked for."""

    path: str
    streamed: bool


TEXT_PATHS = (GENERATE, CHAT, V1_CHAT, V1_TEXT, RESPONSES)
STREAMS = frozenset(Way(path, streamed=True) for path in TEXT_PATHS)
WHOLES = frozenset(Way(path, streamed=False) for path in TEXT_PATHS)
EMBEDDINGS = frozenset(Way(path, streamed=False) for path in (EMBED, V1_EMBED))
TEXTS = STREAMS | WHOLES
ALL = TEXTS | EMBEDDINGS
NATIVE = frozenset(way for way in ALL if way.path.startswith("/api/"))
V1 = ALL - NATIVE
COMPLETIONS = frozenset(way for way in V1 & TEXTS if way.path != RESPONSES)
RESPONSES_WHOLE = frozenset((Way(RESPONSES, streamed=False),))

End = Literal["clean", "cut", "reset", "nothing", "held"]


@dataclass(frozen=True, eq=False)
class Fault:
    """One row. `complete`: whether the answer bears the mark of its end, as a sound reader sees it; `None`: no answer.

    `end` is how the response ends; "held": only when the client leaves. `act` is a method of `BackgroundSimulator`.
    `heavy`: many megabytes. Without a directive the fault lies in `settings` or `act` alone.
    """

    name: str
    directive: str = ""
    ways: frozenset[Way] = ALL
    status: int = 200
    end: End = "clean"
    complete: bool | None = None
    shows: bytes = b""
    settings: dict[str, Any] = field(default_factory=dict)
    act: str = ""
    heavy: bool = False


def _status(name: str, status: int, *names: str, ways: frozenset[Way] = ALL, shows: bytes = b"") -> Iterator[Fault]:
    """Refusals: no answer, but a response that ends as it should."""
    for directive in names:
        yield Fault(f"{name}: {directive}", directive, ways, status=status, shows=shows)


def _hinted(name: str, *directives: str, shows: bytes = b"") -> Iterator[Fault]:
    yield from _status(name, 429, *(f"do=throttled {directive}" for directive in directives), shows=shows)


# fmt: off
CONNECTION = [
    Fault("the server is not running", act="kill"),
    Fault("the server is frozen", act="suspend", end="held"),
    Fault("the server goes away again and again", settings={"down_every": 0.3, "down_for": 0.05}),
    Fault("the server never reads", settings={"deaf": True}, end="held"),
    Fault("a kept connection is closed at its next request", "do=stale", complete=True),
    Fault("a kept connection is closed after the answer", "do=hangup", complete=True),
    Fault("RST in the body", "do=reset after=2", end="reset", complete=False),
    Fault("RST in place of a response", "do=reset_before", status=0, end="reset"),
    Fault("FIN in place of a response", "do=close_before", status=0, end="nothing"),
    Fault("no byte", "do=silent", status=0, end="held"),
    Fault("half a head", "do=stall_head", status=0, end="held"),
    Fault("an endless head", "do=endless_head", heavy=True),
    *_status("a redirect to another host", 307, "do=redirect", shows=b"location: http://127.0.0.1:9/"),
    *_status("a redirect to a page", 302, "do=login", shows=b"location: /_sim/login"),
]
STATUS = [
    *_status("a parameter is wrong", 400, "do=bad"),
    *_status("an option is wrong, which Ollama calls 500", 500, "do=bad_option", ways=NATIVE),
    *_status("the context is too small", 400, "do=context_overflow", shows=b"exceeds the available context size"),
    *_status("a crash that is called 400", 400, "do=embed_crash", ways=EMBEDDINGS, shows=b": EOF"),
    *_status("NaN is refused", 400, "do=nan_refused", ways=EMBEDDINGS),
    *_status("the key", 401, "do=unauthorized"), *_status("the key", 403, "do=forbidden"),
    *_status("no credit", 402, "do=payment", "do=payment retry_after=3"),
    *_status("no such model", 404, "do=model_missing"), *_status("no such path", 404, "do=path_missing"),
    *_status("the wrong method", 405, "do=method"), *_status("the wrong media", 415, "status=415"),
    *_status("not implemented", 501, "do=no_embeddings"),
    *_status("it passes", 408, "do=request_timeout"), *_status("it passes", 409, "status=409"),
    *_status("it passes", 425, "status=425"),
    *_status("too large", 413, "do=too_large"), *_status("too large", 414, "status=414"),
    *_status("FastAPI's refusal", 422, "do=unprocessable", shows=b'"detail"'),
    *_status("the runner is gone", 500, "do=runner_stopped", "do=empty500"),
    *_status("no memory", 500, "do=out_of_memory"),
    *_status("a gateway's page", 502, "do=html502", shows=b"<html>"),
    *_status("a gateway's page", 504, "do=html504", shows=b"<html>"),
    *_status("Cloudflare", 520, "status=520"), *_status("Cloudflare", 524, "do=cloudflare524"),
    *_status("overloaded", 529, "do=overloaded"),
    *_status("the queue is full", 503, "do=busy"), *_status("the model is loading", 503, "do=loading"),
    *_status("a page in place of an answer", 200, "do=html200", shows=b"<html>"),
    *_status("nothing in place of an answer", 200, "do=empty200"),
    *_status("nothing in place of an answer", 204, "do=empty204"),
    *_status("an error in place of an answer", 200, "do=json_error200", "do=json_throttle200", shows=b'"error":'),
    *_status("the model was unloaded", 404, "do=unloaded"),
]
STREAM = [
    Fault("a clean end without the mark", "do=truncate after=2", ALL - RESPONSES_WHOLE, complete=False),
    Fault("the body is cut", "do=cut after=2", end="cut", complete=False),
    Fault("a body without a length is cut", "do=truncate,close_delimited after=2", STREAMS, complete=False),
    Fault("a body without a length", "do=close_delimited", complete=True),
    Fault("an error among the records", "do=error_line after=2", STREAMS, complete=False, shows=b'"error":'),
    Fault("an error in mid-generation", "do=error_line", WHOLES, status=500, shows=b"running the model"),
    Fault("an error as a field", "do=error_field after=2", STREAMS & V1, complete=False, shows=b"\nerror: {"),
    Fault("an error as an event", "do=error_event after=2", STREAMS & V1, complete=False, shows=b"event: error\n"),
    Fault("an error that is lost", "do=empty_delta after=2", STREAMS & V1, complete=False),
    Fault("comments", "do=comments", STREAMS, complete=True),
    Fault("comments that became data", "do=wrapped_comments", STREAMS & V1, complete=True, shows=b"data: : "),
    Fault("CR LF", "do=crlf", STREAMS, complete=True, shows=b"\r\n"),
    Fault("CR alone", "do=cr", STREAMS & V1, complete=True, shows=b"\r\r"),
    Fault("no space after the colon", "do=nospace", STREAMS & V1, complete=True, shows=b"data:{"),
    Fault("data without a value", "do=empty_data", STREAMS & V1, complete=True, shows=b"data\n\n"),
    Fault("JSON over several lines", "do=multiline", STREAMS & V1, complete=True, shows=b"data: {\ndata: "),
    Fault("a byte order mark", "do=bom", complete=True, shows=b"\xef\xbb\xbf"),
    Fault("no last line end", "do=no_last_newline", STREAMS, complete=True),
    Fault("a byte at a time", "do=slice tokens=2", complete=True),
    Fault("a record that is no JSON", "do=oops", STREAMS, complete=True, shows=b"oops"),
    Fault("whole though streamed was asked", "do=json_for_sse", STREAMS, complete=True),
    Fault("streamed though whole was asked", "do=stream_unasked", WHOLES, complete=True),
    Fault("a record of a megabyte", "do=big", TEXTS, complete=True, shows=b"big " * 1000),
    Fault("an endless line", "do=endless_line", heavy=True),
    Fault("gzip, not asked for", "do=gzip", complete=True),
    Fault("a gzip bomb", "do=bomb", heavy=True),
    Fault("an encoding nobody offered", "header.Content-Encoding=br", complete=True, shows=b"content-encoding: br"),
    Fault("silence in the body", "do=stall after=2", end="held", complete=False),
    Fault("pings in place of the first content", "do=pings after=0", STREAMS, end="held", complete=False),
    Fault("pings in place of more content", "do=pings after=2", STREAMS, end="held", complete=False),
    Fault("a token a minute", "delay=60", TEXTS, end="held", complete=False),
    Fault("the same again and again", "do=loop tokens=1000", TEXTS, complete=True, shows=b" again"),
    Fault("a flood of blanks", "do=spaces tokens=1500", TEXTS, complete=True, shows=rb" \n"),
    Fault("cut at the limit", "do=length", TEXTS, complete=True),
    Fault("cut by a filter", "finish=content_filter", TEXTS, complete=True),
    Fault("an error for a finish reason", "finish=error", COMPLETIONS, complete=True, shows=b'"finish_reason":"error"'),
    Fault("a finish reason that nobody knows", "finish=tired", TEXTS, complete=True),
    Fault("no finish reason", "do=null_finish", COMPLETIONS & STREAMS, complete=True, shows=b'"finish_reason":null'),
    Fault("no usage", "do=no_usage", complete=True),
    Fault("open after the mark", "do=keep_open", STREAMS, end="held", complete=True),
    Fault("content after the mark", "do=extra_after_done", STREAMS, complete=True),
    Fault("bytes that are no UTF-8", "do=bad_utf8", TEXTS, complete=True, shows=b"\xffid:"),
    Fault("NUL in the text", "say=a%00b", TEXTS, complete=True, shows=rb"\u0000"),
    Fault("all at once", "do=buffered", STREAMS, complete=True),
]
SERVER = [
    Fault("a crash that takes all with it, each time", "do=crash", status=0, end="reset"),
    Fault("a crash that takes all with it, once", "do=crash times=1", status=0, end="reset"),
    Fault("the runner dies", "do=runner_crash", TEXTS | {Way(V1_EMBED, streamed=False)}, status=500),
    Fault("the runner dies", "do=runner_crash", frozenset((Way(EMBED, streamed=False),)), status=400, shows=b": EOF"),
    Fault("the model loads first", settings={"load": 0.05}, complete=True),
    Fault("a silent queue", settings={"slots": 1}, complete=True),
    Fault("the prompt was cut", "prompt_tokens=256", complete=True),
    Fault("only what was not in a cache is counted", "prompt_tokens=2", complete=True),
    Fault("no text", "do=empty", TEXTS, complete=True),
    Fault("the model was only loaded", "do=load_done_reason", NATIVE & TEXTS, complete=True, shows=b'"load"'),
    Fault("a vector is missing", "do=missing_vector", EMBEDDINGS),
    Fault("NaN in a vector", "do=nan_vector", EMBEDDINGS, shows=b"[NaN,"),
    Fault("null in a vector", "do=null_vector", EMBEDDINGS, complete=True, shows=b"[null,"),
    Fault("zeros in a vector", "do=zero_vector", EMBEDDINGS, complete=True, shows=b"[0.0,0.0,"),
    Fault("a vector of another length", "do=wrong_dims", EMBEDDINGS, complete=True),
    Fault("vectors in another order", "do=shuffled_index", EMBEDDINGS & V1, complete=True),
    Fault("vectors with one index", "do=duplicate_index", EMBEDDINGS & V1, complete=True),
    Fault("another model answers", "served=other", complete=True, shows=b'"other"'),
    Fault("slow to begin", "ttft=0.01", complete=True),
    Fault("whole, but the generation was lost", "do=done_false", WHOLES - RESPONSES_WHOLE, complete=False),
]
LIMITS = [
    *_hinted("no hint", ""),
    *_hinted("seconds", "retry_after=7", shows=b"retry-after: 7"),
    *_hinted("a date", "retry_after=7 hint=date", shows=b" GMT"),
    *_hinted("milliseconds", "retry_after=0.35 hint=ms", shows=b"retry-after-ms: 350"),
    *_hinted("Go", "retry_after=360 hint=go", shows=b"x-ratelimit-reset-requests: 6m0s"),
    *_hinted("Go", "retry_after=0.12 hint=go", shows=b"x-ratelimit-reset-requests: 120ms"),
    *_hinted("a number", "retry_after=7.66 hint=plain", shows=b"x-ratelimit-reset-requests: 7.66"),
    *_hinted("a time", *(f"retry_after=7 hint={kind}" for kind in ("iso", "epoch", "epoch-ms"))),
    *_hinted("in words", "retry_after=1.2 hint=body", shows=b"Please try again in 1.2s."),
    *_hinted("in the body's metadata", "retry_after=7 hint=metadata", shows=b'"X-RateLimit-Reset":"'),
    *_hinted("hours", "retry_after=54000", shows=b"retry-after: 54000"),
    *_hinted("nonsense", *(f"retry_after={text}" for text in ("0", "-5", "nan", "inf", "1e12", "soon"))),
    *_hinted("less than nothing left", "header.x-ratelimit-remaining-requests=-1", shows=b"requests: -1"),
    *_status("billing", 429, "do=insufficient_quota", shows=b"current quota"),
    *_status("larger than the limit", 413, "do=over_token_limit", shows=b"Limit 7000, Requested 12903"),
    *_status("theirs, not ours", 529, "do=overloaded retry_after=2"),
    Fault("refused requests count", settings={"rpm": 1, "count_refused": True, "hint": "body"}),
]
# fmt: on
ROWS = [*CONNECTION, *STATUS, *STREAM, *SERVER, *LIMITS]
