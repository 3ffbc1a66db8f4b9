"""Holds kept connections to their one rule, over real sockets: what has anything unread is not used again."""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from support.rawserver import answer, take_request

from batcher.failures import AttemptError
from batcher.model import Api, Endpoint
from batcher.wire.connections import QUIET, TRIALS, Connector

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from batcher.wire.transport import Transport

pytestmark = pytest.mark.anyio

CHUNKED = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nSTALE\r\n0\r\n\r\n"
)
LATE = {
    "a whole answer": answer(b"STALE"),
    "a streamed answer": CHUNKED,
    "an answer without a body": b"HTTP/1.1 204 No Content\r\n\r\n",
    "its head alone": answer(b"STALE" * 20)[:-80],
    "half a head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "a notice of its end": b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
    "a word in between": b"HTTP/1.1 100 Continue\r\n\r\n",
    "what is no HTTP": b"\r\nbye\r\n",
    "its end": b"",
}
"""What may come on a connection for nobody."""
SWALLOWED = LATE["half a head"]
"""What the parser takes in without a sign, if it is let: see the test of the rest of it."""


@dataclass
class Peer:
    """Answers the n-th request of all with `answer n`; `descriptors` are those of its connections."""

    url: str = ""
    requests: int = 0
    before: bytes = b""
    behind: bytes = b""
    """What goes before each answer, and follows it, in the same packet."""
    streams: bool = False
    descriptors: list[int] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.descriptors.append(writer.get_extra_info("socket").fileno())
        try:
            while True:
                await take_request(reader)
                self.requests += 1
                body = b"answer %d" % self.requests
                whole = CHUNKED.replace(b"5\r\nSTALE", b"%x\r\n%b" % (len(body), body))
                writer.write(self.before + (whole if self.streams else answer(body)) + self.behind)
        except (EOFError, OSError, asyncio.CancelledError):
            writer.close()

    def say(self, late: bytes) -> None:
        """Have these bytes, or a FIN, in the client's system at once, whatever its event loop has read."""
        with socket.socket(fileno=os.dup(self.descriptors[-1])) as end:
            if late:
                end.send(late)
            else:
                end.shutdown(socket.SHUT_WR)


@asynccontextmanager
async def peer(**settings: Any) -> AsyncIterator[Peer]:
    made = Peer(**settings)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield made
    finally:
        server.close()


async def ask(transport: Transport, url: str) -> bytes:
    exchange = await transport.post(Endpoint(root=url, api=Api.NATIVE), "/api/chat", b"{}")
    try:
        return await exchange.body()
    except BaseException:
        exchange.close()
        raise


async def turns() -> None:
    """Let the event loop read what has come."""
    for _ in range(5):
        await asyncio.sleep(0.001)


@pytest.mark.usefixtures("_no_trial")
@pytest.mark.parametrize("streams", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("is_read", [False, True], ids=["in the system", "read by the loop"])
@pytest.mark.parametrize("late", LATE.values(), ids=LATE)
async def test_what_came_late_is_nobodys(transport: Transport, late: bytes, *, is_read: bool, streams: bool) -> None:
    """The next job gets the answer to its own request, on another connection; the old one hears no more."""
    async with peer(streams=streams) as server:
        assert await ask(transport, server.url) == b"answer 1"
        server.say(late)
        if is_read:
            await turns()
        if late is SWALLOWED and is_read:
            return
        assert await ask(transport, server.url) == b"answer 2"
        assert (server.requests, len(server.descriptors)) == (2, 2)


@pytest.mark.usefixtures("_no_trial")
@pytest.mark.parametrize("kind", ["a whole answer", "a streamed answer", "its head alone", "a word in between"])
async def test_what_comes_in_the_same_packet_is_nobodys(transport: Transport, kind: str) -> None:
    """The second of two answers to one request is thrown away with its connection."""
    late = LATE[kind]
    async with peer(behind=late) as server:
        for number in range(1, 4):
            assert await ask(transport, server.url) == b"answer %d" % number
        assert len(server.descriptors) == 3


@pytest.mark.usefixtures("_no_trial")
@pytest.mark.parametrize(
    "late", [LATE["a whole answer"], LATE["a streamed answer"], b""], ids=["whole", "stream", "FIN"]
)
async def test_what_comes_as_it_is_about_to_be_used(
    transport: Transport, monkeypatch: pytest.MonkeyPatch, late: bytes
) -> None:
    """Between the pool's look and the sending the event loop has a turn; nothing is sent if something came in it."""
    connect = Connector.connect

    async with peer() as server:
        assert await ask(transport, server.url) == b"answer 1"

        async def late_connect(self: Connector, *args: Any, **named: Any) -> Any:
            connection = await connect(self, *args, **named)
            if len(server.descriptors) == 1:
                server.say(late)
            return connection

        monkeypatch.setattr(Connector, "connect", late_connect)
        assert await ask(transport, server.url) == b"answer 2"
        assert (server.requests, len(server.descriptors)) == (2, 2)


@pytest.mark.usefixtures("_no_trial")
async def test_a_server_that_said_more_than_it_was_asked_gets_new_connections(transport: Transport) -> None:
    """The next time it may do so when a request is on its way, and nobody could tell."""
    async with peer() as server:
        assert await ask(transport, server.url) == b"answer 1"
        server.say(answer(b"STALE"))
        await turns()
        for number in range(2, 5):
            assert await ask(transport, server.url) == b"answer %d" % number
        assert len(server.descriptors) == 4


@pytest.mark.usefixtures("_no_trial")
async def test_a_connection_that_is_quiet_is_used_again(transport: Transport) -> None:
    """The rule costs nobody a connection who keeps to HTTP."""
    async with peer() as server:
        for number in range(1, 4):
            assert await ask(transport, server.url) == b"answer %d" % number
        assert len(server.descriptors) == 1


@pytest.mark.usefixtures("_no_trial")
async def test_the_rest_of_an_earlier_answer_is_no_fault_of_the_next(transport: Transport) -> None:
    """Half a head was read while nobody waited: what follows is no HTTP, and counts as a connection that was closed."""
    async with peer() as server:
        assert await ask(transport, server.url) == b"answer 1"
        server.say(SWALLOWED)
        await turns()
        server.before = b"ngth: 5\r\n\r\nSTALE"
        with pytest.raises(AttemptError) as caught:
            await ask(transport, server.url)
        server.before = b""
        assert caught.value.failure.code == "disconnected"
        assert await ask(transport, server.url) == b"answer 3"


@pytest.mark.usefixtures("_no_trial")
async def test_a_small_request_too_is_answered_by_its_own_answer(transport: Transport) -> None:
    """What asks a server for its models shares the connections of the run."""
    async with peer() as server:
        assert await ask(transport, server.url) == b"answer 1"
        server.say(answer(b"STALE"))
        assert (await transport.request("GET", f"{server.url}/api/tags", headers={})).body == b"answer 2"


class Clock:
    """Stands still unless it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("batcher.wire.connections.monotonic", made)
    return made


async def test_the_first_requests_have_a_connection_each(transport: Transport, clock: Clock) -> None:
    """Until the first of them was quiet for a while, or they were many; what is watched is not used meanwhile."""
    async with peer() as server:
        for number in range(1, TRIALS + 2):
            assert await ask(transport, server.url) == b"answer %d" % number
            assert len(server.descriptors) == number
        for _ in range(3):  # the trial has taken enough of them: one connection serves the next
            await ask(transport, server.url)
        assert len(server.descriptors) == TRIALS + 2
        clock.now += QUIET
        for _ in range(3):
            await ask(transport, server.url)
        assert len(server.descriptors) == TRIALS + 2


async def test_a_server_that_keeps_quiet_has_passed(transport: Transport, clock: Clock) -> None:
    """Then the connection that was watched is used as any other."""
    async with peer() as server:
        await ask(transport, server.url)
        clock.now += QUIET
        for _ in range(3):
            await ask(transport, server.url)
        assert len(server.descriptors) == 1


@pytest.mark.parametrize("requests", [2, TRIALS + 4])
async def test_what_comes_late_is_seen_on_the_connection_that_is_watched(
    transport: Transport, clock: Clock, requests: int
) -> None:
    """Though nobody could have told if it had been used: from then on no connection is used twice."""
    async with peer() as server:
        for _ in range(requests):
            await ask(transport, server.url)
        os.write(server.descriptors[0], answer(b"STALE"))
        await turns()
        opened = len(server.descriptors)
        clock.now += QUIET
        for number in range(1, 4):
            assert await ask(transport, server.url) == b"answer %d" % (requests + number)
        assert len(server.descriptors) == opened + 3


async def test_a_watched_connection_that_ends_proves_nothing_bad(transport: Transport, clock: Clock) -> None:
    """Servers close idle connections."""
    async with peer() as server:
        await ask(transport, server.url)
        server.say(b"")
        await turns()
        for _ in range(TRIALS + 5):
            await ask(transport, server.url)
        assert len(server.descriptors) == 1 + TRIALS + 1
        clock.now += QUIET
        await ask(transport, server.url)
        assert len(server.descriptors) == 1 + TRIALS + 1
