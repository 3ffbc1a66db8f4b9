"""One client's connection: bytes in, requests out; answers played step by step, to their end or to the fault's."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, cast

from batcher.simulator.http import LAST_CHUNK, BadRequestError, Request, RequestParser, chunk
from batcher.simulator.script import Step, Steps

if TYPE_CHECKING:
    from batcher.simulator.tally import Tally

PATIENCE = 60.0
"""Seconds after which a stalled connection is closed, so that no test hangs for ever."""
PING_EVERY = 0.02

Serve = Callable[[Request, "Connection"], Awaitable[None]]


class Connection(asyncio.Protocol):
    """Serves the requests of one connection in turn. A client that closes breaks off its request, as in Go."""

    def __init__(self, serve: Serve, tally: Tally, open_connections: set[Connection], *, deaf: bool = False) -> None:
        self._serve = serve
        self._tally = tally
        self._open = open_connections
        self._deaf = deaf
        self._parser = RequestParser()
        self._task: asyncio.Task[None] | None = None
        self._resumed: asyncio.Event | None = None
        self._ended = False
        self._interrupted = False
        self._chunked = False
        self.begun = False
        """True: bytes of the answer now in the making have been sent."""
        self.left = False
        """True: the client went away before its answer was over."""
        self.stale = False
        """True: the next request finds the connection closed."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._open.add(self)
        self._tally.connections += 1
        if self._deaf:
            self._transport.pause_reading()
            asyncio.get_running_loop().call_later(PATIENCE, self.close)

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - either way it is over
        self._open.discard(self)
        if self._task is not None:
            if not self._ended:
                self.left = True
                self._tally.aborted += 1
            self._task.cancel()
        self._ended = True

    def data_received(self, data: bytes) -> None:
        if self.stale:
            self.close()
            return
        self._parser.feed(data)
        if self._task is None:
            self._advance()

    def pause_writing(self) -> None:
        self._resumed = asyncio.Event()

    def resume_writing(self) -> None:
        if self._resumed is not None:
            self._resumed.set()
            self._resumed = None

    def write(self, data: bytes) -> None:
        self._transport.write(data)

    def close(self) -> None:
        """FIN, after what was written."""
        self._ended = True
        self._transport.close()

    def reset(self) -> None:
        """RST, at once."""
        self._ended = True
        sock = self._transport.get_extra_info("socket")
        if sock is not None and sock.fileno() >= 0:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    def interrupt(self, last_words: bytes) -> None:
        """Break the answer in the making off with these bytes; the connection lives on."""
        if self._task is None:
            return
        if self.begun:
            last_words = (chunk(last_words) if last_words else b"") + LAST_CHUNK if self._chunked else last_words
        self._transport.write(last_words)
        self._interrupted = True
        self._task.cancel()

    async def wait_closed(self) -> None:
        """Silence until the client closes, which cancels the request; at most `PATIENCE` seconds."""
        await asyncio.sleep(PATIENCE)
        self.close()

    async def play(self, head: bytes, steps: Steps, *, chunked: bool, sliced: bool, delay: Callable[[], float]) -> None:
        """Send an answer. `delay` gives the seconds to the next record; they are kept on average too."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        self._chunked = chunked
        sent = 0
        for step, data in steps:
            if step is Step.RECORD or step is Step.MARK:
                if sent and step is Step.RECORD and (pause := delay()):
                    due += pause
                    await asyncio.sleep(max(0.0, due - loop.time()))
                await self._send(head + (chunk(data) if chunked else data), sliced=sliced)
                head = b""
                sent += 1
                if step is Step.RECORD and not sent & 63:
                    await asyncio.sleep(0)  # others want their turn too
                continue
            if head or step is Step.END:
                await self._send(head + (LAST_CHUNK if chunked and step is Step.END else b""), sliced=sliced)
            await self._finish(step, chunk(data) if chunked else data)
            return

    async def _finish(self, step: Step, ping: bytes) -> None:
        if step is Step.CUT:
            self.close()
        elif step is Step.RESET:
            self.reset()
        elif step is Step.STALL:
            await self.wait_closed()
        elif step is Step.PING:
            for _ in range(int(PATIENCE / PING_EVERY)):
                await self._send(ping, sliced=False)
                await asyncio.sleep(PING_EVERY)
            self.close()

    async def _send(self, data: bytes, *, sliced: bool) -> None:
        self.begun = True
        if sliced:
            for i in range(len(data)):
                self._transport.write(data[i : i + 1])
                await asyncio.sleep(0)
        elif data:
            self._transport.write(data)
        if self._resumed is not None:
            await self._resumed.wait()

    def _advance(self) -> None:
        """Take up the next request, if it is all there."""
        try:
            request = self._parser.next()
        except BadRequestError:
            self._transport.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            self.close()
            return
        if request is not None:
            self._task = asyncio.get_running_loop().create_task(self._run(request))
        elif self._parser.take_expectation():
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    async def _run(self, request: Request) -> None:
        self.begun = False
        try:
            await self._serve(request, self)
        except asyncio.CancelledError:
            if not self._interrupted:
                raise
            self._interrupted = False
        except Exception as error:  # noqa: BLE001 - a bug of the simulator must show, and must not hang its client
            context = {"message": f"the simulator failed on {request.path}", "exception": error}
            asyncio.get_running_loop().call_exception_handler(context)
            self.reset()
        self._task = None
        if self._ended:
            return
        if request.keep_alive:
            self._advance()
        else:
            self.close()
