"""Connections that are kept, and what is sent on them: none is used again that has anything unread."""

from __future__ import annotations

import asyncio
import select
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary, ref

import aiohttp

if TYPE_CHECKING:
    from aiohttp.abc import AbstractStreamWriter
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace
    from yarl import URL

SEND_TIMEOUT: Final = 60.0
"""Seconds in which a server must take a slice of a request; a frozen one takes what fits the buffers and no more."""
SLICE: Final = 256 * 1024
"""Bytes of a request that are sent at a time; a smaller request fits into the system's buffers and is not watched."""


class Connector(aiohttp.TCPConnector):
    """A pool that gives a connection again only if nothing has come on it since its last answer.

    HTTP tells answers apart by their order alone: one that comes late, and was for nobody, would be the next request's
    (aiohttp 3.14 asks of a kept connection only whether it is open). A server that once did this gets each request on
    a connection of its own from then on, as it may do it again when a request is on its way already.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._used: WeakKeyDictionary[ResponseHandler, _Kept] = WeakKeyDictionary()
        self._unruly: set[URL] = set()

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        while True:
            connection = await super().connect(req, traces, timeout)
            protocol = connection.protocol
            assert protocol is not None
            kept = self._used.get(protocol)
            if kept is None:
                self._used[protocol] = _Kept(protocol)
            elif not kept.is_quiet():
                if protocol.should_close:
                    self._unruly.add(req.url.origin())
                connection.close()
                continue
            if self._unruly and req.url.origin() in self._unruly:
                protocol.force_close()
            elif type(body := req.body) is Body:
                body.kept = kept
            return connection


class _Kept:
    """A connection on which there was an answer before."""

    __slots__ = ("_poll", "_protocol")

    def __init__(self, protocol: ResponseHandler) -> None:
        self._protocol = ref(protocol)
        self._poll = select.poll()
        assert protocol.transport is not None
        self._poll.register(protocol.transport.get_extra_info("socket").fileno(), select.POLLIN)

    def is_quiet(self) -> bool:
        """Whether nothing is unread: no answer that aiohttp has read already, no byte in the system, no FIN."""
        protocol = self._protocol()
        return protocol is not None and not protocol.should_close and not self._poll.poll(0)


class Body(aiohttp.payload.Payload):
    """A request; a large one is sent in slices that the server has to take in time.

    On a kept connection it holds itself back where something came since the pool gave it: one turn of the event loop
    passes between the two.
    """

    _value: bytes
    kept: _Kept | None

    def __init__(self, value: bytes) -> None:
        super().__init__(value, content_type="application/json")
        self._size = len(value)
        self.kept = None
        self.stuck = self.was_held_back = False

    async def write(self, writer: AbstractStreamWriter) -> None:
        if self.kept is not None and not self.kept.is_quiet():
            self.was_held_back = True
            raise ConnectionResetError
        if len(self._value) <= SLICE:
            await writer.write(self._value)
            return
        view = memoryview(self._value)
        for start in range(0, len(view), SLICE):
            try:
                async with asyncio.timeout(SEND_TIMEOUT):
                    await writer.write(view[start : start + SLICE])
            except TimeoutError:
                self.stuck = True
                raise

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return self._value.decode(encoding, errors)
