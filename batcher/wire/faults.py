"""Which JSON values are errors, and whether a record is damaged: errors come in many shapes, also under status 200.

An error is told by what a record has: in any place (`ANYWHERE`), or because it has it in the place of an answer
(`INSTEAD`). What it says is classified by `rules`.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from batcher.failures import AttemptError, malformed

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from batcher.model import Json


class Shape(NamedTuple):
    """One shape of error: `keys` are all there, and `says` gives what is to be classified, or `None` if it is none."""

    keys: tuple[str, ...]
    says: Callable[[dict[str, Any]], Json]
    source: str


FINE: Final = frozenset(
    {
        *("0", "200", "20000", "ok", "success", "succeed", "succeeded", "true", "none", "null", ""),
        *("processing", "in_progress", "pending", "queued", "loading", "starting", "ping"),
        *("heartbeat", "keepalive", "keep-alive", "keep_alive"),
    }
)
"""Codes and states by which servers say that nothing is wrong, or not yet done; 20000 is SiliconFlow's."""


FAILED: Final = frozenset(
    {
        *("error", "err", "fail", "failed", "failure", "false", "ko", "rejected", "refused", "unavailable"),
        *("cancelled", "canceled", "aborted", "expired", "timeout", "timedout", "exception", "fatal"),
    }
)
"""States by which servers say that something is wrong."""
LEAST_STATUS: Final = 400
"""The least HTTP status, or code, that says so."""


def is_fine(code: Json) -> bool:
    """Whether a code or a state says that nothing is wrong."""
    return code is None or (isinstance(code, str | int) and str(code).strip().lower() in FINE)


def _error(record: dict[str, Any]) -> Json:
    """An error under its own name; Ollama puts the status of a remote model's error beside its words."""
    error = record["error"]
    return None if not error else error if isinstance(error, dict) else record


def _numbered(record: dict[str, Any]) -> Json:
    if is_fine(record["error_code"]):
        return None
    words = next((record[key] for key in ("error_msg", "error_message", "message", "text") if record.get(key)), None)
    return {"message": words, "code": record["error_code"]}


def _based(record: dict[str, Any]) -> Json:
    base = record["base_resp"]
    if not isinstance(base, dict) or is_fine(base.get("status_code")):
        return None
    return {"message": base.get("status_msg"), "code": base.get("status_code")}


def _failed(key: str) -> Callable[[dict[str, Any]], Json]:
    """A state or a status that says that something is wrong."""

    def says(record: dict[str, Any]) -> Json:
        state = record[key]
        word = str(state).strip().lower().replace("_", "") if isinstance(state, str | int) else ""
        is_bad = word in FAILED or (word.isdecimal() and len(word) < 7 and int(word) >= LEAST_STATUS)
        return record if is_bad and not is_fine(state) else None

    return says


def _coded(key: str) -> Callable[[dict[str, Any]], Json]:
    """A code of errors that is none of those that say that nothing is wrong."""
    return lambda record: record if isinstance(record[key], str | int) and not is_fine(record[key]) else None


def _truthy(key: str) -> Callable[[dict[str, Any]], Json]:
    return lambda record: record[key] if isinstance(record[key], dict) else record if record[key] else None


def _ending(key: str) -> Callable[[dict[str, Any]], Json]:
    """A name of an error, or of an exception, as the type of a record."""
    return lambda record: record if str(record[key]).lower().endswith(("error", "exception", "failed")) else None


def _named(key: str, *values: str) -> Callable[[dict[str, Any]], Json]:
    return lambda record: record if record[key] in values else None


def _told(*keys: str) -> Callable[[dict[str, Any]], Json]:
    """Words under one of these keys, unless a code beside them says that nothing is wrong."""

    def says(record: dict[str, Any]) -> Json:
        states = [record[key] for key in STATES if key in record]
        if states and all(map(is_fine, states)):
            return None
        return record if any(record[key] for key in keys) else None

    return says


ANYWHERE: Final = (
    Shape(("error",), _error, "OpenAI API reference; Ollama server/routes.go; llama.cpp tools/server"),
    Shape(("type",), _named("type", "error"), "OpenAI API reference (streaming events); Anthropic's API"),
    Shape(("event",), _named("event", "error"), "Dify's API (event, status, code, message)"),
    Shape(("error_code",), _numbered, "FastChat serve/openai_api_server.py; Baidu's API (error_code, error_msg)"),
    Shape(("base_resp",), _based, "MiniMax's API; https://github.com/infiniflow/ragflow/pull/17292"),
)
"""What is an error wherever it stands, beside content or not."""

STATES: Final = ("code", "status", "statuscode", "success", "errcode", "errno", "errorcode", "ret")
"""What may say beside some words that nothing is wrong."""

INSTEAD: Final = (
    Shape(("object",), _named("object", "error"), "vLLM before 0.10; FastChat, LMDeploy (ErrorResponse)"),
    Shape(("error",), _truthy("error"), "ASP.NET and others: `Error`"),
    Shape(("code", "message"), _told("message"), "SiliconFlow's, Zhipu's and DashScope's APIs"),
    Shape(("code", "msg"), _told("msg"), "Zhipu's API; Xinference"),
    Shape(("status", "message"), _told("message"), "Tencent's gateway; NVIDIA's API"),
    Shape(("statuscode", "message"), _told("message"), "Azure API Management"),
    Shape(("detail",), _told("detail"), "FastAPI (HTTPException); NVIDIA's API"),
    Shape(("errors",), _told("errors"), "Cloudflare's API (success, errors)"),
    Shape(("message",), _told("message"), "Amazon's API Gateway, Kong; ASP.NET: `Message`"),
    Shape(("msg",), _told("msg"), "Zhipu's API; Xinference"),
    Shape(("errormsg",), _told("errormsg"), "Baidu's API"),
    Shape(("errormessage",), _told("errormessage"), "LMDeploy's proxy; AWS Lambda"),
    Shape(("errmsg",), _told("errmsg"), "Tencent's and Alibaba's APIs (errcode, errmsg)"),
    Shape(("retmsg",), _told("retmsg"), "Tencent's gateways (ret, retmsg)"),
    Shape(("errcode",), _coded("errcode"), "Tencent's and Alibaba's APIs"),
    Shape(("errno",), _coded("errno"), "Baidu's gateways"),
    Shape(("err",), _truthy("err"), "Node's proxies"),
    Shape(("failure",), _truthy("failure"), "NVIDIA's API"),
    Shape(("fault",), _told("fault"), "Apigee (fault.faultstring)"),
    Shape(("exception",), _told("exception"), "Spring's error attributes"),
    Shape(("success",), _failed("success"), "Cloudflare's, SiliconFlow's APIs"),
    Shape(("ok",), _failed("ok"), "Slack's, Telegram's APIs and what imitates them (ok, description)"),
    Shape(("status",), _failed("status"), "RFC 9457 (title, status); Replicate's API (status: failed)"),
    Shape(("statuscode",), _failed("statuscode"), "API gateways"),
    Shape(("httpstatus",), _failed("httpstatus"), "API gateways"),
    Shape(("code",), _failed("code"), "API gateways"),
    Shape(("type",), _ending("type"), "Anthropic's, Mistral's types of errors without their frame"),
)
"""What is an error in the place of an answer; beside one it means nothing. Keys in lower case without `_` and `-`."""

BAD: Final = ("error", "exception", "fail")
"""What is in keys that tell of errors: Amazon's event streams have `throttlingException`, others `is_error`."""
EVENT: Final = "response."
"""How the types of events begin whose keys have meanings of their own (`/v1/responses`: a `code` is a program's)."""

LOOKED_AT: Final = 32
"""How many keys of an unknown record are looked at."""

ANSWERS: Final = ("response", "output", "embeddings", "data", "delta", "item", "candidates")
"""What an answer is in, on any path, beside `choices` and what has `done`."""

FRAMES: Final = ("data", "output")
"""What of that may be around an error, and is itself no event of `/v1/responses`."""

MARKS: Final = frozenset(shape.keys[0] for shape in ANYWHERE)
"""A record without any of these is no error beside an answer."""


def error_in(record: dict[str, Any]) -> Json:
    """What is to be classified if a record is an error; `None` if it is none."""
    if not record.keys().isdisjoint(MARKS):
        for shape in ANYWHERE:
            if shape.keys[0] in record and (said := shape.says(record)) is not None:
                return said
    if "done" in record or record.get("choices"):
        return None
    for key in ANSWERS:
        if inner := record.get(key):
            return _error(inner) if type(inner) is dict and inner.get("error") and key in FRAMES else None
    if type(record.get("message")) is dict:
        return None
    return None if str(record.get("type")).startswith(EVENT) else _instead(record)


def _instead(record: dict[str, Any]) -> Json:
    """What is to be classified if a record is an error in the place of an answer."""
    folded = {key.lower().replace("_", "").replace("-", ""): value for key, value in islice(record.items(), LOOKED_AT)}
    for shape in INSTEAD:
        if all(key in folded for key in shape.keys) and (said := shape.says(folded)) is not None:
            return said
    for key, value in islice(record.items(), LOOKED_AT):
        if value and (value is True or not is_fine(value)) and any(bad in key.lower() for bad in BAD):
            return {"type": key, **(value if isinstance(value, dict) else {"message": str(value)})}
    return None


def is_note(record: dict[str, Any]) -> bool:
    """Whether a record says nothing: a ping, or a state in which nothing is wrong."""
    return all(
        not value
        or is_fine(value)
        or (key in ("message", "msg") and type(value) is str)
        or (type(value) is dict and is_note(value))
        for key, value in record.items()
    )


NEAR: Final = 4
"""The least letters of a key that is looked for among damaged ones."""
LONG: Final = 7
"""The least letters of a key of which two may be damaged."""
_CHANGES: Final = ((1, 1), (1, 0), (0, 1), (2, 2), (2, 0), (0, 2))
"""Letters of a damaged word, and of what it must be, behind which the two are the same again."""


def check_keys(record: dict[str, Json], known: frozenset[str], what: str) -> None:
    """Raise AttemptError if a key is one byte from a known one that is not there: the record was damaged on its way."""
    if known.issuperset(record):
        return
    for key in islice((key for key in record if key not in known), LOOKED_AT):
        if (meant := near(key, known)) is not None and meant not in record:
            raise AttemptError(malformed(f"{what} with {key[:40]!r}, which must be {meant!r}: it was damaged"))


def check_word(word: Json, known: Collection[str]) -> None:
    """Raise AttemptError if a word that says what something is, is one byte from a known one."""
    if type(word) is str and word not in known and (meant := near(word, known)) is not None:
        raise AttemptError(malformed(f"the type {word[:40]!r}, which must be {meant!r}: it was damaged"))


def near(word: str, known: Iterable[str]) -> str | None:
    """The known word that differs by one letter that is another, missing or too much, or by two that are swapped.

    Of longer ones also one that differs by two letters side by side.
    """
    return next((one for one in known if len(one) >= NEAR and _is_near(word, one)), None)


def _is_near(word: str, one: str) -> bool:
    most = 2 if len(one) >= LONG else 1
    if word == one or abs(len(word) - len(one)) > most:
        return False
    ends = min(len(word), len(one))
    start = next((place for place in range(ends) if word[place] != one[place]), ends)
    if word[start : start + 2] == one[start : start + 2][::-1] and word[start + 2 :] == one[start + 2 :]:
        return True
    return any(
        word[start + there :] == one[start + here :] for there, here in _CHANGES if there <= most and here <= most
    )
