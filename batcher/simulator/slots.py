"""Who is served when: models load one after another, slots go first come first served, the rest wait in silence."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

from batcher.simulator.settings import seconds

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from batcher.simulator.settings import Settings
    from batcher.simulator.tally import Tally

LOAD_OPTIONS = ("num_ctx", "num_batch", "num_gpu", "main_gpu", "use_mmap", "num_thread")
"""Options whose change makes Ollama load a model again (server/sched.go)."""


class QueueFullError(Exception):
    """More requests wait than the server allows."""


class _Runner:
    """A loaded model: who uses it or waits for one of its slots, and how long it stays (seconds) when nobody does."""

    def __init__(self, options: str, slots: int | None, keep_alive: float) -> None:
        self.options = options
        self.free = asyncio.Semaphore(slots) if slots else None
        self.keep_alive = keep_alive
        self.users = 0
        self.left = time.monotonic()

    def stays(self) -> bool:
        return self.users > 0 or time.monotonic() - self.left < self.keep_alive


class Slots:
    """The queue of a server. A model that is used is not unloaded: who wants its place waits (server/sched.go)."""

    def __init__(self, settings: Settings, tally: Tally) -> None:
        self._tally = tally
        self._settings = settings
        self._loading = asyncio.Lock()
        self._idle = asyncio.Event()
        self._runners: dict[str, _Runner] = {}

    @property
    def loaded(self) -> list[str]:
        return [name for name, runner in self._runners.items() if runner.stays()]

    def forget(self) -> None:
        """As after a restart: no model is loaded."""
        self._runners.clear()

    @asynccontextmanager
    async def hold(self, model: str, body: dict[str, Any]) -> AsyncIterator[int]:
        """A slot of a loaded model, and when it was loaded (`perf_counter_ns`). Raises `QueueFullError` at once."""
        options = _load_options(body.get("options"))
        runner = self._ready(model, options)
        if runner is None:
            with self._queued():
                runner = await self._load(model, options)
        else:
            runner.users += 1
        loaded = time.perf_counter_ns()
        try:
            async with self._slot(runner):
                yield loaded
        finally:
            runner.users -= 1
            runner.left = time.monotonic()
            runner.keep_alive = _keep_alive(body.get("keep_alive"), runner.keep_alive)
            self._idle.set()

    @asynccontextmanager
    async def _slot(self, runner: _Runner) -> AsyncIterator[None]:
        if runner.free is not None:
            if runner.free.locked():
                with self._queued():
                    await runner.free.acquire()
            else:
                await runner.free.acquire()
        self._tally.enter_service()
        try:
            yield
        finally:
            self._tally.leave_service()
            if runner.free is not None:
                runner.free.release()

    @contextmanager
    def _queued(self) -> Iterator[None]:
        most = self._settings.max_queue
        if most is not None and self._tally.waiting >= most:
            raise QueueFullError
        self._tally.enter_queue()
        try:
            yield
        finally:
            self._tally.leave_queue()

    def _ready(self, model: str, options: str) -> _Runner | None:
        runner = self._runners.get(model)
        return runner if runner is not None and runner.options == options and runner.stays() else None

    async def _load(self, model: str, options: str) -> _Runner:
        """Load unless another request has done so meanwhile. Who leaves breaks its load off, as on Ollama."""
        async with self._loading:
            runner = self._ready(model, options)
            if runner is None:
                while (other := self._in_the_way(model)) is not None:
                    if self._runners[other].users:
                        self._idle.clear()
                        await self._idle.wait()
                    else:
                        del self._runners[other]
                if self._settings.load:
                    await asyncio.sleep(self._settings.load)
                runner = _Runner(options, self._settings.slots, self._settings.keep_alive)
                self._runners[model] = runner
                self._tally.loads[model] += 1
            runner.users += 1
            return runner

    def _in_the_way(self, model: str) -> str | None:
        """A model that must go before this one can be loaded: itself with other options, or an idle one first."""
        most = self._settings.max_loaded
        if model in self._runners:
            return model
        if not most or len(self._runners) < most:
            return None
        return min(self._runners, key=lambda name: self._runners[name].users > 0)


def _load_options(options: object) -> str:
    if not isinstance(options, dict):
        return ""
    return ",".join(f"{name}={options[name]}" for name in LOAD_OPTIONS if name in options)


def _keep_alive(asked: object, before: float) -> float:
    """What a request says of how long its model stays; it holds until another one says something else."""
    if isinstance(asked, str):
        try:
            asked = -1 if asked.startswith("-") else seconds(asked)
        except ValueError:
            return before
    if isinstance(asked, bool) or not isinstance(asked, int | float):
        return before
    return float("inf") if asked < 0 else float(asked)
