"""Who is served when: models load one after another, slots go first come first served, the rest wait in silence."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine

    from batcher.simulator.tally import Tally

LOAD_OPTIONS = ("num_ctx", "num_batch", "num_gpu", "main_gpu", "use_mmap", "num_thread")
"""Options whose change makes Ollama load a model again (server/sched.go)."""


class QueueFullError(Exception):
    """More requests wait than the server allows."""


class Slots:
    """`slots` `None`: no limit. `load` in seconds. `max_loaded` models stay; the longest loaded one makes room."""

    def __init__(
        self, tally: Tally, *, slots: int | None, load: float, max_queue: int | None, max_loaded: int | None
    ) -> None:
        self._tally = tally
        self._free = asyncio.Semaphore(slots) if slots else None
        self._load = load
        self._max_queue = max_queue
        self._max_loaded = max_loaded
        self._loading = asyncio.Lock()
        self._waiting = 0
        self.loaded: dict[str, str] = {}

    @asynccontextmanager
    async def hold(self, model: str, options: object) -> AsyncIterator[None]:
        """A slot of a loaded model. Raises `QueueFullError` at once if too many wait already."""
        settings = _load_options(options)
        if self.loaded.get(model) != settings:
            await self._wait_for(self._load_model(model, settings))
        if self._free is not None:
            if self._free.locked():
                await self._wait_for(self._free.acquire())
            else:
                await self._free.acquire()
        self._tally.enter_service()
        try:
            yield
        finally:
            self._tally.leave_service()
            if self._free is not None:
                self._free.release()

    async def _wait_for(self, turn: Coroutine[object, object, object]) -> None:
        if self._max_queue is not None and self._waiting >= self._max_queue:
            turn.close()
            raise QueueFullError
        self._waiting += 1
        try:
            await turn
        finally:
            self._waiting -= 1

    async def _load_model(self, model: str, settings: str) -> None:
        """Load unless another request has done so meanwhile. Who leaves breaks its load off, as on Ollama."""
        async with self._loading:
            if self.loaded.get(model) == settings:
                return
            if self._load:
                await asyncio.sleep(self._load)
            self.loaded.pop(model, None)
            self.loaded[model] = settings
            self._tally.loads[model] += 1
            if self._max_loaded and len(self.loaded) > self._max_loaded:
                del self.loaded[next(iter(self.loaded))]


def _load_options(options: object) -> str:
    if not isinstance(options, dict):
        return ""
    return ",".join(f"{name}={options[name]}" for name in LOAD_OPTIONS if name in options)
