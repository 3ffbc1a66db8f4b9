"""httpx by hand: requests and event streams without any SDK."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import httpx
import orjson

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # so that it runs as a script

from bench.peers.work import arguments, work


async def main() -> None:
    given = arguments()
    limits = httpx.Limits(max_connections=given.concurrency, max_keepalive_connections=given.concurrency)
    async with httpx.AsyncClient(limits=limits, timeout=None) as client:

        async def whole(messages: list[dict[str, str]]) -> str:
            response = await client.post(given.url, json={"model": "m", "messages": messages})
            response.raise_for_status()
            text: str = orjson.loads(response.content)["choices"][0]["message"]["content"]
            return text

        async def streamed(messages: list[dict[str, str]]) -> str:
            texts: list[str] = []
            body = {"model": "m", "messages": messages, "stream": True}
            async with client.stream("POST", given.url, json=body) as response:
                response.raise_for_status()
                async for line in response.aiter_lines():
                    if line.startswith("data: {"):
                        texts.extend(choice["delta"].get("content", "") for choice in orjson.loads(line[6:])["choices"])
            return "".join(texts)

        await work(given, streamed if given.stream else whole)


asyncio.run(main())
