"""The last job of an input, and a server that takes connections and says nothing: is that gone, or is it the job."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pytest
from support.enginerun import engine_for, job, results_of
from support.rawserver import answer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.anyio

ANSWER = answer(
    b'{"model":"m","response":"Hello","done":true,"done_reason":"stop"}',
    "Content-Type: application/json",
)


@asynccontextmanager
async def served_from(request: int, seen: list[str]) -> AsyncIterator[str]:
    """A server that hangs up on all before that request, of both methods, and answers from then on."""

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, EOFError):
            head = await reader.readuntil(b"\r\n\r\n")
            seen.append(head.split(b" ", 1)[0].decode())
            if len(seen) >= request:
                writer.write(ANSWER)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(play, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def test_the_last_job_waits_for_a_server_that_hangs_up_on_whoever_asks() -> None:
    """After the first try, and the one that is free, nothing is sent until somebody answers a question."""
    seen: list[str] = []
    async with served_from(4, seen) as url, engine_for([job(1)], url, retries=0, stream=False, patience=60.0) as engine:
        engine.scheduler.asks = True
        results = await results_of(engine)
    assert results["j1"].ok
    assert seen == ["POST", "POST", "GET", "GET", "POST"]
