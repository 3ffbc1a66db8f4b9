"""A simulator in a thread of its own, for callers that are not asynchronous or that start other processes."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from batcher.simulator.server import Simulator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from batcher.simulator.settings import Settings
    from batcher.simulator.tally import Tally

ENDING = (signal.SIGINT, signal.SIGTERM)


class BackgroundSimulator(Simulator):
    """A simulator that another thread may kill and revive, freeze and thaw."""

    loop: asyncio.AbstractEventLoop

    def kill(self) -> None:
        """Stop as `stop` does, from another thread; returns when it is done (at most 10 s)."""
        asyncio.run_coroutine_threadsafe(self.stop(), self.loop).result(10)

    def revive(self) -> None:
        """Listen again on the old port, from another thread."""
        asyncio.run_coroutine_threadsafe(self.start(), self.loop).result(10)

    def suspend(self) -> None:
        """Freeze until `thaw`, from another thread; returns when it is frozen (at most 10 s)."""
        frozen = threading.Event()

        def freeze() -> None:
            self.loop.call_soon(self.freeze)
            frozen.set()

        self.loop.call_soon_threadsafe(freeze)
        frozen.wait(10)


@contextmanager
def simulator_thread(**settings: Any) -> Iterator[BackgroundSimulator]:
    """A running simulator, made as `Simulator` is. Raises what starting it raises."""
    simulator = BackgroundSimulator(**settings)
    ready = threading.Event()
    over = asyncio.Event()
    failed: list[BaseException] = []

    async def run() -> None:
        simulator.loop = asyncio.get_running_loop()
        async with simulator:
            ready.set()
            await over.wait()

    def main() -> None:
        try:
            asyncio.run(run())
        except BaseException as error:  # noqa: BLE001 - told to the thread that asked
            failed.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=main, name="simulator", daemon=True)
    thread.start()
    ready.wait()
    try:
        if failed:
            raise failed[0]
        yield simulator
    finally:
        if not failed:
            simulator.loop.call_soon_threadsafe(over.set)
            simulator.thaw()
        thread.join()


def serve(
    settings: Settings,
    ready: Callable[[Simulator], None],
    *,
    tally: Tally | None = None,
    until_stdin_ends: bool = False,
) -> Simulator:
    """Serve until SIGINT, SIGTERM or the end of stdin; give back what was serving. For the main thread of a process.

    `ready` is told when it listens; what is seen goes into `tally`. Raises `OSError` if the port is taken.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)  # before the thread starts, which inherits it
    try:
        with simulator_thread(settings=settings, tally=tally) as simulator:
            ready(simulator)
            if until_stdin_ends:
                threading.Thread(target=_await_end_of_stdin, daemon=True).start()
            signal.sigwait(ENDING)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return simulator


def _await_end_of_stdin() -> None:
    with suppress(OSError):  # stdin may have been closed from the beginning
        while os.read(0, 4096):
            pass
    os.kill(os.getpid(), signal.SIGTERM)
