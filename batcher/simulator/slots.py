"""Who is served when: models load one after another, slots go first come first served, the rest wait in silence."""

from __future__ import annotations

import asyncio
import math
import time
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

from batcher.simulator.runners import LOAD_OPTIONS, Runner, Runners, Want
from batcher.simulator.settings import seconds

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from batcher.simulator.settings import Settings
    from batcher.simulator.tally import Tally


class QueueFullError(Exception):
    """More requests wait than the server allows."""


class Slots:
    """The queue of a server, on the clock of its event loop: `Runners` says who has a model, this who has a slot."""

    def __init__(self, settings: Settings, tally: Tally) -> None:
        self._tally = tally
        self._settings = settings
        self._runners = Runners(settings.keep_alive, settings.max_loaded, settings.load, settings.unload)
        self._free: dict[Runner, asyncio.Semaphore] = {}
        self._waiting: dict[Want, asyncio.Future[None]] = {}
        self._alarm: asyncio.TimerHandle | None = None

    @property
    def loaded(self) -> list[str]:
        self._advance()
        return list(self._runners.loaded)

    def forget(self) -> None:
        """As after a restart: no model is loaded."""
        self._runners.forget()
        self._advance()

    def expire(self, model: str) -> None:
        """Unload a model as soon as nobody uses it."""
        self._runners.expire(model, _now())
        self._advance()

    @asynccontextmanager
    async def hold(self, model: str, body: dict[str, Any]) -> AsyncIterator[int]:
        """A slot of a loaded model, and when it was loaded (`perf_counter_ns`). Raises `QueueFullError` at once.

        `body` is that of a request to Ollama's own API; those to /v1 say nothing of loading.
        """
        want = Want(model, _load_options(body), _keep_alive(body.get("keep_alive")))
        try:
            if self._runners.would_serve(model, want.options):
                self._runners.ask(want)
            else:
                with self._queued():
                    await self._given(want)
            loaded = time.perf_counter_ns()
            async with self._slot(want.runner):
                yield loaded
        finally:
            self._runners.done(want, _now())
            self._advance()

    async def _given(self, want: Want) -> None:
        self._runners.ask(want)
        given = self._waiting[want] = asyncio.get_running_loop().create_future()
        try:
            self._advance()
            await given
        finally:
            del self._waiting[want]

    def _advance(self) -> None:
        """Let the models load and go that are due, wake who has one now, and come back for what is due later."""
        later = self._runners.advance(_now())
        self._tally.loads.update(self._runners.loads)
        self._runners.loads.clear()
        for want, given in self._waiting.items():
            if want.runner is not None and not given.done():
                given.set_result(None)
        if len(self._free) > len(self._runners.loaded):
            self._free = {one: free for one, free in self._free.items() if one in self._runners.loaded.values()}
        if self._alarm is not None:
            self._alarm.cancel()
        loop = asyncio.get_running_loop()
        self._alarm = loop.call_at(later, self._advance) if later < math.inf else None

    @asynccontextmanager
    async def _slot(self, runner: Runner | None) -> AsyncIterator[None]:
        free = None
        if self._settings.slots and runner is not None:
            free = self._free.setdefault(runner, asyncio.Semaphore(self._settings.slots))
            if free.locked():
                with self._queued():
                    await free.acquire()
            else:
                await free.acquire()
        self._tally.enter_service()
        try:
            yield
        finally:
            self._tally.leave_service()
            if free is not None:
                free.release()

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


def _now() -> float:
    return asyncio.get_running_loop().time()


def _load_options(body: dict[str, Any]) -> dict[str, object]:
    """What a request names of what its model is loaded with; `shift` is one such option (`needsReload`)."""
    given = body.get("options")
    found = {name: given[name] for name in LOAD_OPTIONS if name in given} if isinstance(given, dict) else {}
    return found | ({"shift": False} if body.get("shift") is False else {})


def _keep_alive(asked: object) -> float | None:
    """How long a request says that its model stays; None if it says nothing that can be read."""
    if isinstance(asked, str):
        try:
            asked = -1 if asked.startswith("-") else seconds(asked)
        except ValueError:
            return None
    if isinstance(asked, bool) or not isinstance(asked, int | float):
        return None
    return math.inf if asked < 0 else float(asked)
