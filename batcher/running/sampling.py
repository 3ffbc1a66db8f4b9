"""What one step of a sweep meets: a sample of each request that ended, and what there is to say, once in a sweep."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from batcher.view.steps import Sample, quantile

if TYPE_CHECKING:
    from collections.abc import Callable

    from batcher.outcome import Result
    from batcher.view.observer import Observer
    from batcher.view.snapshot import Snapshot

_NUMBERS: Final = re.compile(r"[\d,.]|s\b")
"""What differs where the same is said of another number of rows."""


class Watch:
    """The observer of one step: keeps what ended, and passes on what there is to say, each of it once in a sweep."""

    wants_total = True

    def __init__(self, observer: Observer, said: set[str]) -> None:
        self._observer = observer
        self._said = said
        self.samples: list[Sample] = []

    @property
    def redact(self) -> Callable[[str], str]:
        return self._observer.redact

    @redact.setter
    def redact(self, redact: Callable[[str], str]) -> None:
        self._observer.redact = redact

    def note(self, message: str) -> None:
        kind = _NUMBERS.sub("", message)
        if kind not in self._said:
            self._said.add(kind)
            self._observer.note(message)

    def finished(self, result: Result) -> None:
        self._observer.finished(result)
        if (sample := sample_of(result)) is not None:
            self.samples.append(sample)

    def tick(self, snapshot: Callable[[], Snapshot]) -> None:
        self._observer.tick(snapshot)

    def asked(self, snapshot: Snapshot) -> None:
        self._observer.asked(snapshot)


def sample_of(result: Result) -> Sample | None:
    """What one job tells of the request that it went in; None if it went in none, or another job of the pack tells."""
    timing = result.timing
    if timing is None or not result.attempts or (result.pack is not None and result.pack[0]):
        return None
    usage = result.completion.usage if result.completion is not None else None
    arrivals = timing.arrivals
    return Sample(
        sent=timing.started,
        first=arrivals[0] if arrivals else None,
        ended=timing.finished,
        tokens=usage.completion_tokens if usage is not None else None,
        answers=result.pack[1] if result.pack is not None else 1,
        itl=quantile(timing.gaps(), 0.95),
        ok=result.ok,
    )
