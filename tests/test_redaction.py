"""Keys stay hidden in every form, answers stay whole, and terminals are sent no commands."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote

import pytest
from hypothesis import given, strategies as st

from batcher.redaction import PLACEHOLDERS, Redactor, Secret, printable

KEY = 'k3y/with+"odd\\<chars>&=0123456789'
PLAIN = "canary0123456789abcdef"

keys = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=10, max_size=60).filter(
    lambda key: key.lower() not in PLACEHOLDERS
)


def test_secret_shows_itself_only_when_asked() -> None:
    """No way of printing a secret prints it."""
    secret = Secret(PLAIN)
    shown = f"{secret} {secret!r} {[secret]} {secret!s:>30} {{}} %s".format(secret) % secret
    assert PLAIN not in shown
    assert "***" in shown
    assert secret.reveal() == PLAIN


def test_secret_compares_by_value() -> None:
    """Two secrets with one key are one secret in a set, and none equals a plain string."""
    assert {Secret("a"), Secret("a")} == {Secret("a")}
    assert Secret("a") != "a"
    assert not Secret("")


@pytest.mark.parametrize("key", [PLAIN, KEY])
@pytest.mark.parametrize(
    "encode",
    [
        str,
        lambda key: quote(key, safe=""),
        lambda key: quote(key, safe="").lower(),
        quote,
        lambda key: json.dumps(key)[1:-1],
        lambda key: json.dumps(key)[1:-1].replace("/", "\\/"),
        lambda key: json.dumps(key)[1:-1].replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"),
        lambda key: f"Bearer {key}",
    ],
    ids=["raw", "quoted", "quoted in lower case", "quoted path", "json", "json slashes", "json of Go", "header"],
)
def test_each_form_of_a_key_goes(key: str, encode: object) -> None:
    """A key is taken out of text and of bytes in each form that a server may echo it in."""
    assert callable(encode)
    form = encode(key)
    redactor = Redactor([Secret(key)])
    assert form not in redactor.text(f"before {form} after")
    line = f'{{"error":"<{form}>"}}'.encode()
    assert redactor.data(line) == line.replace(form.removeprefix("Bearer ").encode(), b"***")


@given(key=keys, before=st.binary(max_size=9), after=st.binary(max_size=9))
def test_base64_hides_no_key(key: str, before: bytes, after: bytes) -> None:
    """Base64 of anything that contains the key no longer gives the key after redaction."""
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        encoded = encode(before + key.encode() + after)
        assert b"***" in Redactor([Secret(key)]).data(encoded)


@given(key=keys, noise=st.text(max_size=200))
def test_no_key_survives(key: str, noise: str) -> None:
    """Whatever stands around it, the raw key is gone from text and from bytes."""
    redactor = Redactor([Secret(key)])
    assert key not in redactor.text(noise + key + noise).replace("***", "\0")
    assert key.encode() not in redactor.data((noise + key + noise).encode()).replace(b"***", b"\0")


def test_longer_key_goes_whole_when_it_contains_a_shorter_one() -> None:
    """Of two keys, one the beginning of the other, no tail stays behind."""
    assert Redactor([Secret("abcdefgh1"), Secret("abcdefgh1-tail")]).data(b"<abcdefgh1-tail>") == b"<***>"


@pytest.mark.parametrize("value", ["", "ollama", "EMPTY", "none", "lm-studio", "sk-no-key-required"])
def test_placeholders_stay_in_answers(value: str) -> None:
    """A stand-in for "no key" is an ordinary word, and answers with that word stay as they are."""
    line = f'{{"text":"I run on {value} myself"}}'.encode()
    assert Redactor([Secret(value)]).data(line) == line


def test_answers_about_keys_stay_whole() -> None:
    """Bytes lose live keys and nothing else, even if something in them looks like a key."""
    line = b'{"text":"use sk-abcdefghijklmnop as Bearer abcdefghijklmnop123456 or ?key=abc"}'
    assert Redactor([Secret(PLAIN)]).data(line) == line


def test_without_keys_bytes_come_back_as_they_are() -> None:
    """With no key to hide the very same object comes back, so that no copy is made."""
    line = b"x" * 1000
    assert Redactor().data(line) is line
    assert Redactor([Secret(PLAIN)]).data(line) is line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Incorrect API key provided: sk-proj-AbC_123-xyz.", "Incorrect API key provided: sk-***."),
        ("Authorization: Bearer abc123def", "Authorization: Bearer ***"),
        ("authorization: bearer AbCdEfGhIjKlMnOpQrStUv==", "authorization: bearer ***"),
        ("GET https://h/v1/models?key=AIzaSy&alt=sse", "GET https://h/v1/models?key=***&alt=sse"),
        ("https://h/?a=1&api_key=x-y_z 404", "https://h/?a=1&api_key=*** 404"),
        ("https://h/?access_token=abc#frag", "https://h/?access_token=***#frag"),
        ("http://user:pa55@host/v1", "http://***@host/v1"),
    ],
)
def test_text_loses_what_looks_like_a_key(text: str, shown: str) -> None:
    """Messages lose the usual shapes of keys even if the key is not ours."""
    assert Redactor().text(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "Missing bearer authentication in header",
        "model 'llama3.2' not found, at http://127.0.0.1:11434/api/chat",
        "mail me@example.com about the risk-assessment of 3 tokens?monkey=1",
    ],
)
def test_ordinary_text_stays(text: str) -> None:
    """Messages without a key are not touched."""
    assert Redactor([Secret(PLAIN)]).text(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain words", "plain words"),
        ("two\nlines\tand a tab\r\n", "two lines and a tab "),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x9b2Jcleared", "cleared"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b]52;c;never ended", "52;c;never ended"),
        ("\x1bP1$r\x1b\\text", "text"),
        ("\x1b\x1b[31m\x1b", ""),
        ("bell\x07 null\x00 del\x7f c1\x85", "bell null del c1"),
        ("\u202egnp.exe\u202c \u2066a\u2069", "gnp.exe a"),
        ("half \ud83d pair", "half \ufffd pair"),
        ("Grüße, 世界 👋", "Grüße, 世界 👋"),
    ],
)
def test_printable_commands_no_terminal(text: str, shown: str) -> None:
    """What is shown on a terminal holds words and no commands."""
    assert printable(text) == shown


@given(st.text(st.characters(max_codepoint=0x2100, exclude_categories=()), max_size=100))
def test_printable_leaves_no_control_character(text: str) -> None:
    """Nothing of C0, DEL or C1 and no half surrogate is left, so that it can always be encoded."""
    shown = printable(text)
    assert not [c for c in shown if ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0]
    shown.encode()


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [
        ("abcdef", 6, "abcdef"),
        ("abcdefg", 6, "abcde…"),
        ("abc", 1, "…"),
        ("abc", 0, ""),
        ("世界世界", 8, "世界世界"),
        ("世界世界", 7, "世界世…"),
        ("世界世界", 6, "世界…"),
        ("e\u0301e\u0301e\u0301", 3, "e\u0301e\u0301e\u0301"),
        ("e\u0301e\u0301e\u0301", 2, "e\u0301…"),
        ("世", 0, ""),
    ],
)
def test_printable_cuts_by_cells(text: str, width: int, shown: str) -> None:
    """The cut counts the cells of a terminal: wide characters take two, combining ones none."""
    assert printable(text, width) == shown
