"""Connections that are kept, and what is sent on them: none is used again that has anything unread."""

from __future__ import annotations

import asyncio
import math
import select
from dataclasses import dataclass, field
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary, ref

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import BadHttpMessage

if TYPE_CHECKING:
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
    """What comes on a connection; it ends one that brings interim responses without end, which aiohttp passes over."""

    _interim = 0

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        if data[0].code < OK:
            self._interim += 1
            if self._interim > INTERIM:
                self.close()
                self.set_exception(BadHttpMessage(f"more than {INTERIM} responses of 1xx and none that counts"))
                return
        elif self._interim:
            self._interim = 0
        super().feed_data(data, size)


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
        self._used: WeakKeyDictionary[ResponseHandler, _Kept] = WeakKeyDictionary()
        self._servers: dict[str, _Server] = {}

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        name = req.url.raw_authority
        server = self._servers.get(name)
        if server is None:
            server = self._servers[name] = _Server()
        if server.is_on_trial:
            server.look()
        body = req.body if type(req.body) is Body else None
        watched: Connection | None = None
        try:
            while True:
                connection = await super().connect(req, traces, timeout)
                kept = self._used.get(connection.protocol)  # type: ignore[arg-type]  # it has one until it is released
                if kept is None or (server.may_use(kept) and kept.is_quiet()):
                    break
                if kept is server.watched and kept.is_quiet():
                    watched = connection
                else:
                    server.is_unruly |= kept.has_spoken()
                    connection.close()
        finally:
            if watched is not None:
                watched.release()
        if body is not None:
            body.kept = kept
        if kept is None or server.is_on_trial or server.is_unruly:
            self._take_in(connection, server, kept, is_counted=body is not None)
        return connection

    def _take_in(self, connection: Connection, server: _Server, kept: _Kept | None, *, is_counted: bool) -> None:
        """What is not done for nearly every request: the connection is new, or the server not proven."""
        assert connection.protocol is not None
        if kept is None:
            kept = self._used[connection.protocol] = _Kept(connection.protocol)
        if server.is_unruly:
            connection.protocol.force_close()
        elif server.is_on_trial and is_counted:
            server.take(kept, connection)


class _Kept:
    """A connection that may be used again."""

    __slots__ = ("_poll", "_protocol")

    def __init__(self, protocol: ResponseHandler) -> None:
        self._protocol = ref(protocol)
        self._poll: select.poll | None = None
        socket = protocol.transport.get_extra_info("socket") if protocol.transport is not None else None
        if socket is not None:
            self._poll = select.poll()
            self._poll.register(socket.fileno(), select.POLLIN)

    def is_quiet(self) -> bool:
        """Whether nothing is unread: no answer that aiohttp has read already, no byte in the system, no FIN.

        False where that cannot be known: of a connection without a socket of its own.
        """
        protocol, poll = self._protocol(), self._poll
        return protocol is not None and poll is not None and not protocol.should_close and not poll.poll(0)

    def has_spoken(self) -> bool:
        """Whether an answer was read that nobody had asked for; one that is closed has only ended."""
        protocol = self._protocol()
        return protocol is not None and protocol.is_connected() and protocol.should_close


@dataclass(slots=True)
class _Server:
    """Whether a server says more than it is asked: not known while it `is_on_trial`.

    On trial the first connection is `watched` after its answer and not used, and the next few requests have one each.
    """

    is_on_trial: bool = True
    is_unruly: bool = False
    watched: _Kept | None = None
    _left: int = field(default_factory=lambda: TRIALS)
    _until: float = math.inf
    """When the watch is over; infinity before the first answer."""

    def may_use(self, kept: _Kept) -> bool:
        """Whether a connection that was used may be used again, if it is quiet."""
        return not self.is_unruly and kept is not self.watched

    def take(self, kept: _Kept, connection: Connection) -> None:
        """Take in the request that a connection is for: the first of all is watched, the next are closed behind it."""
        if self.watched is None:
            self.watched = kept
            connection.add_callback(self._begin)
        elif self._left:
            self._left -= 1
            assert connection.protocol is not None
            connection.protocol.force_close()

    def look(self) -> None:
        """End the trial when the watched connection has had its time: it is looked at as any other now."""
        if monotonic() >= self._until:
            self.is_on_trial, self.watched = False, None

    def _begin(self) -> None:
        self._until = monotonic() + QUIET


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
