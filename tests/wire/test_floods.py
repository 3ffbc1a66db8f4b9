"""A server that never comes to the answer is given up after a bounded number of bytes, at raw sockets."""

from __future__ import annotations

import asyncio
import gzip
import tracemalloc
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from support.rawserver import answer, take_request

from batcher.failures import AttemptError
from batcher.model import Api, Call, Endpoint, Job, Kind
from batcher.wire.connections import INTERIM
from batcher.wire.dialects import DIALECTS
from batcher.wire.dialects.reading import Reading
from batcher.wire.transport import READ_BUFFER, REPLY_LIMIT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from batcher.wire.transport import Exchange, Transport

MEBI = 1024 * 1024
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nwords\r\n0\r\n"
FIELDS = b"".join(b"X-%d: %b\r\n" % (number, b"y" * 100) for number in range(200))
LONG = b"y" * 16_384
HINTS = b"HTTP/1.1 103 Early Hints\r\n" + FIELDS + b"\r\n"

BEFORE: dict[str, tuple[bytes, bytes]] = {
    "interim responses": (b"", b"HTTP/1.1 102 Processing\r\n\r\n" * 50),
    "interim responses with much": (b"", HINTS),
    "headers": (HEAD, FIELDS),
    "a header": (HEAD + b"X: ", LONG),
    "a reason": (b"HTTP/1.1 200 ", LONG),
}
"""What comes once, and again and again, instead of the head of an answer."""
BEHIND: dict[str, tuple[bytes, bytes]] = {"trailers": (CHUNKED, FIELDS)}
"""The same behind a body."""


@dataclass
class Flood:
    """Sends `begin` and then `more` until the client has gone, or has taken `most` bytes."""

    begin: bytes
    more: bytes
    most: int = 64 * MEBI
    url: str = ""
    sent: int = 0
    requests: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await take_request(reader)
            self.requests += 1
            writer.write(self.begin)
            while self.sent < self.most:
                writer.write(self.more)
                await writer.drain()
                self.sent += len(self.more)
        except (EOFError, OSError, asyncio.CancelledError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def flooding(begin: bytes, more: bytes) -> AsyncIterator[Flood]:
    """A server that does nothing else."""
    made = Flood(begin, more)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield made
    finally:
        server.close()


async def ask(transport: Transport, url: str) -> Exchange:
    """The head of an answer."""
    return await transport.post(Endpoint(root=url, api=Api.NATIVE), "/api/chat", b"{}")


@pytest.mark.anyio
@pytest.mark.parametrize("kind", BEFORE)
async def test_an_answer_that_never_begins(transport: Transport, kind: str) -> None:
    """It fails the attempt, and no more was taken than buffers hold."""
    async with flooding(*BEFORE[kind]) as server:
        with pytest.raises(AttemptError) as caught:
            await ask(transport, server.url)
        await asyncio.sleep(0.01)
        assert caught.value.failure.code == "bad_http"
        assert server.sent < server.most // 4
        assert server.requests == 1


@pytest.mark.anyio
@pytest.mark.parametrize("kind", BEHIND)
async def test_an_answer_that_never_ends(transport: Transport, kind: str) -> None:
    """Behind the last byte of the body."""
    async with flooding(*BEHIND[kind]) as server:
        with pytest.raises(AttemptError):  # at once, or when the head was read
            await (await ask(transport, server.url)).body()
        await asyncio.sleep(0.01)
        assert server.sent < server.most // 4


@pytest.mark.anyio
async def test_what_a_server_says_of_itself_is_short(transport: Transport) -> None:
    """A list of models without an end is cut, long before it fills the memory."""
    async with flooding(HEAD + b"\r\n", b'{"id":"m"},' * 10_000) as server:
        reply = await transport.request("GET", f"{server.url}/v1/models", headers={})
        assert REPLY_LIMIT <= len(reply.body) < 2 * REPLY_LIMIT


@pytest.mark.anyio
@pytest.mark.usefixtures("_no_trial")
async def test_words_in_between_cost_nothing(transport: Transport) -> None:
    """As many as a server says while one waits for its answer; the next answer may have as many."""
    words = b"HTTP/1.1 102 Processing\r\n\r\n" * INTERIM

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await take_request(reader)
                writer.write(words + answer(b"words"))
        except (EOFError, OSError, asyncio.CancelledError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    for _ in range(3):
        assert await (await ask(transport, url)).body() == b"words"
    server.close()


def test_blanks_are_not_kept() -> None:
    """What comes before an answer and says nothing takes no memory, and is not looked at again."""
    call = Call((Job(id="a", seq=0, kind=Kind.CHAT),), "/v1/chat/completions", b"", stream=False, model="m")
    reading = Reading(call, DIALECTS[call.path], "application/json")
    blank = b" " * 65_536
    tracemalloc.start()
    try:
        for _ in range(500):
            assert not reading.feed(blank)
        assert tracemalloc.get_traced_memory()[1] < MEBI
    finally:
        tracemalloc.stop()
    reading.feed(b'{"choices":[{"index":0,"message":{"role":"assistant","content":"a"},"finish_reason":"stop"}]}')
    assert reading.close().first.text == "a"


@pytest.mark.anyio
@pytest.mark.parametrize("size", [10, READ_BUFFER, 3 * MEBI + 1])
async def test_what_was_compressed_comes_in_pieces(transport: Transport, size: int) -> None:
    """A few kB that become MB are given out bit by bit, to the end, and others have their turn between."""
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    body = bytes(number % 7 for number in range(size))
    async with flooding(answer(gzip.compress(body), "Content-Encoding: gzip"), b"") as server:
        server.most = 0
        exchange = await ask(transport, server.url)
        await asyncio.sleep(0.01)
        task = asyncio.create_task(count_turns())
        pieces = []
        while piece := await exchange.read():
            pieces.append(piece)
            assert exchange.is_over == (sum(map(len, pieces)) == size)
        task.cancel()
    assert b"".join(pieces) == body
    assert max(map(len, pieces)) <= READ_BUFFER
    assert turns >= len(pieces) - 1
