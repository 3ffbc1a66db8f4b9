"""A worker of a run: it makes exchanges for a run elsewhere, until that hangs up."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
from contextlib import AsyncExitStack, suppress
from tempfile import NamedTemporaryFile
from time import monotonic as now
from typing import TYPE_CHECKING, Final

from anyio import to_thread

from batcher.exchange.cluster import parcels
from batcher.exchange.cluster.errand import SPOKEN
from batcher.exchange.cluster.link import Link, asks_in
from batcher.exchange.workers import Workers
from batcher.failures import BatcherError
from batcher.model import Api, Call, Endpoint

if TYPE_CHECKING:
    from batcher.exchange.cluster.errand import Errand, Setup
    from batcher.exchange.cluster.link import Message
    from batcher.outcome import Attempt
    from batcher.servers.local import LocalServer
    from batcher.wire.transport import Transport

CONNECTED_S: Final = 15.0
"""Within which the run must be reached, and must say how it is to be worked for."""
BEAT_S: Final = 1.0
"""Seconds from one word of what comes just now to the next, which shows as well that the worker lives."""


async def work(errand: Errand) -> str:
    """Do what the run at the other end says, until it hangs up; returns why that was the end."""
    worker = Worker()
    link = await worker.connect(errand)
    try:
        if link.is_deaf:
            words = f"the run has {worker.version}, and this machine {SPOKEN}: install the same on both"
            link.send((parcels.FAILED, words, True))
            await _heard(worker)
            return words
        setup = await asyncio.wait_for(worker.setup, CONNECTED_S)
        try:
            return await worker.serve(setup)
        except BatcherError as error:
            link.send((parcels.FAILED, str(error), False))
            await _heard(worker)
            return str(error)
    finally:
        link.close()


async def _heard(worker: Worker) -> None:
    """Wait until the run has heard the last word, and hangs up."""
    with suppress(TimeoutError):
        await asyncio.wait_for(worker.over.wait(), CONNECTED_S)


class Worker:
    """What stands at this end of a run's link: it takes calls, and is the `Reports` of those who make the exchanges."""

    def __init__(self) -> None:
        self.setup: asyncio.Future[Setup] = asyncio.get_running_loop().create_future()
        self.over = asyncio.Event()
        """The run has hung up."""
        self.version = ""
        """Of the run."""
        self._link: Link
        self._workers: Workers
        self._own: Endpoint | None = None
        self._whole = False
        self._endpoints: dict[int, Endpoint] = {}
        self._calls: dict[Call, int] = {}
        self._asked: dict[str, list[int]] = {}

    async def connect(self, errand: Errand) -> Link:
        """Reach the run. Raises OSError."""
        loop = asyncio.get_running_loop()
        opened: asyncio.Future[None] = loop.create_future()

        def lost(_: Link) -> None:
            self.over.set()
            opened.cancel()
            self.setup.cancel()

        def known(link: Link, version: str) -> None:
            self.version, link.is_deaf = version, version != SPOKEN
            if not opened.done():
                opened.set_result(None)

        def make() -> Link:
            return Link(asks_in(errand.number, errand.secret), known, self._take_setup, lost)

        async with asyncio.timeout(CONNECTED_S):
            _, self._link = await loop.create_connection(make, errand.host, errand.port)
            try:
                await opened
            except asyncio.CancelledError:
                self._link.close()
                if not self.over.is_set():
                    raise
                raise ConnectionError("the run hung up: this is not one of its workers") from None
        return self._link

    def _take_setup(self, link: Link, messages: list[Message]) -> None:
        """Take the first message; what comes behind it is for the `Workers`, which are not there yet."""
        first, *rest = messages
        assert first[0] == parcels.SETUP
        if not self.setup.done():
            self.setup.set_result(first[1])
        assert not rest  # the run says nothing more before the worker is ready
        link.take = self._take

    async def serve(self, setup: Setup) -> str:
        """Make exchanges until the run hangs up, or the server of its own dies. Raises BatcherError."""
        _open_many_files()
        self._whole = setup.raw
        self._link.instead = parcels.said_instead
        async with AsyncExitStack() as stack:
            gone: asyncio.Task[str] | None = None
            if setup.local:
                gone = await self._start_server(setup, stack)
            transport = await _transport(setup, stack)
            self._workers = Workers(transport, setup.timeouts, judges=False)
            await stack.enter_async_context(self._workers.open(self))
            stack.callback(self._link.close)  # nobody gives calls to who is about to leave
            beat = asyncio.create_task(self._beat())
            stack.callback(beat.cancel)
            self._link.send((parcels.READY, socket.gethostname()))
            over = asyncio.create_task(self.over.wait())
            stack.callback(over.cancel)
            await asyncio.wait([over, *([] if gone is None else [gone])], return_when=asyncio.FIRST_COMPLETED)
            if gone is not None and gone.done() and not over.done():
                words = f"its llama.cpp server died: {gone.result() or 'without a word'}"
                self._link.send((parcels.FAILED, words, False))
                await _heard(self)
                return words
        return "the run has hung up"

    async def _start_server(self, setup: Setup, stack: AsyncExitStack) -> asyncio.Task[str]:
        from batcher.servers.local import LocalServer

        server = LocalServer(setup.model, slots=setup.slots, threads=setup.threads)
        await stack.enter_async_context(server)
        self._own = Endpoint(
            root=server.url.removesuffix("/v1"),
            api=Api.OPENAI,
            headers={"Authorization": f"Bearer {server.key.reveal()}"},
        )
        gone = asyncio.create_task(_last_words(server))
        stack.callback(gone.cancel)
        return gone

    def begun(self, call: Call) -> None:
        self._link.send((parcels.BEGUN, self._calls[call]))

    def ended(self, call: Call, endpoint: Endpoint, attempt: Attempt) -> None:  # noqa: ARG002 - of `Reports`
        parcel = parcels.said_attempt(attempt, overran=call.overran, whole=self._whole)
        self._link.send((parcels.ENDED, self._calls.pop(call), parcel))

    def told(self, endpoint: Endpoint, *, is_there: bool) -> None:
        numbers = self._asked[endpoint.root]
        self._link.send((parcels.TOLD, numbers.pop(0), is_there))

    def _take(self, _: Link, messages: list[Message]) -> None:
        for message in messages:
            kind = message[0]
            if kind == parcels.CALL:
                number, place, call = parcels.heard_call(message)
                self._calls[call] = number
                self._workers.send(call, self._own or self._endpoints[place])
            elif kind == parcels.PLACE:
                place, endpoint = parcels.heard_endpoint(message)
                self._endpoints[place] = endpoint
            else:
                endpoint = self._own or self._endpoints[message[2]]
                self._asked.setdefault(endpoint.root, []).append(message[1])
                self._workers.ask(endpoint)

    async def _beat(self) -> None:
        while True:
            pieces, heard = self._workers.flow()
            self._link.send((parcels.FLOW, pieces, None if heard is None else now() - heard))
            await asyncio.sleep(BEAT_S)


async def _last_words(server: LocalServer) -> str:
    await server.wait()
    return server.last_words


async def _transport(setup: Setup, stack: AsyncExitStack) -> Transport:
    from batcher.wire.transport import Transport

    ca_file = await to_thread.run_sync(_written, setup.authority) if setup.authority else None
    try:
        return await stack.enter_async_context(
            Transport(
                connect_timeout=setup.connect_timeout, secure=setup.secure, ca_file=ca_file, proxies=setup.proxies
            )
        )
    finally:
        if ca_file is not None:
            os.unlink(ca_file)  # noqa: PTH108 - it was read; who is killed clears nothing away


def _written(authority: bytes) -> str:
    """The path of a file with these certificates, which have none on this machine."""
    with NamedTemporaryFile(prefix="batcher-ca-", suffix=".pem", delete=False) as file:
        file.write(authority)
    return file.name


def _open_many_files() -> None:
    """Have as many connections at once as the system allows: the run says how many calls there are."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
