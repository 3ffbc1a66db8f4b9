"""The server itself: listens, hands requests on, and goes away, freezes and comes back as it is told."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from batcher.simulator.connection import Connection
from batcher.simulator.listings import listing
from batcher.simulator.refusals import REFUSALS, RefusedError, Reply, refuse
from batcher.simulator.routes import ANSWERS
from batcher.simulator.service import Service
from batcher.simulator.settings import DEFAULTS, Settings
from batcher.simulator.slots import QueueFullError
from batcher.simulator.tally import Seen, Tally

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Awaitable, Callable
    from types import TracebackType

    from batcher.simulator.http import Request


class Simulator:
    """A server of both APIs that obeys the directives in its prompts: `async with Simulator() as sim: sim.url`.

    It takes `Settings`, or their fields. All that was seen stands in `tally`, a new one if none is given.
    """

    def __init__(self, settings: Settings = DEFAULTS, *, tally: Tally | None = None, **more: Any) -> None:
        self.settings = replace(settings, **more)
        self.look = self.settings.look
        self.port = self.settings.port
        self.tally = Tally(keep=self.settings.keep) if tally is None else tally
        self._service = Service(self.settings, self.tally, self.reset_connections)
        self._open: set[Connection] = set()
        self._server: asyncio.Server | None = None
        self._cycles: list[asyncio.Task[None]] = []
        self._thawed = threading.Event()

    @property
    def url(self) -> str:
        """The base URL, without a slash at its end and without /v1."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def counts(self) -> Counter[str]:
        """Requests for an answer by id."""
        return self.tally.counts

    @property
    def peak_in_flight(self) -> int:
        """The most requests that were received and not yet done with at one time."""
        return self.tally.peak_in_flight

    def requests(self, id: str) -> list[Seen]:  # noqa: A002 - the word used everywhere
        """The remembered requests of one id, oldest first."""
        return self.tally.requests(id)

    async def start(self) -> None:
        """Listen. Raises `OSError` if the port is taken. A simulator that was stopped listens on its old port."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Connection(self._serve, self.tally, self._open, deaf=self.settings.deaf),
            "127.0.0.1",
            self.port,
            backlog=4096,
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Go away as a killed server does: connections are refused, the open ones reset, no model stays loaded."""
        if self._server is not None:
            loop = asyncio.get_running_loop()
            for listener in self._server.sockets:
                loop.remove_reader(listener.fileno())  # nothing more is accepted; a closed listener denies what was
            for _ in range(2):  # just accepted its transport, so that gets it first,
                await asyncio.sleep(0)
            self._server.close()
            for _ in range(5):  # and is connected some turns later
                self.reset_connections()
                await asyncio.sleep(0)
            await self._server.wait_closed()
            await asyncio.sleep(0)  # the broken-off requests end
            self._service.slots.forget()
            self._server = None

    def reset_connections(self) -> None:
        """RST on every open connection."""
        for connection in list(self._open):
            connection.reset()

    def freeze(self, seconds: float | None = None) -> None:
        """Do nothing at all, as if by SIGSTOP, for so long or until another thread calls `thaw`."""
        self._thawed.clear()
        self._thawed.wait(seconds)

    def thaw(self) -> None:
        """Go on after a freeze. May be called from any thread."""
        self._thawed.set()

    async def __aenter__(self) -> Self:
        await self.start()
        settings = self.settings
        for every, lasting, trouble in (
            (settings.down_every, settings.down_for, self._go_down),
            (settings.freeze_every, settings.freeze_for, self._stand_still),
            (settings.storm_every, settings.storm_for, self._storm),
        ):
            if every:
                self._cycles.append(asyncio.create_task(self._cycle(every, lasting, trouble)))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._cycles:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await self.stop()

    async def _cycle(self, every: float, lasting: float, trouble: Callable[[float], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(every - lasting)
            self.tally.outages += 1
            await trouble(lasting)
            self.tally.recovered.append(time.time())

    async def _go_down(self, lasting: float) -> None:
        await self.stop()
        await asyncio.sleep(lasting)
        await self.start()

    async def _stand_still(self, lasting: float) -> None:
        self.freeze(lasting)

    async def _storm(self, lasting: float) -> None:
        self._service.storm_until = time.monotonic() + lasting
        await asyncio.sleep(lasting)

    async def _serve(self, request: Request, wire: Connection) -> None:
        if request.path.startswith("/_sim/"):
            self._service.reply(self._listing(request), request, wire)
            return
        self.tally.arrive(request.path)
        native = request.path.startswith("/api/")
        try:
            self._let_in(request, native=native)
            if request.method == "POST" and request.path in ANSWERS[self.look]:
                await self._service.answer(request, wire)
            else:
                self._service.reply(self._listing(request), request, wire)
        except RefusedError as refused:
            self._turn_away(refused.reply, request, wire)
        except QueueFullError:
            self._turn_away(refuse(REFUSALS["busy"], native=native), request, wire)
        finally:
            self.tally.leave()

    def _let_in(self, request: Request, *, native: bool) -> None:
        key = self.settings.key
        if key is not None and request.headers.get("authorization") != f"Bearer {key}":
            raise RefusedError(refuse(REFUSALS["unauthorized"], native=native))

    def _turn_away(self, reply: Reply, request: Request, wire: Connection) -> None:
        self.tally.refused[reply.kind] += 1
        self._service.reply(reply, request, wire)

    def _listing(self, request: Request) -> Reply:
        return listing(
            request.method,
            request.path,
            request.body,
            look=self.look,
            models=self._service.models,
            loaded=self._service.slots.loaded,
            counts=self.tally.as_json() if request.path.startswith("/_sim/") else {},
        )
