"""The page of a report: HTML in which what others wrote stays text, under a policy that forbids to load anything."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from batcher import codec
from batcher.figures import count, seconds
from batcher.outcome import number_of
from batcher.redaction import Redactor
from batcher.view.report.contents import clean, headline, notes, tables, tiles
from batcher.view.report.distributions import distributions
from batcher.view.report.frame import render
from batcher.view.report.overtime import over_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from batcher.model import Json
    from batcher.view.report.picks import Picks
    from batcher.view.statistics.statistics import Statistics

TEXT: Final = 4000
"""Characters of a text that are shown."""
BUDGET: Final = 1_200_000
"""Bytes of what others wrote; with all else a page stays below 2 MB, and 3 are allowed."""
FIELDS: Final = {
    "text": "Answer",
    "thinking": "Thinking",
    "refusal": "Refusal",
    "tool_calls": "Tool calls",
    "parsed": "Parsed",
    "mismatch": "Mismatch",
    "error": "Why it failed",
    "partial": "What had come",
    "meta": "meta",
    "timing": "Timing",
    "usage": "Tokens",
}
"""Field of a line → its heading, in the order in which they are read."""
_KEPT: Final = ("model", "system", "endpoint", "params", "options", "extra", "aliases", "recipe", "prefix", "repeat")


class Text(NamedTuple):
    title: str
    text: str


class Shown(NamedTuple):
    """An answer, or a failure; `is_above` where it is shown earlier on the page."""

    place: str
    ident: str
    words: str
    parts: list[Text]
    is_above: bool


class Pick(NamedTuple):
    title: str
    answers: list[Shown]


class Parameter(NamedTuple):
    name: str
    value: str


@dataclass(slots=True, kw_only=True)
class Report:
    """What a page is made of. `at` and `failure_at` read the line that begins at a byte, of results and of errors."""

    name: str
    version: str
    statistics: Statistics
    picks: Picks
    at: Callable[[int], Mapping[str, Any] | None]
    failure_at: Callable[[int], Mapping[str, Any] | None]
    run: Mapping[str, Json] = field(default_factory=dict)
    """What the run was told; nothing where that is not known."""
    input: Mapping[str, Json] = field(default_factory=dict)
    selection: Mapping[str, Json] = field(default_factory=dict)
    status: str = ""
    _spent: int = 0
    _shown: set[str] = field(default_factory=set)
    _cut: int = 0
    """Texts of which not all is shown."""

    def render(self) -> str:
        """Make the page."""
        of, stretches = self.statistics, self.statistics.stretches()
        found = of.bottleneck(stretches)
        bound = of.told_bottleneck or (found.words if found is not None else "")
        picks = list(self._picks())
        words = {
            "name": clean(self.name),
            "version": self.version,
            "headline": headline(of, stretches),
            "bottleneck": clean(bound),
            "tiles": list(tiles(of, stretches)),
            "notes": list(notes(of)),
            "over_time": list(over_time(of, stretches)),
            "distributions": list(distributions(of)),
            "tables": list(tables(of)),
            "picks": picks,
            "picks_note": f"{count(self._cut, 'texts')} are cut." if self._cut else "",
            "parameters": list(self._parameters()),
        }
        return render("page.html.j2", **words)

    def _picks(self) -> Iterator[Pick]:
        for title, starts in self.picks.answers():
            yield Pick(clean(title), [self._one(f"r{start}", self.at(start)) for start in starts])
        for title, starts in self.picks.failures():
            yield Pick(clean(title), [self._one(f"e{start}", self.failure_at(start)) for start in starts])

    def _one(self, place: str, record: Mapping[str, Any] | None) -> Shown:
        record = record or {}
        ident = self._text(str(record.get("id") or "(no id)"), 200)
        is_above = place in self._shown
        self._shown.add(place)
        parts = []
        for name, title in FIELDS.items():
            value = record.get(name)
            if not is_above and value not in (None, "", [], {}):
                text = value if type(value) is str else codec.told(value)
                parts.append(Text(title, self._text(text, TEXT)))
        return Shown(place, ident, self._text(_measures(record), 300), parts, is_above)

    def _text(self, text: str, most: int) -> str:
        """As much of a text as there is room for."""
        if self._spent >= BUDGET:
            self._cut += 1
            return "… (left out: the page is full)"
        kept = clean(text[:most])
        if len(text) > most:
            self._cut += 1
            kept += f" … ({count(len(text))} characters in all)"
        self._spent += 5 * len(kept)  # as entities, or in UTF-8
        return kept

    def _parameters(self) -> Iterator[Parameter]:
        if not self.run and not self.input:
            return
        parts = self.input.get("inputs")
        parts = parts if isinstance(parts, list) and parts else [self.input]
        paths = [str(part.get("path")) for part in parts if isinstance(part, dict) and part.get("path")]
        told = {"input": ", ".join(paths[:20]), **{name: self.run.get(name) for name in _KEPT}}
        told |= {"rows taken": dict(self.selection) or None, "last run": self.status}
        for name, value in told.items():
            if value not in (None, "", {}, []):
                text = value if isinstance(value, str) else codec.told(value)
                yield Parameter(name, self._text(_unsaid(text), TEXT))


def _unsaid(text: str) -> str:
    """Without what looks like a key; the state file has none that was known."""
    return Redactor().text(text)


def _measures(record: Mapping[str, Any]) -> str:
    """What a line's summary says beside its id."""
    timing, usage, error = (_mapping(record.get(name)) for name in ("timing", "usage", "error"))
    parts = []
    for name, words in (("total_s", "{}"), ("ttft_s", "first token after {}")):
        if (value := number_of(timing.get(name))) is not None:
            parts.append(words.format(seconds(value)))
    if type(tokens := usage.get("completion_tokens")) is int:
        parts.append(count(tokens, "tokens"))
    if type(attempts := record.get("attempts")) is int and attempts > 1:
        parts.append(count(attempts, "attempts"))
    flags = record.get("flags")
    parts += [flag for flag in flags[:5] if type(flag) is str] if type(flags) is list else []
    parts += [str(error["code"])] if "code" in error else []
    parts += [model] if type(model := record.get("model")) is str else []
    return " · ".join(parts)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if type(value) is dict else {}
