"""The openai SDK, with its default HTTP client or with its aiohttp one."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import openai

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # so that it runs as a script

from bench.peers.work import arguments, base_url, work


async def main() -> None:
    given = arguments()
    http_client = openai.DefaultAioHttpClient() if given.aiohttp else None
    async with openai.AsyncOpenAI(base_url=base_url(given), api_key="none", http_client=http_client) as client:

        async def whole(messages: list[dict[str, str]]) -> str:
            answer = await client.chat.completions.create(model="m", messages=messages)
            return answer.choices[0].message.content or ""

        async def streamed(messages: list[dict[str, str]]) -> str:
            stream = await client.chat.completions.create(model="m", messages=messages, stream=True)
            return "".join([choice.delta.content or "" async for chunk in stream for choice in chunk.choices])

        await work(given, streamed if given.stream else whole)


asyncio.run(main())
