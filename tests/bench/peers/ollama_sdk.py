"""The ollama SDK on Ollama's own API."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import ollama

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # so that it runs as a script

from bench.peers.work import arguments, work


async def main() -> None:
    given = arguments()
    client = ollama.AsyncClient(host=given.url.removesuffix("/api/chat"))

    async def whole(messages: list[dict[str, str]]) -> str:
        answer = await client.chat(model="m", messages=messages)
        return answer.message.content or ""

    async def streamed(messages: list[dict[str, str]]) -> str:
        stream = await client.chat(model="m", messages=messages, stream=True)
        return "".join([part.message.content or "" async for part in stream])

    await work(given, streamed if given.stream else whole)


asyncio.run(main())
