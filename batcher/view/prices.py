"""What tokens cost, by model: prices that the user said, for a million tokens. None is known here."""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from batcher.failures import UsageError
from batcher.model import ENDPOINTS, Kind
from batcher.opening import read_given
from batcher.outcome import Usage, count_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_MILLION: Final = 1e6
_WORDLESS: Final = frozenset(path for path, kind in ENDPOINTS.items() if kind in (Kind.EMBED, Kind.IMAGE))
"""Paths whose answers may have no completion tokens. Those of a text have some, and untold they are not free."""
_KINDS: Final = ("in", "cached", "out")
_LATEST: Final = ":latest"
_COUNTS: Final = ("prompt_tokens", "completion_tokens", "reasoning_tokens", "cached_tokens")
"""The fields of `Usage`, as lines have them."""


class Price(NamedTuple):
    """Of a million tokens that go in, of those among them that the server had in its cache, and that come out."""

    prompt: float | None = None
    cached: float | None = None
    """As `prompt`, if it is not known."""
    completion: float | None = None

    def of(self, usage: Usage, *, is_text: bool = False) -> float | None:
        """What an answer cost; `None` if tokens are not told, or have no price. One of text has completion tokens."""
        cached = usage.cached_tokens or 0
        pairs = (
            (None if usage.prompt_tokens is None else max(0, usage.prompt_tokens - cached), self.prompt),
            (cached, self.prompt if self.cached is None else self.cached),
            (usage.completion_tokens if is_text else usage.completion_tokens or 0, self.completion),
        )
        total = 0.0
        for tokens, price in pairs:
            if tokens is None or (tokens and price is None):
                return None
            total += tokens * (price or 0.0) / _MILLION
        return total


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices by the names of models, in which `*` stands for anything, and one for all that have none there."""

    by_name: Mapping[str, Price] = field(default_factory=dict)
    rest: Price | None = None

    def of(self, model: str | None, path: str | None, usage: Usage | None) -> float | None:
        """What a model's answer on an API path cost, by all its tokens; `None` if that is not known."""
        price = self._price(model or "")
        return None if price is None or usage is None else price.of(usage, is_text=is_text(path))

    def of_line(self, record: Mapping[str, Any]) -> float | None:
        """What a line of results or errors cost, as `of`; a copy of another's answer cost nothing."""
        if "copy_of" in record:
            return 0.0
        usage, model, path = record.get("usage"), record.get("model"), record.get("endpoint")
        if type(usage) is not dict:
            return None
        counts = Usage(*(count_of(usage.get(name)) for name in _COUNTS))
        return self.of(model if type(model) is str else None, path if type(path) is str else None, counts)

    def _price(self, model: str) -> Price | None:
        for name in (model, model.removesuffix(_LATEST)):
            if name in self.by_name:
                return self.by_name[name]
        fitting = (price for pattern, price in self.by_name.items() if fnmatchcase(model, pattern))
        return next(fitting, self.rest)


def is_text(path: str | None) -> bool:
    """Whether what answers on an API path is a text, for all that is known: whatever became of the answer."""
    return path not in _WORDLESS


def prices_of(
    prompt: float | None, cached: float | None, completion: float | None, file: Path | None = None
) -> Prices | None:
    """The prices that were said; `None` if none was. Raises UsageError for a file that holds none.

    The file is TOML: a table by the name of each model with `in`, `cached` and `out`.
    """
    by_name = {} if file is None else _read(file)
    rest = Price(prompt, cached, completion)
    if rest == Price():
        return Prices(by_name) if by_name else None
    return Prices(by_name, rest)


def _read(path: Path) -> dict[str, Price]:
    try:
        tables = tomllib.loads(read_given(path).decode("utf-8-sig"))
    except OSError as error:
        raise UsageError(f"--price-file: {path} cannot be read: {error.strerror}") from error
    except ValueError as error:  # UnicodeDecodeError and TOMLDecodeError are of this kind
        raise UsageError(f'--price-file: {path} is no TOML: {error}; names with : or / want quotes, ["a:b"]') from error
    found: dict[str, Price] = {}
    _collect(path, (), tables, found)
    if not found:
        raise UsageError(f"--price-file: {path} holds no price; it is TOML such as [gpt-4o-mini] with in = and out =")
    return found


def _collect(path: Path, names: tuple[str, ...], table: Mapping[str, Any], found: dict[str, Price]) -> None:
    """Take a table's prices, and those of tables in it: `[llama3.2]` without quotes is one called 2 in llama3."""
    name, said = ".".join(names), {}
    for key, value in table.items():
        if isinstance(value, dict):
            _collect(path, (*names, key), value, found)
        elif key not in _KINDS or not names:
            raise UsageError(f"--price-file: {path} says {'.'.join((*names, key))}; a model has {', '.join(_KINDS)}")
        elif isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise UsageError(f"--price-file: {path}: {key} of {name} is no price")
        else:
            said[key] = float(value)
    if said:
        found[name] = Price(*(said.get(kind) for kind in _KINDS))
