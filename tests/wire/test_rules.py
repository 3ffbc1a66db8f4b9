"""Holds the rule table to the bodies that real servers send."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import orjson
import pytest
from hypothesis import given, strategies as st
from support import wirefiles
from support.refusal_bodies import CHAT, ROWS, F, P, Row, T, X
from support.refusal_texts import NOW, QUOTA, openai
from support.stream_errors import IN_STREAM

from batcher.wire import hints
from batcher.wire.rules import RULES, Refusal, classify, classify_error, not_an_llm
from batcher.wire.words import MESSAGE_LIMIT, words

if TYPE_CHECKING:
    from batcher.failures import FailureClass


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.status} {row.body[:48]}")
def test_what_a_refusal_means(row: Row) -> None:
    """The class, the code, how far it reaches, how the run would end and when to come back follow from the answer."""
    after = hints.read(row.headers, row.body.encode(), NOW).retry_after
    failure = classify(row.status, row.body.encode(), row.path, retry_after=after, headers=row.headers)
    assert (failure.kind, failure.code) == (row.kind, row.code)
    assert failure.status == row.status
    assert failure.retry_after == pytest.approx(row.after)
    if row.kind is F:
        assert (failure.scope, failure.exit) == (row.scope, row.exit)


def body_of(row: Row) -> bytes:
    return row.body.encode()


CAPTURED = {
    "error-bad-messages": (P, "bad_request"),
    "error-no-messages": (P, "bad_request"),
    "error-context-whole": (P, "context_overflow"),
    "error-context-stream": (P, "context_overflow"),
    "error-context-embeddings": (P, "context_overflow"),
    "error-not-found": (F, "endpoint_not_found"),
    "error-not-supported": (F, "not_offered"),
}


@pytest.mark.parametrize("name", wirefiles.names("error-"))
def test_what_recorded_refusals_mean(name: str) -> None:
    """Every recorded error of a real server has its class; a new recording needs a row here."""
    wire = wirefiles.load(name)
    failure = classify(wire.status, wire.body, wire.path)
    assert (failure.kind, failure.code) == CAPTURED[name]


@pytest.mark.parametrize(("error", "kind", "code"), IN_STREAM, ids=lambda value: str(value)[:40])
def test_what_an_error_inside_a_200_means(error: object, kind: FailureClass, code: str) -> None:
    """An error object in a stream is classified as if its number were the status, and by its words otherwise."""
    failure = classify_error(error, CHAT)
    assert (failure.kind, failure.code) == (kind, code)


@pytest.mark.parametrize(
    ("status", "advice", "kind"),
    [(500, "true", X), (500, "false", P), (400, "true", X), (400, "false", P), (401, "true", F), (429, "false", T)],
)
def test_the_servers_advice_moves_between_transient_and_permanent(status: int, advice: str, kind: FailureClass) -> None:
    """`x-should-retry` overrides those two classes, and neither a fatal failure nor a throttle."""
    assert classify(status, b"{}", CHAT, headers={"x-should-retry": advice}).kind is kind


def test_no_quota_comes_back_by_waiting() -> None:
    """`insufficient_quota` ends the run even with Retry-After: SDKs that wait only ask again."""
    body = openai(QUOTA, "insufficient_quota", "insufficient_quota").encode()
    assert classify(429, body, CHAT, retry_after=20.0).code == "quota"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"error":"x"}', "x"),
        (b'{"error":{"message":"m","type":"t","code":"c"}}', "m; t; c"),
        (b'{"error":"{\\"error\\":{\\"message\\":\\"inner\\"}}"}', "inner"),
        (b'{"detail":[{"msg":"field required"}]}', '[{"msg":"field required"}]'),
        (b"<html><head><title>502 Bad Gateway</title></head>\r\n<h1>502</h1>", "502 Bad Gateway: 502 Bad Gateway 502"),
        (b"404 page not found\n", "404 page not found"),
        (b"", ""),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"null", "null"),
        (b'["a"]', "['a']"),
        (b'{"error":{}}', '{"error":{}}'),
    ],
)
def test_the_servers_own_words_are_found(body: bytes, expected: str) -> None:
    """Words come from wherever the server put them, and never as an exception."""
    assert words(body) == expected


def test_the_servers_words_are_bounded() -> None:
    """However long an error is, what is kept of it is not."""
    for body in (b"x" * 10_000, orjson.dumps({"error": "y" * 10_000}), b"<title>t</title>" + b"z " * 9_000):
        assert len(classify(500, body, CHAT).message) <= MESSAGE_LIMIT
        assert len(not_an_llm(body, "text/html").message) <= MESSAGE_LIMIT + 64
    assert len(classify_error("x" * 10_000, CHAT).message) <= MESSAGE_LIMIT


def test_a_page_instead_of_an_answer_is_named() -> None:
    """A 200 with a login page says what came and from what kind of page."""
    failure = not_an_llm(b"<html><head><title>Please log in</title></head></html>", "text/html")
    assert (failure.kind, failure.code) == (X, "not_an_llm")
    assert "text/html" in failure.message
    assert "Please log in" in failure.message


def test_every_rule_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that no known body needs is dead or untested: without it, some body's meaning changes."""
    before = meanings()
    unused = []
    for place, rule in enumerate(RULES):
        monkeypatch.setattr("batcher.wire.rules.RULES", RULES[:place] + RULES[place + 1 :])
        if meanings() == before:
            unused.append(rule)
    assert unused == []


def meanings() -> list[object]:
    found: list[object] = []
    for row in ROWS:
        failure = classify(row.status, row.body.encode(), row.path, retry_after=row.after, headers=row.headers)
        found.append((failure.kind, failure.code, failure.scope, failure.exit))
    return found + [
        (failure.kind, failure.code) for failure in (classify_error(error, CHAT) for error, _, _ in IN_STREAM)
    ]


@pytest.mark.parametrize(
    ("code", "status"), [("429", 429), (429, 429), ("٤٢٩", 429), ("²", None), ("5" * 5000, None), (True, None)]
)
def test_a_code_may_be_any_text(code: object, status: int | None) -> None:
    """A status where it is a number that can be one."""
    assert classify_error({"code": code, "message": "x"}, CHAT).status == status


@pytest.mark.parametrize("keys", [["error"], ["message", "error"], ["code"]])
def test_an_error_may_nest_as_deep_as_it_is_read(keys: list[str]) -> None:
    """Its words are not looked for further than any server puts them."""
    error: object = "x"
    for number in range(1000):
        error = {keys[number % len(keys)]: error}
    assert classify_error(error, CHAT).code == "stream_error"
    assert classify(
        400, orjson.dumps({"error": "x"}).replace(b'"x"', b'{"error":' * 900 + b"1" + b"}" * 900), CHAT
    ).code


@given(st.sampled_from([0, 200, 400, 403, 429, 500, 503]), st.binary(max_size=60) | st.sampled_from(ROWS).map(body_of))
def test_any_answer_has_a_class(status: int, body: bytes) -> None:
    """Nothing that a server sends gets an exception out of the table."""
    assert classify(status, body, CHAT).code
    assert classify_error(body.decode("utf-8", "replace"), CHAT).code


def test_a_place_is_a_header_or_a_path() -> None:
    """Rules look where they say, and find nothing where nothing is."""
    refusal = Refusal(429, "", error={"a": {"b": [1], "c": "x"}}, headers={"server": "y"})
    assert [refusal.at(place) for place in ("a.b", "a.c", "header:server")] == ["[1]", "x", "y"]
    assert [refusal.at(place) for place in ("a.d", "a.c.d", "header:via")] == [None, None, None]


def test_every_pattern_compiles_and_none_matches_nothing() -> None:
    """A pattern that matched the empty text by accident would swallow every answer without words."""
    for rule in RULES:
        if rule.text and rule.text != "^$":
            assert re.search(rule.text, "") is None


@pytest.mark.parametrize("kind", ["not_found_error", "NotFoundError", "ThrottlingException"])
def test_the_type_of_an_error_is_not_told(kind: str) -> None:
    """It is for the rules; people are told the words."""
    body = orjson.dumps({"error": {"message": "The model m does not exist.", "type": kind}})
    assert classify(404, body, CHAT).message == "The model m does not exist."
