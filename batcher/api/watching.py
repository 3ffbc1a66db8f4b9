"""Shows how far it is: the live line of the command on stderr, or whatever a program makes of the numbers."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, TypeAlias

from batcher.failures import UsageError
from batcher.view.observer import Silent
from batcher.view.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from batcher.view.observer import Observer
    from batcher.view.snapshot import Snapshot

Watching: TypeAlias = "bool | Callable[[Snapshot], object]"
"""`progress=`: whether the live line is shown, or what is called with a `Snapshot`, five times a second."""


class _Told(Silent):
    """Passes on what it is shown; a callback that raises ends nothing but itself."""

    wants_total = True

    def __init__(self, tell: Callable[[Snapshot], object]) -> None:
        self._tell = tell

    def tick(self, snapshot: Callable[[], Snapshot]) -> None:
        self._tell(snapshot())


def check(progress: Any) -> None:
    """Raise UsageError for what is neither yes, no, nor a function that can be called as it is."""
    if iscoroutinefunction(progress) or iscoroutinefunction(getattr(progress, "__call__", None)):  # noqa: B004 - of an object
        raise UsageError("progress is called and not awaited: give it a plain function")
    if not callable(progress) and not isinstance(progress, bool):
        raise UsageError(f"progress is True, False or a function, not {type(progress).__name__}")


@contextmanager
def watching(progress: Watching) -> Iterator[Observer]:
    """The observer of a run."""
    if callable(progress):
        yield _Told(progress)
    elif progress:
        with Progress(sys.stderr, shown=True) as line:
            yield _Told(line.update)
    else:
        yield Silent()
