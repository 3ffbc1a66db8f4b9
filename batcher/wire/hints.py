"""Reads what an answer says about when to come back and how often: headers of many notations, then its body. Pure.

Order for `retry_after`: a header that says so, the reset of a dimension that is used up, a JSON path, words. What is
negative, infinite, absurd or no number is no hint; nothing here raises.
"""

from __future__ import annotations

import math
import re
from calendar import timegm
from dataclasses import replace
from email.utils import mktime_tz, parsedate_tz
from typing import TYPE_CHECKING, Any, Final

import orjson

from batcher.outcome import NO_HINTS, Allowance, Hints

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LONGEST: Final = 366 * 86400.0
"""Seconds. Who says more has said something else."""
BODY_LIMIT: Final = 65536
"""Bytes of a body that are looked at; what refuses is short."""

_MILLIS: Final = ("retry-after-ms", "x-ms-retry-after-ms")
_SECONDS: Final = ("retry-after", "x-ratelimit-retry-after", "x-retry-after")
_BODY_KEYS: Final = ("retry_after", "retryAfter", "retry_after_seconds", "retryDelay")

_REQUESTS: Final = (
    "x-ratelimit-{}-requests",  # OpenAI, Azure, Groq (whose window is a day)
    "anthropic-ratelimit-requests-{}",
    "x-ratelimit-{}-requests-minute",  # Cerebras
    "x-ratelimit-{}-req-minute",  # Mistral
    "x-ratelimit-{}",  # OpenRouter, Together, gateways
    "ratelimit-{}",  # IETF draft-ietf-httpapi-ratelimit-headers, up to 07
)
_TOKENS: Final = (
    "x-ratelimit-{}-tokens",
    "anthropic-ratelimit-tokens-{}",
    "x-ratelimit-{}-tokens-minute",
)
_DAILY: Final = ("x-ratelimit-{}-requests-day", "x-ratelimit-{}-tokens-day")
"""No pace follows from what is left of a day; when nothing is left, its reset counts."""

_UNITS: Final = (
    (r"(?:ns|nanoseconds?)", 1e-9),
    (r"(?:us|µs|microseconds?)", 1e-6),
    (r"(?:ms|millis|milliseconds?)", 1e-3),
    (r"(?:s|secs?|seconds?)", 1.0),
    (r"(?:m|mins?|minutes?)", 60.0),
    (r"(?:h|hrs?|hours?)", 3600.0),
    (r"(?:d|days?)", 86400.0),
)
_NUMBER: Final = r"\d{1,15}(?:\.\d{0,15})?"
_PART: Final = re.compile(
    rf"({_NUMBER})\s?(?:" + "|".join(f"({unit})(?![a-z])" for unit, _ in _UNITS) + ")", re.IGNORECASE
)
_SPAN: Final = rf"(?:{_NUMBER}\s?(?:{'|'.join(unit for unit, _ in _UNITS)})(?![a-z])[\s,]{{0,2}}){{1,4}}"
_WORDS: Final = re.compile(
    rf"(?:try again|retry|retrying|wait|available again|resets?)(?: after| in| for)+ (?:about )?({_SPAN})",
    re.IGNORECASE,
)
_REPLENISHED: Final = re.compile(r"replenished in (\d{1,3}):(\d\d):(\d\d)")
"""Hours, minutes and seconds: Azure API Management (https://github.com/Azure/azure-sdk-for-python/issues/20042)."""
_ISO: Final = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(\.\d{1,9})?\s?(?:[Zz]|UTC|([+-])(\d\d):?(\d\d))?$"
)


def read(headers: Mapping[str, str], body: bytes = b"", now_wall: float = 0.0) -> Hints:
    """Read the hints of an answer. Header names are in lower case; `now_wall` is Unix time, for want of a `Date`.

    A date is measured against the answer's own `Date`, for the local clock may be wrong (RFC 9110, 10.2.3).
    """
    clock = _date(headers.get("date", ""))
    clock = now_wall if clock is None else clock
    requests = _allowance(_REQUESTS, headers, clock) or _structured(headers)
    tokens = _allowance(_TOKENS, headers, clock)
    after = _told(headers, clock)
    if after is None:
        after = _used_up(headers, clock, requests, tokens)
    if after is None and body:
        after = _in_body(body[:BODY_LIMIT], clock)
    if after is None and requests is None and tokens is None:
        return NO_HINTS
    return Hints(after, requests, tokens)


def seconds(text: str, clock: float) -> float | None:
    """Seconds from `clock` (Unix time) to what the text names, by its shape.

    `7`, `7.66s`, `6m0s`, `120ms`, seconds or milliseconds since 1970, ISO 8601, an HTTP date. The past is 0.
    """
    text = text.strip()
    number = _number(text)
    if number is not None:
        if number >= 1e11:
            return _until(number / 1000, clock)
        return _until(number, clock) if number >= 1e9 else _sane(number)
    span = _span(text)
    if span is not None:
        return span
    then = _iso(text)
    then = _date(text) if then is None else then
    return None if then is None else _until(then, clock)


def _told(headers: Mapping[str, str], clock: float) -> float | None:
    for name in _MILLIS:
        millis = _number(headers.get(name, ""))
        if millis is not None and (after := _sane(millis / 1000)) is not None:
            return after
    for name in _SECONDS:
        after = seconds(headers[name], clock) if name in headers else None
        if after is not None:
            return after
    return None


def _used_up(headers: Mapping[str, str], clock: float, *allowances: Allowance | None) -> float | None:
    """The reset of the dimension of which nothing is left; the later one if there are several."""
    daily = (_allowance((name,), headers, clock) for name in _DAILY)
    resets = [
        one.reset for one in (*allowances, *daily) if one is not None and one.remaining == 0 and one.reset is not None
    ]
    return max(resets, default=None)


def _allowance(names: tuple[str, ...], headers: Mapping[str, str], clock: float) -> Allowance | None:
    """The first family of headers that says something. One whose limit is 0 or negative (Azure) says nothing."""
    for name in names:
        limit = headers.get(name.format("limit"))
        remaining = headers.get(name.format("remaining"))
        reset = headers.get(name.format("reset"))
        if limit is None and remaining is None and reset is None:
            continue
        most = _number((limit or "").split(",")[0])
        if limit is not None and not most:
            continue
        found = Allowance(most, _number(remaining or ""), seconds(reset, clock) if reset else None)
        if found != Allowance():
            return found
    return None


def _structured(headers: Mapping[str, str]) -> Allowance | None:
    """IETF: `RateLimit: "x";r=50;t=30` with `RateLimit-Policy: "x";q=100;w=60`; older: `limit=, remaining=, reset=`."""
    state = _parameters(headers.get("ratelimit", ""))
    policy = _parameters(headers.get("ratelimit-policy", ""))
    limit, window = policy.get("q", state.get("limit")), policy.get("w", 60.0)
    most = limit * 60 / window if limit and window else None
    found = Allowance(most, state.get("r", state.get("remaining")), state.get("t", state.get("reset")))
    return found if found != Allowance() else None


def _parameters(value: str) -> dict[str, float]:
    pairs = re.findall(r"\b(r|t|q|w|limit|remaining|reset)\s?=\s?(\d{1,12})\b", value[:400])
    return {name: float(number) for name, number in reversed(pairs)}


def _in_body(body: bytes, clock: float) -> float | None:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        value = None
    for place in _places(value):
        if (after := _at(place, clock)) is not None:
            return after
    text = body.decode("utf-8", "replace")
    if found := _REPLENISHED.search(text):
        hours, minutes, rest = map(int, found.groups())
        return _sane(3600.0 * hours + 60 * minutes + rest)
    found = _WORDS.search(text)
    return _span(found[1]) if found else None


def _places(value: Any) -> Iterator[dict[str, Any]]:
    """The objects of an error body in which hints are known to be: its own, its error's, metadata and details."""
    if isinstance(value, list):  # Google sends a list of one
        value = value[0] if value else None
    if not isinstance(value, dict):
        return
    inner = value.get("error")
    error = inner if isinstance(inner, dict) else value
    details = error.get("details")
    for place in (error, error.get("metadata"), *(details if isinstance(details, list) else ()), value):
        if isinstance(place, dict):
            yield place


def _at(place: dict[str, Any], clock: float) -> float | None:
    for key in _BODY_KEYS:
        found = place.get(key)
        if isinstance(found, str | int | float) and (after := seconds(str(found), clock)) is not None:
            return after
    headers = place.get("headers")
    if isinstance(headers, dict):  # OpenRouter's `error.metadata.headers`
        inner = {str(name).lower(): str(text) for name, text in headers.items()}
        after = _told(inner, clock)
        allowance = _allowance(_REQUESTS, inner, clock)
        if allowance is not None and allowance.remaining is None:
            allowance = replace(allowance, remaining=0.0)  # an error tells of what is used up
        return _used_up(inner, clock, allowance) if after is None else after
    return None


def _number(text: str) -> float | None:
    """A number that is finite and not negative."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _sane(value: float) -> float | None:
    return value if value <= LONGEST else None


def _until(then: float, clock: float) -> float | None:
    """Seconds from `clock` to then, both Unix time: 0 when it is past, nothing when it is years away."""
    return max(0.0, then - clock) if abs(then - clock) <= LONGEST else None


def _span(text: str) -> float | None:
    """Seconds of `2m59.56s`, `1 minute 5 seconds`; `None` if anything else is in the text."""
    if len(text) > 80 or not text[:1].isdigit() or _PART.sub("", text).strip(" ,"):
        return None
    total = sum(
        float(part[1]) * scale
        for part in _PART.finditer(text)
        for place, (_, scale) in enumerate(_UNITS, 2)
        if part[place]
    )
    return _sane(total)


def _iso(text: str) -> float | None:
    found = _ISO.match(text)
    if found is None:
        return None
    *date, fraction, sign, hours, minutes = found.groups()
    try:
        then = float(timegm(tuple(map(int, date)))) + float(fraction or 0)
    except (ValueError, OverflowError):
        return None
    offset = int(hours or 0) * 3600 + int(minutes or 0) * 60
    return then + offset if sign == "-" else then - offset


def _date(text: str) -> float | None:
    """Unix time of an HTTP date; one without a zone says nothing."""
    try:
        parts = parsedate_tz(text)
        return None if parts is None or parts[-1] is None else float(mktime_tz(parts))
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
