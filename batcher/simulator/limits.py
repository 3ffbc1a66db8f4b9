"""Rate limits to the letter: so many requests and tokens in any 60 s, of each model, and what a refusal says. Pure."""

from __future__ import annotations

from collections import defaultdict, deque
from math import inf
from typing import TYPE_CHECKING, NamedTuple

from batcher.simulator.notation import hinted, reset, shows_headers
from batcher.simulator.refusals import REFUSALS, RefusedError, refuse

if TYPE_CHECKING:
    from batcher.simulator.settings import Settings

SPAN = 60.0
Headers = tuple[tuple[str, str], ...]


class Window:
    """At most `limit` in any `SPAN` seconds. `now` never runs backwards."""

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self._taken: deque[tuple[float, float]] = deque()
        self._sum = 0.0

    def left(self, now: float) -> float:
        while self._taken and self._taken[0][0] <= now - SPAN:
            self._sum -= self._taken.popleft()[1]
        return self.limit - self._sum

    def wait(self, amount: float, now: float) -> float:
        """Seconds until `amount` more fits: 0 now, infinite if it never does."""
        missing = amount - self.left(now)
        if missing <= 0:
            return 0.0
        if amount > self.limit:
            return inf
        for when, taken in self._taken:
            missing -= taken
            if missing <= 0:
                return when + SPAN - now
        return inf

    def whole(self, now: float) -> float:
        """Seconds until nothing counts any more."""
        self.left(now)
        return self._taken[-1][0] + SPAN - now if self._taken else 0.0

    def take(self, amount: float, now: float) -> None:
        self._taken.append((now, amount))
        self._sum += amount


class _Measure(NamedTuple):
    """One dimension: its name in headers, its name in words, and its window."""

    name: str
    words: str
    window: Window


class Limits:
    """Who may pass at the door. An answer's tokens are counted when it is asked for: prompt and answer as they are."""

    def __init__(self, settings: Settings) -> None:
        self._hint = settings.hint
        self._count_refused = settings.count_refused
        limits = (
            ("requests", "requests per min (RPM)", settings.rpm),
            ("tokens", "tokens per min (TPM)", settings.tpm),
        )
        self._models: defaultdict[str, list[_Measure]] = defaultdict(
            lambda: [_Measure(name, words, Window(limit)) for name, words, limit in limits if limit is not None]
        )
        self.none = settings.rpm is None and settings.tpm is None

    def admit(self, model: str, tokens: int, now: float, wall: float, *, native: bool) -> Headers:
        """Count a request, and give the headers of its answer. Raises `RefusedError`: HTTP 429."""
        measures = self._models[model]
        amounts = {"requests": 1, "tokens": tokens}
        waits = [measure.window.wait(amounts[measure.name], now) for measure in measures]
        worst = max(range(len(waits)), key=waits.__getitem__)
        if waits[worst]:
            if self._count_refused and measures[0].name == "requests":
                measures[0].window.take(1, now)
            raise self._refusal(measures[worst], amounts, waits[worst], (now, wall), measures, native=native)
        for measure in measures:
            measure.window.take(amounts[measure.name], now)
        return self._headers(measures, now, wall)

    def _headers(
        self, measures: list[_Measure], now: float, wall: float, wait: dict[str, float] | None = None
    ) -> Headers:
        if not shows_headers(self._hint):
            return ()
        found = []
        for name, _, window in measures:
            until = (wait or {}).get(name, window.whole(now))
            found += [
                (f"x-ratelimit-limit-{name}", f"{window.limit:.0f}"),
                (f"x-ratelimit-remaining-{name}", f"{max(0.0, window.left(now)):.0f}"),
                (f"x-ratelimit-reset-{name}", reset(self._hint, until, wall)),
            ]
        return tuple(found)

    def _refusal(
        self,
        at: _Measure,
        amounts: dict[str, int],
        wait: float,
        clocks: tuple[float, float],
        measures: list[_Measure],
        *,
        native: bool,
    ) -> RefusedError:
        (now, wall), amount = clocks, amounts[at.name]
        used = at.window.limit - at.window.left(now)
        if wait == inf:
            words = f"Request too large for model on {at.words}: Limit {at.window.limit:.0f}, Requested {amount}."
            return RefusedError(refuse(REFUSALS["throttled"], native=native, message=words))
        words = f"Rate limit reached on {at.words}: Limit {at.window.limit:.0f}, Used {used:.0f}, Requested {amount}."
        hint = hinted(self._hint, wait, wall)
        headers = hint.headers + self._headers(measures, now, wall, {at.name: wait})
        return RefusedError(
            refuse(REFUSALS["throttled"], native=native, message=words + hint.words, headers=headers, extra=hint.extra)
        )
