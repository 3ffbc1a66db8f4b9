"""Keys stay hidden in every form, answers stay whole, and terminals are sent no commands."""

from __future__ import annotations

import base64
import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import orjson
import pytest
from hypothesis import given, strategies as st

from batcher.redaction import PLACEHOLDERS, Redactor, Secret, printable, sentence

if TYPE_CHECKING:
    from collections.abc import Callable

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


ESCAPES = {
    "raw": str,
    "quoted": lambda key: quote(key, safe=""),
    "quoted in lower case": lambda key: re.sub("%..", lambda match: match[0].lower(), quote(key, safe="")),
    "quoted path": quote,
    "quoted twice": lambda key: quote(quote(key, safe=""), safe=""),
    "json": lambda key: json.dumps(key)[1:-1],
    "json slashes": lambda key: json.dumps(key)[1:-1].replace("/", "\\/"),
    "json of Go": lambda key: re.sub("[<>&]", lambda match: f"\\u{ord(match[0]):04x}", json.dumps(key)[1:-1]),
    "json of .NET": lambda key: re.sub(
        r"""["'<>&+`]""", lambda match: f"\\u{ord(match[0]):04X}", key.replace("\\", "\\\\")
    ),
    "json in json": lambda key: json.dumps(json.dumps(key)[1:-1])[1:-1],
    "header": lambda key: f"Bearer {key}",
}
"""How servers escape what they echo."""


@pytest.mark.parametrize("key", [PLAIN, KEY])
@pytest.mark.parametrize("escape", ESCAPES.values(), ids=list(ESCAPES))
def test_each_form_of_a_key_goes(key: str, escape: Callable[[str], str]) -> None:
    """A key is taken out of texts in each form that a server may echo it in, and what stands around it stays."""
    form = escape(key)
    redactor = Redactor([Secret(key)])
    shown = f"<{form}>".replace(form.removeprefix("Bearer "), "***")
    value = {"error": [f"<{form}>", 1, None], form: True}
    assert redactor.value(value)["error"] == [shown, 1, None]
    assert form not in redactor.text(f"before {form} after")
    assert form not in redactor.value(value)
    assert redactor.suspects(json.dumps(value).encode())
    assert redactor.suspects(json.dumps(value, ensure_ascii=False).encode())


@given(key=keys, before=st.binary(max_size=9), after=st.binary(max_size=9))
def test_base64_hides_no_key(key: str, before: bytes, after: bytes) -> None:
    """Base64 of anything that contains the key no longer gives the key after redaction."""
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        encoded = encode(before + key.encode() + after).decode()
        redactor = Redactor([Secret(key)])
        assert redactor.suspects(encoded.encode())
        assert "***" in redactor.value(encoded)


@given(key=keys, noise=st.text(max_size=200), value=st.sampled_from([list, lambda text: {"a": [text]}, str]))
def test_no_key_survives(key: str, noise: str, value: Callable[[str], Any]) -> None:
    """Whatever stands around it, the raw key is gone from text and from values; what is suspected is a key."""
    redactor = Redactor([Secret(key)])
    text = noise + key + noise
    assert key not in redactor.text(text).replace("***", "\0")
    assert key not in redactor.value(text).replace("***", "\0")
    if value is not list:
        line = orjson.dumps(value(noise.encode(errors="replace").decode() + key))
        assert redactor.suspects(line)
        assert json.dumps(key)[1:-1] not in json.dumps(redactor.value(orjson.loads(line))).replace("***", "\0")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    )
)
def test_what_holds_no_key_stays_as_it_is(value: Any) -> None:
    """Values without a key come back equal: numbers, texts, names, order."""
    assert Redactor([Secret(PLAIN), Secret("12345678")]).value(value) == value


def test_numbers_are_no_keys() -> None:
    """A key of digits stands in numbers as well, and these are not touched."""
    value = {"n": 12345678, "x": 0.12345678, "text": "12345678", "deep": [{"12345678": 123456789}]}
    assert Redactor([Secret("12345678")]).value(value) == {
        "n": 12345678,
        "x": 0.12345678,
        "text": "***",
        "deep": [{"***": 123456789}],
    }


def test_longer_key_goes_whole_when_it_contains_a_shorter_one() -> None:
    """Of two keys, one the beginning of the other, no tail stays behind."""
    assert Redactor([Secret("abcdefgh1"), Secret("abcdefgh1-tail")]).value("<abcdefgh1-tail>") == "<***>"


@pytest.mark.parametrize("size", [1, 3, 7])
@pytest.mark.parametrize(
    "make",
    [
        lambda piece: {
            "token": piece,
            "logprob": -0.5,
            "bytes": list(piece.encode()),
            "top_logprobs": [{"token": piece}],
        },
        str,
        lambda piece: {"type": "text", "text": piece},
    ],
    ids=["logprobs", "tokens", "content parts"],
)
def test_a_key_that_a_list_spells_goes(make: Callable[[str], Any], size: int) -> None:
    """A key cut into tokens can be put together again, unless each of them is masked; those around it stay."""
    text = f"So here: {PLAIN}, that is it."
    pieces = [make(text[start : start + size]) for start in range(0, len(text), size)]
    masked = Redactor([Secret(PLAIN)]).value({"content": pieces})["content"]
    spelt = "".join(piece if isinstance(piece, str) else piece.get("token", piece.get("text")) for piece in masked)
    assert PLAIN[size:-size] not in spelt.replace("***", "")
    assert spelt.startswith("So here"[:size])
    assert spelt.endswith("it.")
    assert str(list(PLAIN.encode())[size:-size])[1:-1] not in str(masked)
    assert len(masked) == len(pieces)


def test_a_token_that_is_the_key_goes_with_its_bytes() -> None:
    """The numbers of a token's bytes are the token."""
    token = {"token": f" {PLAIN}", "logprob": -1.0, "bytes": list(PLAIN.encode())}
    assert Redactor([Secret(PLAIN)]).value([token]) == [{"token": "***", "logprob": -1.0}]


def test_the_beginning_of_a_key_at_a_cut_end_goes() -> None:
    """Words are cut to a length before they come here; half a key is more than enough to tell."""
    for length in range(8, len(PLAIN)):
        assert Redactor([Secret(PLAIN)]).text(f"key {PLAIN[:length]}") == "key ***"


def test_deep_values_are_masked_whole() -> None:
    """What nests deeper than anyone looks is no hiding place, and no way to exhaust the stack."""
    value: Any = PLAIN
    for _ in range(5000):
        value = [value]
    assert PLAIN not in repr(Redactor([Secret(PLAIN)]).value({"a": value}))


@pytest.mark.parametrize("value", ["", "ollama", "EMPTY", "none", "lm-studio", "sk-no-key-required"])
def test_placeholders_stay_in_answers(value: str) -> None:
    """A stand-in for "no key" is an ordinary word, and answers with that word stay as they are."""
    text = f"I run on {value} myself"
    assert Redactor([Secret(value)]).value(text) == text
    assert not Redactor([Secret(value)]).suspects(text.encode())


def test_answers_about_keys_stay_whole() -> None:
    """Values lose live keys and nothing else, even if something in them looks like a key."""
    text = "use sk-abcdefghijklmnop as Bearer abcdefghijklmnop123456 or ?key=abc"
    assert Redactor([Secret(PLAIN)]).value(text) == text


def test_without_keys_nothing_is_suspected() -> None:
    """With no key to hide nobody looks at values."""
    assert not Redactor().suspects(b"x" * 1000)
    assert not Redactor([Secret(PLAIN)]).suspects(b"x" * 1000)


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
        ("\x9d0;one\x9d0;two\x07text", "0;onetext"),
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


@pytest.mark.parametrize(
    "begin",
    ["\x9d", "\x90", "\x9b", "\x1b]", "\x1b[", "\x1b", "\x9b0;", "\x1b ", "\x9d\x1b", "\u202e", "e\u0301", "\n"],
)
def test_printable_looks_at_no_more_than_is_shown(begin: str) -> None:
    """A text of megabytes costs what its start costs, and beginnings without an end are looked at once each."""
    assert len(printable(begin * 2_000_000, 80)) <= 2 * 80
    assert len(printable(begin * 300_000)) <= 3 * 300_000


def test_names_of_any_length_in_what_is_said() -> None:
    """They are told by their ends, what stands beside them whole; a sentence of short words has an end as well."""
    name = "n" * 300 + "x" * 100_000 + "m" * 100
    said = sentence(f"{name}: is a link; name another than {name}")
    assert said.count("…") == 2
    assert said.startswith("n" * 300)
    assert "m: is a link; name another than n" in said
    assert len(said) < 2000
    assert len(sentence("word " * 100_000)) < 10_000
    path = "/".join(["folder"] * 90)
    assert sentence(f"{path}: is a link") == f"{path}: is a link"
    assert sentence("red\x1b[31m") == "red"
