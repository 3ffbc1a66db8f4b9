"""Which class a failure belongs to: the server's status and words → class, by the first matching row of a table."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import orjson

from batcher.failures import Exit, Failure, FailureClass, Scope

if TYPE_CHECKING:
    from collections.abc import Iterator

MESSAGE_LIMIT: Final = 2048
"""How much of the server's own words is kept, in characters."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One row: what it matches and what that means."""

    kind: FailureClass
    code: str
    statuses: tuple[int, ...] = ()
    text: str = ""
    path: str = ""
    scope: Scope = Scope.ENDPOINT
    exit: Exit = Exit.CONFIG

    def matches(self, status: int, text: str, path: str) -> bool:
        if self.statuses and status not in self.statuses:
            return False
        if self.path not in path:
            return False
        return not self.text or re.search(self.text, text, re.IGNORECASE) is not None


_QUOTA = r"insufficient_quota|billing_hard_limit|spend_limit_reached|exceeded your current quota"
_NO_MODEL = r"model.*(not found|does not exist)|invalid model name|model_not_found|no models loaded"
_UNLOADABLE = r"incompatible with your version|unable to load full model|failed to load model"
_CONTEXT = (
    r"context_length_exceeded|exceed_context_size|available context size|exceeds? the context length"
    r"|longer than the context length|maximum context length|too large to process"
)
_BUSY = r"server busy|maximum pending requests|model is loading|^loading model"
_MEMORY = r"out[ -]of[ -]memory|requires more system memory"
_CRASH = (
    r"do embedding request|connection refused|forcibly closed|unexpectedly stopped|process has terminated"
    r"|process no longer running|no slots available after|unexpected server status|error reading llama-server"
    r"|an error was encountered while running the model|timed out waiting for llama-server|llama-server chat error"
)
_USER = (
    r'option "[^"]*" must be of type|invalid format|^template|file does not exist|stream event exceeded'
    r"|does not support|nan or inf|unsupported value: nan|not supported"
)
_TOOL = r"error parsing tool call|failed to parse|invalid tool call arguments|tool '[^']*' not found"

RULES: Final[tuple[Rule, ...]] = (
    Rule(FailureClass.FATAL, "quota", text=_QUOTA, exit=Exit.REFUSED),
    Rule(FailureClass.FATAL, "model_disabled", (403,), r"cloud is disabled", scope=Scope.MODEL),
    Rule(FailureClass.FATAL, "host_refused", (403,), r"^$"),
    Rule(FailureClass.FATAL, "unauthorized", (401, 403), exit=Exit.REFUSED),
    Rule(FailureClass.FATAL, "unauthorized", (0,), r"invalid_api_key|authentication_error", exit=Exit.REFUSED),
    Rule(FailureClass.FATAL, "payment_required", (402,), exit=Exit.REFUSED),
    Rule(FailureClass.TRANSIENT, "model_unloaded", (0, 400, 404, 500), r"model( is| was)? unloaded"),
    Rule(FailureClass.FATAL, "model_not_found", (400, 404), _NO_MODEL, scope=Scope.MODEL),
    Rule(FailureClass.FATAL, "model_unloadable", (0, 400, 500), _UNLOADABLE, scope=Scope.MODEL),
    Rule(FailureClass.FATAL, "endpoint_not_found", (404, 405), scope=Scope.PATH),
    Rule(FailureClass.FATAL, "not_offered", (501,), scope=Scope.PATH),
    Rule(FailureClass.FATAL, "redirect", (300, 301, 302, 303, 304, 307, 308)),
    Rule(FailureClass.PERMANENT, "context_overflow", text=_CONTEXT),
    Rule(FailureClass.PERMANENT, "over_token_limit", (413, 429), r"Limit \d+, Requested \d+"),
    Rule(FailureClass.THROTTLE, "busy", (503,)),
    Rule(FailureClass.THROTTLE, "rate_limited", (429,)),
    Rule(FailureClass.THROTTLE, "rate_limited", (0,), r"rate_limit"),
    Rule(FailureClass.THROTTLE, "overloaded", (529,)),
    Rule(FailureClass.THROTTLE, "overloaded", (0,), r"overloaded"),
    Rule(FailureClass.THROTTLE, "busy", text=_BUSY),
    Rule(FailureClass.TRANSIENT, "out_of_memory", (0, 500), _MEMORY),
    Rule(FailureClass.TRANSIENT, "server_crash", (0, 500), _CRASH),
    Rule(FailureClass.TRANSIENT, "server_crash", (400,), _CRASH, path="embed"),
    Rule(FailureClass.PERMANENT, "bad_request", (0, 500), _USER),
    Rule(FailureClass.TRANSIENT, "tool_call_unreadable", (0, 500), _TOOL),
    Rule(FailureClass.TRANSIENT, "timeout_at_server", (408, 409, 425, 499)),
    Rule(FailureClass.PERMANENT, "too_large", (413, 414)),
    Rule(FailureClass.PERMANENT, "bad_request", tuple(range(400, 500))),
)
"""Status (0: an error inside a 200 that names none), words and path → class. Texts: Ollama server/routes.go and
llm/llama_server.go, llama.cpp tools/server, the error guides of OpenAI, Groq and OpenRouter. Ollama's `/api/embed`
answers 400 when its runner crashed, and its chat 500 for some mistakes of the user: words decide before the status."""


SILENT: Final = {
    "host_refused": "403 without a word: Ollama answers so to a Host that it does not know, as behind a proxy; "
    "have the proxy send Host: localhost, or name the server by its address",
}
"""What to say for servers that refuse without a word."""


def classify(status: int, body: bytes, path: str, *, retry_after: float | None = None, advice: str = "") -> Failure:
    """Name a failure from an HTTP answer. `advice` is the header `x-should-retry`; `retry_after` is in seconds."""
    text = words(body)
    failure = _by_rule(status, text, path) or Failure(FailureClass.TRANSIENT, f"http_{status}", text, status)
    if failure.code == "payment_required" and retry_after is not None:
        failure = replace(failure, kind=FailureClass.THROTTLE)
    if advice == "true" and failure.kind is FailureClass.PERMANENT:
        failure = replace(failure, kind=FailureClass.TRANSIENT)
    elif advice == "false" and failure.kind is FailureClass.TRANSIENT:
        failure = replace(failure, kind=FailureClass.PERMANENT)
    return replace(failure, retry_after=retry_after)


def classify_error(error: Any, path: str) -> Failure:
    """Name a failure from an error object, or an error's words, that came inside a 200."""
    text = "; ".join(_strings(error))
    status = next((v for v in _numbers(error) if 400 <= v < 600), 0)
    known = _by_rule(status, text, path)
    return known or Failure(FailureClass.TRANSIENT, "stream_error", text[:MESSAGE_LIMIT], status or None)


def not_an_llm(body: bytes, content_type: str) -> Failure:
    """Name a 200 whose body is no API answer: a login page, a captive portal, a wrong port."""
    return Failure(FailureClass.TRANSIENT, "not_an_llm", f"answered {content_type or 'no type'}: {words(body)}", 200)


def words(body: bytes) -> str:
    """The server's own words: the strings of an error object, the title and start of a page, or the text itself."""
    text = body.decode("utf-8", "replace").strip()
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        title = re.search(r"<title[^>]*>([^<]*)", text, re.IGNORECASE)
        plain = re.sub(r"<[^>]*>|\s+", " ", text).strip()
        return " ".join(f"{title[1].strip() + ': ' if title else ''}{plain}".split())[: 200 if title else MESSAGE_LIMIT]
    inner = value.get("error", value) if isinstance(value, dict) else value
    return "; ".join(_strings(inner))[:MESSAGE_LIMIT] or text[:MESSAGE_LIMIT]


def _by_rule(status: int, text: str, path: str) -> Failure | None:
    for rule in RULES:
        if rule.matches(status, text, path):
            text = text or SILENT.get(rule.code, f"status {status} and no words")
            return Failure(rule.kind, rule.code, text[:MESSAGE_LIMIT], status or None, scope=rule.scope, exit=rule.exit)
    return None


def _strings(error: Any) -> Iterator[str]:
    """Yield message, type and code of an error, also of one that is JSON inside a string (Ollama's runner errors)."""
    if isinstance(error, str):
        inner = _inner_json(error)
        if inner is None:
            yield error
        else:
            yield from _strings(inner.get("error", inner))
    elif isinstance(error, dict):
        for key in ("message", "detail", "error", "type", "code", "title"):
            value = error.get(key)
            if isinstance(value, str | dict):
                yield from _strings(value)
            elif value and not isinstance(value, int | float):
                yield orjson.dumps(value, default=str).decode()
    elif error is not None:
        yield str(error)


def _inner_json(text: str) -> dict[str, Any] | None:
    if not text.startswith("{"):
        return None
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def _numbers(error: Any) -> Iterator[int]:
    if isinstance(error, dict):
        for key in ("code", "status", "status_code", "StatusCode"):
            value = error.get(key)
            if isinstance(value, int):
                yield value
            elif isinstance(value, str) and value.isdigit():
                yield int(value)
        yield from _numbers(error.get("error"))
    elif isinstance(error, str) and (inner := _inner_json(error)):
        yield from _numbers(inner)
