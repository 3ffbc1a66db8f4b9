"""How much a filter or a method of a template would make or go through, told before it runs.

A table by name says so for those that make more than they are given, each by its own measure; what is not in it makes
as much as it is given, which is bounded already. Sources: jinja2/filters.py, and the methods of `str`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sized
from string import Formatter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST: Final = 64 * 1024 * 1024
"""Characters that a template may make, all in all or in one go."""
REPEATED: Final = 1 << 20
"""Characters that a text may be repeated to, and entries that a list may have by repeating or adding."""
MOST_SHIFTED: Final = 1 << 32
"""Bytes that may be moved by what moves all that is left for each piece it takes."""

DIGITS: Final = 12
"""Digits of a number in a format that is too large, whatever it says."""
_PERCENT: Final = re.compile(r"%(?:\([^)]*\))?[-+ #0]*(\*|[0-9]*)(?:\.(\*|[0-9]*))?")
_NUMBER: Final = re.compile("[0-9]+")

_TEXTS: Final = {str}
_NUMBERS: Final = {int, float, bool}
GOES_THROUGH: Final = frozenset(
    {
        *("batch", "dictsort", "groupby", "list", "map", "max", "min", "random", "reject", "rejectattr", "reverse"),
        *("select", "selectattr", "slice", "sort", "sum", "unique"),
    }
)
"""Filters that take what they are given entry by entry, a text letter by letter."""


def weight(value: Any, most: int = LONGEST) -> int:
    """The characters of a value written out, about; what is in it twice counts twice. Stops counting above `most`."""
    if isinstance(value, str):
        return len(value)
    heavy, waiting = 0, [value]
    while waiting and heavy <= most:
        one = waiting.pop()
        if isinstance(one, str):
            heavy += len(one) + 4
        elif isinstance(one, Mapping):
            heavy += 2
            waiting.extend(one)
            waiting.extend(one.values())
        elif isinstance(one, list | tuple):
            heavy += 2
            kinds = set(map(type, one))
            if kinds <= _NUMBERS:  # entries of one kind, as nearly all are, at the pace of C
                heavy += 4 * len(one)
            elif kinds == _TEXTS:
                heavy += 4 * len(one) + sum(map(len, one))
            else:
                waiting.extend(one)
        else:
            heavy += 4
    return heavy


class Given(NamedTuple):
    """What a filter or a method is given: the value it is for, and its arguments."""

    value: Any
    args: tuple[Any, ...]
    named: Mapping[str, Any]

    @property
    def text(self) -> str:
        return str(self.value)

    @property
    def all(self) -> tuple[Any, ...]:
        """All arguments."""
        return (*self.args, *self.named.values())

    def at(self, place: int, name: str, default: Any) -> Any:
        """The argument at a place, or by its name."""
        return self.args[place] if len(self.args) > place else self.named.get(name, default)

    def number(self, place: int, name: str, default: int) -> int:
        given = self.at(place, name, default)
        return given if isinstance(given, int) else default


def would_shift(name: str, given: Given) -> int:
    """So many bytes a filter or method would move, for those that move much more than they make."""
    value = given.value
    if name == "wordwrap":
        return len(given.text) // max(1, given.number(0, "width", 79)) * max(map(len, given.text.split()), default=0)
    if name == "sum" and isinstance(given.at(1, "start", 0), list | tuple) and isinstance(value, Sized):
        return len(value) * weight(value)
    if name == "encode" and given.all:  # IDNA and Punycode take the square of the length
        return len(given.text) ** 2
    return 0


def widths(pattern: str, given: tuple[Any, ...] = ()) -> int:
    """The sum of the widths in a format with percent signs; those that are told beside it are in `given`."""
    total = 0
    for match in _PERCENT.finditer(pattern):
        for said in match.groups():
            total += sum(map(_size, given)) if said == "*" else _digits(said or "0")
    return total + pattern.count("%") * max(map(weight, given), default=0)


def _digits(number: str) -> int:
    return int(number) if len(number) < DIGITS else LONGEST + 1


def _size(value: Any) -> int:
    return abs(value) if type(value) is int else len(value) if isinstance(value, str) else 0


def _width(given: Given) -> int:
    return max(map(_size, given.all), default=0)


def _tabs(given: Given) -> int:
    return given.text.count("\t") * given.number(0, "tabsize", 8)


def _indent(given: Given) -> int:
    return len(given.text) + (given.text.count("\n") + 1) * _size(given.at(0, "width", 4))


def _replace(given: Given) -> int:
    old, new, most = str(given.at(0, "old", "")), str(given.at(1, "new", "")), given.number(2, "count", -1)
    times = given.text.count(old)
    return len(given.text) + len(new) * (times if most < 0 else min(times, most))


def _join(given: Given) -> int:
    between = len(str(given.at(0, "d", "")))
    return weight(given.value) + between * (len(given.value) if isinstance(given.value, Sized) else 0)


def _joined_by(given: Given) -> int:
    return _join(Given(given.args[0], (given.value,), {})) if given.args else 0


def _translate(given: Given) -> int:
    table = given.args[0] if given.args else None
    return len(given.text) * max(map(_size, table.values()), default=0) if isinstance(table, Mapping) else 0


def _percent(given: Given) -> int:
    return widths(given.text, given.all)


def _braces(given: Given) -> int:
    longest, total = max(map(weight, given.all), default=0), 0
    try:
        for _, field, spec, _ in Formatter().parse(given.text):
            if field is not None:
                total += longest + sum(map(_digits, _NUMBER.findall(spec or "")))
                total += sum(map(_size, given.all)) if "{" in (spec or "") else 0
    except ValueError:
        return 0  # no format, as Python itself will say
    return total


def _mapped(given: Given) -> int:
    named = given.args[0] if given.args else None
    return _braces(Given(given.value, (), named)) if isinstance(named, Mapping) else 0


def _wrapped(given: Given) -> int:
    between = str(given.at(2, "wrapstring", None) or "\n")
    return len(given.text) // max(1, given.number(0, "width", 79)) * len(between)


def _json(given: Given) -> int:
    return weight(given.value) * (1 + _size(given.at(0, "indent", 0)))


def _links(given: Given) -> int:
    return len(given.text.split()) * max(map(weight, given.all), default=0)


def _parts(given: Given) -> int:
    return len(given.text) * 8


def _whole(given: Given) -> int:
    return weight(given.value)


MAKES: Final[dict[str, Callable[[Given], int]]] = {
    **dict.fromkeys(("center", "ljust", "rjust", "zfill", "batch", "slice"), _width),
    **dict.fromkeys(("split", "rsplit", "splitlines", "title"), _parts),
    **dict.fromkeys(("string", "pprint", "upper", "lower", "capitalize", "urlencode", "e", "escape"), _whole),
    "expandtabs": _tabs,
    "format_map": _mapped,
    "indent": _indent,
    "replace": _replace,
    "tojson": _json,
    "translate": _translate,
    "urlize": _links,
    "wordwrap": _wrapped,
}
"""Name → how many characters it would make, of filters and of methods of texts that are called alike."""
FILTERS: Final = {**MAKES, "format": _percent, "join": _join}
METHODS: Final = {**MAKES, "format": _braces, "join": _joined_by}
