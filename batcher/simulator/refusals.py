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
PAGE = b"<html>\r\n<head><title>%b</title></head>\r\n<body><center><h1>%b</h1></center></body>\r\n</html>\r\n"


class Reply(NamedTuple):
    """A whole response, ready to send."""

    status: int
    content_type: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


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
    code: str | None = None
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
        "request (9412 tokens) exceeds the available context size (8192 tokens), try increasing it",
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
    "overloaded": Refusal(529, "Overloaded", "overloaded_error"),
    "html502": Refusal(502, raw=PAGE % (b"502 Bad Gateway", b"502 Bad Gateway"), content_type=HTML),
    "html504": Refusal(504, raw=PAGE % (b"504 Gateway Time-out", b"504 Gateway Time-out"), content_type=HTML),
    "redirect": Refusal(307, raw=b"", content_type="", headers=(("Location", "http://127.0.0.1:9/elsewhere"),)),
    "html200": Refusal(200, raw=PAGE % (b"Please log in", b"Please log in"), content_type=HTML),
    "empty200": Refusal(200, raw=b""),
    "json_error200": Refusal(200, RUNNER_STOPPED, "server_error", "server_error"),
}

BY_STATUS = {
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
    529: "overloaded",
}  # fmt: skip - a table


def refuse(refusal: Refusal, *, native: bool, message: str = "", headers: tuple[tuple[str, str], ...] = ()) -> Reply:
    """The reply that says `refusal` in the API's own error shape; `message` replaces the usual words."""
    headers = (*refusal.headers, *headers)
    if refusal.raw is not None:
        return Reply(refusal.status, refusal.content_type, refusal.raw, headers)
    body = error_body(refusal, native=native, message=message)
    return Reply(refusal.status, JSON, body if native else body + b"\n", headers)


def error_body(refusal: Refusal, *, native: bool, message: str = "") -> bytes:
    """The JSON of an error: a string on Ollama's own API (api/types.go), an object on /v1 (openai/openai.go)."""
    words = message or refusal.message
    error: Any = words
    if not native:
        usual = {400: "invalid_request_error", 404: "not_found_error"}.get(refusal.status, "api_error")
        error = {"message": words, "type": refusal.type or usual, "param": None, "code": refusal.code}
    return orjson.dumps({"error": error})


def say(status: int, message: str, *, native: bool) -> RefusedError:
    """A refusal in plain words, to raise."""
    return RefusedError(refuse(Refusal(status, message), native=native))
