"""Answers worth opening: the slowest, the longest, the odd ones, some that failed, by where their lines begin."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from heapq import heappush, heappushpop
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from batcher.view.statistics.measures import Measures

EACH: Final = 8
"""Answers of a kind."""
FLAGS: Final = 12
"""Flags, and codes of failures, of which some are shown."""
OF_EACH: Final = 3
KINDS: Final = {
    "latency": "Slowest answers",
    "ttft": "Slowest first tokens",
    "tokens": "Longest answers",
    "attempts": "Most attempts",
}


@dataclass(slots=True)
class Picks:
    """Of each kind a few."""

    _most: dict[str, list[tuple[float, int]]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    _flagged: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    _failed: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))

    def look(self, start: int, told: Measures) -> None:
        """Look at an answer, whose line begins there."""
        if told.is_request:
            self._weigh("latency", told.total, start)
            self._weigh("ttft", told.ttft, start)
            self._weigh("attempts", told.attempts if told.attempts > 1 else None, start)
        self._weigh("tokens", told.completion_tokens, start)
        for flag in told.flags:
            _some(self._flagged, flag, start)

    def look_at_failure(self, start: int, record: Mapping[str, Any]) -> None:
        error = record.get("error")
        code = error.get("code") if type(error) is dict else None
        _some(self._failed, code[:64] if type(code) is str else "", start)

    def answers(self) -> Iterator[tuple[str, list[int]]]:
        """Headings with the beginnings of lines of results, those that say most first."""
        for kind, words in KINDS.items():
            if best := self._most[kind]:
                yield words, [start for _, start in sorted(best, key=lambda pick: (-pick[0], pick[1]))]
        for flag, starts in sorted(self._flagged.items()):
            yield f"Flagged {flag}", starts

    def failures(self) -> Iterator[tuple[str, list[int]]]:
        """The same of lines of errors."""
        for code, starts in sorted(self._failed.items()):
            yield f"Failed: {code}", starts

    def _weigh(self, kind: str, value: float | None, start: int) -> None:
        best = self._most[kind]
        if value is None:
            return
        if len(best) < EACH:
            heappush(best, (value, start))
        elif value > best[0][0]:
            heappushpop(best, (value, start))


def _some(of: dict[str, list[int]], name: str, start: int) -> None:
    if name in of or len(of) < FLAGS:
        starts = of[name]
        if len(starts) < OF_EACH:
            starts.append(start)
