"""The first signal drains a run, the second cancels it; results are flushed both times."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import anyio

if TYPE_CHECKING:
    from collections.abc import Callable

ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(slots=True)
class Signals:
    """Listens while a run lasts. `drain` is set once there is something to drain; before that a signal cancels."""

    scope: anyio.CancelScope
    note: Callable[[str], None]
    grace: float
    drain: Callable[[], None] | None = None
    received: signal.Signals | None = None

    async def listen(self) -> None:
        """Wait for signals until cancelled. Leaves the process's handlers as they were."""
        with anyio.open_signal_receiver(*ENDING) as arriving:
            async for number in arriving:
                if self.received is not None or self.drain is None:
                    self.received = self.received or number
                    self.scope.cancel()
                    continue
                self.received = number
                self.note(
                    f"{number.name}: no new requests; waiting up to {self.grace:g} s for those in flight "
                    "(once more to cancel them)"
                )
                self.drain()
                # The deadline of the whole run moves here: what has not finished by then is asked again next time.
                self.scope.deadline = anyio.current_time() + self.grace


def die_of(number: signal.Signals) -> None:
    """End this process by a signal, as its parent expects of a program that was signalled."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
