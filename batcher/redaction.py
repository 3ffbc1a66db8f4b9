"""Keeps keys out of everything that is written or shown, and control characters out of terminals.

Secret      a key that does not show itself
Redactor    takes keys out of text (messages, logs) and out of JSON values before they are written
printable   a server's or a model's words, made safe for a terminal
"""

from __future__ import annotations

import base64
import re
import unicodedata
from typing import TYPE_CHECKING, Any, Final, TypeAlias

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


_Json: TypeAlias = Any
"""As `model.Json`: this file stands below that one."""
_DEPTH: Final = 200
"""Levels of a value that are looked at; what is deeper is masked whole. The writer of lines keeps no more either."""
_RARE: Final = "QXZJKVYUWGHFBNLODRPMESIACTqzjxkvwybgpfmuhcdlr9876543210nsiaote"
"""Letters and digits, those first that answers and the fields around them have the least of."""
_PIECES: Final = ("token", "text", "content")
"""Where an object in a list holds a piece of what the list spells: logprobs, content parts."""


class Redactor:
    """Replaces live keys by `***`: as they are, escaped as URLs and JSON escape, and in base64.

    Values shorter than 8 characters and the well-known placeholders for "no key" stay. Numbers are no keys, and
    nothing is done to bytes of JSON: a key may be the digits of a time, or `true`.
    """

    def __init__(self, secrets: Iterable[Secret] = ()) -> None:
        self._keys: list[str] = []
        self.add(secrets)

    def __bool__(self) -> bool:
        """Whether there is anything to hide."""
        return bool(self._keys)

    def add(self, secrets: Iterable[Secret]) -> None:
        """Hide these as well from now on."""
        keys = {key for secret in secrets if _is_worth_hiding(key := secret.reveal())}.union(self._keys)
        # The longest first, so that no key is cut by a shorter one it contains.
        self._keys = sorted(keys, key=lambda key: (-len(key), key))
        encoded = {form for key in keys for form in _base64_forms(key.encode())}
        self._patterns = [re.compile(_spelling(key)) for key in self._keys]
        self._patterns += [re.compile(re.escape(form)) for form in sorted(encoded, key=lambda form: (-len(form), form))]
        self._anchors = _anchors([*self._keys, *sorted(encoded)])

    def text(self, text: str) -> str:
        """For messages and logs: the live keys, the beginning of one at a cut end, and whatever looks like a key."""
        text = self.clipped(text)
        for pattern, replacement in PATTERNS:
            text = pattern.sub(replacement, text)
        return text

    def clipped(self, text: str) -> str:
        """For a text that may have been cut: the live keys, and the beginning of one at its end."""
        text = self._masked(text)
        for key in self._keys:
            for length in range(len(key) - 1, SHORTEST - 1, -1):
                if text.endswith(key[:length]):
                    return text[:-length] + MASK
        return text

    def suspects(self, line: bytes) -> bool:
        """Whether JSON may hold a key, so that its values are to be looked at: rarely true of one that holds none."""
        # One byte is searched for ten times as fast as several, those ten times as fast as a regular expression.
        for rare, anchor in self._anchors:  # noqa: SIM110 - `any` takes half as long again
            if rare in line and anchor in line:
                return True
        return False

    def value(self, value: _Json, depth: int = 0) -> _Json:
        """For JSON values: the live keys in its texts and nothing else, since an answer may well be about keys."""
        if isinstance(value, str):
            return self._masked(value)
        if isinstance(value, tuple):
            return tuple(self.value([*value], depth))
        if not isinstance(value, dict | list):
            return value
        if depth >= _DEPTH:
            return MASK
        if isinstance(value, dict):
            return {
                self._masked(key) if isinstance(key, str) else key: self.value(item, depth + 1)
                for key, item in value.items()
            }
        return [self.value(item, depth + 1) for item in self._unspelt(value)]

    def _masked(self, text: str) -> str:
        for pattern in self._patterns:
            text = pattern.sub(MASK, text)
        return text

    def _unspelt(self, items: list[_Json]) -> list[_Json]:
        """Mask what spells a key when it is read one after the other, as the tokens of logprobs do."""
        places = [_piece(item) for item in items]
        spelt = "".join(text for _, text in places)
        spans = [match.span() for pattern in self._patterns for match in pattern.finditer(spelt)]
        if not spans:
            return items
        kept = []
        end = 0
        for item, (name, text) in zip(items, places, strict=True):
            start, end = end, end + len(text)
            # a key within one text is masked where it stands; a token goes whole, and so do the numbers of its bytes
            hit = any(a < end and start < b and (name == "token" or not start <= a <= b <= end) for a, b in spans)
            kept.append(_without(item, name) if hit else item)
        return kept


PATTERNS = (
    (re.compile(r"\bsk-[\w-]{8,}"), f"sk-{MASK}"),
    # Ordinary words follow "bearer" as well ("missing bearer authentication"); a key is long or has a digit.
    (
        re.compile(r"\b(bearer)\s+(?:(?=[\w.~+/=-]*\d)[\w.~+/=-]{6,}|[\w.~+/=-]{20,})", re.IGNORECASE | re.ASCII),
        rf"\1 {MASK}",
    ),
    (
        re.compile(
            r"([?&](?:(?:[\w-]{1,40}[-_])?(?:key|token|secret|signature|password|credential)|apikey|sig)=)[^&#\s\"'<>]+",
            re.IGNORECASE,
        ),
        rf"\1{MASK}",
    ),
    (re.compile(r"(:/{1,2})[^/\s@]{1,256}@"), rf"\1{MASK}@"),  # one slash: as a path, which it was taken for
)
"""What a key looks like that is not ours, and what stands there instead."""


def _is_worth_hiding(key: str) -> bool:
    return len(key) >= SHORTEST and key.lower() not in PLACEHOLDERS


def _spelling(key: str) -> str:
    r"""Give a pattern for a key in which any character may be escaped, as encoders differ in what they escape.

    Go's escapes `<>&`, .NET's `+` as well, PHP's `/`; JSON within JSON has its backslashes doubled.
    """
    return "".join(_character(character) for character in key)


def _character(character: str) -> str:
    code = f"{ord(character):02x}"
    either = "".join(f"[{digit}{digit.upper()}]" if digit.isalpha() else digit for digit in code)
    plain = re.escape(character) if character.isalnum() else rf"\\{{0,8}}{re.escape(character)}"
    return rf"(?:{plain}|\\{{1,8}}u00{either}|%(?:25)?{either})"


def _anchors(forms: Iterable[str]) -> tuple[tuple[bytes, bytes], ...]:
    """Give texts of which one is in whatever holds one of the forms: of each the longest part that nobody escapes.

    With each its rarest character, as far as lines of JSON go.
    """
    anchors: list[str] = []
    for form in forms:
        if not any(anchor in form for anchor in anchors):
            anchors.append(max(re.findall("[A-Za-z0-9]+", form), key=len, default=""))
    return tuple((min(anchor, key=_RARE.find, default="").encode(), anchor.encode()) for anchor in anchors)


def _piece(item: _Json) -> tuple[str, str]:
    """Where a piece of text stands in an item of a list, "" if it is the item, and the text."""
    if isinstance(item, str):
        return "", item
    if isinstance(item, dict):
        return next(((name, item[name]) for name in _PIECES if isinstance(item.get(name), str)), ("", ""))
    return "", ""


def _without(item: _Json, name: str) -> _Json:
    """An item of which a text is masked, and with it all but its single numbers."""
    if not name:
        return MASK
    numbers = {key: value for key, value in item.items() if isinstance(value, int | float)}
    return {name: MASK, **numbers}


def _base64_forms(key: bytes) -> Iterator[str]:
    """Give the characters that stand for the key wherever it begins: base64 reads three bytes at a time."""
    for before in range(3):
        text = base64.b64encode(bytes(before) + key).decode().rstrip("=")
        first = (before * 8 + 5) // 6  # the characters before this one hold bits of what stands before the key
        last = (before + len(key)) * 8 // 6  # and those from here on, bits of what stands behind it
        yield text[first:last]
        yield text[first:last].replace("+", "-").replace("/", "_")


SEQUENCES = re.compile(
    # OSC, DCS and kin, with text: up to the next one that begins, lest each looks for an end as far as the text goes
    r"(?:\x1b[\]PX^_]|[\x90\x98\x9d\x9e\x9f])[^\x07\x1b\x90\x98\x9c-\x9f]*(?:\x07|\x1b\\|\x9c)"
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor, screen
    r"|\x1b[ -/]*[0-~]"  # the short escapes
)
CELL: Final = 64
"""Characters that are looked at for a cell that is shown: a text of megabytes is not read for the start of it."""
SPACES = re.compile("[\t\n\u2028\u2029]")
CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
SURROGATES = re.compile("[\ud800-\udfff]")


_NAMES: Final = re.compile(r"(\S{400})\S{200,}(\S{100})")
"""A name that is longer than anybody reads: the longest of a file in one directory has 255 bytes."""
_ENDS: Final = 700
"""Characters of the shortest text in which there may be one."""
_SENTENCE: Final = 8000
"""The most characters that are said at once; of names that are longer `_READ` are looked at."""
_READ: Final = 1 << 20


def printable(text: str, width: int | None = None) -> str:
    """Text on one line that commands no terminal, cut to `width` cells with an ellipsis.

    Escape sequences go with their text, other control characters and marks that turn the writing direction go alone;
    tabs and line ends become spaces, half surrogates (which no terminal can be sent) the replacement character.
    """
    if width is not None:
        text = text[: CELL * width + CELL * CELL]
    if not (text.isascii() and text.isprintable()):
        text = SEQUENCES.sub("", text)
        text = SPACES.sub(" ", text)
        text = CONTROLS.sub("", text)
        text = SURROGATES.sub("\ufffd", text)
    return text if width is None else _cut(text, width)


def sentence(text: str) -> str:
    """As `printable`, for what is said to people.

    Names of any length stand in it, and are told by their two ends; what looks like a key is none of it.
    """
    text = text[:_READ]
    for pattern, replacement in PATTERNS:
        text = pattern.sub(replacement, text)
    if len(text) > _ENDS:
        text = _NAMES.sub(lambda match: f"{match[1]}…{match[2]}", text)
        text = text if len(text) <= _SENTENCE else f"{text[:_SENTENCE]}…"
    return printable(text)


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
