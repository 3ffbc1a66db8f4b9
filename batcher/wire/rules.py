"""Which class a failure belongs to: what the server answered → class, by the first matching row of a table."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from batcher import codec
from batcher.failures import Exit, Failure, FailureClass, Scope, malformed, shown
from batcher.wire.words import MESSAGE_LIMIT, READ_LIMIT, error_of, loads, numbers_of, strings_of, told, words

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that is none, as the rules see it.

    `status` is 0 for an error inside a 200 that names none; `error` is the body's error object, or what is in its
    place; `hinted`: it says when to come back.
    """

    status: int
    text: str
    path: str = ""
    error: Any = None
    headers: Mapping[str, str] = field(default_factory=lambda: NO_HEADERS)
    hinted: bool = False

    def at(self, place: str) -> str | None:
        """The text at `header:NAME`, or at a dotted path in the error object; `None` if nothing is there."""
        if place.startswith("header:"):
            return self.headers.get(place[7:])
        value = self.error
        for key in place.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        return None if value is None else value if isinstance(value, str) else codec.told(value)


@dataclass(frozen=True, slots=True)
class Rule:
    """One row: what it matches and what that means.

    `text` is a pattern for the server's words, or for what is at the place that `at` names: a header or a JSON path.
    `when` is a last question, where no pattern can ask it.
    """

    kind: FailureClass
    code: str
    statuses: tuple[int, ...] = ()
    text: str = ""
    path: str = ""
    at: str = ""
    when: Callable[[Refusal], bool] | None = None
    scope: Scope = Scope.ENDPOINT
    exit: Exit = Exit.CONFIG

    def matches(self, refusal: Refusal) -> bool:
        if self.statuses and refusal.status not in self.statuses:
            return False
        if self.path not in refusal.path:
            return False
        words = refusal.at(self.at) if self.at else refusal.text
        if words is None or (self.text and re.search(self.text, words, re.IGNORECASE) is None):
            return False
        return self.when is None or self.when(refusal)


def hinted(refusal: Refusal) -> bool:
    return refusal.hinted


def unhinted(refusal: Refusal) -> bool:
    return not refusal.hinted


def asks_too_much(refusal: Refusal) -> bool:
    """One request asks for more tokens than a whole minute allows: no waiting helps (Groq, OpenAI)."""
    found = re.search(r"Limit ([\d,]{1,15}),(?: Used [\d,]{1,15},)? Requested ~?([\d,]{1,15})", refusal.text)
    limit, requested = (int(number.replace(",", "") or 0) for number in found.groups()) if found else (0, 0)
    return 0 < limit < requested


_QUOTA = (
    r"insufficient_quota|billing_hard_limit|spend_limit_reached|budget_exceeded|budget has been exceeded"
    r"|exceededbudget|credit balance is too low|insufficient (account )?balance"
)
_USED_UP = r"per[ -]day|\b(hourly|daily|weekly|monthly|session) (usage|limit)"
_NO_MODEL = (
    r"model.{0,200}(not found|does not exist|decommissioned)|invalid model|model_not_found|no models loaded"
    r"|model not exist|no endpoints found for|not a valid model id|deploymentnotfound"
    r"|deployment for this resource does not exist"
)
_UNLOADABLE = r"incompatible with your version|unable to load full model|failed to load model"
_LOAD_MEMORY = r"out-of-memory during startup|requires more system memory|model requires .{0,200} available"
_CONTEXT = (
    r"context_length_exceeded|exceed_context_size|available context size|exceeds? the context length"
    r"|longer than the context length|maximum context length|too large to process|contextwindowexceeded"
    r"|must have less than \d+ tokens|maximum input length|input is too long"
    r"|trying to keep the first \d+ tokens|reached context length|prompt is too long|max_tokens must be .{0,200} got -"
)
_POLICY = r"content_filter|responsibleaipolicy|content_policy_violation|contentpolicyviolation"
_BUSY = r"server busy|maximum pending requests|model is loading|^loading model"
_MEMORY = r"out[ -]of[ -]memory"
_CRASH = (
    r"do embedding request|connection refused|forcibly closed|unexpectedly stopped|process has terminated"
    r"|process no longer running|no slots available after|unexpected server status|error reading llama-server"
    r"|an error was encountered while running the model|timed out waiting for llama-server|llama-server chat error"
    r"|health resp|enginecore encountered"
)
_USER = (
    r'option "[^"]*" must be of type|invalid format|^template|file does not exist|stream event exceeded'
    r"|does not support|nan or inf|unsupported value: nan|not supported"
)
_ACCIDENT = r"json_validate_failed|tool_use_failed"
_NO_KEY = r"invalid_api_key|authentication_error|(invalid|incorrect) api[ -]key|login fail"
_TOOL = r"error parsing tool call|failed to parse|invalid tool call arguments|tool '[^']*' not found"

_P, _F, _T, _X = FailureClass.PERMANENT, FailureClass.FATAL, FailureClass.THROTTLE, FailureClass.TRANSIENT

RULES: Final[tuple[Rule, ...]] = (
    # no money: waiting does not help, and the account's owner must act
    Rule(_F, "quota", text=_QUOTA, exit=Exit.REFUSED),
    Rule(_F, "usage_limit", (429,), r"PerDay", at="details", exit=Exit.STOPPED),  # Google's retryDelay is a minute's
    Rule(_F, "quota", text=r"exceeded your current quota", when=unhinted, exit=Exit.REFUSED),
    Rule(_T, "payment_required", (402,), when=hinted),
    Rule(_F, "payment_required", (402,), exit=Exit.REFUSED),
    # no way in
    Rule(_F, "blocked", text="challenge", at="header:cf-mitigated"),
    Rule(_F, "blocked", (403,), r"error code: 10\d\d|used Cloudflare to restrict access"),
    Rule(_P, "content_filter", (0, 403), at="metadata.reasons"),
    Rule(_P, "content_filter", (0, 400), _POLICY),
    Rule(_F, "model_disabled", (403,), r"cloud is disabled", scope=Scope.MODEL),
    Rule(_F, "host_refused", (403,), r"^$"),
    Rule(_T, "rate_limited", (403,), when=hinted),  # gateways: out of quota for now (Azure API Management)
    Rule(_F, "unauthorized", (401, 403), exit=Exit.REFUSED),
    Rule(_F, "unauthorized", (0,), _NO_KEY, exit=Exit.REFUSED),
    # no such model, path or server
    Rule(_P, "bad_request", (404,), r"no endpoints found that"),  # OpenRouter: none that can what this job asks for
    Rule(_X, "model_unloaded", (0, 400, 404, 500), r"model( is| was)? unloaded"),
    Rule(_F, "model_not_found", (0, 400, 404, 410), _NO_MODEL, scope=Scope.MODEL),
    Rule(_F, "load_out_of_memory", (0, 500), _LOAD_MEMORY, scope=Scope.MODEL),
    Rule(_F, "model_unloadable", (0, 400, 500), _UNLOADABLE, scope=Scope.MODEL),
    Rule(_F, "endpoint_not_found", (404, 405), scope=Scope.PATH),
    Rule(_F, "endpoint_not_found", (0,), r"^unexpected endpoint or method", scope=Scope.PATH),  # LM Studio says 200
    Rule(_F, "not_offered", (501,), r"not_supported_error", scope=Scope.PATH),  # llama.cpp: started without embeddings
    # Ollama: the model has no embeddings, and can chat all the same
    Rule(_F, "not_offered", (501,), r"does not support", scope=Scope.MODEL_ON_PATH),
    Rule(_F, "not_offered", (501,), scope=Scope.PATH),
    Rule(_F, "redirect", (300, 301, 302, 303, 304, 307, 308)),
    # an accident of this sample: another may come out well
    # Groq: what the model wrote is no JSON, or no call of a tool
    Rule(_X, "generation_failed", (0, 400, 422), _ACCIDENT),
    Rule(_X, "generation_failed", (0, 400, 422), at="failed_generation"),
    # the job does not fit
    Rule(_P, "context_overflow", text=_CONTEXT),
    Rule(_P, "over_token_limit", (0, 413, 429), when=asks_too_much),
    # told to wait
    Rule(_F, "usage_limit", (0, 429), _USED_UP, when=unhinted, exit=Exit.STOPPED),
    Rule(_T, "busy", (503,)),
    Rule(_T, "rate_limited", (429, 420)),
    Rule(_T, "rate_limited", (0,), r"rate[ _-]limit"),
    Rule(_T, "overloaded", (529,)),
    Rule(_T, "overloaded", (0,), r"overloaded"),
    Rule(_T, "busy", text=_BUSY),
    # words before status: what each means is told by them alone
    Rule(_X, "out_of_memory", (0, 500), _MEMORY),
    Rule(_X, "server_crash", (0, 500), _CRASH),
    Rule(_X, "server_crash", (400,), _CRASH, path="embed"),
    Rule(_X, "server_crash", (0, 400, 500), r"the model has crashed"),  # LM Studio says 400
    Rule(_P, "bad_request", (0, 500), _USER),
    Rule(_X, "tool_call_unreadable", (0, 500), _TOOL),
    Rule(_X, "generation_failed", (424,)),  # TGI
    Rule(_X, "no_capacity", (498,)),  # Groq's flex tier
    Rule(_X, "timeout_at_server", (408, 409, 425, 499)),
    Rule(_X, "disconnected", (421, 444, 460)),  # RFC 9110, 15.5.20; nginx; Amazon's load balancer
    Rule(_P, "too_large", (413, 414)),
    Rule(_P, "bad_request", tuple(range(400, 500))),
)
"""Texts: Ollama server/routes.go and llm/llama_server.go, llama.cpp tools/server, and what others were seen to send:
`tests/refusal_bodies.py` has a body and its source for each row. Ollama's `/api/embed` answers 400 when its runner
crashed, and its chat 500 for some mistakes of the user: words decide before the status."""


_DAMAGED: Final = re.compile(r'\A[\[{]+"|"(?:choices|delta|content|text|response|message|finish_reason|done)"')

SILENT: Final = {
    "host_refused": "403 without a word: Ollama answers so to a Host that it does not know, as behind a proxy; "
    "have the proxy send Host: localhost, or name the server by its address",
}
"""What to say for servers that refuse without a word."""


def classify(
    status: int,
    body: bytes,
    path: str,
    *,
    retry_after: float | None = None,
    headers: Mapping[str, str] = NO_HEADERS,
) -> Failure:
    """Name a failure from an HTTP answer. `retry_after` is in seconds; header names are in lower case.

    `x-should-retry` moves a failure between permanent and transient, and no other (OpenAI's and Anthropic's clients).
    """
    refusal = Refusal(status, words(body), path, error_of(loads(body)), headers, retry_after is not None)
    failure = _by_rule(refusal) or Failure(FailureClass.TRANSIENT, f"http_{status}", told(refusal.text), status)
    advice = headers.get("x-should-retry", "")
    if advice == "true" and failure.kind is FailureClass.PERMANENT:
        failure = replace(failure, kind=FailureClass.TRANSIENT)
    elif advice == "false" and failure.kind is FailureClass.TRANSIENT:
        failure = replace(failure, kind=FailureClass.PERMANENT)
    return replace(failure, retry_after=retry_after)


def classify_error(error: Any, path: str) -> Failure:
    """Name a failure from an error object, or an error's words, that came inside a 200."""
    text = "; ".join(strings_of(error))[:READ_LIMIT] or shown(error)
    status = next((v for v in numbers_of(error) if 400 <= v < 600), 0)
    known = _by_rule(Refusal(status, text, path, error_of(error)))
    return known or Failure(FailureClass.TRANSIENT, "stream_error", text[:MESSAGE_LIMIT], status or None)


def not_an_llm(body: bytes, content_type: str, path: str = "") -> Failure:
    """Name a 200 whose body is no API answer: a login page, a captive portal, a wrong port.

    Words are classified as those of an error are, if any rule knows them, or if they are said to be JSON.
    """
    if not body.lstrip().startswith((b"<", b"[")) and (text := words(body)):
        known = _by_rule(Refusal(0, text, path))
        if known is not None or "json" in content_type:
            return known or unreadable(body, path)
    return Failure(FailureClass.TRANSIENT, "not_an_llm", f"answered {content_type or 'no type'}: {words(body)}", 200)


def unreadable(record: bytes, path: str) -> Failure:
    """Name what stands in a stream in the place of a record: a damaged one, or the words of an error.

    Words in what was an answer are the model's, not the server's: they mean nothing here.
    """
    text = words(record)
    if not text.strip("\0") or _DAMAGED.search(text):
        return malformed(f"a record that cannot be read: {text[:200]!r}")
    return classify_error(text, path)


def _by_rule(refusal: Refusal) -> Failure | None:
    for rule in RULES:
        if rule.matches(refusal):
            text = told(refusal.text) or SILENT.get(rule.code, f"status {refusal.status} and no words")
            status = refusal.status or None
            return Failure(rule.kind, rule.code, text[:MESSAGE_LIMIT], status, scope=rule.scope, exit=rule.exit)
    return None
