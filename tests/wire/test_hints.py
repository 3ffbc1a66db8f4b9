"""Holds the servers' hints to their meaning, in every notation that was met, and to silence on all others."""

from __future__ import annotations

from email.utils import formatdate

import orjson
import pytest
from hypothesis import given, strategies as st
from support.refusal_texts import NOW

from batcher.outcome import NO_HINTS, Allowance, Hints
from batcher.wire.hints import LONGEST, read, seconds


def _date(moment: float) -> str:
    return formatdate(moment, usegmt=True)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("7.66s", 7.66),
        ("120ms", 0.12),
        ("6m0s", 360.0),
        ("2m59.56s", 179.56),
        ("1h2m3s", 3723.0),
        ("1 minute 5 seconds", 65.0),
        ("2 days", 172_800.0),
        ("250µs", 0.00025),
        (str(int(NOW) + 90), 90.0),
        (str(int(NOW + 90) * 1000), 90.0),
        (str(int(NOW) - 90), 0.0),
        ("2026-09-21T14:14:50Z", 90.0),
        ("2026-09-21T16:14:50.500+02:00", 90.5),
        ("2026-09-21 09:14:50-0500", 90.0),
        (_date(NOW + 90), 90.0),
        (_date(NOW - 90), 0.0),
        *((text, None) for text in ("", " ", "-5", "nan", "inf", "1e400", "soon", "7 apples", "s", "1s!", "1e12")),
        *((text, None) for text in ("2026-99-99T99:99:99Z", "400 days", "1" * 400, "Wed, 99 Foo 2026 99:99:99 GMT")),
    ],
)
def test_spans_and_moments(text: str, wanted: float | None) -> None:
    """The shape tells the notation; what is negative, endless, absurd or no time is nothing."""
    assert seconds(text, NOW) == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("headers", "after"),
    [
        ({}, None),
        ({"retry-after": " 7 "}, 7.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "350"}, 0.35),
        ({"x-ms-retry-after-ms": "350", "retry-after": "7"}, 0.35),
        ({"retry-after-ms": "soon", "retry-after": "7"}, 7.0),
        ({"retry-after-ms": "-1", "retry-after": "7"}, 7.0),
        ({"retry-after-ms": "1e300", "retry-after": "nan"}, None),
        ({"retry-after": "-5", "x-ratelimit-retry-after": "8"}, 8.0),
        ({"retry-after": _date(NOW + 90)}, 90.0),
        ({"retry-after": _date(NOW + 90), "date": _date(NOW + 60)}, 30.0),
        ({"retry-after": _date(NOW + 90), "date": "yesterday"}, 90.0),
        ({"retry-after": "Sunday, 06-Nov-94 08:49:37 GMT", "date": "Sun, 06 Nov 1994 08:49:07 GMT"}, 30.0),
        # what is used up counts, and of two the later
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s"}, 360.0),
        ({"x-ratelimit-remaining-requests": "1", "x-ratelimit-reset-requests": "6m0s"}, None),
        ({"x-ratelimit-reset-tokens": "6m0s"}, None),
        (
            {
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-requests": "1s",
                "x-ratelimit-remaining-tokens": "0",
                "x-ratelimit-reset-tokens": "9s",
            },
            9.0,
        ),
        ({"anthropic-ratelimit-tokens-remaining": "0", "anthropic-ratelimit-tokens-reset": "2026-09-21T14:14:50Z"}, 90),
        ({"x-ratelimit-remaining-requests-day": "0", "x-ratelimit-reset-requests-day": "33011.4"}, 33011.4),
        ({"ratelimit-remaining": "0", "ratelimit-reset": "12", "retry-after": "3"}, 3.0),
        ({"ratelimit": '"default";r=0;t=30'}, 30.0),
        ({"x-ratelimit-limit": "-1", "x-ratelimit-remaining": "0", "x-ratelimit-reset": "9"}, None),
    ],
)
def test_when_to_come_back_by_headers(headers: dict[str, str], after: float | None) -> None:
    """Milliseconds, seconds, dates against the answer's own clock, then the reset of what is used up."""
    assert read(headers, b"", NOW).retry_after == pytest.approx(after)


METADATA = {"headers": {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(NOW + 5) * 1000)}}


@pytest.mark.parametrize(
    ("body", "after"),
    [
        ({"error": {"message": "Please try again in 1.2s. Visit"}}, 1.2),
        ({"error": {"message": "Please try again in 2m59.56s."}}, 179.56),
        ({"error": {"message": "Please try again in 20ms. Visit"}}, 0.02),
        ({"error": {"message": "quota\nPlease retry in 36.429760048s."}}, 36.429760048),
        ({"error": "Please retry after 1 minute 5 seconds."}, 65.0),
        ({"error": {"metadata": METADATA, "message": "try again in 9s"}}, 5.0),
        ({"error": {"metadata": {"headers": {"X-RateLimit-Reset": str(int(NOW + 5) * 1000)}}}}, 5.0),
        ({"error": {"metadata": {"headers": {"X-RateLimit-Reset": "9", "X-RateLimit-Remaining": "3"}}}}, None),
        ({"error": {"details": [{"a": 1}, {"retryDelay": "34s"}], "message": "retry in 34.5s"}}, 34.0),
        ([{"error": {"details": [{"retryDelay": "34s"}]}}], 34.0),
        ({"error": {"retry_after": 3.5}}, 3.5),
        ({"retry_after": "4"}, 4.0),
        ({"error": {"message": "try again in 5 attempts"}}, None),
        ({"statusCode": 403, "message": "Out of call volume quota. Quota will be replenished in 00:06:46."}, 406.0),
        ({"error": {"message": "try again after 10:30:00"}}, None),
        ({"error": {"message": "wait in line"}}, None),
        ({"error": {"metadata": {"headers": ["x"]}, "details": "x", "retry_after": None}}, None),
        ([], None),
    ],
)
def test_when_to_come_back_by_the_body(body: object, after: float | None) -> None:
    """A JSON path before words, and either only where the headers say nothing."""
    assert read({}, orjson.dumps(body), NOW).retry_after == pytest.approx(after)
    assert read({"retry-after": "2"}, orjson.dumps(body), NOW).retry_after == 2.0


@pytest.mark.parametrize(
    ("headers", "requests", "tokens"),
    [
        (
            {
                "x-ratelimit-limit-requests": "5000",
                "x-ratelimit-remaining-requests": "4999",
                "x-ratelimit-reset-requests": "12ms",
                "x-ratelimit-limit-tokens": "160000",
                "x-ratelimit-remaining-tokens": "159976",
                "x-ratelimit-reset-tokens": "10ms",
            },
            Allowance(5000.0, 4999.0, 0.012),
            Allowance(160000.0, 159976.0, 0.01),
        ),
        ({"anthropic-ratelimit-requests-limit": "50"}, Allowance(50.0), None),
        ({"x-ratelimit-limit-tokens-minute": "6000"}, None, Allowance(6000.0)),
        ({"x-ratelimit-remaining-req-minute": "7"}, Allowance(None, 7.0), None),
        ({"x-ratelimit-limit": "20", "x-ratelimit-remaining": "7"}, Allowance(20.0, 7.0), None),
        ({"ratelimit-limit": "10, 10;w=1", "ratelimit-remaining": "9"}, Allowance(10.0, 9.0), None),
        ({"ratelimit-policy": '"b";q=100;w=30', "ratelimit": '"b";r=5;t=3'}, Allowance(200.0, 5.0, 3.0), None),
        ({"ratelimit": "limit=100, remaining=50, reset=5"}, Allowance(100.0, 50.0, 5.0), None),
        # Azure: -1 and 0 are no limits, and what is left of them is nothing to go by
        ({"x-ratelimit-limit-requests": "-1", "x-ratelimit-remaining-requests": "-1"}, None, None),
        ({"x-ratelimit-limit-tokens": "0", "x-ratelimit-remaining-tokens": "0"}, None, None),
        ({"x-ratelimit-remaining-tokens": "-1"}, None, None),
        ({"x-ratelimit-limit-requests": "many", "x-ratelimit-reset-requests": "later"}, None, None),
    ],
)
def test_allowances(headers: dict[str, str], requests: Allowance | None, tokens: Allowance | None) -> None:
    """What servers state of their limits, in each family of headers; nonsense is nothing."""
    assert read(headers, b"", NOW) == Hints(None, requests, tokens)


def test_silence_costs_nothing() -> None:
    """An answer that says nothing gets the hints that all such answers share."""
    assert read({"content-type": "text/html", "date": _date(NOW)}, b"<html>", NOW) is NO_HINTS


NAMES = (
    "retry-after",
    "retry-after-ms",
    "date",
    "ratelimit",
    "ratelimit-policy",
    "x-ratelimit-limit-tokens",
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-reset-tokens",
    "x-ratelimit-reset",
    "x-ratelimit-remaining",
)
TEXTS = st.text(max_size=20) | st.text("0123456789.-+eEhmsdTZ:; ,=rtqw", max_size=24) | st.floats().map(str)
WORDS = st.builds("try again in {}".format, TEXTS)
JSON = st.recursive(
    st.none() | st.integers() | st.floats() | TEXTS | WORDS,
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["error", "metadata", "headers", "details", "retryDelay", "message", *NAMES]), inner
        )
    ),
    max_leaves=6,
)


@given(
    st.dictionaries(st.sampled_from(NAMES), TEXTS), st.binary(max_size=40) | JSON.map(repr).map(str.encode), st.floats()
)
def test_nothing_raises_and_all_that_is_told_is_sane(headers: dict[str, str], body: bytes, now: float) -> None:
    """Whatever comes, the hints are finite and not negative."""
    hints = read(headers, body, now)
    for allowance in (hints.requests, hints.tokens):
        told = allowance or Allowance()
        for number in (told.limit, told.remaining):
            assert number is None or 0 <= number < float("inf")
        assert told.reset is None or 0 <= told.reset <= LONGEST
    assert hints.retry_after is None or 0 <= hints.retry_after <= LONGEST


@given(JSON)
def test_no_body_raises(value: object) -> None:
    """As above, for whatever is JSON."""
    after = read({}, orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS) if not huge(value) else b"", NOW).retry_after
    assert after is None or 0 <= after <= LONGEST


def huge(value: object) -> bool:
    """Integers that orjson does not write."""
    if isinstance(value, list):
        return any(map(huge, value))
    if isinstance(value, dict):
        return any(map(huge, value.values()))
    return isinstance(value, int) and abs(value) >= 2**63
