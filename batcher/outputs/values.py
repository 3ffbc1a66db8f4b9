"""How values stand in cells, which hold texts and numbers: what nests is JSON, and what a spreadsheet would run is not.

A spreadsheet takes a text for a formula if it begins with one of `= + - @`, a tab, a carriage return or a line feed,
and may run it on whoever opens the file (https://owasp.org/www-community/attacks/CSV_Injection). Such texts get an
apostrophe in front, which spreadsheets take for "this is text"; a number is none.
"""

from __future__ import annotations

import re
from base64 import b64decode
from typing import TYPE_CHECKING, Final

from batcher import codec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batcher.model import Json

_RUNS: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a formula begins with; the last four are the wide forms, which spreadsheets in East Asia take for it too."""
_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+(?:[.,][0-9]+)*|[.,][0-9]+)(?:[eE][+-]?[0-9]+)?%?")
NESTED: Final = frozenset({dict, list})


def guarded(text: str) -> str:
    """The text so that no spreadsheet runs it."""
    return "'" + text if text.startswith(_RUNS) and _NUMBER.fullmatch(text) is None else text


def text_of(value: Json) -> str:
    """A value as text: texts as they are, all else as JSON."""
    return value if type(value) is str else codec.dumps(value).decode()


def cells(values: Sequence[Json], *, guard: bool) -> list[str]:
    """A column of texts; null is an empty one. A NUL, which no table may have, becomes U+FFFD."""
    found = ["" if value is None else value if type(value) is str else text_of(value) for value in values]
    if "\0" in "".join(found):
        found = [text.replace("\0", "\ufffd") for text in found]
    return [guarded(text) for text in found] if guard else found


def bytes_of(vector: Json) -> bytes | None:
    """A vector as little-endian float32, whichever of the two forms it is stored in; `None` if it is none."""
    from batcher.ledger.vectors import to_base64

    try:
        return b64decode(to_base64(vector), validate=True)
    except (TypeError, ValueError, OverflowError):
        return None
