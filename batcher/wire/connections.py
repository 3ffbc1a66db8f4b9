"""Connections that are kept, and what is sent on them: none is used again that has anything unread."""

from __future__ import annotations

import asyncio
import math
import select
from dataclasses import dataclass, field
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import BadHttpMessage

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from aiohttp.abc import AbstractStreamWriter
    from aiohttp.connector import Connection
    from aiohttp.http import RawResponseMessage
    from aiohttp.streams import StreamReader
    from aiohttp.tracing import Trace

SEND_TIMEOUT: Final = 60.0
"""Seconds in which a server must take a slice of a request; a frozen one takes what fits the buffers and no more."""
SLICE: Final = 256 * 1024
"""Bytes of a request that are sent at a time; a smaller request fits into the system's buffers and is not watched."""


TRIALS: Final = 16
"""So many requests, the first to a server, have a connection each while it is not known to keep quiet."""
QUIET: Final = 0.25
"""Seconds for which the first connection must bring nothing behind its answer, for that to be known."""


OK: Final = 200
INTERIM: Final = 128
"""Responses of 1xx that may come before the one that counts: a word every few seconds for as long as one waits."""


class Handler(ResponseHandler):
    """What comes on a connection, and whether anything has come that nobody has asked for.

    It ends a connection that brings interim responses without end, which aiohttp passes over.
    """

    was_used = False
    is_asked = False
    has_spoken = False
    """Whether something was read that nobody had asked for."""
    _poll: select.poll | None = None
    _interim = 0

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        if self.is_asked and data[0].code >= OK:
            self.is_asked = False
        elif not self._takes(data[0].code):
            return
        ResponseHandler.feed_data(self, data, size)

    def _takes(self, code: int) -> bool:
        """Whether an answer is taken that is not the one that was asked for: an interim one, or one for nobody."""
        self.has_spoken = not self.is_asked
        self._interim += code < OK
        if self._interim > INTERIM:
            self.close()
            self.set_exception(BadHttpMessage(f"more than {INTERIM} responses of 1xx and none that counts"))
            return False
        return True

    def is_quiet(self) -> bool:
        """Whether nothing is unread: no answer that aiohttp has read already, no byte in the system, no FIN.

        False where that cannot be known: of a connection without a socket of its own.
        """
        transport = self.transport
        if self.has_spoken or transport is None or transport.is_closing():
            return False
        if self._poll is None:
            socket = transport.get_extra_info("socket")
            if socket is None:
                return False
            self._poll = select.poll()
            self._poll.register(socket.fileno(), select.POLLIN)
        return not self._poll.poll(0)

    def ask(self) -> bool:
        """Begin a request; whether the connection was used before."""
        was_used, self.was_used, self.is_asked, self._interim = self.was_used, True, True, 0
        return was_used


class Connector(aiohttp.TCPConnector):
    """A pool that gives a connection again only if nothing has come on it since its last answer.

    HTTP tells answers apart by their order alone: one that comes late, and was for nobody, would be the next request's
    (aiohttp 3.14 asks of a kept connection only whether it is open). When it comes while that request is on its way,
    nobody can tell. So each server has a trial first, and one that ever said more than it was asked gets each request
    on a connection of its own from then on.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        handler: type[ResponseHandler] = Handler
        self._factory = partial(handler, loop=self._loop)
        self._servers: dict[str, _Server] = {}

    def connect(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Coroutine[Any, Any, Connection]:
        name = req.url.raw_authority
        server = self._servers.get(name)
        if server is None:
            server = self._servers[name] = _Server()
        body = req.body
        if type(body) is Body:
            body.server = server
            if (
                not server.is_on_trial and not server.is_unruly
            ):  # of nearly every request; its body looks at the connection before it is written
                return super().connect(req, traces, timeout)
        return self._connect(req, traces, timeout, server, is_counted=type(body) is Body)

    async def _connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,
        server: _Server,
        *,
        is_counted: bool,
    ) -> Connection:
        if server.is_on_trial:
            server.look()
        watched: Connection | None = None
        try:
            while True:
                connection = await super().connect(req, traces, timeout)
                handler = connection.protocol
                assert type(handler) is Handler
                if not handler.was_used or (server.may_use(handler) and handler.is_quiet()):
                    break
                if handler is server.watched and handler.is_quiet():
                    watched = connection
                else:
                    server.is_unruly |= handler.has_spoken
                    connection.close()
        finally:
            if watched is not None:
                watched.release()
        if server.is_unruly:
            handler.force_close()
        elif server.is_on_trial and is_counted:
            server.take(handler, connection)
        if not is_counted:
            handler.ask()
        return connection


@dataclass(slots=True)
class _Server:
    """Whether a server says more than it is asked: not known while it `is_on_trial`.

    On trial the first connection is `watched` after its answer and not used, and the next few requests have one each.
    """

    is_on_trial: bool = True
    is_unruly: bool = False
    watched: Handler | None = None
    _left: int = field(default_factory=lambda: TRIALS)
    _until: float = math.inf
    """When the watch is over; infinity before the first answer."""

    def may_use(self, kept: Handler) -> bool:
        """Whether a connection that was used may be used again, if it is quiet."""
        return not self.is_unruly and kept is not self.watched

    def take(self, kept: Handler, connection: Connection) -> None:
        """Take in the request that a connection is for: the first of all is watched, the next are closed behind it."""
        if self.watched is None:
            self.watched = kept
            connection.add_callback(self._begin)
        elif self._left:
            self._left -= 1
            kept.force_close()

    def look(self) -> None:
        """End the trial when the watched connection has had its time: it is looked at as any other now."""
        if monotonic() >= self._until:
            self.is_on_trial, self.watched = False, None

    def _begin(self) -> None:
        self._until = monotonic() + QUIET


class Body(aiohttp.payload.Payload):
    """A request; a large one is sent in slices that the server has to take in time.

    It holds itself back, with the head of the request, on a kept connection on which something has come.
    """

    headers = aiohttp.payload.BytesPayload(b"", content_type="application/json").headers  # the same for all
    _value: bytes
    server: _Server

    def __init__(self, value: bytes) -> None:
        # not that of `Payload`, which makes headers for each
        self._value = value
        self._size = len(value)
        self.was_kept = self.was_held_back = self.stuck = False

    async def write(self, writer: AbstractStreamWriter) -> None:
        transport = writer.transport
        if transport is not None:
            handler = transport.get_protocol()
            assert type(handler) is Handler
            if handler.was_used and not handler.is_quiet():
                self.was_held_back = True
                self.server.is_unruly |= handler.has_spoken
                raise ConnectionResetError  # before anything was sent
            self.was_kept = handler.ask()
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
