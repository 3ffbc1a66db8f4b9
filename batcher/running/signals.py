"""What signals do to a run: the first drains it, the second cancels it, a third ends the process; SIGUSR1 asks it.

Results are flushed after the first and after the second. The end of `--max-duration` drains as a signal does.
"""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import anyio

from batcher.failures import Exit, Failure, FailureClass
from batcher.figures import span

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(slots=True)
class Signals:
    """Listens while a run lasts. `drain` is set once there is something to drain; before that a signal cancels.

    `grace` is seconds; `asked` is called when SIGUSR1 asks how it goes.
    """

    scope: anyio.CancelScope
    note: Callable[[str], None]
    grace: float
    asked: Callable[[], None]
    drain: Callable[[Failure | None], None] | None = None
    received: signal.Signals | None = None
    expired: Failure | None = None
    """Set when the run's time was over."""

    async def listen(self) -> None:
        """Wait for signals until cancelled. From then on a signal ends the process at once."""
        # Who started the run with nohup wants it to outlive the terminal.
        heeded = [number for number in ENDING if signal.getsignal(number) is not signal.SIG_IGN]
        try:
            with _answering(self.asked), anyio.open_signal_receiver(*heeded) as arriving:
                async for number in arriving:
                    self._end(number.name, number=number)
        finally:
            signal.signal(signal.SIGINT, signal.SIG_DFL)

    async def expire(self, after: float) -> None:
        """End the run when its time (seconds) is over, if nothing else has."""
        await anyio.sleep(after)
        if self.received is None:
            self.expired = out_of_time(after)
            self._end(self.expired.message)

    async def conclude(self, after: float) -> None:
        """Have nothing more sent after this time (seconds), without a word; what is in flight has its grace."""
        await anyio.sleep(after)
        if self.received is None and self.expired is None and self.drain is not None:
            self.drain(None)
            self.scope.deadline = anyio.current_time() + self.grace

    def _end(self, why: str, *, number: signal.Signals | None = None) -> None:
        draining = self.received is not None or (self.expired is not None and number is not None)
        self.received = self.received or number
        if draining or self.drain is None:
            self.scope.cancel()
            return
        more = "once more to cancel" if number else "a signal cancels"
        self.note(f"{why}: no new requests; waiting up to {self.grace:g} s for those in flight ({more} them)")
        self.drain(self.expired)
        # The deadline of the whole run moves here: what has not finished by then is asked again next time.
        self.scope.deadline = anyio.current_time() + self.grace


def out_of_time(after: float) -> Failure:
    """Why a run ends whose time (seconds) is over."""
    return Failure(FailureClass.FATAL, "max_duration", f"--max-duration ({span(after)}) is over", exit=Exit.STOPPED)


def harden() -> None:
    """For the rest of the process SIGUSR1, which asks, cannot end it, nor can writing from the background stop it."""
    for number in (signal.SIGUSR1, signal.SIGTTOU):
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def _answering(answer: Callable[[], None]) -> Iterator[None]:
    """Have SIGUSR1 call `answer` on the event loop. Set by hand: a loop's own handler would leave a deadly default."""
    loop = asyncio.get_running_loop()
    before = signal.signal(signal.SIGUSR1, lambda *_: loop.call_soon_threadsafe(answer))
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)


def die_of(number: signal.Signals) -> None:
    """End this process by a signal, as its parent expects of a program that was signalled."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
