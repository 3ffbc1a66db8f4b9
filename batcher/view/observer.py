"""Whoever watches a run: what it is told, and when."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from batcher.outcome import Result
    from batcher.view.snapshot import Snapshot


class Observer(Protocol):
    """Whoever watches a run: gets sentences, finished jobs and, now and then, a way to its state, at a cost.

    `wants_total` has the input counted beside the work, where it can be. What is shown goes through `redact`,
    once the keys of the run are known.
    """

    wants_total: bool
    redact: Callable[[str], str]

    def note(self, message: str) -> None: ...
    def finished(self, result: Result) -> None: ...
    def tick(self, snapshot: Callable[[], Snapshot]) -> None: ...
    def asked(self, snapshot: Snapshot) -> None: ...


class Silent:
    """Watches nothing: the observer of programs."""

    wants_total = False
    redact: Callable[[str], str] = str

    def note(self, message: str) -> None: ...
    def finished(self, result: Result) -> None: ...
    def tick(self, snapshot: Callable[[], Snapshot]) -> None: ...
    def asked(self, snapshot: Snapshot) -> None: ...
