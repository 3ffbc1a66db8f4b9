"""A simulator in a thread of its own, for callers that are not asynchronous or that start other processes."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from batcher.simulator.server import Simulator

if TYPE_CHECKING:
    from collections.abc import Iterator


class BackgroundSimulator(Simulator):
    """A simulator that another thread may kill and revive."""

    loop: asyncio.AbstractEventLoop

    def kill(self) -> None:
        """Stop as `stop` does, from another thread; returns when it is done (at most 10 s)."""
        asyncio.run_coroutine_threadsafe(self.stop(), self.loop).result(10)

    def revive(self) -> None:
        """Listen again on the old port, from another thread."""
        asyncio.run_coroutine_threadsafe(self.start(), self.loop).result(10)


@contextmanager
def simulator_thread(**settings: Any) -> Iterator[BackgroundSimulator]:
    """A running simulator with the settings of `Simulator`. Raises what starting it raises."""
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
        thread.join()
