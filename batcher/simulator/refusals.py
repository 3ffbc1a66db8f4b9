"""Replies that are no answers: the errors of real servers, and what proxies put in their place, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

JSON = "application/json; charset=utf-8"
HTML = "text/html"
TEXT = "text/plain"
RUNNER_STOPPED = (
    "model runner has unexpectedly stopped, this may be due to resource limitations or an internal error, "
    "check ollama server logs for details"
)
RUNNER_BROKE = "an error was encountered while running the model: unexpected EOF"
BUSY = "server busy, please try again.  maximum pending requests exceeded"
LOGIN = "/_sim/login"
"""Where whoever follows a redirect finds a page, with 200."""
CONTEXT_OVERFLOW = "request (%d tokens) exceeds the available context size (%d tokens), try increasing it"
PAGE = b"<html>\r\n<head><title>%b</title></head>\r\n<body><center><h1>%b</h1></center></body>\r\n</html>\r\n"


class Reply(NamedTuple):
    """A whole response, ready to send."""

    status: int
    content_type: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    kind: str = ""
    """Its name in the tally, for a refusal."""


class RefusedError(Exception):
    """The request is answered with an error; the reply says which."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.status)
        self.reply = reply


@dataclass(frozen=True, slots=True)
class Refusal:
    """One way to say no. `raw` replaces the JSON error body."""

    status: int
    message: str = ""
    type: str | None = None
    code: str | int | None = None
    raw: bytes | None = None
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()


REFUSALS = {
    "runner_stopped": Refusal(500, RUNNER_STOPPED),
    "out_of_memory": Refusal(500, "llama-server reported out-of-memory during startup: cudaMalloc failed"),
    "bad_option": Refusal(500, 'option "temperature" must be of type float32'),
    "empty500": Refusal(500, raw=b"", content_type=""),
    "busy": Refusal(503, BUSY),
    "loading": Refusal(503, "Loading model", "unavailable_error"),
    "throttled": Refusal(429, "rate limit exceeded", "rate_limit_error", "rate_limit_exceeded"),
    "insufficient_quota": Refusal(
        429,
        "You exceeded your current quota, please check your plan and billing details.",
        "insufficient_quota",
        "insufficient_quota",
    ),
    "bad": Refusal(400, "top_logprobs must be between 0 and 20"),
    "context_overflow": Refusal(
        400,
        CONTEXT_OVERFLOW % (9412, 8192),
        "exceed_context_size_error",
    ),
    "embed_crash": Refusal(400, 'do embedding request: Post "http://127.0.0.1:41873/v1/embeddings": EOF'),
    "nan_refused": Refusal(400, "embedding contains NaN or Inf values"),
    "unauthorized": Refusal(401, "Incorrect API key provided", "invalid_request_error", "invalid_api_key"),
    "payment": Refusal(402, "Insufficient credits"),
    "forbidden": Refusal(403, raw=b"", content_type=""),
    "model_missing": Refusal(404, "model 'simulator' not found"),
    "path_missing": Refusal(404, raw=b"404 page not found", content_type=TEXT),
    "method": Refusal(405, raw=b"405 method not allowed", content_type=TEXT),
    "request_timeout": Refusal(408, "request timed out"),
    "too_large": Refusal(413, "request entity too large"),
    "unprocessable": Refusal(
        422, raw=b'{"detail":[{"loc":["body","messages"],"msg":"field required","type":"missing"}]}'
    ),
    "no_embeddings": Refusal(501, "This server does not support embeddings. Start it with `--embeddings`"),
    "unloaded": Refusal(404, "The model has crashed or was unloaded. Model is unloaded."),
    "over_token_limit": Refusal(
        413,
        "Request too large for model `simulator` on tokens per minute (TPM): Limit 7000, Requested 12903, please "
        "reduce your message size and try again.",
        "tokens",
        "rate_limit_exceeded",
    ),
    "overloaded": Refusal(529, "Overloaded", "overloaded_error"),
    "cloudflare524": Refusal(524, raw=b"error code: 524", content_type=TEXT),
    "html502": Refusal(502, raw=PAGE % (b"502 Bad Gateway", b"502 Bad Gateway"), content_type=HTML),
    "html504": Refusal(504, raw=PAGE % (b"504 Gateway Time-out", b"504 Gateway Time-out"), content_type=HTML),
    "redirect": Refusal(307, raw=b"", content_type="", headers=(("Location", "http://127.0.0.1:9/elsewhere"),)),
    "login": Refusal(302, raw=b"", content_type="", headers=(("Location", LOGIN),)),
    "html200": Refusal(200, raw=PAGE % (b"Please log in", b"Please log in"), content_type=HTML),
    "empty200": Refusal(200, raw=b""),
    "empty204": Refusal(204, raw=b"", content_type=""),
    "json_error200": Refusal(200, RUNNER_STOPPED, "server_error", "server_error"),
    "json_throttle200": Refusal(200, "Rate limit exceeded: free-models-per-min", "rate_limit", 429),
}

BY_STATUS = {
    204: "empty204",
    302: "login",
    307: "redirect",
    400: "bad",
    401: "unauthorized",
    402: "payment",
    403: "forbidden",
    404: "model_missing",
    405: "method",
    408: "request_timeout",
    413: "too_large",
    422: "unprocessable",
    429: "throttled",
    500: "runner_stopped",
    501: "no_embeddings",
    502: "html502",
    503: "busy",
    504: "html504",
    524: "cloudflare524",
    529: "overloaded",
}  # fmt: skip - a table


LOGIN_PAGE = Reply(200, HTML, PAGE % (b"Please log in", b"Please log in"))
_NAMES = {refusal: name for name, refusal in REFUSALS.items()}


def refuse(
    refusal: Refusal,
    *,
    native: bool,
    message: str = "",
    headers: tuple[tuple[str, str], ...] = (),
    extra: dict[str, Any] | None = None,
) -> Reply:
    """The reply that says `refusal` in the API's own error shape; `message` replaces the usual words.

    `headers` go before those of the refusal, and replace them by name; `extra` are more keys of the error object.
    """
    given = {name.lower() for name, _ in headers}
    headers = (*(header for header in refusal.headers if header[0].lower() not in given), *headers)
    kind = _NAMES.get(refusal, f"status {refusal.status}")
    if refusal.raw is not None:
        return Reply(refusal.status, refusal.content_type, refusal.raw, headers, kind)
    body = error_body(refusal, native=native, message=message, extra=extra)
    return Reply(refusal.status, JSON, body if native else body + b"\n", headers, kind)


def error_body(refusal: Refusal, *, native: bool, message: str = "", extra: dict[str, Any] | None = None) -> bytes:
    """The JSON of an error: a string on Ollama's own API (api/types.go), an object on /v1 (openai/openai.go)."""
    words = message or refusal.message
    error: Any = words
    if not native or extra:
        usual = {400: "invalid_request_error", 404: "not_found_error"}.get(refusal.status, "api_error")
        error = {"message": words, "type": refusal.type or usual, "param": None, "code": refusal.code} | (extra or {})
    return orjson.dumps({"error": error})


def say(status: int, message: str, *, native: bool) -> RefusedError:
    """A refusal in plain words, to raise."""
    return RefusedError(refuse(Refusal(status, message), native=native))
