"""Keeps keys out of everything that is written or shown, and control characters out of terminals.

Secret      a key that does not show itself
Redactor    takes keys out of text (messages, logs) and of bytes (result lines), however they are encoded there
printable   a server's or a model's words, made safe for a terminal
"""

from __future__ import annotations

import base64
import json
import re
import unicodedata
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MASK = "***"

SHORTEST = 8
"""Shorter values are placeholders ("ollama", "none"); taking them out of answers would maim the answers."""

PLACEHOLDERS = frozenset(
    {"lm-studio", "lmstudio", "not-needed", "no-key-required", "sk-no-key-required", "placeholder"}
)
"""Longer values that tutorials give for servers that check no key."""


class Secret:
    """A key. `str`, `repr` and `format` give `***`; only `reveal` gives the key."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return MASK

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


class Redactor:
    """Replaces live keys by `***`: as they are, url-quoted, JSON-escaped and in base64.

    Values shorter than 8 characters and the well-known placeholders for "no key" stay.
    """

    def __init__(self, secrets: Iterable[Secret] = ()) -> None:
        self._forms: list[str] = []
        self.add(secrets)

    def add(self, secrets: Iterable[Secret]) -> None:
        """Hide these as well from now on."""
        keys = {secret.reveal() for secret in secrets}
        found = {form for key in keys if _is_worth_hiding(key) for form in _forms(key)}.union(self._forms)
        # The longest first, so that no form is cut by a shorter one it contains.
        self._forms = sorted(found, key=lambda form: (-len(form), form))
        self._data_forms = [form.encode() for form in self._forms]

    def text(self, text: str) -> str:
        """For messages and logs: the live keys, and whatever looks like a key."""
        for form in self._forms:
            text = text.replace(form, MASK)
        for pattern, replacement in PATTERNS:
            text = pattern.sub(replacement, text)
        return text

    def data(self, data: bytes) -> bytes:
        """For result lines: the live keys and nothing else, since an answer may well be about keys."""
        # `in` searches at memory speed; a regular expression over the alternatives is ten times slower.
        for form in self._data_forms:
            if form in data:
                data = data.replace(form, MASK.encode())
        return data


PATTERNS = (
    (re.compile(r"\bsk-[\w-]{8,}"), f"sk-{MASK}"),
    # Ordinary words follow "bearer" as well ("missing bearer authentication"); a key is long or has a digit.
    (
        re.compile(r"\b(bearer)\s+(?:(?=[\w.~+/=-]*\d)[\w.~+/=-]{6,}|[\w.~+/=-]{20,})", re.IGNORECASE | re.ASCII),
        rf"\1 {MASK}",
    ),
    (
        re.compile(
            r"([?&](?:(?:\w{1,20}[-_])?(?:key|token|secret)|apikey|sig|signature)=)[^&#\s\"'<>]+", re.IGNORECASE
        ),
        rf"\1{MASK}",
    ),
    (re.compile(r"://[^/\s@]{1,256}@"), f"://{MASK}@"),
)
"""What a key looks like that is not ours, and what stands there instead."""


def _is_worth_hiding(key: str) -> bool:
    return len(key) >= SHORTEST and key.lower() not in PLACEHOLDERS


def _forms(key: str) -> Iterator[str]:
    yield key
    quoted = quote(key, safe="")
    yield quoted
    yield re.sub("%..", lambda match: match[0].lower(), quoted)
    yield quote(key)
    escaped = json.dumps(key)[1:-1]
    yield escaped
    yield escaped.replace("/", "\\/")
    # Go's encoder escapes what HTML minds; Ollama is written in Go.
    yield escaped.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    for form in _base64_forms(key.encode()):
        yield form
        yield form.replace("+", "-").replace("/", "_")


def _base64_forms(key: bytes) -> Iterator[str]:
    """Give the characters that stand for the key wherever it begins: base64 reads three bytes at a time."""
    for before in range(3):
        text = base64.b64encode(bytes(before) + key).decode().rstrip("=")
        first = (before * 8 + 5) // 6  # the characters before this one hold bits of what stands before the key
        last = (before + len(key)) * 8 // 6  # and those from here on, bits of what stands behind it
        yield text[first:last]


SEQUENCES = re.compile(
    r"(?:\x1b[\]PX^_]|[\x90\x98\x9d\x9e\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)"  # OSC, DCS and kin, with text
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor, screen
    r"|\x1b[ -/]*[0-~]"  # the short escapes
)
SPACES = re.compile("[\t\n\u2028\u2029]")
CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
SURROGATES = re.compile("[\ud800-\udfff]")


def printable(text: str, width: int | None = None) -> str:
    """Text on one line that commands no terminal, cut to `width` cells with an ellipsis.

    Escape sequences go with their text, other control characters and marks that turn the writing direction go alone;
    tabs and line ends become spaces, half surrogates (which no terminal can be sent) the replacement character.
    """
    if not (text.isascii() and text.isprintable()):
        text = SEQUENCES.sub("", text)
        text = SPACES.sub(" ", text)
        text = CONTROLS.sub("", text)
        text = SURROGATES.sub("\ufffd", text)
    return text if width is None else _cut(text, width)


def _cut(text: str, width: int) -> str:
    if text.isascii():
        return text if len(text) <= width else text[: max(width - 1, 0)] + "…"[:width]
    used = 0
    kept = 0  # characters that leave a cell for the ellipsis
    for index, character in enumerate(text):
        used += _cells(character)
        if used <= width - 1:
            kept = index + 1
        if used > width:
            return text[:kept] + "…"[:width]
    return text


def _cells(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in {"Mn", "Me", "Cf"}:
        return 0
    return 2 if unicodedata.east_asian_width(character) in {"W", "F"} else 1
