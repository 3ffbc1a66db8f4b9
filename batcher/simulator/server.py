"""The server itself: listens, reads what each request asks for, and lets its connection play the answer."""

from __future__ import annotations

import asyncio
import time
from email.utils import formatdate
from typing import TYPE_CHECKING, Self

from batcher.simulator.asks import (
    Ask,
    Durations,
    Look,
    complete,
    normal_name,
    read_body,
    texts_of,
)
from batcher.simulator.behaviours import STOPPING, Behaviour, behaviour_of, parse
from batcher.simulator.connection import Connection
from batcher.simulator.http import Request, response_head
from batcher.simulator.listings import listing
from batcher.simulator.refusals import JSON, REFUSALS, RefusedError, Reply, refuse, say
from batcher.simulator.routes import ANSWERS
from batcher.simulator.script import Step, Steps, bomb, stream, whole
from batcher.simulator.slots import QueueFullError, Slots
from batcher.simulator.tally import Seen, Tally

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable
    from types import TracebackType

NO_FAULTS: frozenset[str] = frozenset()


class Simulator:
    """A server of both APIs that obeys the directives in its prompts: `async with Simulator() as sim: sim.url`.

    `look` "native" is an Ollama, "openai" a llama.cpp without /api. `slots`: requests in service at once (`None`: no
    limit), the rest wait in silence; beyond `max_queue` waiting ones, HTTP 503. Seconds: `token_delay` between records,
    `prompt_delay` before the first, `load` before the first request of a model. `key`: 401 without it. `default`: a
    directive's content, for all texts. `keep`: how many requests are remembered. All that was seen stands in `tally`.
    """

    def __init__(
        self,
        *,
        look: Look = "native",
        models: tuple[str, ...] = ("simulator",),
        port: int = 0,
        slots: int | None = None,
        max_queue: int | None = None,
        max_loaded: int | None = None,
        load: float = 0.0,
        token_delay: float = 0.0,
        prompt_delay: float = 0.0,
        key: str | None = None,
        dims: int = 8,
        default: str = "",
        keep: int = 10_000,
    ) -> None:
        self.look = look
        self.models = frozenset(normal_name(model) for model in models)
        self.port = port
        self.token_delay = token_delay
        self.prompt_delay = prompt_delay
        self.key = key
        self.dims = dims
        self.default: Behaviour = parse(default)
        self.tally = Tally(keep=keep)
        self._paths = frozenset(path for path in ANSWERS if look == "native" or path.startswith("/v1/"))
        self._slots = Slots(self.tally, slots=slots, load=load, max_queue=max_queue, max_loaded=max_loaded)
        self._open: set[Connection] = set()
        self._server: asyncio.Server | None = None
        self._number = 0
        self._date = (0, "")

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
            lambda: Connection(self._serve, self.tally, self._open), "127.0.0.1", self.port, backlog=4096
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Go away as a killed server does: connections are refused from now on, and the open ones reset."""
        if self._server is not None:
            self._server.close()
            self.reset_connections()
            await self._server.wait_closed()
            await asyncio.sleep(0)  # the broken-off requests end
            self._server = None

    def reset_connections(self) -> None:
        """RST on every open connection."""
        for connection in list(self._open):
            connection.reset()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _serve(self, request: Request, wire: Connection) -> None:
        if request.path == "/_sim/counts":
            self._reply(self._listing(request), request, wire)
            return
        self.tally.arrive(request.path)
        try:
            await self._answer(request, wire)
        except RefusedError as refused:
            self._reply(refused.reply, request, wire)
        except QueueFullError:
            self._reply(refuse(REFUSALS["busy"], native=_native(request)), request, wire)
        finally:
            self.tally.leave()

    async def _answer(self, request: Request, wire: Connection) -> None:
        if self.key is not None and request.headers.get("authorization") != f"Bearer {self.key}":
            raise RefusedError(refuse(REFUSALS["unauthorized"], native=_native(request)))
        if request.path not in self._paths or request.method != "POST":
            self._reply(self._listing(request), request, wire)
            return
        ask = self._read(request)
        if ask.faults and self._refuse(ask, request, wire):
            return
        complete(ask, self.models)
        began = time.perf_counter_ns()
        async with self._slots.hold(normal_name(ask.model), ask.body.get("options")):
            await self._play(ask, request, wire, began)

    def _read(self, request: Request) -> Ask:
        """Who asks, how often so far, and what the directive wants. Every input of a pack counts under its own id."""
        native = _native(request)
        body = read_body(request.body, native=native)
        texts = texts_of(request.path, body)
        try:
            behaviours = [behaviour_of(text, self.default) for text in texts] or [self.default]
        except ValueError as error:
            raise say(418, str(error), native=native) from None
        keys = [found.id or text[:80] for found, text in zip(behaviours, texts or [""], strict=True)]
        counts = self.tally.counts
        faults = []
        for key, found in zip(keys, behaviours, strict=True):
            counts[key] += 1
            faults.append(_faults(found) if found.active(counts[key]) else NO_FAULTS)
        chosen = next((i for i, active in enumerate(faults) if active), 0)
        self.tally.remember(Seen(keys[0], time.monotonic(), request.path, request.headers, body))
        self._number += 1
        return Ask(
            path=request.path,
            body=body,
            texts=texts,
            key=keys[chosen],
            look=self.look,
            number=self._number,
            created=time.time(),
            behaviour=behaviours[chosen],
            faults=NO_FAULTS.union(*faults) if len(faults) > 1 else faults[0],
            text_faults=faults,
            dims=self.dims,
        )

    def _refuse(self, ask: Ask, request: Request, wire: Connection) -> bool:
        """Do what the faults want in place of an answer; false if they want nothing of the kind."""
        if "crash" in ask.faults:
            self.reset_connections()
        elif "reset_before" in ask.faults:
            wire.reset()
        elif "close_before" in ask.faults:
            wire.close()
        elif (refusal := ask.behaviour.refusal()) is not None:
            behaviour = ask.behaviour
            reply = refuse(refusal, native=ask.native, message=behaviour.message, headers=behaviour.headers)
            self._reply(reply, request, wire)
        else:
            return False
        return True

    async def _play(self, ask: Ask, request: Request, wire: Connection, began: int) -> None:
        behaviour, faults = ask.behaviour, ask.faults
        served = time.perf_counter_ns()
        if "silent" in faults:
            await wire.wait_closed()
            return
        wait = self.prompt_delay if behaviour.ttft is None else behaviour.ttft
        if wait:
            await asyncio.sleep(wait)
        first = time.perf_counter_ns()

        def measure() -> Durations:
            now = time.perf_counter_ns()
            return Durations(now - began, max(1, served - began), max(1, first - served), max(1, now - first))

        head, steps, chunked = self._script(ask, measure)
        if "close_delimited" in faults:
            request.keep_alive = False
        delay = self.token_delay if behaviour.delay is None else behaviour.delay
        if faults.isdisjoint(STOPPING):
            steps = self._counted(steps, ask.key)
        await wire.play(head, steps, chunked=chunked, sliced="slice" in faults, delay=delay)
        wire.stale = "stale" in faults
        if "hangup" in faults:
            wire.close()

    def _counted(self, steps: Steps, key: str) -> Steps:
        """Count the answer before its terminal mark goes out, so that whoever has heard that finds it counted."""
        counted = False
        for step, data in steps:
            if step is Step.MARK and not counted:
                counted = True
                self.tally.answered[key] += 1
            yield step, data

    def _script(self, ask: Ask, measure: Callable[[], Durations]) -> tuple[bytes, Steps, bool]:
        """The head, the steps, and whether the body is chunked."""
        answer = ANSWERS[ask.path](ask)
        length: int | None = None
        if "bomb" in ask.faults:
            kind, steps = JSON, bomb()
        elif ask.stream:
            kind = "application/x-ndjson" if ask.native else "text/event-stream"
            steps = stream(answer, ask, measure)
        else:
            kind = JSON if ask.native else "application/json"
            length, steps = whole(answer, ask, measure)
        headers = ask.behaviour.headers
        if not ask.faults.isdisjoint(("gzip", "bomb")):
            headers = (*headers, ("Content-Encoding", "gzip"))
        if "close_delimited" in ask.faults:
            length = -1
        return response_head(200, kind, length, self._now(), headers), steps, length is None

    def _listing(self, request: Request) -> Reply:
        return listing(
            request.method,
            request.path,
            request.body,
            look=self.look,
            models=self.models,
            loaded=list(self._slots.loaded),
            counts=self.tally.as_json() if request.path.startswith("/_sim/") else {},
        )

    def _reply(self, reply: Reply, request: Request, wire: Connection) -> None:
        body = b"" if request.method == "HEAD" else reply.body
        wire.write(response_head(reply.status, reply.content_type, len(reply.body), self._now(), reply.headers) + body)

    def _now(self) -> str:
        """The Date header, made once a second."""
        second = int(time.time())
        if second != self._date[0]:
            self._date = (second, formatdate(second, usegmt=True))
        return self._date[1]


def _native(request: Request) -> bool:
    return request.path.startswith("/api/")


def _faults(behaviour: Behaviour) -> frozenset[str]:
    return behaviour.do or frozenset(("status",))
